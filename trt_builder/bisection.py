"""Where does an engine begin to answer otherwise than its graph? The graph is built again with one tensor read out each
time, and half of what is left goes with each build."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from ..engines.base import Frames
from ..errors import BuildError
from ..graphs.computed import run
from ..graphs.index import GraphIndex, fresh_graph_copy
from ..graphs.simulated import simulated_graph

DIFFERS = 0.3
"""Length of the difference of two tensors over that of the expected one. A layer that computes something else is off by
about its own length, and what rounding leaves is far below; where between the two the line belongs, no GPU has told."""

_READ_OUT = ("Conv", "ConvTranspose", "Relu", "Add", "Mul", "Concat", "MaxPool", "AveragePool", "Resize", "Sigmoid")
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)


@dataclass(frozen=True)
class Point:
    """A tensor that can be read out, and the node that makes it."""

    tensor: str
    layer: str


def points_of(model: onnx.ModelProto) -> list[Point]:
    """The float tensors of a graph's layers, in its order."""
    index = GraphIndex(model.graph)
    types = _types(model)
    outputs = {value.name for value in model.graph.output}
    return [
        Point(node.output[0], node.name)
        for node in index.nodes
        if node.op_type in _READ_OUT and node.output[0] not in outputs and types.get(node.output[0]) in _FLOATS
    ]


def with_output(model: onnx.ModelProto, tensor: str) -> onnx.ModelProto:
    """A copy of a graph that gives one of its tensors as well."""
    marked = fresh_graph_copy(model)
    inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
    marked.graph.output.append(next(value for value in inferred if value.name == tensor))
    return marked


def expected_of(model: onnx.ModelProto, tensor: str, frames: Frames) -> NDArray[np.float32]:
    """What ONNX Runtime makes of a tensor, in float arithmetic, of one frame after the other.

    Raises:
        BuildError: it cannot run the graph.
    """
    try:
        found = run(simulated_graph(model), {"frames": frames}, [tensor], as_float=True)[tensor]
    except Exception as error:  # the runtime's exceptions have no common base but this one
        raise BuildError(f"ONNX Runtime cannot read {tensor} out of the graph: {error}") from error
    return np.asarray(found, np.float32)


def relative_error(found: NDArray[np.generic], expected: NDArray[np.float32]) -> float:
    """The length of the difference over that of ``expected``; infinite where a value is none."""
    difference = np.asarray(found, np.float64) - expected
    if not np.isfinite(difference).all():
        return float("inf")
    return float(np.linalg.norm(difference) / max(float(np.linalg.norm(expected)), 1e-12))


def bisect(points: Sequence[Point], error_at: Callable[[Point], float]) -> str:
    """Where the first difference is, in a sentence.

    Args:
        points: in the graph's order.
        error_at: builds, runs and compares.
    """
    if not points:
        return "No layer of it can be read out."
    errors: dict[int, float] = {}

    def differs(number: int) -> bool:
        errors[number] = error_at(points[number])
        return not errors[number] <= DIFFERS

    if not differs(len(points) - 1):
        return (
            f"With {points[-1].tensor} read out it agrees up to there: the fault is behind it, or goes away where that "
            "breaks up what TensorRT fuses."
        )
    agrees, wrong = -1, len(points) - 1
    while wrong - agrees > 1:
        middle = (agrees + wrong) // 2
        agrees, wrong = (agrees, middle) if differs(middle) else (middle, wrong)
    point, before = points[wrong], f"; {points[agrees].layer} before it agrees" if agrees >= 0 else ""
    return (
        f"The first layer that differs is {point.layer}: its {point.tensor} is off by {errors[wrong]:.2f} times its "
        f"size{before} ({len(errors)} builds)."
    )


def _types(model: onnx.ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    return {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)}
