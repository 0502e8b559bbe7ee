"""The people in frame after frame: detected in some of them, followed through the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...data.crops import Placement, Window
from ...data.dataset import Image
from ...errors import UsageError
from ...tasks.base import Predictor
from ...tasks.people.boxes import Detections
from ...tasks.people.detector import MOST_PEOPLE, PersonDetector
from ...tasks.people.person import Person
from .tracker import PeopleTracker

_FILLS = 0.6
"""Of a frame's area: whose surroundings are as large fills it, and what their box leaves out is theirs as well."""

_LEAST_SIDE = 2.0  # pixels of a box that are left inside the frame


def placements_of(
    people: Sequence[Person], frame_size: tuple[int, int], predictor: Predictor[Any]
) -> tuple[Placement, ...]:
    """What of a frame the network sees: the surroundings of each person, or all of it where one person fills it.

    Args:
        people: in the frame.
        frame_size: (height, width).
        predictor: that will see them.
    """
    around = tuple(predictor.place_around(frame_size, person.box) for person in people)
    if len(around) != 1:
        return around
    one = around[0]
    if isinstance(one, Window) and math.prod(one.size) >= _FILLS * math.prod(frame_size):
        return (predictor.place_around(frame_size, (0.0, 0.0, float(frame_size[1]), float(frame_size[0]))),)
    return around


class PeopleFinder:
    """Finds people, frame after frame.

    Args:
        detector: looks for them.
        every: in each how many-th frame it looks; between, they are where they were heading.
        track: False for frames that have nothing to do with each other, as photographs in a folder: then people are
            numbered in each of them from 1.

    Attributes:
        detector: the same.
        crowded: in how many frames there were ``MOST_PEOPLE`` or more.
    """

    def __init__(self, detector: PersonDetector, *, every: int = 1, track: bool = True) -> None:
        if every < 1:
            raise UsageError(f"People cannot be looked for in every {every}th frame.", "Give 1 or more.")
        self.detector = detector
        self._every = every if track else 1
        self._tracker = PeopleTracker(detector.sure)
        self._track = track
        self.crowded = 0
        self._counted = 0
        self._frames = 0

    @property
    def count(self) -> int:
        """How many different people there have been; without tracking, in all frames together."""
        return self._counted + self._tracker.count

    def find(self, frame: Image, seconds: float) -> tuple[Person, ...]:
        """The people in the next frame.

        Args:
            frame: (H, W, 3) uint8, BGR.
            seconds: when it was shown.

        Returns:
            By id; boxes end at the frame's edges.
        """
        if not self._track:
            self._counted, self._tracker = self.count, PeopleTracker(self.detector.sure)
        looks = self._frames % self._every == 0
        self._frames += 1
        people = self._tracker.step(self._detected(frame) if looks else None, seconds)
        clipped = (_clipped(person, frame.shape[0], frame.shape[1]) for person in people)
        return tuple(person for person in clipped if person is not None)

    def _detected(self, frame: Image) -> Detections:
        """Whom the detector finds, as far as they have boxes of numbers: the surest, and no more than are parsed."""
        found = self.detector.detect(frame)
        usable = np.isfinite(found.boxes).all(axis=1) & np.isfinite(found.scores)
        boxes, scores = found.boxes[usable], found.scores[usable]
        if (scores >= self.detector.sure).sum() >= MOST_PEOPLE:
            self.crowded += 1
        best = np.sort(np.argsort(-scores, kind="stable")[:MOST_PEOPLE])
        return Detections(boxes[best], scores[best])


def _clipped(person: Person, height: int, width: int) -> Person | None:
    left, top, right, bottom = person.box
    left, right = max(left, 0.0), min(right, float(width))
    top, bottom = max(top, 0.0), min(bottom, float(height))
    if right - left < _LEAST_SIDE or bottom - top < _LEAST_SIDE:
        return None
    return replace(person, box=(left, top, right, bottom))
