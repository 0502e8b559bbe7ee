"""What a graph computes that FP16 cannot hold, found from the ranges that were observed; it stays FP32, by name.

Transformers are the usual case: a layer norm squares its input, attention multiplies without a bound, and 65504 is not
far. What overflows becomes infinite and then no number, or is silently 0 after a division. The names of the nodes stand
in the graph's metadata, so that every form that is made of it keeps them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from .index import GraphIndex, attribute_of, fresh_graph_copy, property_of, set_property

PROPERTY = "fp32_nodes"
"""Of the metadata: a JSON object of the nodes' names, each with the reason."""

LARGEST = float(np.finfo(np.float16).max)

MARGIN = 4.0
"""Other images reach further than those that were looked at. Largest magnitudes of the student's activations on 16
images were at the least 0.56 of those on 500 (``calibration/calibrate.py``): 4 is twice that."""

_NORMS = frozenset(
    {
        "LayerNormalization",
        "InstanceNormalization",
        "GroupNormalization",
        "RMSNormalization",
        "LpNormalization",
        "ReduceL2",
        "ReduceSumSquare",
    }
)
"""Operators that square their input within."""

_AFTER_VARIANCE = frozenset({"Add", "Sqrt", "Div", "Reciprocal", "Pow", "Max", "Clip"})
"""What a small constant is carried along by, up to the division that it is there for."""

Limits = Mapping[str, tuple[float, float]]


def keep_what_overflows(model: onnx.ModelProto, limits: Limits) -> onnx.ModelProto:
    """A copy that names the nodes which FP16 leaves in FP32; the model itself where there are none.

    Args:
        model: FP32.
        limits: smallest and largest value of each activation.
    """
    found = overflowing(model, limits)
    if not found:
        return model
    result = fresh_graph_copy(model)
    set_property(result, PROPERTY, json.dumps(found))
    return result


def float_nodes(model: onnx.ModelProto) -> dict[str, str]:
    """The nodes that stay FP32 in FP16, and why, as the graph's metadata has it."""
    return dict(json.loads(property_of(model, PROPERTY) or "{}"))


def overflowing(model: onnx.ModelProto, limits: Limits) -> dict[str, str]:
    """The nodes that cannot be computed in FP16, in the graph's order, and why.

    A tensor that reaches within ``MARGIN`` of FP16's largest number keeps its maker and its readers in FP32.
    """
    index = GraphIndex(model.graph)
    lengths = _lengths(model)
    reach = {name: max(abs(low), abs(high)) for name, (low, high) in limits.items()}
    reasons: dict[str, str] = {}

    def keep(node: onnx.NodeProto | None, reason: str) -> None:
        if node is not None and node.op_type != "Constant":
            reasons.setdefault(node.name, reason)

    for node in index.nodes:
        for name in node.output:
            largest = reach.get(name, 0.0)
            if largest * MARGIN > LARGEST:
                reason = f"{name} reaches {largest:.4g}"
                keep(node, reason)
                for reader, _ in index.consumers(name):
                    keep(reader, reason)
        taken = node.input[0] if node.input else ""
        largest = reach.get(taken, 0.0)
        if node.op_type in _NORMS and largest**2 * MARGIN > LARGEST:
            keep(node, f"the squares of {taken} reach {largest**2:.4g}")
        count = _summed(node, index, lengths)
        if count * largest * MARGIN > LARGEST:
            keep(node, f"the sum over {taken} may reach {count * largest:.4g}")
        for name in _vanishing(node, index):
            for one in _carriers(node, index):
                keep(one, f"{name} is 0 in FP16")
    order = {node.name: number for number, node in enumerate(index.nodes)}
    return dict(sorted(reasons.items(), key=lambda pair: order[pair[0]]))


def _summed(node: onnx.NodeProto, index: GraphIndex, lengths: Mapping[str, tuple[int, ...]]) -> int:
    """How many squares a reduction adds up; 0 where it is none of squares."""
    if node.op_type not in ("ReduceMean", "ReduceSum"):
        return 0
    maker = index.producer(node.input[0])
    squares = maker is not None and (
        maker.op_type == "Pow" or (maker.op_type == "Mul" and maker.input[0] == maker.input[1])
    )
    shape = lengths.get(node.input[0], ())
    if not squares or not shape:
        return 0
    axes = attribute_of(node, "axes", None)
    if axes is None and len(node.input) > 1 and node.input[1] in index.initializers:
        axes = [int(axis) for axis in numpy_helper.to_array(index.initializers[node.input[1]]).ravel()]
    return int(np.prod([shape[axis] for axis in axes] if axes else shape))


def _lengths(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    return {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in inferred.graph.value_info
    }


def _vanishing(node: onnx.NodeProto, index: GraphIndex) -> Iterator[str]:
    """Constants that are added to keep a division from 0, and are 0 in FP16."""
    if node.op_type not in ("Add", "Max", "Clip"):
        return
    for name in node.input:
        maker = index.producer(name)
        tensor = index.initializers.get(name)
        if tensor is None and maker is not None and maker.op_type == "Constant":
            tensor = attribute_of(maker, "value", None)
        if tensor is None or tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if values.size == 1 and values.any() and not values.astype(np.float16).any():
            yield name


def _carriers(node: onnx.NodeProto, index: GraphIndex) -> list[onnx.NodeProto]:
    """The node, and those behind it up to a division."""
    found, waiting = [], [node]
    while waiting:
        one = waiting.pop()
        found.append(one)
        if one.op_type not in ("Div", "Reciprocal"):
            readers = (reader for name in one.output for reader, _ in index.consumers(name))
            waiting.extend(reader for reader in readers if reader.op_type in _AFTER_VARIANCE and reader not in found)
    return found if any(one.op_type in ("Div", "Reciprocal", "Pow") for one in found) else []
