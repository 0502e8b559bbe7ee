"""From a histogram to a threshold: up to which magnitude int8 shall reach.

A threshold below the largest magnitude clips the few values above it and rounds all others more finely. What
is gained and lost is counted on the histogram, so that no image is looked at again, whatever the method.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from .histograms import Histogram

METHODS = ("max", "percentile", "entropy", "mse")

SIGNED = 127
"""Levels of symmetric int8 on each side of zero."""

UNSIGNED = 255
"""Levels of uint8 above zero."""

_STEP = 4
"""Thresholds are looked for at every fourth edge of a bin: a thousandth of the maximum."""


@dataclass(frozen=True)
class Method:
    """How a threshold follows from a histogram.

    Args:
        name: one of ``METHODS``: nothing clipped; a share of the values kept; least Kullback-Leibler divergence;
            least squared error.
        percentile: percent of the values that ``percentile`` keeps, above 0 to 100; other methods pass over it.

    Raises:
        UsageError: an unknown name, or a percentile out of its range.
    """

    name: str = "max"
    percentile: float = 99.99

    def __post_init__(self) -> None:
        if self.name not in METHODS:
            near = difflib.get_close_matches(self.name, METHODS, 1, 0.3)
            suggestion = f" Did you mean {near[0]}?" if near else ""
            raise UsageError(
                f"There is no calibration method {self.name!r}.{suggestion}",
                f"Choose one of {', '.join(METHODS)}; percentile:99.9 sets the percentile.",
            )
        if not 0 < self.percentile <= 100:
            raise UsageError(
                f"A percentile of {self.percentile:g} keeps no values.",
                "Give one above 0 and up to 100: percentile:99.99.",
            )

    @classmethod
    def parse(cls, text: str) -> Method:
        """``entropy`` or ``percentile:99.9``; what :meth:`__str__` gives comes back as it was.

        Raises:
            UsageError: an unknown method, or a percentile that is none; the nearest is named.
        """
        name, colon, value = text.strip().partition(":")
        method = cls(name)
        if not colon:
            return method
        if name != "percentile":
            raise UsageError(f"The calibration method {name} takes no value, and {text!r} gives one.", f"Write {name}.")
        try:
            return cls(name, float(value))
        except ValueError:
            raise UsageError(f"{value!r} is no percentile.", "Write it like percentile:99.99.") from None

    def __str__(self) -> str:
        return f"percentile:{self.percentile!r}" if self.name == "percentile" else self.name


def threshold(histogram: Histogram, method: Method, levels: int = SIGNED) -> float:
    """The largest magnitude that an integer shall hold.

    Args:
        histogram: of |x|.
        method: how to choose.
        levels: of the integer on each side of zero that the values are on; ``UNSIGNED`` for uint8 and no value below.

    Returns:
        At most ``histogram.maximum``, and that itself where nothing was counted or the tensor is 0 everywhere.
    """
    counts = histogram.counts
    if method.name == "max" or histogram.maximum == 0 or not counts.any():
        return histogram.maximum
    if method.name == "percentile":
        kept = _percentile(counts, method.percentile)
    else:
        candidates = np.arange(len(counts), levels, -_STEP)
        loss = (_divergence if method.name == "entropy" else _squared_error)(counts, candidates, levels)
        # The widest of equally good ones: argmin takes the first, and candidates descend.
        kept = int(candidates[int(np.argmin(loss))])
    return histogram.maximum * kept / len(counts)


def _percentile(counts: NDArray[np.int64], percentile: float) -> int:
    """Fewest bins that hold at least ``percentile`` percent of the values."""
    # Exactly: in floats 99.9 % of 1,000 can come out above 999.
    wanted = math.ceil(Fraction(repr(percentile)) * int(counts.sum()) / 100)
    return 1 + int(np.searchsorted(np.cumsum(counts), wanted))


def _level_edges(candidates: NDArray[np.int64], levels: int) -> NDArray[np.int64]:
    """(candidates, levels + 2): the bins of level k are those from edge k up to edge k + 1.

    An integer rounds |x| to the nearest of 0, 1 … ``levels`` times the scale; a bin goes where its centre goes.
    """
    starts = np.ceil((np.arange(1, levels + 1) - 0.5) * candidates[:, None] / levels - 0.5).astype(np.int64)
    return np.concatenate([np.zeros_like(candidates)[:, None], starts, candidates[:, None]], axis=1)


def _divergence(counts: NDArray[np.int64], candidates: NDArray[np.int64], levels: int) -> NDArray[np.float64]:
    """Kullback-Leibler divergence of the int8 distribution from the true one, for each number of bins kept.

    After Migacz ("8-bit Inference with TensorRT", GTC 2017): what is clipped counts in the true distribution's
    last bin; int8's knows nothing of it, and spreads each level evenly over the bins that it fills. Two things
    follow from how int8 behaves: it leaves exact zeros alone, so the first bin, which holds them, counts like the
    second; and the last bin is the last filled one, as clipping into an empty bin would make the divergence
    infinite wherever the tail of the histogram has a hole.
    """
    counts = counts.copy()
    counts[0] = counts[1]
    edges = _level_edges(candidates, levels)
    values, filled, information = (
        np.concatenate([[0.0], np.cumsum(part)]) for part in (counts, counts > 0, _information(counts))
    )
    inside, total = values[candidates], values[-1]
    clipped = total - inside
    last = np.maximum.accumulate(np.where(counts > 0, np.arange(len(counts)), 0))[candidates - 1]
    in_level, bins = np.diff(values[edges], axis=1), np.diff(filled[edges], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        height = np.log(in_level / bins / inside[:, None])
        last_level = np.floor((last + 0.5) * levels / candidates + 0.5).astype(np.int64)
        expected = np.where(bins > 0, in_level * height, 0).sum(axis=1)
        expected += clipped * height[np.arange(len(candidates)), last_level]
        true = information[candidates] - _information(counts[last]) + _information(counts[last] + clipped)
        divergence = (true - expected) / total - np.log(total)
    return np.where(inside > 0, divergence, np.inf)


def _information(counts: NDArray[Any]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = counts * np.log(np.maximum(counts, 1))
    return result


def _squared_error(counts: NDArray[np.int64], candidates: NDArray[np.int64], levels: int) -> NDArray[np.float64]:
    """Mean squared error of int8 in squared bins, for each number of bins kept; values lie at their bin's centre."""
    centres = np.arange(len(counts)) + 0.5
    edges = _level_edges(candidates, levels)
    edges[:, -1] = len(counts)  # What is clipped lands on the last level.
    number, first, second = (
        np.diff(np.concatenate([[0.0], np.cumsum(counts * centres**power)])[edges], axis=1) for power in range(3)
    )
    level = np.arange(levels + 1) * candidates[:, None] / levels
    error: NDArray[np.float64] = (second - 2 * level * first + level**2 * number).sum(axis=1) / counts.sum()
    return error
