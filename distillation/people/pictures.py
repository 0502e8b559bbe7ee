"""Images with people as a training run keeps them: no larger than a mosaic needs, in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from ...data.dataset import Image
from ...data.people.scenery import photograph, random_background
from ...data.synthetic import random_scene
from ...tasks.people.boxes import Boxes, Scores
from ...tasks.people.found import Found

LONGEST = 420
"""Pixels of the longer side: of a mosaic somebody takes 200 at most."""


@dataclass(eq=False)
class Picture:
    """An image with the people in it, shrunk to :data:`LONGEST`.

    Args:
        name: for messages.
        boxes: (n, 4) pixels of the shrunk image.
        scores: (n,), 0 to 1.
        load: gives the shrunk image; called once where it may be kept.
    """

    name: str
    boxes: Boxes
    scores: Scores
    load: Callable[[], Image]
    _kept: Image | None = field(default=None, repr=False)

    def image(self, limit: Limit) -> Image:
        """(H, W, 3) uint8, BGR; not to be changed."""
        if self._kept is not None:
            return self._kept
        image = self.load()
        if limit.takes(image.nbytes):
            self._kept = image
        return image


class Limit:
    """How many bytes of images may be kept; what comes after is read every time."""

    def __init__(self, left: int = 3 << 30) -> None:
        self._left = left

    def takes(self, count: int) -> bool:
        """Whether so many more may be kept; they are counted then."""
        if count > self._left:
            return False
        self._left -= count
        return True


def picture(found: Found) -> Picture:
    """The picture of an image with its people."""
    factor = min(1.0, LONGEST / max(found.size))
    return Picture(
        str(found.image),
        found.people.boxes * factor,
        found.people.scores,
        lambda: _shrunk(found.read(), factor),
    )


def rendered_picture(seed: int, number: int) -> Picture:
    """Somebody drawn by the computer, alone in the image and with their exact box."""
    scene = random_scene(np.random.default_rng((seed, number)))
    left, top, width, height = scene.box()
    factor = min(1.0, LONGEST / max(scene.framing.size))

    def draw() -> Image:
        rng = np.random.default_rng((seed, number))
        return _shrunk(random_scene(rng).draw(rng, alone=True)[0], factor)

    box = np.array([[left, top, left + width, top + height]]) * factor
    return Picture(f"rendered_{seed}_{number:06d}", box, np.ones(1), draw)


def scenery(seed: int, number: int) -> Image:
    """(320, 480, 3) uint8, BGR: a scene drawn by the computer without anybody."""
    rng = np.random.default_rng((seed, number, 1))
    size = (320, 480)
    return photograph(rng, random_background(rng, size, int(rng.uniform(0.3, 0.9) * size[0])))


def _shrunk(image: Image, factor: float) -> Image:
    if factor == 1:
        return image
    size = (max(round(image.shape[1] * factor), 1), max(round(image.shape[0] * factor), 1))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def free_rectangle(boxes: Boxes, size: tuple[int, int]) -> NDArray[np.int64] | None:
    """The largest part of an image beside, above or below everybody in it.

    Args:
        boxes: (n, 4) pixels.
        size: (height, width).

    Returns:
        Left, top, right, bottom; None where none is at least 24 pixels wide and high.
    """
    height, width = size
    if not len(boxes):
        return np.array([0, 0, width, height])
    left, top = np.floor(boxes[:, :2].min(0))
    right, bottom = np.ceil(boxes[:, 2:].max(0))
    parts = np.array([(0, 0, left, height), (right, 0, width, height), (0, 0, width, top), (0, bottom, width, height)])
    parts = np.clip(parts, 0, [width, height, width, height]).astype(np.int64)
    sides = parts[:, 2:] - parts[:, :2]
    areas = np.where(sides.min(1) >= 24, sides.prod(1), 0)
    return parts[areas.argmax()] if areas.max() > 0 else None
