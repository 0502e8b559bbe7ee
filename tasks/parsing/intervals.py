"""The loss of mean IoU, with its interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..intervals import CONFIDENCE, RESAMPLES, Loss, Weights, loss_over_images
from .metrics import iou_of_true_classes

ClassCounts = NDArray[np.uint32]
"""(3, C) uint32 of one image: pixels that hit, true pixels and predicted pixels of every class.

It is all of a confusion matrix that the IoU needs: 240 bytes an image for 20 classes.
"""


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
    counts a class that is only predicted as 0, which would be a loss of whole points for one stray pixel of it. Counts
    of the images drawn are pooled as LIP pools them, and the loss goes over the classes that their truth holds.

    Args:
        reference, engine: of the same images in the same order; at least one holds a labelled pixel.
        resamples, confidence, seed: as of :func:`~trtparse.tasks.intervals.loss_over_images`.
    """
    counts = np.stack([reference, engine], axis=1).astype(np.float64)
    flat = counts.reshape(len(counts), -1)

    def losses(weights: Weights) -> NDArray[np.float64]:
        return _losses((weights @ flat).reshape(len(weights), *counts.shape[1:]))

    return loss_over_images(losses, len(counts), resamples=resamples, confidence=confidence, seed=seed)


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
