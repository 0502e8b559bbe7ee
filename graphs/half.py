"""Type a graph in FP16: precision is a property of the graph, not a flag beside it.

TensorRT 11 and TensorRT-RTX know no other way, and the older versions read such a graph as well. The pass
is short because the graphs are ours: every float becomes half, Q/DQ scales included, except the operands of
Resize that the standard wants in FP32, and what makes float answers out of the raw tensor: coordinates to a tenth of a
pixel in 192 are beyond FP16, and DARK's 1e-10 is 0 there, its logarithm infinite. What overflows FP16 stays FP32 as
well, where the graph's metadata names it (:mod:`.overflow`).
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..errors import BuildError
from .index import GraphIndex, fresh_graph_copy
from .overflow import float_nodes
from .raw import raw_tensors
from .single import Single, keep_single, own_constant

_FLOAT_OPERANDS = {"Resize": (1, 2)}
"""Inputs that stay FP32: Resize's roi and scales."""

_HALF_MAXIMUM = float(np.finfo(np.float16).max)


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of an FP32 graph, with or without Q/DQ, typed in FP16.

    Integer inputs and outputs stay, and so do nodes that the metadata names (:mod:`.overflow`); a float output (logits)
    is cast back to FP32 at the end.

    Raises:
        BuildError: a weight that FP16 cannot hold, an operand that would have to be both, or a graph that the
            checker refuses afterwards.
    """
    half = fresh_graph_copy(model)
    graph = half.graph
    overflowing, decoding = keep_single(half, float_nodes(half)), _keep_decoding(half)
    single = Single(overflowing.nodes | decoding.nodes, overflowing.constants | decoding.constants)
    kept = _float_operands(graph) | single.constants
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.name not in kept:
            tensor.CopyFrom(_half_tensor(tensor, tensor.name))
    for node in graph.node:
        if kept.intersection(node.output) or node.name in single.nodes:
            continue
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
            elif attribute.t.data_type == TensorProto.FLOAT:
                attribute.t.CopyFrom(_half_tensor(attribute.t, node.output[0]))
    _keep_float_outputs(graph, single.nodes)
    # The recorded types of intermediate values are those of the FP32 graph.
    del graph.value_info[:]
    half.graph.name = f"{model.graph.name}_fp16"
    try:
        half = onnx.shape_inference.infer_shapes(half, check_type=True, strict_mode=True)
        onnx.checker.check_model(half, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise BuildError(f"The graph cannot be typed in FP16: {error}") from error
    return half


def _keep_decoding(model: onnx.ModelProto) -> Single:
    """Cast what a decoding reads to FP32 where it makes float answers, and give it constants of its own.

    A graph whose answers are integers, such as an arg max, needs nothing of the kind.
    """
    raw = set(raw_tensors(model))
    graph = model.graph
    index = GraphIndex(graph)
    floats = {output.name for output in graph.output if output.type.tensor_type.elem_type == TensorProto.FLOAT}
    after = set(raw)
    nodes = []
    for node in index.nodes:
        if after.intersection(node.input):
            after.update(node.output)
            nodes.append(node)
    if not (after - raw) & floats:
        return Single(frozenset(), frozenset())
    inferred = onnx.shape_inference.infer_shapes(model)
    typed = {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}
    inside = {node.name for node in nodes}
    made_inside = {name for node in nodes for name in node.output}
    constants: set[str] = set()
    casts: dict[str, onnx.NodeProto] = {}
    for node in nodes:
        for position, name in enumerate(node.input):
            if name in index.initializers:
                node.input[position] = own_constant(graph, index, name, inside)
                constants.add(node.input[position])
            elif name not in raw and name and name not in made_inside and typed.get(name) == TensorProto.FLOAT:
                single = f"{name}_fp32"
                casts.setdefault(name, helper.make_node("Cast", [name], [single], single, to=TensorProto.FLOAT))
                node.input[position] = single
    # A raw tensor keeps its name, by which the metadata calls it, and is FP32 from here on.
    for name in sorted(raw):
        maker = index.producer(name)
        assert maker is not None, "raw_tensors() saw it"
        inner = f"{name}_half"
        maker.output[:] = [inner if one == name else one for one in maker.output]
        casts[inner] = helper.make_node("Cast", [inner], [name], f"{name}_fp32", to=TensorProto.FLOAT)
    for name, cast in casts.items():
        producer = next(number for number, node in enumerate(graph.node) if name in node.output)
        graph.node.insert(producer + 1, cast)
    return Single(frozenset(inside | {cast.name for cast in casts.values()}), frozenset(constants))


def _float_operands(graph: onnx.GraphProto) -> set[str]:
    kept: set[str] = set()
    others: set[str] = set()
    for node in graph.node:
        wanted = _FLOAT_OPERANDS.get(node.op_type, ())
        for position, name in enumerate(node.input):
            (kept if position in wanted else others).add(name)
    kept.discard("")
    if kept & others:
        raise BuildError(f"{sorted(kept & others)[0]} is used both as a resize factor and as a value.")
    return kept


def _half_tensor(tensor: TensorProto, name: str) -> TensorProto:
    values = numpy_helper.to_array(tensor)
    largest = float(np.abs(values).max(initial=0.0))
    if not largest <= _HALF_MAXIMUM:
        raise BuildError(
            f"{name} holds {largest:g}, which FP16 cannot ({_HALF_MAXIMUM:g} at the most).",
            "Build with --fp32, or retrain with weight decay.",
        )
    return numpy_helper.from_array(values.astype(np.float16), tensor.name)


def _keep_float_outputs(graph: onnx.GraphProto, single: frozenset[str]) -> None:
    """Cast float outputs back to FP32 at the end, those of the nodes ``single`` apart, which are FP32."""
    done = {name for node in graph.node if node.name in single for name in node.output}
    for output in graph.output:
        if output.type.tensor_type.elem_type != TensorProto.FLOAT or output.name in done:
            continue
        inner = f"{output.name}_half"
        for node in graph.node:
            node.output[:] = [inner if name == output.name else name for name in node.output]
            node.input[:] = [inner if name == output.name else name for name in node.input]
        graph.node.append(helper.make_node("Cast", [inner], [output.name], f"{output.name}_cast", to=TensorProto.FLOAT))
