"""Histograms of absolute activations: 4,096 counts a tensor, however many images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from ..graphs.observe import Observer

BINS = 4096
"""Of |x| over [0, maximum]: 32 for each of int8's 128 magnitudes where nothing is clipped."""

_CHUNK = 1 << 16
"""Values counted at a time: what counting needs stays in the processor's cache."""


@dataclass(frozen=True, eq=False)
class Histogram:
    """How often each magnitude occurs.

    Args:
        counts: (bins,) int64 of |x| in ``bins`` equal parts of [0, ``maximum``].
        maximum: largest |x|; 0 where the tensor is 0 everywhere.
    """

    counts: NDArray[np.int64]
    maximum: float


class HistogramCollector:
    """Runs frames through a graph and counts the magnitudes of every activation.

    Args:
        model: FP32, ``frames`` (N, H, W, 3) uint8 in; its batch does not matter.
        maxima: tensor name to its largest magnitude on these frames, from a pass before.
        threads: of the CPU runtime; 0 for one per core.
    """

    def __init__(self, model: onnx.ModelProto, maxima: Mapping[str, float], threads: int = 0) -> None:
        self.counts = np.zeros((len(maxima), BINS), np.int64)
        self._maxima = dict(maxima)
        self._observer = Observer(model, list(maxima), (), threads)

    def update(self, frame: NDArray[np.uint8]) -> None:
        """Count the activations of one (H, W, 3) uint8 BGR frame."""
        for counts, maximum, values in zip(self.counts, self._maxima.values(), self._observer.activations(frame)):
            count_magnitudes(counts, values, maximum)

    def histograms(self) -> dict[str, Histogram]:
        """Tensor name to its histogram so far."""
        return {
            name: Histogram(counts.copy(), maximum)
            for counts, (name, maximum) in zip(self.counts, self._maxima.items())
        }


def count_magnitudes(counts: NDArray[np.int64], values: NDArray[np.float32], maximum: float) -> None:
    """Add ``values`` to ``counts`` in place.

    Args:
        counts: (bins,) of |x| over [0, ``maximum``].
        values: finite, of any shape; a magnitude above ``maximum`` counts in the last bin.
        maximum: of the magnitudes; with 0 every value counts in the first bin.
    """
    last = len(counts) - 1
    # Doubles only where a float has no room for the factor.
    factor = np.float64(len(counts) / maximum if maximum else 0)
    kind = np.float32 if factor < np.finfo(np.float32).max else np.float64
    flat = values.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        bins = np.abs(flat[start : start + _CHUNK]).astype(kind, copy=False)
        bins *= kind(factor)
        np.minimum(bins, last, out=bins)
        counts += np.bincount(bins.astype(np.int64), minlength=last + 1)
