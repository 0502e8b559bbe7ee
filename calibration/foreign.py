"""Ranges that TensorRT collected: its calibration cache, put onto a graph of ours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from ..errors import UsageError
from ..graphs.index import CONVOLUTIONS, GraphIndex
from .cache import read_cache
from .key import CalibrationKey, key_of
from .methods import Method
from .quantise.placement import Placement, restrict
from .ranges import Ranges

_NAMED = 5
"""Tensors that are named where many do not match."""

_KEEP_THE_SIGN = ("MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "Resize", "Reshape", "Transpose")


@dataclass(frozen=True)
class Matched:
    """What of a cache belongs to a graph.

    Args:
        ranges: of the graph's tensors that the cache knows.
        placement: of what can be in INT8 with them.
    """

    ranges: Ranges
    placement: Placement


def ranges_of_cache(path: Path, model: onnx.ModelProto, placement: Placement) -> Matched:
    """Read a calibration cache and take from it what the graph has.

    Args:
        path: the cache, of TensorRT 8 to 10.
        model: FP32.
        placement: of all that may be in INT8.

    Raises:
        UsageError: the cache cannot be read, or is another network's.
    """
    cache = read_cache(path)
    index = GraphIndex(model.graph)
    tensors = {value.name for value in model.graph.input} | {name for node in index.nodes for name in node.output}
    matched = {name: scale for name, scale in cache.scales.items() if name in tensors}
    others = sorted(cache.scales.keys() - tensors)
    missing = {layer: _needed(layer, placement, index) - matched.keys() for layer in placement.layers}
    lacking = {layer: names for layer, names in missing.items() if names}
    kept = restrict(
        placement, [name for name in placement.layers if name not in lacking], f"{path.name} has no scale for it"
    )
    if not kept.weights:
        raise UsageError(
            f"{path} is of another network: of its {len(cache.scales)} tensors ({_few(sorted(cache.scales))}) the "
            f"graph has {len(matched)}, and no convolution has all that it needs.",
            "Names are those of the ONNX graph that TensorRT calibrated. Calibrate here: trtparse build --int8 --data "
            "FOLDER.",
        )
    warnings = []
    if others:
        count = f"{len(others)} of the cache's {len(cache.scales)} tensors"
        warnings.append(f"{count} are none of the graph's: {_few(others)}.")
    if lacking:
        names = sorted(set[str]().union(*lacking.values()))
        warnings.append(f"{len(lacking)} layers stay in FP16, as the cache has no scale of {_few(names)}.")
    positive = _nowhere_negative(index)
    limits = {name: (0.0 if name in positive else -127 * scale, 127 * scale) for name, scale in matched.items()}
    method = f"TensorRT {cache.version}'s cache, {cache.calibrator}"
    ranges = Ranges(limits, (), (), path.name, 0, {}, _key(model, method), tuple(warnings))
    return Matched(ranges, kept)


def _key(model: onnx.ModelProto, method: str) -> CalibrationKey:
    return replace(key_of(model, (), Method()), images="", method=method)


def _needed(layer: str, placement: Placement, index: GraphIndex) -> set[str]:
    """The tensors whose ranges a layer's INT8 takes: what it reads and, for the CPU's graph, what it gives."""
    read = {tensor for tensor, sites in placement.activations.items() for name, _ in sites if name == layer}
    node = next(node for node in index.nodes if node.name == layer)
    if node.op_type not in CONVOLUTIONS:
        return read
    output = node.output[0]
    readers = index.consumers(output)
    if len(readers) == 1 and readers[0][0].op_type in ("Relu", "Clip"):
        output = readers[0][0].output[0]
    return {*read, output}


def _nowhere_negative(index: GraphIndex) -> set[str]:
    """Tensors whose makers give nothing below 0: a cache knows the largest absolute value alone."""
    found: set[str] = set()
    for node in index.nodes:
        kept = node.op_type in _KEEP_THE_SIGN and all(name in found for name in _data(node))
        if kept or node.op_type in ("Relu", "Sigmoid", "Softmax"):
            found.update(node.output)
    return found


def _data(node: onnx.NodeProto) -> Iterator[str]:
    """The inputs of a node that its values come from; the others are shapes and scales."""
    yield from node.input if node.op_type == "Concat" else node.input[:1]


def _few(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
