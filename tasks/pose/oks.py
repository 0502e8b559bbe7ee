"""COCO's object keypoint similarity: how alike two poses are, from 0 to 1; and what rests on it.

A joint's part is exp(-d² / (2 s² k²)): d pixels apart, s² the person's area, k twice the joint's sigma. numpy alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Poses = NDArray[np.float32]
"""(N, K, 3) float: x and y in pixels, and a score, or COCO's visibility."""

LEAST_SCORE = 0.2
"""Of joints that count in a person's score, and in the agreement with a reference."""

SAME_PERSON = 0.9
"""Similarity above which the lower of two answers is the same person found again."""

AREA_OF_BOX = 0.53
"""A person's area over that of the box, where no mask says it: the convention of sets without masks."""


def similarity(
    truth: Poses, answers: Poses, sigmas: NDArray[np.floating], areas: NDArray[np.floating]
) -> NDArray[np.float64]:
    """The OKS of each pair: the mean over the joints whose third value in ``truth`` is above 0.

    Args:
        truth: (N, K, 3).
        answers: (N, K, 3); a joint that is not finite is wholly wrong.
        sigmas: (K,) of the skeleton.
        areas: (N,) square pixels of the people.

    Returns:
        (N,) from 0 to 1; NaN for a person of whom no joint counts.
    """
    alike = of_joints(truth, answers, sigmas, areas)
    counts = truth[..., 2] > 0
    number = counts.sum(1)
    total = np.where(counts, alike, 0).sum(1)
    return np.asarray(np.divide(total, number, out=np.full(len(truth), np.nan), where=number > 0))


def of_joints(
    truth: Poses, answers: Poses, sigmas: NDArray[np.floating], areas: NDArray[np.floating]
) -> NDArray[np.float64]:
    """(N, K) each joint's part, whether it counts or not; arguments as of :func:`similarity`."""
    squared = np.square(np.asarray(truth, np.float64)[..., :2] - answers[..., :2]).sum(-1)
    width = 2 * np.square(2 * np.asarray(sigmas, np.float64)) * (np.asarray(areas, np.float64)[:, None] + np.spacing(1))
    # A NaN or an infinity among the answers is a miss.
    return np.asarray(np.exp(-np.where(np.isfinite(squared), squared, np.inf) / width))


def person_scores(answers: Poses, box_scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N,) how sure a person was found: the box's score times the mean of the joints' scores above 0.2; 0 without."""
    scores = np.asarray(answers[..., 2], np.float64)
    counts = scores > LEAST_SCORE
    number = counts.sum(1)
    mean = np.divide(np.where(counts, scores, 0).sum(1), number, out=np.zeros(len(scores)), where=number > 0)
    return np.asarray(mean * box_scores)


def distinct(
    answers: Poses,
    scores: NDArray[np.floating],
    sigmas: NDArray[np.floating],
    areas: NDArray[np.floating],
    threshold: float = SAME_PERSON,
) -> list[int]:
    """Who of the people in one image are others than those of higher scores: non-maximum suppression by the OKS.

    Args:
        answers: (N, K, 3); all joints count.
        scores: (N,) of the people.
        sigmas: (K,).
        areas: (N,) square pixels of the boxes; of two people their mean counts.
        threshold: above it they are the same.

    Returns:
        Their numbers, the highest score first.
    """
    waiting = [int(number) for number in np.argsort(-np.asarray(scores), kind="stable")]
    kept = []
    while waiting:
        first, *others = waiting
        kept.append(first)
        pair = np.ones((len(others), *answers.shape[1:]), np.float64)
        pair[..., :2] = answers[first, :, :2]
        mean_areas = (areas[first] + np.asarray(areas)[others]) / 2
        alike = similarity(pair, answers[others], sigmas, mean_areas)
        waiting = [other for other, close in zip(others, alike) if not close > threshold]
    return kept
