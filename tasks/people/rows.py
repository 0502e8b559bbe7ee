"""Rows of people: (n, 5) float; left, top, right, bottom in pixels, right and bottom outside, and a score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...storage.json_types import JsonObject
from .boxes import Detections, overlap, suppress
from .person import Person

Rows = NDArray[np.float32]
"""(n, 5) float32, one a person, the best first."""

MOST_OVERLAP = 0.6
"""Intersection over union of two people's boxes; of boxes that share more, one is a double."""

LEAST_SCORE = 0.05
"""What is less certain is nobody."""


def without_doubles(rows: NDArray[Any], least: float = LEAST_SCORE) -> Detections:
    """The people of one frame.

    Args:
        rows: (M, 5) float: left, top, right, bottom in pixels, and a score.
        least: score.

    Returns:
        One box a person, the best first.
    """
    likely = rows[(rows[:, 4] >= least) & np.isfinite(rows).all(axis=1)].astype(np.float64)
    boxes, scores = likely[:, :4], likely[:, 4]
    return suppress(boxes, scores, overlap(boxes, boxes), MOST_OVERLAP)


def rows_of(people: Detections) -> Rows:
    """The same as one array."""
    return np.column_stack([people.boxes, people.scores]).astype(np.float32).reshape(-1, 5)


def rows_of_people(people: Sequence[Person]) -> Rows:
    """(P, 5) float32 of people who were found, in their order."""
    return np.array([[*person.box, person.score] for person in people], np.float32).reshape(-1, 5)


def detections(rows: NDArray[Any]) -> Detections:
    """The inverse of :func:`rows_of`."""
    return Detections(rows[:, :4].astype(np.float64), rows[:, 4].astype(np.float64))


def told_people(rows: Rows) -> list[JsonObject]:
    """Everybody's box, from left to bottom, and score, for programs."""
    return [{"box": [round(float(side), 1) for side in box], "score": round(float(score), 4)} for *box, score in rows]
