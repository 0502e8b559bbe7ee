"""Who is who from frame to frame: boxes that are steady, and ids that stay.

The scheme is SORT's (Bewley et al., ICIP 2016, arXiv:1602.00763): a Kalman filter of constant velocity per person, and
boxes assigned by their overlap with where the person was expected. As in ByteTrack (Zhang et al., ECCV 2022,
arXiv:2110.06864), a weak detection continues somebody and never begins one. Who set off between two looks is matched
by boxes that are made larger, as in C-BIoU (Yang et al., WACV 2023, arXiv:2211.14317).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...tasks.people.boxes import Boxes, Detections, overlap, within
from ...tasks.people.person import Person

_LEAST_OVERLAP = 0.3  # of a detection with where its person was expected; SORT's
_CLEAR = 0.5  # a score from which somebody new is shown at once
_LOOKS = 5  # in a row, after which somebody new is shown whom the detector is just sure of
_INSIDE = 0.7  # of a box in somebody else's: their leg or head, unless it is clear that it is not
_MARGIN = 0.5  # of its width and height, by which a box is made larger on each side to find who set off
# Somebody unseen is still shown where they were heading while both hold, and can come back as the same while one does.
_MISSES = 2  # detections without them
_UNSEEN_SECONDS = 1.0
_BOX_NOISE = 0.05  # of a person's height, the standard deviation of a detector's box; DeepSORT's (arXiv:1703.07402)
_SPEED = 1.0  # heights per second, of somebody who appears: 1.4 m/s is 0.8
# Heights per second squared, the standard deviation of what a constant velocity leaves out: in place, and in size.
_ACCELERATION = np.array([1.5, 1.5, 0.5, 0.5])


class _Track:
    """One person's box, as four Kalman filters of (value, velocity): centre x and y, width and height.

    ``identity`` is 0 until it is believed that there is somebody; ``looks`` counts what speaks for it.
    """

    def __init__(self, box: NDArray[np.float64], score: float, seconds: float) -> None:
        self.identity, self.score = 0, score
        self.looks = self.misses = 0
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
        count: how many different people have been shown.
    """

    def __init__(self, sure: float) -> None:
        self.count = 0
        self._sure, self._clear = sure, max(sure, _CLEAR)
        self._tracks: list[_Track] = []
        self._seconds: float | None = None

    def step(self, detections: Detections | None, seconds: float) -> tuple[Person, ...]:
        """Take the next frame.

        Args:
            detections: None where nobody was looked for.
            seconds: when it was shown; never earlier than the one before.

        Returns:
            Those who are there, by id: from the first clear detection on, or from the fifth in a row that is sure and
            not mostly inside somebody else's box.
        """
        passed = 0.0 if self._seconds is None else max(0.0, seconds - self._seconds)
        self._seconds = seconds
        for track in self._tracks:
            track.predict(passed)
        if detections is not None:
            self._assign(detections, seconds)
        shown = (track for track in self._tracks if not track.misses or self._waits(track, both=True))
        return tuple(sorted((_person(track) for track in shown if track.identity), key=lambda person: person.id))

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
        for group, margin in ((certain, 0.0), (detections.scores >= self._clear, _MARGIN), (~certain, 0.0)):
            # Larger boxes are for people: what is not believed yet would take somebody else's.
            waiting = [track for track in self._tracks if track.misses and (track.identity or not margin)]
            indices = np.flatnonzero(group & ~taken)
            for row, column in _pairs(waiting, detections.boxes[indices], margin):
                index = indices[column]
                waiting[row].update(detections.boxes[index], float(detections.scores[index]), seconds)
                taken[index] = True
        self._tracks = [track for track in self._tracks if self._waits(track, both=False)]
        for index in np.flatnonzero(certain & ~taken):
            self._tracks.append(_Track(detections.boxes[index], float(detections.scores[index]), seconds))
        self._believe()

    def _believe(self) -> None:
        """Number those new ones that are clearly somebody, then those that were seen often enough."""
        new = [track for track in self._tracks if not track.identity]
        for track in new:
            if not track.misses and track.score >= self._clear:
                self._number(track)
        people = [track.box for track in self._tracks if track.identity]
        for track in new:
            if track.identity:
                continue
            again = not track.misses and track.score >= self._sure
            inside = bool(people) and within(track.box[None], np.stack(people)).max() >= _INSIDE
            track.looks = track.looks + 1 if again and not inside else 0
            if track.looks >= _LOOKS:
                self._number(track)

    def _number(self, track: _Track) -> None:
        self.count += 1
        track.identity = self.count


def _pairs(tracks: list[_Track], boxes: Boxes, margin: float) -> list[tuple[int, int]]:
    """Tracks and boxes that belong together, the largest overlap first; each at most once."""
    if not tracks or not len(boxes):
        return []
    shares = overlap(_larger(np.stack([track.box for track in tracks]), margin), _larger(boxes, margin))
    pairs = []
    while (best := int(shares.argmax())) >= 0 and shares.flat[best] >= _LEAST_OVERLAP:
        row, column = divmod(best, shares.shape[1])
        pairs.append((row, column))
        shares[row] = shares[:, column] = 0
    return pairs


def _larger(boxes: Boxes, margin: float) -> Boxes:
    """Boxes with a margin on each side, in parts of their width and height."""
    size = margin * (boxes[:, 2:] - boxes[:, :2])
    return np.hstack([boxes[:, :2] - size, boxes[:, 2:] + size])


def _centred(box: NDArray[np.float64]) -> NDArray[np.float64]:
    left, top, right, bottom = box
    return np.array([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top])


def _person(track: _Track) -> Person:
    left, top, right, bottom = (float(value) for value in track.box)
    return Person(track.identity, (left, top, right, bottom), track.score)
