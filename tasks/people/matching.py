"""Which boxes are whose: how many of those who are there are found, and how many of those found are there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .boxes import Boxes, Detections, overlap, within

LEAST_OVERLAP = 0.5
"""Intersection over union from which a box is that of somebody."""

NEARLY = 0.8
"""Intersection over union from which two engines' boxes are alike."""

_ALMOST = 0.5
"""Parts of the score that somebody counts from: from there on the other engine has seen them as well."""


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
    found: Sequence[Detections],
    there: Sequence[Boxes],
    doubtful: Sequence[Boxes],
    least_overlap: float = LEAST_OVERLAP,
    beta: float = 1.0,
) -> Shares:
    """The score at which F1 is highest, and recall and precision there.

    Args:
        found: of each image, the best first.
        there: (n, 4) of each image.
        doubtful: (m, 4) of each image: a box in one of them counts neither as right nor as wrong.
        least_overlap: intersection over union.
        beta: recall counts so many times as much as precision (van Rijsbergen's F): with 2 it is F2 that is highest.
    """
    scores, right = matches(found, there, doubtful, least_overlap)
    return _best(scores, right, sum(len(boxes) for boxes in there), beta)


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
    return shares_of(threshold, int(counted.sum()), len(counted), sum(len(boxes) for boxes in there))


def matches(
    found: Sequence[Detections], there: Sequence[Boxes], doubtful: Sequence[Boxes], least_overlap: float = LEAST_OVERLAP
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The score of every box that counts, and whether it is somebody's whom no better box has.

    Returns:
        (k,) float64 and (k,) bool.
    """
    scores: list[NDArray[np.float64]] = [np.zeros(0)]
    right: list[NDArray[np.bool_]] = [np.zeros(0, bool)]
    for one, people, doubts in zip(found, there, doubtful):
        hit, counts = match(one, people, doubts, least_overlap)
        scores.append(one.scores[counts])
        right.append(hit[counts])
    return np.concatenate(scores), np.concatenate(right)


def match(
    found: Detections, there: Boxes, doubtful: Boxes, least_overlap: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Of each box of an image whether it is somebody's, and whether it counts at all; as COCO matches them.

    The best box takes first, of those whom it overlaps enough whom it overlaps most.

    Args:
        found: the best first.
        there, doubtful: (n, 4) and (m, 4): of a group somebody is found by the part of the box that lies in it.
        least_overlap: intersection over union.

    Returns:
        (d,) bool each.
    """
    shares, doubted = overlap(found.boxes, there), within(found.boxes, doubtful)
    right, counts = np.zeros(len(found), bool), np.ones(len(found), bool)
    for number in range(len(found)):
        best = int(shares[number].argmax()) if len(there) else -1
        if best >= 0 and shares[number, best] >= least_overlap:
            shares[:, best] = -1
            right[number] = True
        elif len(doubtful) and doubted[number].max() >= least_overlap:
            counts[number] = False
    return right, counts


@dataclass(frozen=True)
class Alike:
    """How far two engines' boxes of an image are the same people's.

    Args:
        pairs: people whom both have, of whom one at least is sure.
        near: of these, whose boxes are nearly the same.
        missing, invented: whom the first is sure of alone, and the other alone.
        overlap: intersections over unions of the pairs, in sum.
    """

    pairs: int
    near: int
    missing: int
    invented: int
    overlap: float

    @property
    def share(self) -> float:
        """Of all whom one of them is sure of, 1 of nobody."""
        people = self.pairs + self.missing + self.invented
        return self.near / people if people else 1.0

    @property
    def quality(self) -> float:
        """Panoptic quality (Kirillov et al., CVPR 2019), 1 of nobody."""
        half = (self.missing + self.invented) / 2
        return self.overlap / (self.pairs + half) if self.pairs + half else 1.0


def alike(one: Detections, other: Detections, sure: float) -> Alike:
    """Two engines' boxes of an image.

    Somebody of whom one engine is sure is in both where the other is at least half as sure: a score on either side of a
    threshold is no difference by itself.

    Args:
        one, other: the best first.
        sure: the score from which a box is somebody.
    """
    firsts, seconds = (np.flatnonzero(some.scores >= _ALMOST * sure) for some in (one, other))
    shares = overlap(one.boxes[firsts], other.boxes[seconds])
    left, right = set(range(len(firsts))), set(range(len(seconds)))
    pairs, near, total = 0, 0, 0.0
    while shares.size and shares.max() > LEAST_OVERLAP:
        row, column = np.unravel_index(int(shares.argmax()), shares.shape)
        share = float(shares[row, column])
        shares[row], shares[:, column] = 0, 0
        left.discard(int(row))
        right.discard(int(column))
        if max(one.scores[firsts[row]], other.scores[seconds[column]]) >= sure:
            pairs, near, total = pairs + 1, near + (share >= NEARLY), total + share
    missing = int(sum(one.scores[firsts[row]] >= sure for row in left))
    invented = int(sum(other.scores[seconds[column]] >= sure for column in right))
    return Alike(pairs, near, missing, invented, total)


def shares_of(threshold: float, hits: int, boxes: int, people: int) -> Shares:
    """Recall, precision and F1 of counts.

    Args:
        threshold: the score from which boxes count.
        hits: boxes that are somebody's.
        boxes: that count.
        people: who are there.
    """
    recall, precision = hits / max(people, 1), hits / max(boxes, 1)
    f1 = 2 * hits / (boxes + people) if hits else 0.0
    return Shares(threshold, recall, precision, f1)


def _best(scores: NDArray[np.float64], right: NDArray[np.bool_], people: int, beta: float) -> Shares:
    if not len(scores) or not people:
        return shares_of(0.5, 0, 0, people)
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(right[order])
    last = np.append(ranked[1:] < ranked[:-1], True)  # boxes of one score count together
    weight = beta**2
    f = np.where(last, (1 + weight) * hits / (np.arange(1, len(hits) + 1) + weight * people), 0)
    best = int(f.argmax())
    return shares_of(float(ranked[best]), int(hits[best]), best + 1, people)
