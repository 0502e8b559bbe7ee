"""Do labels keep still where the picture does: the measure of flicker, and smoothing in time."""

from __future__ import annotations

from collections import deque
from typing import cast

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from ...data.dataset import Image, LabelMap
from ..drawing import Flicker

STILL = 6
"""Grey levels, after a 5x5 mean, up to which a pixel counts as unchanged: above the noise of cameras and codecs."""

_FRAMES = 5  # that a new label has to last where the picture is still
_SECONDS = 0.2  # that are enough of them where few frames a second are shown: who leaves grey ground would stay there

_Mask = NDArray[np.uint8]


class FlickerMeter:
    """Measures flicker over a run: the share of pixels whose label changes although the picture does not.

    Only pixels that are a person's before or after are counted, as background would hide the rest.
    """

    def __init__(self) -> None:
        self._labels: LabelMap | None = None
        self._changed = self._counted = 0

    @property
    def share(self) -> float:
        """0..1; 0 where no pixel was still."""
        return self._changed / self._counted if self._counted else 0.0

    def add(self, still: _Mask, labels: LabelMap) -> None:
        """Take the next frame.

        Args:
            still: (H, W) uint8, 255 where the picture is as in the frame before.
            labels: (H, W) uint8.
        """
        if self._labels is not None:
            someone = cv2.bitwise_and(still, _above(cv2.max(labels, self._labels), 0))
            self._counted += cv2.countNonZero(someone)
            changed = cv2.compare(labels, self._labels, cv2.CMP_NE)
            self._changed += cv2.countNonZero(cv2.bitwise_and(someone, changed))
        self._labels = labels


class StillPixels:
    """Finds where a picture is as it was in the frame before."""

    def __init__(self) -> None:
        self._grey: _Mask | None = None

    def update(self, frame: Image) -> _Mask:
        """Take the next (H, W, 3) uint8 frame.

        Returns:
            (H, W) uint8, 255 where it stands still; 0 everywhere for the first one.
        """
        grey = np.asarray(cv2.blur(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), (5, 5)), np.uint8)
        before, self._grey = self._grey, grey
        if before is None:
            return np.zeros_like(grey)
        return cast(_Mask, cv2.bitwise_not(_above(cv2.absdiff(grey, before), STILL)))


class TemporalSmoothing:
    """Holds a pixel's label where the picture stands still, until another one has lasted for a few frames.

    Where the picture moves the new label counts at once, so nothing trails behind a moving person.

    Args:
        frames: how many frames another label has to last; fewer where those of a fifth of a second are fewer.
    """

    def __init__(self, frames: int = _FRAMES) -> None:
        if frames < 1:
            raise ValueError(f"frames must be 1 or more, not {frames}")
        self._recent: deque[float] = deque(maxlen=frames)
        self._still = StillPixels()
        self._before, self._after = FlickerMeter(), FlickerMeter()
        self._shown: LabelMap | None = None
        self._instances: NDArray[np.uint8] | None = None
        self._rival: LabelMap = np.zeros((0, 0), np.uint8)
        self._lasted: _Mask = np.zeros((0, 0), np.uint8)
        self._one: _Mask = np.zeros((0, 0), np.uint8)

    @property
    def flicker(self) -> Flicker:
        """Of the frames so far."""
        return Flicker(self._before.share, self._after.share)

    def apply(
        self, frame: Image, labels: LabelMap, seconds: float, instances: NDArray[np.uint8] | None = None
    ) -> tuple[LabelMap, NDArray[np.uint8] | None]:
        """Take the next frame.

        Args:
            frame: (H, W, 3) uint8, BGR, not drawn on yet.
            labels: (H, W) uint8.
            seconds: when it was shown.
            instances: (H, W) uint8, who it is; a pixel whose label is held stays the same person's.

        Returns:
            The labels and instances to show; not written to afterwards.
        """
        still = self._still.update(frame)
        self._before.add(still, labels)
        self._recent.append(seconds)
        frames = sum(seconds - one < _SECONDS for one in self._recent)
        if self._shown is None or self._shown.shape != labels.shape:
            self._rival, self._lasted, self._one = labels, np.zeros_like(labels), np.ones_like(labels)
            self._shown, self._instances = labels, instances
            self._after.add(still, labels)
            return labels, instances
        same_rival = np.asarray(cv2.compare(labels, self._rival, cv2.CMP_EQ), np.uint8)
        self._rival = labels
        self._lasted = np.asarray(cv2.add(cv2.bitwise_and(self._lasted, same_rival), self._one), np.uint8)
        hold = cv2.bitwise_and(still, cv2.compare(labels, self._shown, cv2.CMP_NE))
        hold = cv2.bitwise_and(hold, cv2.bitwise_not(_above(self._lasted, frames - 1)))
        self._shown = np.asarray(cv2.copyTo(self._shown, hold, labels.copy()), np.uint8)
        if instances is not None and self._instances is not None:
            instances = np.asarray(cv2.copyTo(self._instances, hold, instances.copy()), np.uint8)
        self._instances = instances
        self._after.add(still, self._shown)
        return self._shown, instances


def _above(values: MatLike, most: int) -> MatLike:
    """255 where values are above ``most``, else 0."""
    return cv2.threshold(values, most, 255, cv2.THRESH_BINARY)[1]
