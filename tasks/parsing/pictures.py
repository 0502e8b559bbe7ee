"""What a report shows of an image: label maps in their colours, and where two of them differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from ...data.dataset import Image, LabelMap
from ...specs.label_set import LabelSet
from .. import scoring
from ..scoring import Panel

IGNORED_RGB = (128, 128, 128)
DIFFERS_RGB = (225, 0, 200)
"""Magenta stands out from grey for every kind of colour vision; no class is drawn in the same picture."""

Pixel = TypeVar("Pixel", np.uint8, np.float32)


@dataclass(frozen=True)
class Picture(scoring.Picture):
    """Four arrays of one height and width, at the network's input size.

    Args:
        photo: (h, w, 3) uint8, BGR, without the letterbox's borders.
        truth: (h, w) uint8, 255 where it is to be ignored; None without labels.
        reference, engine: (h, w) uint8.
        label_set: in whose colours label maps are drawn.
        image_size: (height, width) of the image, in whose shape it is shown; None: in the shape that the network sees.
    """

    photo: Image
    truth: LabelMap | None
    reference: LabelMap
    engine: LabelMap
    label_set: LabelSet
    image_size: tuple[int, int] | None = None

    def panels(self, reference: str, engine: str, largest: int) -> tuple[Panel, ...]:
        size = self._shown_size(largest)
        photo = _resized(self.photo, size, cv2.INTER_AREA)
        maps = (("truth", self.truth), (reference, self.reference), (engine, self.engine))
        palette = self.label_set.palette_bgr()
        drawn = [
            Panel(caption, palette[_resized(labels, size, cv2.INTER_NEAREST)], flat=True)
            for caption, labels in maps
            if labels is not None
        ]
        # The difference is taken before anything is shrunk, so that a single pixel is not lost.
        differs = _resized((self.reference != self.engine).astype(np.float32), size, cv2.INTER_AREA) > 0
        return (Panel("photo", photo), *drawn, Panel("difference", _difference(photo, differs)))

    def _shown_size(self, largest: int) -> tuple[int, int]:
        """(height, width) in the image's shape: no more pixels than the network saw, no side above ``largest``."""
        there = self.photo.shape[:2]
        height, width = self.image_size or there
        scale = min(there[0] / height, there[1] / width, largest / max(height, width))
        return max(round(height * scale), 1), max(round(width * scale), 1)


def _resized(pixels: NDArray[Pixel], size: tuple[int, int], how: int) -> NDArray[Pixel]:
    if pixels.shape[:2] == size:
        return pixels
    return cast("NDArray[Pixel]", cv2.resize(pixels, size[::-1], interpolation=how))


def _difference(photo: Image, differs: NDArray[np.bool_]) -> Image:
    """The photograph in pale grey, and what differs in one colour."""
    grey = cv2.cvtColor(photo, cv2.COLOR_BGR2GRAY)
    drawn = np.repeat((110 + grey[..., None] // 2).clip(0, 235), 3, axis=2).astype(np.uint8)
    drawn[differs] = DIFFERS_RGB[::-1]
    return drawn
