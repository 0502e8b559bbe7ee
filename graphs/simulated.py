"""A Q/DQ graph that ONNX Runtime rounds right, whatever its version."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from .index import fresh_graph_copy


def simulated_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose scales are FP32, with casts around each Q/DQ of an FP16 graph; it stands for the same.

    ONNX Runtime 1.19 to 1.23, the last one for Python 3.10, does not round to the nearest in a QuantizeLinear of
    FP16: the student's labels agreed with PyTorch's on 88.6 % of the pixels instead of 99.0 (measured; 1.31 does).

    Args:
        model: in any precision.
    """
    result = fresh_graph_copy(model)
    graph = result.graph
    halves = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT16}
    nodes: list[NodeProto] = []
    singles: dict[str, TensorProto] = {}
    for node in graph.node:
        nodes.append(node)
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or node.input[1] not in halves:
            continue
        scale = f"{node.input[1]}_fp32"
        values = numpy_helper.to_array(halves[node.input[1]]).astype(np.float32)
        singles.setdefault(scale, numpy_helper.from_array(values, scale))
        node.input[1] = scale
        if node.op_type == "QuantizeLinear":
            value = f"{node.name}_fp32"
            nodes.insert(-1, helper.make_node("Cast", [node.input[0]], [value], value, to=TensorProto.FLOAT))
            node.input[0] = value
        else:
            value, output = f"{node.name}_fp32", node.output[0]
            node.output[0] = value
            nodes.append(helper.make_node("Cast", [value], [output], value, to=TensorProto.FLOAT16))
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(singles.values())
    # The recorded types of what is between them are the others'.
    del graph.value_info[:]
    return result


def stored_in_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of an FP16 graph whose every value is computed in FP32 and rounded to what FP16 holds, as a GPU stores it.

    ONNX Runtime has no FP16 kernel for most operators on a CPU: it computes them in FP32 and drops the casts between
    two of them, so that what overflows FP16 on a GPU comes out right there.

    Args:
        model: typed in FP16, or in part.
    """
    inferred = onnx.shape_inference.infer_shapes(model)
    values = (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
    halves = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT16}
    result = fresh_graph_copy(model)
    graph = result.graph
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    nodes: list[NodeProto] = []
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
            elif attribute.t.data_type == TensorProto.FLOAT16:
                wide = numpy_helper.to_array(attribute.t).astype(np.float32)
                attribute.t.CopyFrom(numpy_helper.from_array(wide, attribute.t.name))
        nodes.append(node)
        for position, name in enumerate(node.output):
            if name not in halves or node.op_type == "Constant":
                continue
            exact, rounded = f"{name}.exact", f"{name}.rounded"
            node.output[position] = exact
            nodes.append(helper.make_node("Cast", [exact], [rounded], rounded, to=TensorProto.FLOAT16))
            nodes.append(helper.make_node("Cast", [rounded], [name], f"{name}.stored", to=TensorProto.FLOAT))
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    return result
