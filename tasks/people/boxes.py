"""Boxes: (N, 4) float64; left, top, right, bottom in pixels, right and bottom outside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]
"""(N, 4): left, top, right, bottom."""

Scores = NDArray[np.float64]
"""(N,), 0..1."""


@dataclass(frozen=True)
class Detections:
    """The people that a detector found in a frame, best first: ``boxes[i]`` with ``scores[i]``."""

    boxes: Boxes
    scores: Scores

    def __len__(self) -> int:
        return len(self.scores)


def overlap(one: Boxes, other: Boxes) -> NDArray[np.float64]:
    """Intersection over union of each box with each.

    Returns:
        (N, M), 0..1; 0 for boxes without an area.
    """
    shared = _shared(one, other)
    union = _area(one)[:, None] + _area(other)[None] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def within(boxes: Boxes, areas: Boxes) -> NDArray[np.float64]:
    """Part of each box that lies in each area; as :func:`overlap`."""
    shared = _shared(boxes, areas)
    whole = np.broadcast_to(_area(boxes)[:, None], shared.shape)
    return np.asarray(np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0))


def suppress(boxes: Boxes, scores: Scores, shares: NDArray[np.float64], most: float) -> Detections:
    """Non-maximum suppression: of boxes that share more than ``most``, only the best stays.

    Args:
        boxes, scores: N of them.
        shares: (N, N), how much of each with each.
        most: 0..1.

    Returns:
        The others, best first.
    """
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    for index in order:
        if not kept or shares[index, kept].max() <= most:
            kept.append(int(index))
    return Detections(boxes[kept], scores[kept])


def _shared(one: Boxes, other: Boxes) -> NDArray[np.float64]:
    corner = np.maximum(one[:, None, :2], other[None, :, :2])
    far = np.minimum(one[:, None, 2:], other[None, :, 2:])
    return np.asarray(np.prod(np.maximum(far - corner, 0), axis=2))


def _area(boxes: Boxes) -> NDArray[np.float64]:
    return np.asarray(np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1))
