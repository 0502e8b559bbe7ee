"""Is a loss more than noise: bootstrap intervals over images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
CONFIDENCE = 0.95

_AT_A_TIME = 50
"""Resamples whose weights are in memory together: 4 MB for 10,000 images."""

Weights = NDArray[np.int64]
"""(drawings, images) int64: how often each image was drawn."""


@dataclass(frozen=True)
class RowLoss:
    """A row's figure, reference minus engine: ``points`` of 100, and the 95 % interval ``low`` to ``high``."""

    points: float
    low: float
    high: float

    @property
    def significant(self) -> bool:
        """Whether the interval leaves out 0: other images would hardly turn this loss, or gain, round."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Loss:
    """A task's figure of the reference minus that of an engine, with its bootstrap interval over images.

    Both go over the rows that the truth holds. So it is not always the difference of the two ``Scores.value``, each of
    which may go over what its network finds as well.

    Args:
        points: of 100; negative where the engine is better. Over all ``rows``.
        low, high: the interval that holds ``confidence`` of the losses of ``resamples`` drawings of as many
            images as there are, with replacement. Reference and engine are drawn together.
        rows: the same for every row; None where the truth does not hold it.
        confidence: 0.95.
        resamples: 1,000.
    """

    points: float
    low: float
    high: float
    rows: tuple[RowLoss | None, ...]
    confidence: float = 0.95
    resamples: int = 1000

    @property
    def significant(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def loss_over_images(
    losses: Callable[[Weights], NDArray[np.float64]],
    images: int,
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Loss:
    """A loss with its interval.

    The interval is Efron's percentile interval: as many images as there are get drawn with replacement, for reference
    and engine alike, and the loss is taken again of what was drawn. Images are drawn and not pixels or joints, as those
    of an image err together.

    Args:
        losses: from (n, images) weights to (n, rows + 1) losses in points: every row, and last the whole; NaN where the
            truth does not hold it.
        images: how many there are, 1 or more.
        resamples: how many drawings.
        confidence: share of them that the interval holds.
        seed: of the drawings. The same images give the same interval.
    """
    points = losses(np.ones((1, images), np.int64))[0]
    rng = np.random.default_rng(seed)
    pieces = []
    for start in range(0, resamples, _AT_A_TIME):
        number = min(_AT_A_TIME, resamples - start)
        drawn = rng.integers(0, images, (number, images)) + images * np.arange(number)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=number * images).reshape(number, images)
        pieces.append(losses(weights))
    drawings = np.concatenate(pieces)
    tail = 100 * (1 - confidence) / 2
    intervals = [_interval(column, point, tail) for column, point in zip(drawings.T, points)]
    low, high = intervals[-1]
    return Loss(
        points=float(points[-1]),
        low=low,
        high=high,
        rows=tuple(
            None if np.isnan(point) else RowLoss(float(point), *interval)
            for point, interval in zip(points[:-1], intervals)
        ),
        confidence=confidence,
        resamples=resamples,
    )


def _interval(drawn: NDArray[np.float64], point: float, tail: float) -> tuple[float, float]:
    """Percentiles of the drawings that have a loss; the point alone where none has."""
    known = drawn[~np.isnan(drawn)]
    low, high = np.percentile(known, [tail, 100 - tail]) if known.size else (point, point)
    return float(low), float(high)
