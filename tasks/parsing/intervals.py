"""Is a loss more than noise: bootstrap intervals over images; and how latencies are distributed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...labels import NUM_CLASSES
from .metrics import iou_of_classes

RESAMPLES = 1000
CONFIDENCE = 0.95

_AT_A_TIME = 50
"""Resamples whose weights are in memory together: 4 MB for 10,000 images."""

ClassCounts = NDArray[np.uint32]
"""(3, 20) uint32 of one image: pixels that hit, true pixels and predicted pixels of every class.

It is all of a confusion matrix that the IoU needs: 240 bytes an image.
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

    Args:
        points: of 100; negative where the engine is better.
        low, high: the interval that holds ``confidence`` of the losses of ``resamples`` drawings of as many
            images as there are, with replacement. Reference and engine are drawn together.
        classes: the same for every class; None where reference or engine has no IoU.
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
    """What of one image's (20, 20) confusion matrix makes its IoUs."""
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

    The interval is Efron's percentile interval: as many images as there are get drawn with replacement, for
    both alike, their counts are pooled as LIP pools them, and the loss is taken again. Images are drawn and not
    pixels, as the pixels of an image err together. A class that the images hold and a drawing does not is left out
    of that drawing, for both alike: a stray pixel of it would count as an IoU of 0 for one and as nothing for the
    other, and the two means would go over different classes.

    Args:
        reference, engine: of the same images in the same order; at least one holds a labelled pixel.
        resamples: how many drawings.
        confidence: share of them that the interval holds.
        seed: of the drawings. The same images give the same interval.
    """
    counts = np.stack([reference, engine], axis=1).astype(np.float64)
    points = _losses(counts.sum(axis=0)[None])[0]
    held = counts[:, 0, 1].sum(axis=0) > 0
    drawn = np.concatenate([_losses(totals, held) for totals in _resampled(counts, resamples, seed)])
    tail = 100 * (1 - confidence) / 2
    intervals = [_interval(column, point, tail) for column, point in zip(drawn.T, points)]
    low, high = intervals[NUM_CLASSES]
    return Loss(
        points=float(points[NUM_CLASSES]),
        low=low,
        high=high,
        classes=tuple(
            None if np.isnan(point) else ClassLoss(float(point), *interval)
            for point, interval in zip(points[:NUM_CLASSES], intervals)
        ),
        confidence=confidence,
        resamples=resamples,
    )


def _resampled(counts: NDArray[np.float64], resamples: int, seed: int) -> list[NDArray[np.float64]]:
    """Pooled counts of ``resamples`` drawings, in pieces of (n, 2, 3, 20)."""
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


def _losses(totals: NDArray[np.float64], held: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Losses in points of pooled counts.

    Args:
        totals: (n, 2, 3, 20).
        held: (20,) bool, classes that count only where they have true pixels; none where not given.

    Returns:
        (n, 21): every class, and last the mean; NaN where undefined.
    """
    iou = iou_of_classes(totals[:, :, 0], totals[:, :, 1], totals[:, :, 2])
    if held is not None:
        iou = np.where(held & (totals[:, :, 1] == 0), np.nan, iou)
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
