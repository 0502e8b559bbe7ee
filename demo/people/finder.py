"""The people in frame after frame: detected in some of them, followed through the others."""

from __future__ import annotations

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
        return self._tracker.count if self._track else self._counted

    def find(self, frame: Image, seconds: float) -> tuple[Person, ...]:
        """The people in the next frame.

        Args:
            frame: (H, W, 3) uint8, BGR.
            seconds: when it was shown.

        Returns:
            By id; boxes end at the frame's edges.
        """
        looks = self._frames % self._every == 0
        self._frames += 1
        size = (frame.shape[0], frame.shape[1])
        found = self._detected(frame) if looks else None
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

    def _detected(self, frame: Image) -> Detections:
        found = usable(self.detector.detect(frame))
        if (found.scores >= self.detector.sure).sum() >= MOST_PEOPLE:
            self.crowded += 1
        return found
