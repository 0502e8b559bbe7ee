"""Whom a network sees of a picture: everybody whom a detector found in it, each around their box."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...data.crops import Placement, Window, place_around
from ...specs.framing import Framing
from .boxes import Detections
from .detector import MOST_PEOPLE
from .person import Person

_FILLS = 0.6
"""Of a frame's area: whose surroundings are as large fills it, and what their box leaves out is theirs as well."""

_LEAST_SIDE = 2.0  # pixels of a box that are left inside the picture


def placements_of(people: Sequence[Person], frame_size: tuple[int, int], framing: Framing) -> tuple[Placement, ...]:
    """What of a frame the network sees: the surroundings of each person, or all of it where one person fills it.

    Args:
        people: in the frame.
        frame_size: (height, width).
        framing: of the network that will see them.
    """
    around = tuple(place_around(framing, frame_size, person.box) for person in people)
    if len(around) != 1:
        return around
    one = around[0]
    if isinstance(one, Window) and math.prod(one.size) >= _FILLS * math.prod(frame_size):
        return (place_around(framing, frame_size, (0.0, 0.0, float(frame_size[1]), float(frame_size[0]))),)
    return around


def usable(found: Detections, size: tuple[int, int]) -> Detections:
    """Whom a detector found, as far as they have boxes of numbers in the picture: the surest, no more than are parsed.

    A box that has no area there is nobody: it would overlap with nothing, and be somebody new at every look.

    Args:
        found: as the detector gave them.
        size: (height, width) of the picture.
    """
    numbers = np.isfinite(found.boxes).all(axis=1) & np.isfinite(found.scores)
    seen = np.clip(np.where(numbers[:, None], found.boxes, 0), 0, [size[1], size[0]] * 2)
    numbers &= (seen[:, 2:] - seen[:, :2] >= _LEAST_SIDE).all(axis=1)
    boxes, scores = found.boxes[numbers], found.scores[numbers]
    best = np.sort(np.argsort(-scores, kind="stable")[:MOST_PEOPLE])
    return Detections(boxes[best], scores[best])


def people_of(found: Detections, sure: float, size: tuple[int, int]) -> tuple[Person, ...]:
    """The people in one picture that has nothing to do with any other, numbered from 1.

    Args:
        found: what a detector found in it.
        sure: the score from which that is somebody.
        size: (height, width) of the picture.
    """
    found = usable(found, size)
    certain = [index for index in range(len(found)) if found.scores[index] >= sure]
    boxes = (within(tuple(found.boxes[index]), size) for index in certain)
    there = [(box, float(found.scores[index])) for box, index in zip(boxes, certain) if box is not None]
    return tuple(Person(number, box, score) for number, (box, score) in enumerate(there, 1))


Corners = tuple[float, float, float, float]


def within(box: Corners, size: tuple[int, int]) -> Corners | None:
    """What of a box lies in a picture of (height, width); None of one that is hardly in it."""
    left, top, right, bottom = (float(value) for value in box)
    left, right = max(left, 0.0), min(right, float(size[1]))
    top, bottom = max(top, 0.0), min(bottom, float(size[0]))
    return None if right - left < _LEAST_SIDE or bottom - top < _LEAST_SIDE else (left, top, right, bottom)
