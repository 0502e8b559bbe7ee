"""The people in frame after frame: detected in some of them, followed through the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from ...data.dataset import Image
from ...errors import UsageError
from ...tasks.people.boxes import Detections
from ...tasks.people.crops import usable, within
from ...tasks.people.detector import MOST_PEOPLE, PersonDetector
from ...tasks.people.person import Person
from .tracker import PeopleTracker


class PeopleFinder:
    """Finds people, frame after frame.

    Args:
        detector: looks for them.
        every: in each how many-th frame it looks; between, they are where they were heading.
        at_latest: it looks as well where so many seconds have passed since it last did: of what is shown at three
            frames a second, each fifth one is more than a second and a half from the next.
        track: False for frames that have nothing to do with each other, as photographs in a folder: then people are
            numbered in each of them from 1.

    Attributes:
        detector: the same.
        most_at_once: the most that ``at_once`` ever is.
        crowded: in how many frames there were ``MOST_PEOPLE`` or more.
    """

    def __init__(
        self, detector: PersonDetector, *, every: int = 1, at_latest: float = math.inf, track: bool = True
    ) -> None:
        if every < 1:
            raise UsageError(f"People cannot be looked for in every {every}th frame.", "Give 1 or more.")
        self.detector = detector
        self._every = every if track else 1
        self.most_at_once = self._every * detector.at_once if detector.at_once > 1 else 1
        self._tracker = PeopleTracker(detector.sure)
        self._track = track
        self.crowded = 0
        self._counted = 0
        self._at_latest = at_latest
        self._since, self._looked = self._every, 0.0  # frames, and when it was

    @property
    def at_once(self) -> int:
        """In how many of the next frames the looks that their number asks for fill one pass of the detector."""
        if self.detector.at_once == 1:
            return 1
        until_the_first = self._every - self._since
        return until_the_first + self._every * (self.detector.at_once - 1) + 1

    @property
    def count(self) -> int:
        """How many different people there have been; without tracking, in all frames together."""
        return self._tracker.count if self._track else self._counted

    def find(self, frames: Sequence[Image], seconds: Sequence[float]) -> list[tuple[Person, ...]]:
        """The people in the next frames; the same, however many come at once.

        Args:
            frames: (H, W, 3) uint8, BGR.
            seconds: when each was shown.

        Returns:
            Of each frame by id; boxes end at its edges.
        """
        looks = [self._looks(second) for second in seconds]
        found = iter(self.detector.detect([frame for frame, look in zip(frames, looks) if look]))
        detected = (next(found) if look else None for look in looks)
        sizes = ((frame.shape[0], frame.shape[1]) for frame in frames)
        return [self._step(*one) for one in zip(sizes, seconds, detected)]

    def _looks(self, second: float) -> bool:
        """Whether it looks in the next frame."""
        due = self._since == self._every or second - self._looked > self._at_latest
        if due:
            self._since, self._looked = 0, second
        self._since += 1
        return due

    def _step(self, size: tuple[int, int], seconds: float, found: Detections | None) -> tuple[Person, ...]:
        if found is not None:
            found = self._counting(usable(found, size))
        people = self._tracker.step(found, seconds) if self._track else self._numbered(found)
        inside = ((person, within(person.box, size)) for person in people)
        return tuple(replace(person, box=box) for person, box in inside if box is not None)

    def _numbered(self, found: Detections | None) -> tuple[Person, ...]:
        """Everybody whom the detector is sure of, numbered from 1: a photograph has no second look."""
        if found is None:
            return ()
        sure = found.scores >= self.detector.sure
        self._counted += int(sure.sum())
        return tuple(
            Person(number, (left, top, right, bottom), float(score))
            for number, ((left, top, right, bottom), score) in enumerate(
                zip(found.boxes[sure].tolist(), found.scores[sure]), 1
            )
        )

    def _counting(self, found: Detections) -> Detections:
        if (found.scores >= self.detector.sure).sum() >= MOST_PEOPLE:
            self.crowded += 1
        return found
