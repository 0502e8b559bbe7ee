"""Cross-layer equalisation: channels that one scale has to serve are brought to sizes nearer to each other.

After Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (ICCV 2019), section 4.1,
with two differences. Whole residual streams are equalised, not only pairs of layers: all tensors that additions,
ReLUs, pools and resizes tie to each other channel by channel get the same factors. And as weights have a scale per
output channel here, it is not their size that the factors level out but the activations', which have one per tensor.

The factors are powers of two, so every sum and product is the same number with another exponent: the equalised graph
computes bit for bit what the graph computed before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import onnx
from numpy.typing import NDArray

from ...data.dataset import Image
from ...graphs.index import GraphIndex, attribute_of, fresh_graph_copy, put_constant
from ...graphs.observe import Observer
from ..ranges import no_images

_CHANNELWISE = ("Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "Resize", "Identity")
"""f(x * s) = f(x) * s for every s above 0, channel by channel. Not Clip (ReLU6), whose 6 does not move along."""

_LARGEST_EXPONENT = 4
"""Factors go up to 16: FP16 holds what they make of weights and activations, and a dead channel stays small."""

_SPATIAL = ([2, 3], [-2, -1])


@dataclass
class ChannelGroup:
    """Tensors whose channels can be scaled together without changing what the graph computes.

    Args:
        tensors: the activations.
        makers: convolutions whose output channels they are.
        readers: convolutions whose input channels they are.
    """

    tensors: set[str] = field(default_factory=set)
    makers: list[onnx.NodeProto] = field(default_factory=list)
    readers: list[onnx.NodeProto] = field(default_factory=list)


def equalise(
    model: onnx.ModelProto,
    frames: Iterable[Image],
    *,
    strength: float = 0.5,
    groups: Sequence[ChannelGroup] | None = None,
    threads: int = 0,
    progress: Callable[[int], None] | None = None,
) -> onnx.ModelProto:
    """A copy of an FP32 graph that computes the same and is easier on INT8; to be done before calibration.

    Args:
        model: FP32, batch norms folded.
        frames: (H, W, 3) uint8 BGR each, letterboxed; seen once, and none is kept.
        strength: 1 makes the channels of the activations alike, whatever that does to the weights that read them; 0
            makes those weights alike.
        groups: of :func:`channel_groups`, those to equalise; all of them where not given.
        threads: of the CPU runtime; 0 for one per core.
        progress: called with the number of frames seen.

    Raises:
        DataError: there is no frame.
    """
    groups = channel_groups(model) if groups is None else groups
    tensors = sorted({node.input[0] for group in groups for node in group.readers})
    sizes = _channel_sizes(model, tensors, frames, threads, progress)
    index = GraphIndex(model.graph)
    result = fresh_graph_copy(model)
    # A depthwise convolution reads one group and makes another.
    weights: dict[str, NDArray[np.float32]] = {}
    for group in groups:
        factors = _factors(group, sizes, index, strength)
        for node in group.makers:
            _scale(weights, node.input[1], 1 / factors, 0, index)
            if len(node.input) > 2 and node.input[2]:
                _scale(weights, node.input[2], 1 / factors, 0, index)
        for node in group.readers:
            _scale(weights, node.input[1], factors, 0 if _is_depthwise(node, index) else 1, index)
    for name, values in weights.items():
        put_constant(result.graph, name, values)
    return result


def channel_groups(model: onnx.ModelProto) -> list[ChannelGroup]:
    """The groups of a graph, in its order; tensors that anything else reads or makes are in none."""
    index = GraphIndex(model.graph)
    parents: dict[str, str] = {}
    root = partial(_root, parents)
    fixed = {value.name for value in (*model.graph.input, *model.graph.output)}
    convolutions: list[onnx.NodeProto] = []
    for node in index.nodes:
        moving = [name for name in node.input if name and not index.is_constant(name)]
        if _is_channelwise(node, moving, index):
            for name in moving:
                parents[root(name)] = root(node.output[0])
        elif _is_plain_convolution(node, index):
            convolutions.append(node)
        else:
            fixed.update((*moving, *node.output))
    fixed_roots = {root(name) for name in fixed}
    groups: dict[str, ChannelGroup] = {}
    for node in convolutions:
        for tensor, nodes in ((node.output[0], "makers"), (node.input[0], "readers")):
            if root(tensor) not in fixed_roots:
                group = groups.setdefault(root(tensor), ChannelGroup())
                getattr(group, nodes).append(node)
    for tensor in (*parents, *(name for node in convolutions for name in (node.input[0], node.output[0]))):
        if root(tensor) in groups:
            groups[root(tensor)].tensors.add(tensor)
    return [group for group in groups.values() if group.makers and group.readers]


def _root(parents: dict[str, str], name: str) -> str:
    while parents.get(name, name) != name:
        name = parents[name]
    return name


def _is_channelwise(node: onnx.NodeProto, moving: list[str], index: GraphIndex) -> bool:
    if node.op_type == "Add":
        return len(moving) == 2
    if node.op_type == "ReduceMean" and len(node.input) > 1 and index.is_constant(node.input[1]):
        axes = index.initializers.get(node.input[1])
        return axes is not None and sorted(index.array(node.input[1]).tolist()) in _SPATIAL
    return node.op_type in _CHANNELWISE and len(moving) == 1


def _is_plain_convolution(node: onnx.NodeProto, index: GraphIndex) -> bool:
    """A Conv whose weight and bias are its own, ungrouped or depthwise."""
    if node.op_type != "Conv" or any(name and name not in index.initializers for name in node.input[1:]):
        return False
    if any(len(index.consumers(name)) > 1 for name in node.input[1:] if name):
        return False
    return attribute_of(node, "group", 1) == 1 or _is_depthwise(node, index)


def _is_depthwise(node: onnx.NodeProto, index: GraphIndex) -> bool:
    """One channel in and one out for each group."""
    outputs, inputs = index.initializers[node.input[1]].dims[:2]
    return bool(attribute_of(node, "group", 1) == outputs and inputs == 1 and outputs > 1)


def _channel_sizes(
    model: onnx.ModelProto,
    tensors: list[str],
    frames: Iterable[Image],
    threads: int,
    progress: Callable[[int], None] | None,
) -> dict[str, NDArray[np.float64]]:
    """(channels,) of each tensor: the mean over the frames of the largest magnitude in each."""
    observer = Observer(model, tensors, (), threads)
    sums: dict[str, NDArray[np.float64]] = {}
    seen = 0
    for seen, frame in enumerate(frames, 1):
        for tensor, values in zip(tensors, observer.activations(frame)):
            sums[tensor] = sums.get(tensor, 0) + np.abs(values[0]).max(axis=(1, 2)).astype(np.float64)
        if progress is not None:
            progress(seen)
    if not seen:
        raise no_images("there are none to equalise on")
    return {tensor: total / seen for tensor, total in sums.items()}


def _factors(
    group: ChannelGroup, sizes: dict[str, NDArray[np.float64]], index: GraphIndex, strength: float
) -> NDArray[np.float64]:
    """(channels,) powers of two, 1 in the middle: what activations are divided and weights multiplied by."""
    activation = np.max([sizes[node.input[0]] for node in group.readers], axis=0)
    weight = np.max([_reading_sizes(node, index) for node in group.readers], axis=0)
    wanted = strength * _logarithm(activation) - (1 - strength) * _logarithm(weight)
    exponents = np.rint(wanted - np.median(wanted))
    result: NDArray[np.float64] = 2.0 ** np.clip(exponents, -_LARGEST_EXPONENT, _LARGEST_EXPONENT)
    return result


def _reading_sizes(node: onnx.NodeProto, index: GraphIndex) -> NDArray[np.float64]:
    """(channels,): the largest weight that reads each channel; a depthwise one's own scale takes any factor."""
    weight = np.abs(index.array(node.input[1]).astype(np.float64))
    if _is_depthwise(node, index):
        return np.zeros(len(weight))
    return weight.max(axis=(0, *range(2, weight.ndim)))  # type: ignore[no-any-return]


def _logarithm(sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """To base two; what is next to nothing beside the largest counts as a ten-thousandth of it, all zeros as 1."""
    largest = float(sizes.max())
    return np.log2(np.maximum(sizes, largest * 1e-4)) if largest else np.zeros_like(sizes)


def _scale(
    weights: dict[str, NDArray[np.float32]], name: str, factors: NDArray[np.float64], axis: int, index: GraphIndex
) -> None:
    """Multiply along an axis what ``weights`` holds of a constant, or the graph where it holds nothing."""
    values = weights.get(name, index.array(name).astype(np.float32))
    shape = [-1 if position == axis else 1 for position in range(values.ndim)]
    weights[name] = values * factors.reshape(shape).astype(np.float32)
