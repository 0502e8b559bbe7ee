"""Islands of FP32 in a graph that becomes FP16: casts around some nodes, and constants of their own."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

from .index import GraphIndex, attribute_of


@dataclass(frozen=True)
class Single:
    """What stays FP32: nodes, and constants that they alone read, by name."""

    nodes: frozenset[str] = frozenset()
    constants: frozenset[str] = frozenset()


def keep_single(model: onnx.ModelProto, names: Collection[str]) -> Single:
    """Cut some nodes of an FP32 graph off from what is about to be typed in FP16, in place.

    A QuantizeLinear or DequantizeLinear between two of them stays FP32 with them.

    Args:
        model: FP32, with or without Q/DQ.
        names: of the nodes; those that the graph does not have are left out.
    """
    graph = model.graph
    index = GraphIndex(graph)
    wanted = set(names)
    inside = {node.name for node in index.nodes if node.name in wanted}
    if not inside:
        return Single()
    for node in index.nodes:
        maker = index.producer(node.input[0]) if node.input else None
        made_inside = maker is not None and maker.name in inside
        read_inside = any(reader.name in inside for name in node.output for reader, _ in index.consumers(name))
        if (node.op_type == "QuantizeLinear" and made_inside) or (node.op_type == "DequantizeLinear" and read_inside):
            inside.add(node.name)
    floats = _floats(model)
    constants: set[str] = set()
    nodes: list[onnx.NodeProto] = []
    casts: dict[str, onnx.NodeProto] = {}
    outputs = {output.name for output in graph.output}
    renamed: dict[str, str] = {}
    for node in index.nodes:
        if node.name not in inside:
            nodes.append(node)
            continue
        for position, name in enumerate(node.input):
            maker = index.producer(name)
            if name in index.initializers:
                if index.initializers[name].data_type == TensorProto.FLOAT:
                    node.input[position] = own_constant(graph, index, name, inside)
                    constants.add(node.input[position])
            elif maker is not None and maker.op_type == "Constant" and name in floats:
                node.input[position] = _own_value(graph, maker, name)
                constants.add(node.input[position])
            elif name in renamed:
                node.input[position] = renamed[name]
            elif name in floats and (maker is None or maker.name not in inside):
                if name not in casts:
                    single = f"{name}_fp32"
                    casts[name] = helper.make_node("Cast", [name], [single], single, to=TensorProto.FLOAT)
                    nodes.append(casts[name])
                node.input[position] = casts[name].output[0]
        nodes.append(node)
        for position, name in enumerate(node.output):
            outside = name in outputs or any(reader.name not in inside for reader, _ in index.consumers(name))
            if name in floats and outside:
                renamed[name] = node.output[position] = f"{name}_fp32"
                back = helper.make_node("Cast", [renamed[name]], [name], f"{name}_fp16", to=TensorProto.FLOAT16)
                nodes.append(back)
    del graph.node[:]
    graph.node.extend(nodes)
    return Single(frozenset(inside | {cast.name for cast in casts.values()}), frozenset(constants))


def own_constant(graph: onnx.GraphProto, index: GraphIndex, name: str, inside: Collection[str]) -> str:
    """An initializer that none but the nodes ``inside`` read: itself, or a copy."""
    if all(user.name in inside for user, _ in index.consumers(name)):
        return name
    own = f"{name}_fp32"
    if all(tensor.name != own for tensor in graph.initializer):
        copy = graph.initializer.add()
        copy.CopyFrom(index.initializers[name])
        copy.name = own
    return own


def _own_value(graph: onnx.GraphProto, maker: onnx.NodeProto, name: str) -> str:
    """The value of a Constant as an initializer of its own."""
    own = f"{name}_fp32"
    if all(tensor.name != own for tensor in graph.initializer):
        copy = graph.initializer.add()
        copy.CopyFrom(attribute_of(maker, "value", None))
        copy.name = own
    return own


def _floats(model: onnx.ModelProto) -> set[str]:
    """Tensors that are FP32."""
    inferred = onnx.shape_inference.infer_shapes(model)
    values = (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
    return {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
