"""How many of those who are there are found, and how many of those found are there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .boxes import Boxes, Detections, overlap

LEAST_OVERLAP = 0.5
"""Intersection over union from which a box is that of somebody."""


@dataclass(frozen=True)
class Shares:
    """Shares at a score from which boxes count; all lie from 0 to 1.

    Args:
        threshold: the score.
        recall: of those who are there, how many are found.
        precision: of the boxes, how many are somebody's.
        f1: harmonic mean of both; 0 where both are.
    """

    threshold: float
    recall: float
    precision: float
    f1: float


def best_threshold(
    found: Sequence[Detections], there: Sequence[Boxes], doubtful: Sequence[Boxes], least_overlap: float = LEAST_OVERLAP
) -> Shares:
    """The score at which F1 is highest, and recall and precision there.

    Args:
        found: of each image, the best first.
        there: (n, 4) of each image.
        doubtful: (m, 4) of each image: a box over one of them counts neither as right nor as wrong.
        least_overlap: intersection over union.
    """
    scores, right = matches(found, there, doubtful, least_overlap)
    return _best(scores, right, sum(len(boxes) for boxes in there))


def at_threshold(
    found: Sequence[Detections],
    there: Sequence[Boxes],
    doubtful: Sequence[Boxes],
    threshold: float,
    least_overlap: float = LEAST_OVERLAP,
) -> Shares:
    """Recall and precision of the boxes with a score of ``threshold`` or more, else as :func:`best_threshold`."""
    scores, right = matches(found, there, doubtful, least_overlap)
    counted = right[scores >= threshold]
    return _found(threshold, int(counted.sum()), len(counted), sum(len(boxes) for boxes in there))


def matches(
    found: Sequence[Detections], there: Sequence[Boxes], doubtful: Sequence[Boxes], least_overlap: float = LEAST_OVERLAP
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The score of every box that counts, and whether it is somebody's whom no better box has.

    Returns:
        (k,) float64 and (k,) bool.
    """
    scores: list[float] = []
    right: list[bool] = []
    for detections, people, doubts in zip(found, there, doubtful):
        shares, doubted = overlap(detections.boxes, people), overlap(detections.boxes, doubts)
        for number, score in enumerate(detections.scores):
            best = int(shares[number].argmax()) if len(people) else -1
            if best >= 0 and shares[number, best] >= least_overlap:
                shares[:, best] = 0
                right.append(True)
            elif len(doubts) and doubted[number].max() >= least_overlap:
                continue
            else:
                right.append(False)
            scores.append(float(score))
    return np.asarray(scores), np.asarray(right, bool)


def _best(scores: NDArray[np.float64], right: NDArray[np.bool_], people: int) -> Shares:
    if not len(scores) or not people:
        return _found(0.5, 0, 0, people)
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(right[order])
    last = np.append(ranked[1:] < ranked[:-1], True)  # boxes of one score count together
    f1 = np.where(last, 2 * hits / (np.arange(1, len(hits) + 1) + people), 0)
    best = int(f1.argmax())
    return _found(float(ranked[best]), int(hits[best]), best + 1, people)


def _found(threshold: float, hits: int, boxes: int, people: int) -> Shares:
    recall, precision = hits / max(people, 1), hits / max(boxes, 1)
    f1 = 2 * hits / (boxes + people) if hits else 0.0
    return Shares(threshold, recall, precision, f1)
