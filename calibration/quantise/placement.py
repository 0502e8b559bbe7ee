"""Where Q/DQ goes: the places from which TensorRT builds INT8 kernels, and no others.

The rules are those of NVIDIA's own quantisation tool: on the *inputs* of convolutions, resizes between a convolution
and readers in INT8, and residual additions; never on outputs, so that convolution, bias, ReLU and the addition fuse.
What decides the label of a pixel at the end stays float, and so does pointwise arithmetic, which that tool quantises
besides: it fuses into no INT8 kernel and costs accuracy (``benchmarks/placement_modelopt.py``). Max pools stay float as
well, with the additions that carry on what comes out of one: the stem's output is the tensor that INT8 rounds worst,
and there it would be rounded for all that follows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass

import onnx

from ...errors import UsageError
from ...graphs.index import CONVOLUTIONS, GraphIndex, attribute_of, quantised_nodes
from ...graphs.raw import end_of

MINIMUM_CHANNELS = 16
"""Convolutions with fewer channels on either side are slower in INT8 than in FP16; the first layer apart."""

_ACTIVATIONS = ("Relu", "Clip")
"""What TensorRT fuses into the convolution before it; Clip is how ReLU6 is exported."""


@dataclass(frozen=True)
class WeightSite:
    """A weight, quantised per channel along ``axis``, and the names of the convolutions that read it so."""

    tensor: str
    axis: int
    layers: tuple[str, ...]


@dataclass(frozen=True)
class Placement:
    """The decision for one graph.

    Args:
        activations: tensor to its uses, each (node name, input position), that read the quantised value.
        weights: one site per quantised weight.
        higher_precision: name of each convolution that stays float, and why.
        shared: groups of activation tensors that must have one scale.
    """

    activations: dict[str, tuple[tuple[str, int], ...]]
    weights: tuple[WeightSite, ...]
    higher_precision: dict[str, str]
    shared: tuple[frozenset[str], ...]

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the nodes that read a quantised activation, in the graph's order of first use."""
        return tuple(dict.fromkeys(name for sites in self.activations.values() for name, _ in sites))

    @property
    def digest(self) -> str:
        """sha256 of where Q/DQ goes."""
        placed = {
            "activations": {tensor: list(sites) for tensor, sites in self.activations.items()},
            "weights": [[site.tensor, site.axis, site.layers] for site in self.weights],
            "shared": sorted(sorted(group) for group in self.shared),
        }
        return hashlib.sha256(json.dumps(placed, sort_keys=True).encode()).hexdigest()


def place(model: onnx.ModelProto) -> Placement:
    """Decide where an FP32 graph gets Q/DQ.

    Args:
        model: FP32, batch norms folded; node names are unique.

    Raises:
        UsageError: the graph is quantised already.
    """
    _refuse_quantised(model)
    index = GraphIndex(model.graph)
    uses: dict[str, list[tuple[str, int]]] = {}
    weights: dict[str, WeightSite] = {}
    kept: dict[str, str] = {}
    first, end = next(index.convolutions(), None), end_of(model)
    for node in index.convolutions():
        reason = _reason_for_float(node, index, end, is_first=node is first)
        if reason:
            kept[node.name] = reason
            continue
        _use(uses, node, 0)
        tensor = node.input[1]
        readers = weights[tensor].layers if tensor in weights else ()
        weights[tensor] = WeightSite(tensor, 0 if node.op_type == "Conv" else 1, (*readers, node.name))
    for node in index.nodes:
        if node.input and node.input[0] in end:
            continue  # what decodes the answers stays float, whatever its operators are
        if node.op_type == "AveragePool" and node.input[0] in uses:
            # Convolutions read it in int8 anyway: with the pool doing so, too, its maker need not write it twice.
            _use(uses, node, 0)
        elif node.op_type == "Add":
            shortcut = _shortcut(node, index)
            if shortcut is not None and not _carries_on_a_max_pool(node.input[shortcut], index):
                _use(uses, node, shortcut)
    # The last first: a resize may read another.
    for node in reversed(index.nodes):
        if (
            node.op_type == "Resize"
            and _is_fed_by_convolution(node, index, kept)
            and _is_read_in_int8(node, index, uses)
        ):
            _use(uses, node, 0)
    activations = {tensor: tuple(sites) for tensor, sites in uses.items()}
    return Placement(activations, tuple(weights.values()), kept, _shared_groups(index, set(activations)))


def restrict(placement: Placement, layers: Collection[str], reason: str = "kept in float") -> Placement:
    """The placement in which only the named nodes read quantised values.

    Args:
        layers: names of nodes of ``placement``; all others go back to float.
        reason: recorded for each convolution that goes back.
    """
    wanted = frozenset(layers)
    activations = {
        tensor: kept
        for tensor, sites in placement.activations.items()
        if (kept := tuple(site for site in sites if site[0] in wanted))
    }
    returned = {name: reason for site in placement.weights for name in site.layers if name not in wanted}
    return Placement(
        activations,
        tuple(site for site in placement.weights if wanted.intersection(site.layers)),
        {**placement.higher_precision, **returned},
        tuple(group for old in placement.shared if len(group := old & activations.keys()) > 1),
    )


def _refuse_quantised(model: onnx.ModelProto) -> None:
    found = quantised_nodes(model.graph)
    if found:
        raise UsageError(
            f"The graph {model.graph.name} is quantised already: it holds {found[0].op_type} "
            f"{found[0].name or found[0].output[0]} and {len(found) - 1} more nodes of the kind.",
            "Quantise the FP32 graph that it was made from; in a bundle that is student.fp32.onnx.",
        )


def _use(uses: dict[str, list[tuple[str, int]]], node: onnx.NodeProto, position: int) -> None:
    uses.setdefault(node.input[position], []).append((node.name, position))


def _reason_for_float(node: onnx.NodeProto, index: GraphIndex, end: frozenset[str], *, is_first: bool) -> str:
    weight = index.initializers.get(node.input[1])
    if weight is None:
        return "its weight is computed at run time"
    if node.output[0] in end:
        return "it makes the logits"
    group = attribute_of(node, "group", 1)
    channels_out, channels_in = weight.dims[0], weight.dims[1] * group
    if node.op_type == "ConvTranspose":
        channels_in, channels_out = weight.dims[0], weight.dims[1] * group
    if min(channels_in, channels_out) < MINIMUM_CHANNELS and not is_first:
        return f"{channels_in} to {channels_out} channels: fewer than {MINIMUM_CHANNELS}"
    return ""


def _is_fed_by_convolution(node: onnx.NodeProto, index: GraphIndex, kept: dict[str, str]) -> bool:
    maker = _maker_before_activation(node.input[0], index)
    return maker is not None and maker.op_type in CONVOLUTIONS and maker.name not in kept


def _maker_before_activation(tensor: str, index: GraphIndex) -> onnx.NodeProto | None:
    """The node that makes a tensor; of an activation's the one before it."""
    maker = index.producer(tensor)
    return index.producer(maker.input[0]) if maker is not None and maker.op_type in _ACTIVATIONS else maker


def _is_read_in_int8(node: onnx.NodeProto, index: GraphIndex, uses: dict[str, list[tuple[str, int]]]) -> bool:
    """Whether every reader of a node's output quantises it, also through a Concat, which copies integers as well.

    A resize whose readers are float would dequantise what it made at once: a step and a rounding that buy nothing
    (NVIDIA/TensorRT#2976).
    """
    output = node.output[0]
    readers = index.consumers(output)
    quantised = uses.get(output, [])
    if output in {value.name for value in index.graph.output}:
        return False
    return bool(readers) and all(
        (reader.name, position) in quantised or (reader.op_type == "Concat" and _is_read_in_int8(reader, index, uses))
        for reader, position in readers
    )


def _shortcut(node: onnx.NodeProto, index: GraphIndex) -> int | None:
    """Which input of a residual addition is the shortcut; None where the addition is not residual.

    Residual means: one side is a convolution's bare output that nothing else reads. Where both are, the
    shortcut is the side with the smaller kernel (ResNet's 1x1 projection).
    """
    if any(index.is_constant(name) for name in node.input):
        return None
    branches = [position for position in (0, 1) if _is_bare_convolution(node.input[position], index)]
    if not branches:
        return None
    if len(branches) == 1:
        return 1 - branches[0]
    return min(branches, key=lambda position: _kernel_area(node.input[position], index))


def _carries_on_a_max_pool(tensor: str, index: GraphIndex) -> bool:
    """Whether a residual stream begins with a max pool, and no convolution has begun another since."""
    maker = _maker_before_activation(tensor, index)
    if maker is None or maker.op_type != "Add":
        return maker is not None and maker.op_type == "MaxPool"
    shortcut = _shortcut(maker, index)
    return shortcut is not None and _carries_on_a_max_pool(maker.input[shortcut], index)


def _is_bare_convolution(tensor: str, index: GraphIndex) -> bool:
    maker = index.producer(tensor)
    return maker is not None and maker.op_type == "Conv" and len(index.consumers(tensor)) == 1


def _kernel_area(tensor: str, index: GraphIndex) -> int:
    maker = index.producer(tensor)
    assert maker is not None
    weight = index.initializers.get(maker.input[1])
    area = 1
    for size in () if weight is None else weight.dims[2:]:
        area *= size
    return area


def _shared_groups(index: GraphIndex, quantised: set[str]) -> tuple[frozenset[str], ...]:
    """Quantised tensors that meet in one Concat, transitively: in INT8 it has one scale."""
    groups: list[set[str]] = []
    for node in index.nodes:
        if node.op_type != "Concat":
            continue
        group = {name for name in (*node.input, *node.output) if name in quantised}
        for other in [other for other in groups if other & group]:
            groups.remove(other)
            group |= other
        if group:
            groups.append(group)
    return tuple(frozenset(group) for group in groups if len(group) > 1)
