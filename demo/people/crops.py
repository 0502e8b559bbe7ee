"""Which piece of a frame does the network see, and where do its labels go back to."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ...data.dataset import Image, LabelMap
from ...data.letterbox import Letterbox
from ...tasks.base import Predictor
from ...tasks.people.person import Person

_MARGIN = 0.08  # of a box's sides, around it: a detector's box cuts hands and feet off, LIP's crops do not
_LEAST_SIDE = 2  # pixels


@dataclass(frozen=True)
class Crop:
    """A rectangle of a frame, and how it lies in the network's input.

    Args:
        top, left: its corner in the frame, whole pixels.
        letterbox: from the rectangle's size to the network's.
        person: whom it was cut around; None for the whole frame.
    """

    top: int
    left: int
    letterbox: Letterbox
    person: Person | None = None

    @classmethod
    def whole(cls, frame_size: tuple[int, int], predictor: Predictor[Any]) -> Crop:
        """All of a frame of (height, width)."""
        return cls(0, 0, predictor.letterbox(frame_size))

    @classmethod
    def around(cls, person: Person, frame_size: tuple[int, int], predictor: Predictor[Any]) -> Crop:
        """A person's box with a margin, as far as it lies in the frame.

        Args:
            person: may lie outside of the frame, wholly or in part.
            frame_size: (height, width).
            predictor: that will see it.
        """
        left, top, right, bottom = person.box
        beside, above = _MARGIN * (right - left), _MARGIN * (bottom - top)
        top, bottom = _inside(top - above, bottom + above, frame_size[0])
        left, right = _inside(left - beside, right + beside, frame_size[1])
        return cls(top, left, predictor.letterbox((bottom - top, right - left)), person)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels of the frame."""
        return self.letterbox.image_size

    @property
    def where(self) -> tuple[slice, slice]:
        """Its rows and columns in the frame."""
        height, width = self.size
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    def cut(self, frame: Image, out: Image) -> None:
        """Bring the rectangle of ``frame`` into ``out``, (h, w, 3) uint8 of the network's input size."""
        self.letterbox.apply(frame[self.where], out)


def _inside(start: float, end: float, length: int) -> tuple[int, int]:
    """Whole pixels of 0..length that cover start..end; at least two where there are two."""
    first = min(max(math.floor(start), 0), max(length - _LEAST_SIDE, 0))
    last = min(max(math.ceil(end), first + _LEAST_SIDE), length)
    return first, last


def instance_value(identity: int) -> int:
    """What stands for a person in an instance map: their id; modulo 255, plus 1, above 255."""
    return identity if identity <= 255 else identity % 255 + 1


def paste(
    crops: Sequence[Crop],
    label_maps: Sequence[LabelMap],
    frame_size: tuple[int, int],
    restore: Callable[[LabelMap, Letterbox], LabelMap] = lambda answer, letterbox: letterbox.restore(answer),
) -> tuple[LabelMap, NDArray[np.uint8]]:
    """Put the label maps of several people back into one frame.

    Where crops overlap, whoever stands lower in the picture is nearer and hides the others. Around a person's own box
    a crop shows other people too; there it fills only what nobody has.

    Args:
        crops: each with a person.
        label_maps: (h, w) uint8 each, of the network's input size.
        frame_size: (height, width).
        restore: brings one of them back from the network's input to its crop; the task's.

    Returns:
        Labels (H, W) uint8; and instances (H, W) uint8, :func:`instance_value` wherever there is a label other than
        background, else 0.
    """
    labels, instances = np.zeros(frame_size, np.uint8), np.zeros(frame_size, np.uint8)
    far_to_near = sorted(zip(crops, label_maps), key=lambda pair: pair[0].top + pair[0].size[0])
    for crop, found in far_to_near:
        assert crop.person is not None
        restored = restore(found, crop.letterbox)
        labels_here, instances_here = labels[crop.where], instances[crop.where]
        left, top, right, bottom = (round(value) for value in crop.person.box)
        free = cv2.threshold(instances_here, 0, 255, cv2.THRESH_BINARY_INV)[1]
        free[
            max(top - crop.top, 0) : max(bottom - crop.top, 0), max(left - crop.left, 0) : max(right - crop.left, 0)
        ] = 255
        mine = cv2.bitwise_and(free, cv2.threshold(restored, 0, 255, cv2.THRESH_BINARY)[1])
        labels_here[:] = cv2.copyTo(restored, mine, labels_here)
        instances_here[mine > 0] = instance_value(crop.person.id)
    return labels, instances
