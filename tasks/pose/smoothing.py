"""Keep joints still where a person is, and let them go where the person moves: the One-Euro filter, by person.

Casiez, Roussel and Vogel, "1€ Filter" (CHI 2012): a low pass whose cut-off rises with the speed, so that a hand at
rest does not tremble and a hand in motion is not late.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .oks import LEAST_SCORE

Keypoints = NDArray[np.float32]
"""(K, 3) x, y in pixels and a score."""

_FORGET_SECONDS = 0.5
"""A person, or a joint, that was not seen for so long begins anew."""


@dataclass(frozen=True)
class OneEuro:
    """How joints are smoothed. Positions are in parts of the person's height, so that near and far people are alike.

    Args:
        cut_off: Hz, of a joint at rest.
        slope: how much the cut-off rises with the speed, Hz for a person's height a second.
        speed_cut_off: Hz, of the speed itself.
    """

    cut_off: float = 1.0
    slope: float = 5.0
    speed_cut_off: float = 1.0


@dataclass
class _Track:
    seconds: NDArray[np.float64]
    points: NDArray[np.float64]
    speeds: NDArray[np.float64]


class JointSmoothing:
    """Smooths everybody's joints over a video.

    Args:
        filter: how.
    """

    def __init__(self, filter: OneEuro = OneEuro()) -> None:
        self._filter = filter
        self._tracks: dict[int, _Track] = {}

    def apply(self, identity: int, keypoints: Keypoints, height: float, seconds: float) -> Keypoints:
        """Take a person's joints of the next frame.

        Args:
            identity: who it is.
            keypoints: as the network found them.
            height: of the person's box, in pixels.
            seconds: of the frame.

        Returns:
            The joints to show, with the same scores.
        """
        points = keypoints[:, :2].astype(np.float64)
        seen = (keypoints[:, 2] >= LEAST_SCORE) & np.isfinite(points).all(1)
        track = self._tracks.get(identity)
        if track is None:
            count = len(points)
            track = _Track(np.full(count, -np.inf), points.copy(), np.zeros((count, 2)))
            self._tracks[identity] = track
        since = seconds - track.seconds  # infinite of a joint that was never seen
        known = seen & (since <= _FORGET_SECONDS) & (since > 0)
        scale = max(height, 1.0)
        result = np.where(seen[:, None], points, keypoints[:, :2])
        if known.any():
            passed = since[known][:, None]
            before = track.points[known]
            speed = (points[known] - before) / scale / passed
            weight = _weight(self._filter.speed_cut_off, passed)
            speed = weight * speed + (1 - weight) * track.speeds[known]
            moving = np.linalg.norm(speed, axis=1, keepdims=True)
            weight = _weight(self._filter.cut_off + self._filter.slope * moving, passed)
            result[known] = weight * points[known] + (1 - weight) * before
            track.speeds[known] = speed
        fresh = seen & ~known & (since > 0)
        track.speeds[fresh] = 0
        track.points[seen], track.seconds[seen] = result[seen], seconds
        return np.column_stack([result, keypoints[:, 2]]).astype(np.float32)

    def keep(self, identities: set[int], seconds: float) -> None:
        """Forget people who are gone for long."""
        gone = [
            number
            for number, track in self._tracks.items()
            if number not in identities and seconds - float(track.seconds.max()) > _FORGET_SECONDS
        ]
        for number in gone:
            del self._tracks[number]


def _weight(cut_off: NDArray[np.float64] | float, passed: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much a new value counts in a low pass of a cut-off, after so many seconds."""
    turn = 2 * np.pi * np.asarray(cut_off) * passed
    return np.asarray(turn / (turn + 1))


@dataclass(frozen=True)
class Jitter:
    """How far joints move from one frame to the next although the picture around them stands still.

    Args:
        before, after: of the joints as the network gave them, and as they were drawn: mean distance in parts of the
            person's height.
        joints: how many were still.
    """

    before: float
    after: float
    joints: int


class JitterMeter:
    """Measures jitter over a run."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[Keypoints, Keypoints]] = {}
        self._sums = np.zeros(2)
        self._count = 0

    @property
    def jitter(self) -> Jitter:
        """Of the frames so far."""
        before, after = self._sums / self._count if self._count else np.zeros(2)
        return Jitter(float(before), float(after), self._count)

    def add(
        self, still: NDArray[np.uint8], poses: dict[int, tuple[Keypoints, Keypoints]], heights: dict[int, float]
    ) -> None:
        """Take the next frame.

        Args:
            still: (H, W) uint8, 255 where the picture is as in the frame before.
            poses: by person, as the network found them and as they are drawn; of the frame's pixels.
            heights: of the people's boxes.
        """
        for number, (found, drawn) in poses.items():
            if number not in self._last:
                continue
            found_before, drawn_before = self._last[number]
            sure = (found[:, 2] >= LEAST_SCORE) & (found_before[:, 2] >= LEAST_SCORE)
            for joint in np.flatnonzero(sure):
                column, row = (round(float(value)) for value in found_before[joint, :2])
                if not (0 <= row < still.shape[0] and 0 <= column < still.shape[1] and still[row, column]):
                    continue
                height = max(heights[number], 1.0)
                self._sums += (
                    np.linalg.norm(found[joint, :2] - found_before[joint, :2]) / height,
                    np.linalg.norm(drawn[joint, :2] - drawn_before[joint, :2]) / height,
                )
                self._count += 1
        self._last = poses
