"""Put the label maps of several people back into one frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ...data.crops import Window
from ...data.dataset import LabelMap
from ...data.letterbox import Letterbox
from ..people.person import Person, instance_value


def paste(
    windows: Sequence[Window],
    people: Sequence[Person],
    label_maps: Sequence[LabelMap],
    frame_size: tuple[int, int],
    restore: Callable[[LabelMap, Letterbox], LabelMap] = lambda answer, letterbox: letterbox.restore(answer),
) -> tuple[LabelMap, NDArray[np.uint8]]:
    """Put the label maps of several people back into one frame.

    Where crops overlap, whoever stands lower in the picture is nearer and hides the others. Around a person's own box
    a crop shows other people too; there it fills only what nobody has.

    Args:
        windows: around the people.
        people: whose each is.
        label_maps: (h, w) uint8 each, of the network's input size.
        frame_size: (height, width).
        restore: brings one of them back from the network's input to its crop; the task's.

    Returns:
        Labels (H, W) uint8; and instances (H, W) uint8, :func:`instance_value` wherever there is a label other than
        background, else 0.
    """
    labels, instances = np.zeros(frame_size, np.uint8), np.zeros(frame_size, np.uint8)
    far_to_near = sorted(zip(windows, people, label_maps), key=lambda one: one[0].top + one[0].size[0])
    for window, person, found in far_to_near:
        restored = restore(found, window.letterbox)
        labels_here, instances_here = labels[window.where], instances[window.where]
        left, top, right, bottom = (round(value) for value in person.box)
        free = cv2.threshold(instances_here, 0, 255, cv2.THRESH_BINARY_INV)[1]
        free[
            max(top - window.top, 0) : max(bottom - window.top, 0),
            max(left - window.left, 0) : max(right - window.left, 0),
        ] = 255
        mine = cv2.bitwise_and(free, cv2.threshold(restored, 0, 255, cv2.THRESH_BINARY)[1])
        labels_here[:] = cv2.copyTo(restored, mine, labels_here)
        whose = np.full_like(restored, instance_value(person.id))
        instances_here[:] = cv2.copyTo(whose, mine, instances_here)
    return labels, instances
