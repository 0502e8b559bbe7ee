"""What the versions of TensorRT need whose precision comes from flags: the same graph, told in their words.

TensorRT 8.6 reads ONNX up to opset 17. Of a newer graph it does not complain: it takes no notice of a Reduce's axes
where they are an input (opset 18) and reduces over all of them, and reads an FP16 scale of a QuantizeLinear as FP32
(onnx-tensorrt, release 8.x, ``reduceTensor`` and ``QuantDequantLinearHelper``). So it never gets to see either.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..errors import BuildError
from .index import GraphIndex, fresh_graph_copy

OPSET = 17

_SINCE_18: dict[str, dict[str, object]] = {
    "Resize": {"antialias": 0, "axes": None, "keep_aspect_ratio_policy": b"stretch"},
    "AveragePool": {"dilations": [1, 1]},
    "QuantizeLinear": {"saturate": 1},
    "Cast": {"saturate": 1},
    "ArgMax": {},
}
"""Attributes that opset 17 does not know, and the only value that means the same without them; None for none."""

_REDUCTIONS = ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd")
"""Their axes became an input in opset 18; ReduceSum's were one before, and 8.6 reads those."""


def float_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in FP32 and opset 17, for a network whose precision comes from flags.

    Args:
        model: FP32 or typed in FP16, with or without Q/DQ; the weights keep the values that FP16 left them.

    Raises:
        BuildError: a node that opset 17 cannot express, named.
    """
    result = fresh_graph_copy(model)
    graph = result.graph
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            tensor.CopyFrom(_single(tensor))
    index = GraphIndex(graph)
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
            elif attribute.t.data_type == TensorProto.FLOAT16:
                attribute.t.CopyFrom(_single(attribute.t))
        _restate(node, index)
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    # The recorded types of intermediate values are those of the other graph.
    del graph.value_info[:]
    _drop_unused(graph)
    for entry in result.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = min(entry.version, OPSET)
    result.ir_version = min(result.ir_version, 8)
    try:
        onnx.checker.check_model(result, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise BuildError(
            f"TensorRT 8.6 reads ONNX up to opset {OPSET}, and the graph cannot be told in it: {error}",
            "Export it with an older opset, or use TensorRT 10.",
        ) from error
    return result


def implicit_graph(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, float]]:
    """The graph without its Q/DQ, and the ranges that were in them: how a deep-learning accelerator takes INT8.

    Args:
        model: as :func:`float_graph` returns it.

    Returns:
        The FP32 graph, and for each tensor that was quantised the largest magnitude that its int8 could hold. What is
        added or rectified on the way to such a tensor has its range as well: the accelerator fuses those steps.
    """
    result = fresh_graph_copy(model)
    graph = result.graph
    index = GraphIndex(graph)
    ranges: dict[str, float] = {}
    instead: dict[str, str] = {}
    for node in graph.node:
        if node.op_type != "DequantizeLinear":
            continue
        quantise = index.producer(node.input[0])
        if quantise is None or quantise.op_type != "QuantizeLinear":
            raise BuildError(f"{node.name} dequantises what no QuantizeLinear made.", "Keep the weights in float.")
        tensor = quantise.input[0]
        instead[node.output[0]] = tensor
        if tensor not in index.initializers:
            ranges[tensor] = 127 * float(index.array(quantise.input[1]).reshape(-1)[0])
    kept = [node for node in graph.node if node.op_type not in ("QuantizeLinear", "DequantizeLinear")]
    for node in kept:
        node.input[:] = [instead.get(name, name) for name in node.input]
    del graph.node[:]
    graph.node.extend(kept)
    _drop_unused(graph)
    for node in reversed(graph.node):
        if node.op_type in ("Relu", "Add") and node.output[0] in ranges:
            for name in node.input:
                ranges.setdefault(name, ranges[node.output[0]])
    constants = {tensor.name for tensor in graph.initializer}
    return result, {name: limit for name, limit in ranges.items() if name not in constants}


def _restate(node: onnx.NodeProto, index: GraphIndex) -> None:
    """Put one node into the words of opset 17."""
    for name, meaningless in _SINCE_18.get(node.op_type, {}).items():
        for attribute in [attribute for attribute in node.attribute if attribute.name == name]:
            if helper.get_attribute_value(attribute) != meaningless:
                raise BuildError(
                    f"TensorRT 8.6 has no {name} for {node.op_type}, which {node.name} asks for.",
                    "Use TensorRT 10, or export the graph without it.",
                )
            node.attribute.remove(attribute)
    if node.op_type in _REDUCTIONS:
        _restate_reduction(node, index)


def _restate_reduction(node: onnx.NodeProto, index: GraphIndex) -> None:
    """Axes as an attribute."""
    for attribute in [attribute for attribute in node.attribute if attribute.name == "noop_with_empty_axes"]:
        if attribute.i:
            raise BuildError(f"{node.name} asks for noop_with_empty_axes, which TensorRT 8.6 does not have.")
        node.attribute.remove(attribute)
    if len(node.input) < 2 or not node.input[1]:
        return
    if node.input[1] not in index.initializers:
        raise BuildError(f"{node.name} computes its axes at run time, which TensorRT 8.6 cannot.")
    axes = [int(axis) for axis in index.array(node.input[1]).reshape(-1)]
    del node.input[1:]
    if axes:
        node.attribute.append(helper.make_attribute("axes", axes))


def _single(tensor: TensorProto) -> TensorProto:
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)


def _drop_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
