"""The people in frame after frame: detected in some of them, followed through the others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Protocol

from ...data.dataset import Image
from ...errors import UsageError
from ...tasks.people.boxes import Detections
from ...tasks.people.person import Person
from .hog import HogDetector
from .tracker import PeopleTracker

_LEAST_SIDE = 2.0  # pixels of a box that are left inside the frame


class PersonDetector(Protocol):
    """Finds people in one frame.

    ``name`` is for messages; ``sure`` the score from which a detection counts without another one before it.
    """

    @property
    def name(self) -> str: ...

    @property
    def sure(self) -> float: ...

    def detect(self, frame: Image) -> Detections:
        """People in (H, W, 3) uint8, BGR; with weak ones, whose scores are below ``sure``."""
        ...


def open_detector(path: Path | None = None, *, threads: int = 0) -> PersonDetector:
    """The detector of an ONNX file, or the one that comes along.

    Args:
        path: see :class:`~trtparse.demo.people.onnx_detector.OnnxDetector`; None takes :class:`HogDetector`.
        threads: of the runtime; 0 for one per core.

    Raises:
        UsageError: there is no such file, or it is no detector of a known form.
    """
    if path is None:
        return HogDetector()
    from .onnx_detector import OnnxDetector

    return OnnxDetector(path, threads=threads)


class PeopleFinder:
    """Finds people, frame after frame.

    Args:
        detector: looks for them.
        every: in each how many-th frame it looks; between, they are where they were heading.
        track: False for frames that have nothing to do with each other, as photographs in a folder: then people are
            numbered in each of them from 1.

    Attributes:
        detector: the same.
    """

    def __init__(self, detector: PersonDetector, *, every: int = 1, track: bool = True) -> None:
        if every < 1:
            raise UsageError(f"People cannot be looked for in every {every}th frame.", "Give 1 or more.")
        self.detector = detector
        self._every = every if track else 1
        self._tracker = PeopleTracker(detector.sure)
        self._track = track
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
        people = self._tracker.step(self.detector.detect(frame) if looks else None, seconds)
        clipped = (_clipped(person, frame.shape[0], frame.shape[1]) for person in people)
        return tuple(person for person in clipped if person is not None)


def _clipped(person: Person, height: int, width: int) -> Person | None:
    left, top, right, bottom = person.box
    left, right = max(left, 0.0), min(right, float(width))
    top, bottom = max(top, 0.0), min(bottom, float(height))
    if right - left < _LEAST_SIDE or bottom - top < _LEAST_SIDE:
        return None
    return replace(person, box=(left, top, right, bottom))
