"""Refuse a Q/DQ graph that TensorRT would take for something else than it is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto

from ...errors import BuildError
from ...graphs.index import GraphIndex, attribute_of
from ...graphs.raw import end_of
from .placement import MINIMUM_CHANNELS

MINIMUM_OPSET = {TensorProto.FLOAT: 13, TensorProto.FLOAT16: 19}
"""The first opset whose QuantizeLinear takes a scale of this type, per channel."""


def check(model: onnx.ModelProto) -> None:
    """Raise where a graph breaks a rule of Q/DQ placement.

    Raises:
        BuildError: the first few broken rules, each with the node's name.
    """
    problems = list(problems_of(model))
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise BuildError(f"The INT8 graph breaks TensorRT's rules: {'; '.join(problems[:3])}{more}.")


def problems_of(model: onnx.ModelProto) -> Iterator[str]:
    """Every broken rule, in the graph's order."""
    index, end = GraphIndex(model.graph), end_of(model)
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    pairs = [node for node in index.nodes if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    if not any(node.op_type == "QuantizeLinear" for node in pairs):
        yield "it holds no QuantizeLinear: it is not an INT8 graph"
    for node in pairs:
        yield from _pair_problems(node, index, opset)
    quantised = 0
    for number, node in enumerate(index.convolutions()):
        quantised += _reads_dequantised(node, index, 0)
        yield from _convolution_problems(node, index, end, is_first=number == 0)
    if pairs and not quantised:
        yield "no convolution is quantised"
    for node in index.nodes:
        if node.op_type in ("ArgMax", "Softmax", "Sigmoid") and _reads_dequantised(node, index, 0):
            yield f"{node.op_type} {node.name} reads a quantised tensor"
        if node.op_type == "Resize" and _reads_dequantised(node, index, 0) and node.output[0] in end:
            yield f"the last Resize {node.name} reads a quantised tensor"
        if node.op_type == "Add" and all(_reads_dequantised(node, index, side) for side in (0, 1)):
            yield f"both inputs of {node.name} are quantised: the convolution's side must stay bare to fuse"
        if node.op_type == "Concat":
            yield from _concat_problems(node, index)


def _pair_problems(node: onnx.NodeProto, index: GraphIndex, opset: int) -> Iterator[str]:
    if len(node.input) < 3:
        yield f"{node.name} has no zero point, so its type is uint8 by default"
        return
    if node.input[1] not in index.initializers or node.input[2] not in index.initializers:
        yield f"{node.name}: scale and zero point must be constants"
        return
    scale, zero = index.array(node.input[1]), index.array(node.input[2])
    scale_type = index.initializers[node.input[1]].data_type
    if zero.dtype != np.int8:
        yield f"{node.name} is {zero.dtype}, not int8"
    if np.any(zero != 0):
        yield f"{node.name} has a zero point other than 0"
    if not np.isfinite(scale).all() or not (scale.astype(np.float64) > 0).all():
        yield f"{node.name} has a scale that is not finite and positive"
    if opset < MINIMUM_OPSET.get(scale_type, 99):
        yield f"{node.name}: opset {opset} is too old for a scale of this type"
    if scale.ndim and not _is_weight(node, index):
        yield f"{node.name} quantises an activation per channel"
    if node.op_type == "QuantizeLinear":
        readers = index.consumers(node.output[0])
        if not readers or any(reader.op_type != "DequantizeLinear" for reader, _ in readers):
            yield f"{node.name} is not followed by DequantizeLinear alone"


def _convolution_problems(
    node: onnx.NodeProto, index: GraphIndex, end: frozenset[str], *, is_first: bool
) -> Iterator[str]:
    on_input, on_weight = _reads_dequantised(node, index, 0), _reads_dequantised(node, index, 1)
    if on_input != on_weight:
        yield f"{node.name}: {'its weight' if on_input else 'its input'} is not quantised, the other is"
    if len(node.input) > 2 and _reads_dequantised(node, index, 2):
        yield f"{node.name} has a quantised bias"
    if not on_weight:
        return
    maker = index.producer(node.input[1])
    assert maker is not None
    if maker.input[1] not in index.initializers:
        return  # reported with the pair
    scale = index.array(maker.input[1])
    axis = attribute_of(maker, "axis", 1)
    wanted = 0 if node.op_type == "Conv" else 1
    if scale.ndim != 1 or axis != wanted:
        yield f"{node.name}: its weight must be quantised per channel along axis {wanted}"
    if node.output[0] in end:
        yield f"{node.name} makes the logits and must stay float"
    root = maker.input[0]
    producer = index.producer(root)
    weight = index.initializers.get(producer.input[0] if producer is not None else root)
    if weight is not None and not is_first:
        group = attribute_of(node, "group", 1)
        if min(weight.dims[0], weight.dims[1] * group) < MINIMUM_CHANNELS:
            yield f"{node.name} has fewer than {MINIMUM_CHANNELS} channels"


def _concat_problems(node: onnx.NodeProto, index: GraphIndex) -> Iterator[str]:
    scales = set()
    for name in node.input:
        maker = index.producer(name)
        if maker is not None and maker.op_type == "DequantizeLinear" and maker.input[1] in index.initializers:
            scales.add(float(index.array(maker.input[1]).reshape(-1)[0]))
    if len(scales) > 1:
        yield f"the inputs of {node.name} have different scales"


def _is_weight(node: onnx.NodeProto, index: GraphIndex) -> bool:
    if node.input[0] in index.initializers:
        return True
    maker = index.producer(node.input[0])
    return maker is not None and maker.op_type == "QuantizeLinear" and maker.input[0] in index.initializers


def _reads_dequantised(node: onnx.NodeProto, index: GraphIndex, position: int) -> bool:
    maker = index.producer(node.input[position])
    return maker is not None and maker.op_type == "DequantizeLinear"
