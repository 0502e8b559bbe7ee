"""Graphs whose outputs are what calibration wants to see of the activations, run one frame at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ..errors import BuildError
from ..specs.framing import Framing
from .index import GraphIndex, fresh_graph_copy, property_of
from .raw import end_of

_SHAPE_INPUTS = {"Resize": 3, "Reshape": 1, "Expand": 1}
"""Which input of an operator is a shape, and so may hold the batch."""


def input_size_of(model: onnx.ModelProto) -> tuple[int, int]:
    """(height, width) of the frames.

    Raises:
        BuildError: the graph leaves them open.
    """
    frames = model.graph.input[0]
    dims = frames.type.tensor_type.shape.dim
    if len(dims) != 4 or dims[1].dim_value < 1 or dims[2].dim_value < 1:
        shape = " x ".join(str(dim.dim_value or dim.dim_param or "?") for dim in dims) or "no shape"
        raise BuildError(
            f"Calibration needs frames of one size, and input {frames.name} takes {shape}.",
            "Export the graph at the size that it will run at.",
        )
    return dims[1].dim_value, dims[2].dim_value


def framing_of(model: onnx.ModelProto) -> Framing:
    """How images become the graph's frames, as its metadata tells it; with their shapes kept where it does not.

    Raises:
        BuildError: the graph leaves the size of its frames open.
    """
    return Framing.of_preprocessing(input_size_of(model), property_of(model, "preprocessing"))


def float_activations(model: onnx.ModelProto) -> list[str]:
    """Float tensors that a node computes, up to the logits: past them nothing is quantised."""
    index, end = GraphIndex(model.graph), end_of(model)
    inferred = onnx.shape_inference.infer_shapes(model)
    floats = {
        value.name
        for value in (*inferred.graph.value_info, *inferred.graph.output)
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    return [
        name
        for node in index.nodes
        for name in node.output
        if name in floats and not index.is_constant(name) and name not in end
    ]


class Observer:
    """Runs single frames through a graph and gives what it is to give of each of ``names``.

    One frame at a time, whatever batch the graph was exported for, as the runtime's sums depend on the batch:
    on the student 60 of 140 activations differ by up to 2e-7 between a batch of 4 and single frames, and none
    between one thread and two (ONNX Runtime 1.31).

    Args:
        model: FP32, ``frames`` (N, H, W, 3) uint8 in.
        names: of the activations.
        operators: reductions to one number, each applied to every activation; none for the activations themselves.
        threads: of the CPU runtime; 0 for one per core.
    """

    def __init__(self, model: onnx.ModelProto, names: Sequence[str], operators: Sequence[str], threads: int) -> None:
        self._operators, self._count = len(operators), len(names)
        observed = _for_one_frame(model)
        graph = observed.graph
        self._graph_name = f"the graph {graph.name}"
        self._input = graph.input[0].name
        del graph.output[:]
        for operator in operators:
            for position, name in enumerate(names):
                output = f"{operator}_{position}"
                graph.node.append(helper.make_node(operator, [name], [output], output, keepdims=0))
                graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, []))
        if not operators:
            graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        with _refusals(self._graph_name):
            self._session = onnxruntime.InferenceSession(
                observed.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )

    def numbers(self, frame: NDArray[np.uint8]) -> NDArray[np.float64]:
        """(operators, names), of one (H, W, 3) frame."""
        outputs = [float(value) for value in self.activations(frame)]
        return np.array(outputs).reshape(self._operators, self._count)

    def activations(self, frame: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """One array per name, of one (H, W, 3) frame."""
        with _refusals(self._graph_name):
            result: list[NDArray[np.float32]] = self._session.run(None, {self._input: frame[None]})
        return result


@contextlib.contextmanager
def _refusals(graph: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # The runtime's exceptions have no common base but Exception.
        raise BuildError(
            f"ONNX Runtime cannot run {graph} for calibration: {error}", "Export the graph again."
        ) from error


def _for_one_frame(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that takes one frame, where a fixed batch is part of its shapes as well."""
    result = fresh_graph_copy(model)
    first = result.graph.input[0].type.tensor_type.shape.dim[0]
    batch = first.dim_value
    if batch == 1:
        return result
    first.dim_value = 1
    del result.graph.value_info[:]
    shapes = {
        node.input[position]
        for node in result.graph.node
        if (position := _SHAPE_INPUTS.get(node.op_type, 0)) and len(node.input) > position
    }
    for initializer in result.graph.initializer:
        if batch and initializer.name in shapes:
            shape = numpy_helper.to_array(initializer).copy()
            if shape.size and shape[0] == batch:
                shape[0] = 1
                initializer.CopyFrom(numpy_helper.from_array(shape, initializer.name))
    return result
