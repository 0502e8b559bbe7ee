"""Who is who from frame to frame: boxes that are steady, and ids that stay.

The scheme is SORT's (Bewley et al., ICIP 2016, arXiv:1602.00763): a Kalman filter of constant velocity per person, and
boxes assigned by their overlap with where the person was expected. As in ByteTrack (Zhang et al., ECCV 2022,
arXiv:2110.06864), a weak detection continues somebody and never begins one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...tasks.people.boxes import Boxes, Detections, overlap
from ...tasks.people.person import Person

_LEAST_OVERLAP = 0.3  # of a detection with where its person was expected; SORT's
# Somebody unseen is still shown where they were heading while both hold, and can come back as the same while one does.
_MISSES = 2  # detections without them
_UNSEEN_SECONDS = 1.0
_BOX_NOISE = 0.05  # of a person's height, the standard deviation of a detector's box; DeepSORT's (arXiv:1703.07402)
_SPEED = 1.0  # heights per second, of somebody who appears: 1.4 m/s is 0.8
# Heights per second squared, the standard deviation of what a constant velocity leaves out: in place, and in size.
_ACCELERATION = np.array([1.5, 1.5, 0.5, 0.5])


class _Track:
    """One person's box, as four Kalman filters of (value, velocity): centre x and y, width and height."""

    def __init__(self, identity: int, box: NDArray[np.float64], score: float, seconds: float) -> None:
        self.identity, self.score = identity, score
        self.misses = 0
        self.seen = seconds
        self.state = np.zeros((4, 2))
        self.state[:, 0] = _centred(box)
        height = max(self.state[3, 0], 1.0)
        self.covariance = np.zeros((4, 2, 2))
        self.covariance[:, 0, 0] = (_BOX_NOISE * height) ** 2
        self.covariance[:, 1, 1] = (_SPEED * height) ** 2

    def predict(self, seconds: float) -> None:
        """Move on by some seconds."""
        step = np.array([[1.0, seconds], [0.0, 1.0]])
        self.state = self.state @ step.T
        pushed = np.array([seconds**2 / 2, seconds])
        noise = (_ACCELERATION * max(self.state[3, 0], 1.0)) ** 2
        self.covariance = step @ self.covariance @ step.T + noise[:, None, None] * np.outer(pushed, pushed)
        shrunk = self.state[:, 0] < 1
        shrunk[:2] = False  # a box may leave the frame, but not turn inside out
        self.state[shrunk] = (1, 0)

    def update(self, box: NDArray[np.float64], score: float, seconds: float) -> None:
        """Take a detection into account."""
        spread = self.covariance[:, 0, 0] + (_BOX_NOISE * max(self.state[3, 0], 1.0)) ** 2
        gain = self.covariance[:, :, 0] / spread[:, None]
        self.state = self.state + gain * (_centred(box) - self.state[:, 0])[:, None]
        self.covariance = self.covariance - gain[:, :, None] * self.covariance[:, None, 0, :]
        self.score, self.misses, self.seen = score, 0, seconds

    @property
    def box(self) -> NDArray[np.float64]:
        x, y, width, height = self.state[:, 0]
        return np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])


class PeopleTracker:
    """Follows people through frames, some of which nobody was looked for in.

    Args:
        sure: the score from which a detection may be somebody new.

    Attributes:
        count: how many different people there have been.
    """

    def __init__(self, sure: float) -> None:
        self.count = 0
        self._sure = sure
        self._tracks: list[_Track] = []
        self._seconds: float | None = None

    def step(self, detections: Detections | None, seconds: float) -> tuple[Person, ...]:
        """Take the next frame.

        Args:
            detections: None where nobody was looked for.
            seconds: when it was shown; never earlier than the one before.

        Returns:
            Those who are there, by id.
        """
        passed = 0.0 if self._seconds is None else max(0.0, seconds - self._seconds)
        self._seconds = seconds
        for track in self._tracks:
            track.predict(passed)
        if detections is not None:
            self._assign(detections, seconds)
        return tuple(_person(track) for track in self._tracks if not track.misses or self._waits(track, both=True))

    def _waits(self, track: _Track, *, both: bool) -> bool:
        """Whether somebody was missed seldom, and not for long; or just one of these, without ``both``."""
        assert self._seconds is not None
        reasons = (track.misses <= _MISSES, self._seconds - track.seen <= _UNSEEN_SECONDS)
        return all(reasons) if both else any(reasons)

    def _assign(self, detections: Detections, seconds: float) -> None:
        for track in self._tracks:
            track.misses += 1
        certain = detections.scores >= self._sure
        taken = np.zeros(len(detections), bool)
        for group in (certain, ~certain):
            waiting = [track for track in self._tracks if track.misses]
            indices = np.flatnonzero(group)
            for row, column in _pairs(waiting, detections.boxes[indices]):
                index = indices[column]
                waiting[row].update(detections.boxes[index], float(detections.scores[index]), seconds)
                taken[index] = True
        self._tracks = [track for track in self._tracks if self._waits(track, both=False)]
        for index in np.flatnonzero(certain & ~taken):
            self.count += 1
            self._tracks.append(_Track(self.count, detections.boxes[index], float(detections.scores[index]), seconds))


def _pairs(tracks: list[_Track], boxes: Boxes) -> list[tuple[int, int]]:
    """Tracks and boxes that belong together, the largest overlap first; each at most once."""
    if not tracks or not len(boxes):
        return []
    shares = overlap(np.stack([track.box for track in tracks]), boxes)
    pairs = []
    while (best := int(shares.argmax())) >= 0 and shares.flat[best] >= _LEAST_OVERLAP:
        row, column = divmod(best, shares.shape[1])
        pairs.append((row, column))
        shares[row] = shares[:, column] = 0
    return pairs


def _centred(box: NDArray[np.float64]) -> NDArray[np.float64]:
    left, top, right, bottom = box
    return np.array([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top])


def _person(track: _Track) -> Person:
    left, top, right, bottom = (float(value) for value in track.box)
    return Person(track.identity, (left, top, right, bottom), track.score)
