"""Two graphs of one network, layer by layer: where does one begin to compute something else than the other?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto

from ..engines.base import Frames
from ..errors import UsageError
from ..graphs.computed import run
from ..graphs.raw import raw_tensors
from ..graphs.simulated import simulated_graph, stored_in_half
from ..storage.json_types import JsonObject
from .bisection import relative_error

APART = 0.01
"""Of two tensors: the length of their difference over that of the first. FP32 leaves 1e-6, FP16 1e-3 (the student's
layers); INT8's rounding is above it from its first layer on, and there the largest step says more."""

_AT_ONCE = 16  # tensors that are read out in one pass: all of a large network's would be gigabytes

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)


@dataclass(frozen=True)
class LayerApart:
    """A tensor that both graphs have.

    Args:
        layer: the node that makes it in the first graph.
        tensor: its name.
        error: the length of the difference over that of the first graph's.
    """

    layer: str
    tensor: str
    error: float


@dataclass(frozen=True)
class LayersApart:
    """All tensors that two graphs share, in the first one's order.

    Args:
        layers: of one shape in both.
        other_shapes: names of the layers whose tensors have another shape in the second graph.
    """

    layers: tuple[LayerApart, ...]
    other_shapes: tuple[str, ...] = ()

    @property
    def first(self) -> LayerApart | None:
        """The first that differs by more than ``APART``; None where none does."""
        return next((one for one in self.layers if not one.error <= APART), None)

    @property
    def largest_step(self) -> LayerApart | None:
        """The one at which the difference grows most; None where none has one shape in both."""
        before = [0.0, *(one.error for one in self.layers[:-1])]
        steps = zip(self.layers, before)
        return max(steps, key=lambda pair: pair[0].error - pair[1], default=(None, 0.0))[0]

    def told(self) -> str:
        """In a sentence or two."""
        first, step, count = self.first, self.largest_step, len(self.other_shapes)
        others = f"Of {count} more of one name the shapes differ, first at {self.other_shapes[0]}." if count else ""
        if step is None:
            return others
        if first is None:
            worst = max(one.error for one in self.layers)
            told = f"{len(self.layers)} tensors that both have are within {worst:.1e} of their size."
            return f"{told} {others}" if count else f"No layer differs: {told}"
        told = (
            f"The first layer that differs is {first.layer}: its {first.tensor} is off by {first.error:.3f} times its "
            f"size. The difference grows most at {step.layer} ({step.error:.3f})."
        )
        return f"{told} {others}".strip()

    def to_dict(self) -> JsonObject:
        """In JSON's types."""
        first, step = self.first, self.largest_step
        return {
            "first": None if first is None else first.layer,
            "largest_step": None if step is None else step.layer,
            "other_shapes": list(self.other_shapes),
            "layers": [{"layer": one.layer, "tensor": one.tensor, "error": one.error} for one in self.layers],
        }


def layers_apart(
    one: onnx.ModelProto,
    other: onnx.ModelProto,
    frames: Frames,
    progress: Callable[[int, int], None] = lambda _, __: None,
) -> LayersApart:
    """Compare every float tensor that two graphs call by one name.

    Q/DQ is computed as the arithmetic that it stands for, and FP16 with every value rounded as a GPU stores it.

    Args:
        one: says the order of the layers, and what is right.
        other: of the same network.
        frames: (N, H, W, 3) uint8, BGR, that both take.
        progress: called with (done, total) tensors.

    Raises:
        UsageError: they share no tensor's name.
    """
    floats, others = _float_tensors(one), _float_tensors(other)
    common = [(name, layer) for name, layer in floats.items() if name in others]
    if not common:
        raise UsageError(
            "The two graphs call no tensor by the same name: their layers cannot be set side by side.",
            "Compare graphs that were made from one: of a bundle, or of one export.",
        )
    graphs = [_as_it_computes(graph) for graph in (one, other)]
    layers, other_shapes = [], []
    for start in range(0, len(common), _AT_ONCE):
        part = common[start : start + _AT_ONCE]
        names = [name for name, _ in part]
        found, expected = (run(graph, {"frames": frames}, names, as_float=True) for graph in reversed(graphs))
        for name, layer in part:
            if found[name].shape == expected[name].shape:
                error = relative_error(found[name], np.asarray(expected[name], np.float32))
                layers.append(LayerApart(layer, name, error))
            else:
                other_shapes.append(layer)
        progress(min(start + _AT_ONCE, len(common)), len(common))
    return LayersApart(tuple(layers), tuple(other_shapes))


def _as_it_computes(model: onnx.ModelProto) -> onnx.ModelProto:
    halves = any(tensor.data_type == TensorProto.FLOAT16 for tensor in model.graph.initializer)
    quantised = any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    if quantised:
        return simulated_graph(model)
    return stored_in_half(model) if halves else model


def _float_tensors(model: onnx.ModelProto) -> dict[str, str]:
    """Name of each float tensor up to the raw ones to the node that makes it, in the graph's order."""
    after = set(raw_tensors(model))
    answers: set[str] = set()
    for node in model.graph.node:
        if after.intersection(node.input):
            after.update(node.output)
            answers.update(node.output)
    inferred = onnx.shape_inference.infer_shapes(model)
    values = (*inferred.graph.value_info, *inferred.graph.output)
    floats = {value.name for value in values if value.type.tensor_type.elem_type in _FLOATS}
    return {
        name: node.name
        for node in model.graph.node
        if node.op_type not in ("Constant", "QuantizeLinear", "DequantizeLinear")
        for name in node.output
        if name in floats and name not in answers
    }
