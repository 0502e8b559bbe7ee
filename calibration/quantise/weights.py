"""What INT8 makes of the weights: scales, integers learned by rounding, and biases that make up for the error."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray

from ...errors import BuildError, UsageError
from ...graphs.index import GraphIndex
from ..ranges import scale_of
from .placement import WeightSite

WEIGHT_METHODS = ("max", "mse")

LEVELS = 127
"""Of symmetric int8 on each side of zero; -128 is left out, as TensorRT leaves it out of weights."""

_SHARES = np.linspace(1.0, 0.5, 51)
"""Of the largest weight, at which ``mse`` looks; the widest of equally good ones wins."""


@dataclass(frozen=True, eq=False)
class Int8Weights:
    """How the weights of a graph are quantised. The default is the plain way: nothing clipped, rounded to nearest.

    What a layer has here holds while it is in INT8, so that one that goes back to float is as it was.

    Args:
        method: of the scales, one per output channel: ``max`` clips nothing, ``mse`` makes the squared error least.
        integers: weight tensor to its learned int8 values, of its shape, in units of the scales.
        bias_shifts: layer to the (channels,) float32 that its bias moves by.

    Raises:
        UsageError: an unknown method.
    """

    method: str = "max"
    integers: Mapping[str, NDArray[np.int8]] = field(default_factory=dict)
    bias_shifts: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.method not in WEIGHT_METHODS:
            near = difflib.get_close_matches(self.method, WEIGHT_METHODS, 1, 0.3)
            suggestion = f" Did you mean {near[0]}?" if near else ""
            raise UsageError(
                f"There is no method {self.method!r} for the scales of weights.{suggestion}",
                f"Choose one of {', '.join(WEIGHT_METHODS)}.",
            )

    def scales(self, weight: NDArray[np.generic], site: WeightSite) -> NDArray[np.float32]:
        """(channels,) float32: the scale of each output channel, exact in FP16.

        Args:
            weight: of the convolution.
            site: its place.

        Raises:
            BuildError: a weight is not finite or too large.
        """
        rows = _rows(weight, site.axis)
        maxima = np.abs(rows).max(axis=1)
        widest = np.asarray([scale_of(float(maximum), site.tensor) for maximum in maxima], np.float32)
        return widest if self.method == "max" else _least_squares(rows, maxima, widest, site)

    def integers_of(self, weight: NDArray[np.generic], site: WeightSite) -> NDArray[np.int8]:
        """The int8 values of a weight, of its shape: the learned ones, or the nearest.

        Raises:
            BuildError: learned values that do not belong to this weight.
        """
        learned = self.integers.get(site.tensor)
        if learned is None:
            return nearest(weight, self.scales(weight, site), site.axis)
        if learned.shape != weight.shape or learned.dtype != np.int8:
            raise BuildError(
                f"The learned rounding of {site.tensor} is {learned.dtype} of the shape {learned.shape}, and the "
                f"weight has the shape {weight.shape}.",
                "Learn it from the graph that is built.",
            )
        return learned

    def bias_of(self, node: onnx.NodeProto, index: GraphIndex) -> NDArray[np.float32] | None:
        """(channels,) float32: the bias of a convolution in INT8, None where it has none.

        Args:
            node: of the FP32 graph.
            index: over that graph.
        """
        own = index.array(node.input[2]).astype(np.float32) if len(node.input) > 2 and node.input[2] else None
        shift = self.bias_shifts.get(node.name)
        if shift is None:
            return own
        if own is not None and own.shape != shift.shape:
            raise BuildError(
                f"The bias of {node.name} has {own.size} values, and its correction {shift.size}.",
                "Correct the biases of the graph that is built.",
            )
        return shift if own is None else own + shift


def nearest(
    weight: NDArray[np.generic], scales: NDArray[np.float32], axis: int, lowest: int = -LEVELS
) -> NDArray[np.int8]:
    """Each weight's nearest multiple of its channel's scale, as QuantizeLinear rounds: ties to even.

    Args:
        weight: of any shape.
        scales: (channels,).
        axis: of the channels.
        lowest: where it saturates; -128 is QuantizeLinear's own end.
    """
    rounded = np.rint(weight.astype(np.float32) / along(scales, axis, weight.ndim))
    result: NDArray[np.int8] = np.clip(rounded, lowest, LEVELS).astype(np.int8)
    return result


def along(values: NDArray[np.float32], axis: int, dimensions: int) -> NDArray[np.float32]:
    """(channels,) values in a shape that spreads them over a weight's channels."""
    shape = [-1 if position == axis else 1 for position in range(dimensions)]
    spread: NDArray[np.float32] = values.reshape(shape)
    return spread


def _rows(weight: NDArray[np.generic], axis: int) -> NDArray[np.float32]:
    """(channels, values) float32."""
    rows: NDArray[np.float32] = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1).astype(np.float32)
    return rows


def _least_squares(
    rows: NDArray[np.float32], maxima: NDArray[np.float32], widest: NDArray[np.float32], site: WeightSite
) -> NDArray[np.float32]:
    """Per channel the scale, among ``_SHARES`` of the widest, whose squared error is least."""
    best: NDArray[np.float32] = widest.copy()
    least = np.full(len(rows), np.inf)
    for share in _SHARES:
        scales = np.asarray([scale_of(float(maximum * share), site.tensor) for maximum in maxima], np.float32)
        rounded = nearest(rows, scales, 0) * scales[:, None]
        error = np.square(rows - rounded).sum(axis=1, dtype=np.float64)
        better = error < least
        best[better], least[better] = scales[better], error[better]
    return best
