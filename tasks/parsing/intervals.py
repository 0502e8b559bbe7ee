"""Is a loss more than noise: bootstrap intervals over images; and how latencies are distributed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .metrics import iou_of_true_classes

RESAMPLES = 1000
CONFIDENCE = 0.95

_AT_A_TIME = 50
"""Resamples whose weights are in memory together: 4 MB for 10,000 images."""

ClassCounts = NDArray[np.uint32]
"""(3, C) uint32 of one image: pixels that hit, true pixels and predicted pixels of every class.

It is all of a confusion matrix that the IoU needs: 240 bytes an image for 20 classes.
"""


@dataclass(frozen=True)
class ClassLoss:
    """IoU of one class, reference minus engine: ``points`` of 100, and the 95 % interval ``low`` to ``high``."""

    points: float
    low: float
    high: float

    @property
    def significant(self) -> bool:
        """Whether the interval leaves out 0: other images would hardly turn this loss, or gain, round."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Loss:
    """Mean IoU of the reference minus that of an engine, with its bootstrap interval over images.

    Both means go over the classes that the labels hold. So it is not always the difference of the two
    ``Scores.mean_iou``, each of which goes over what its network predicts as well.

    Args:
        points: of 100; negative where the engine is better. The mean over ``classes``.
        low, high: the interval that holds ``confidence`` of the losses of ``resamples`` drawings of as many
            images as there are, with replacement. Reference and engine are drawn together.
        classes: the same for every class; None where the labels do not hold it.
        confidence: 0.95.
        resamples: 1,000.
    """

    points: float
    low: float
    high: float
    classes: tuple[ClassLoss | None, ...]
    confidence: float = 0.95
    resamples: int = 1000

    @property
    def significant(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def class_counts(counts: NDArray[np.int64]) -> ClassCounts:
    """What of one image's (C, C) confusion matrix makes its IoUs."""
    return np.stack([np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)]).astype(np.uint32)


def loss_interval(
    reference: Sequence[ClassCounts],
    engine: Sequence[ClassCounts],
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Loss:
    """The loss of mean IoU from a reference to an engine, with its interval.

    Both means go over the classes that the truth holds, so the loss is the mean of the classes' losses. LIP's mean IoU
    counts a class that is only predicted as 0, which would be a loss of whole points for one stray pixel of it.

    The interval is Efron's percentile interval: as many images as there are get drawn with replacement, for
    both alike, their counts are pooled as LIP pools them, and the loss is taken again, over the classes that the
    drawing's truth holds. Images are drawn and not pixels, as the pixels of an image err together.

    Args:
        reference, engine: of the same images in the same order; at least one holds a labelled pixel.
        resamples: how many drawings.
        confidence: share of them that the interval holds.
        seed: of the drawings. The same images give the same interval.
    """
    counts = np.stack([reference, engine], axis=1).astype(np.float64)
    points = _losses(counts.sum(axis=0)[None])[0]
    drawn = np.concatenate([_losses(totals) for totals in _resampled(counts, resamples, seed)])
    tail = 100 * (1 - confidence) / 2
    intervals = [_interval(column, point, tail) for column, point in zip(drawn.T, points)]
    low, high = intervals[-1]
    return Loss(
        points=float(points[-1]),
        low=low,
        high=high,
        classes=tuple(
            None if np.isnan(point) else ClassLoss(float(point), *interval)
            for point, interval in zip(points[:-1], intervals)
        ),
        confidence=confidence,
        resamples=resamples,
    )


def _resampled(counts: NDArray[np.float64], resamples: int, seed: int) -> list[NDArray[np.float64]]:
    """Pooled counts of ``resamples`` drawings, in pieces of (n, 2, 3, C)."""
    images = len(counts)
    flat = counts.reshape(images, -1)
    rng = np.random.default_rng(seed)
    pieces = []
    for start in range(0, resamples, _AT_A_TIME):
        number = min(_AT_A_TIME, resamples - start)
        drawn = rng.integers(0, images, (number, images)) + images * np.arange(number)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=number * images).reshape(number, images)
        pieces.append((weights @ flat).reshape(number, *counts.shape[1:]))
    return pieces


def _losses(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Losses in points of pooled counts.

    Args:
        totals: (n, 2, 3, C).

    Returns:
        (n, C + 1): every class, and last the mean; NaN where the truth does not hold the class, or none at all.
    """
    iou = iou_of_true_classes(totals[:, :, 0], totals[:, :, 1], totals[:, :, 2])
    there = ~np.isnan(iou)
    number = there.sum(axis=2)
    mean = np.divide(np.where(there, iou, 0).sum(axis=2), number, out=np.full(number.shape, np.nan), where=number > 0)
    both = np.concatenate([iou, mean[:, :, None]], axis=2)
    losses: NDArray[np.float64] = 100 * (both[:, 0] - both[:, 1])
    return losses


def _interval(drawn: NDArray[np.float64], point: float, tail: float) -> tuple[float, float]:
    """Percentiles of the drawings that have a loss; the point alone where none has."""
    known = drawn[~np.isnan(drawn)]
    low, high = np.percentile(known, [tail, 100 - tail]) if known.size else (point, point)
    return float(low), float(high)
