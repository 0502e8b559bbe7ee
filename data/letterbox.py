"""Fit an image of any size into a network's input, and label maps back onto the image.

The whole image, centred, and black around it, where a network was not trained otherwise: YOLOX's lies in the upper left
corner on grey. CE2P's family keeps the aspect ratio, HRNet fills the input whatever that does to a person's shape;
between the two, an image is stretched as far as its network was trained to see it. A standing person is narrow: without
any stretching, half of an input's columns are black. Label maps return by nearest neighbour, so that no class appears
that was not predicted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ..specs.framing import Framing
from .dataset import IGNORE_LABEL, Image, LabelMap


def scales(image_size: tuple[float, float], input_size: tuple[int, int], stretch: float) -> tuple[float, float]:
    """How many times as high and as wide an image becomes; see :meth:`Letterbox.fit`."""
    down, across = input_size[0] / image_size[0], input_size[1] / image_size[1]
    return min(down, stretch * across), min(across, stretch * down)


@dataclass(frozen=True)
class Letterbox:
    """Where an image lies inside a network's input.

    Args:
        image_size: (height, width) of the image.
        input_size: (height, width) of the network's input.
        top, left, height, width: the rectangle of the input that the image covers.
        fill: the grey of what it does not cover.
    """

    image_size: tuple[int, int]
    input_size: tuple[int, int]
    top: int
    left: int
    height: int
    width: int
    fill: int = 0

    @classmethod
    def of(cls, image_size: tuple[int, int], framing: Framing) -> Letterbox:
        """Where an image of (height, width) lies in a frame of a network that sees whole images."""
        box = cls.fit(image_size, framing.input_size, framing.stretch)
        if framing.place == "upper left":
            box = replace(box, top=0, left=0)
        return replace(box, fill=framing.fill)

    @classmethod
    def fit(cls, image_size: tuple[int, int], input_size: tuple[int, int], stretch: float) -> Letterbox:
        """The largest centred rectangle of ``input_size`` that changes the image's shape by no more than asked.

        Args:
            image_size: (height, width).
            input_size: (height, width).
            stretch: one side may grow so many times as much as the other. 1 keeps the aspect ratio; infinity
                always fills the input. A network sees images as it was trained to: see :meth:`of`.
        """
        if min(image_size) < 1:
            raise ValueError(f"an image of {image_size[0]}x{image_size[1]} pixels has no area")
        down, across = scales(image_size, input_size, stretch)
        height = min(max(round(image_size[0] * down), 1), input_size[0])
        width = min(max(round(image_size[1] * across), 1), input_size[1])
        top, left = (input_size[0] - height) // 2, (input_size[1] - width) // 2
        return cls(image_size, input_size, top, left, height, width)

    @property
    def cell(self) -> float:
        """The side of one of the input's pixels, in pixels of the image; the mean of both sides where they differ."""
        return math.sqrt(self.image_size[0] * self.image_size[1] / (self.height * self.width))

    def apply(self, image: Image, out: Image | None = None) -> Image:
        """Resize and pad an image.

        Args:
            image: (H, W, 3) uint8 of ``image_size``.
            out: (h, w, 3) uint8 of ``input_size`` to write into; allocated when not given.

        Returns:
            (h, w, 3) uint8, ``fill`` around the image.
        """
        self._check(image, self.image_size)
        if out is None:
            out = np.full((*self.input_size, 3), self.fill, np.uint8)
        else:
            self._check(out, self.input_size)
            out[:] = self.fill
        shrinks = self.height < self.image_size[0] or self.width < self.image_size[1]
        resized = cv2.resize(
            image, (self.width, self.height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        )
        out[self.top : self.top + self.height, self.left : self.left + self.width] = resized
        return out

    def apply_labels(self, labels: LabelMap) -> LabelMap:
        """The label map at the network's input size: nearest neighbour, 255 around it."""
        self._check(labels, self.image_size)
        out = np.full(self.input_size, IGNORE_LABEL, np.uint8)
        out[self.top : self.top + self.height, self.left : self.left + self.width] = cv2.resize(
            labels, (self.width, self.height), interpolation=cv2.INTER_NEAREST_EXACT
        )
        return out

    def restore(self, labels: LabelMap) -> LabelMap:
        """Bring a network's label map back to the image.

        Args:
            labels: (h, w) uint8 of ``input_size``.

        Returns:
            (H, W) uint8 of ``image_size``; nearest neighbour.
        """
        self._check(labels, self.input_size)
        inside = labels[self.top : self.top + self.height, self.left : self.left + self.width]
        height, width = self.image_size
        return cv2.resize(  # type: ignore[return-value]
            np.ascontiguousarray(inside), (width, height), interpolation=cv2.INTER_NEAREST_EXACT
        )

    def restore_scores(self, scores: NDArray[np.float32]) -> LabelMap:
        """Bring a network's scores back to the image, and take the class of the highest there.

        One class after the other: those of a photograph of 12 million pixels would be a gigabyte together.

        Args:
            scores: (C, h, w) float32 of ``input_size``, such as logits.

        Returns:
            (H, W) uint8 of ``image_size``; the scores bilinearly, of several that are the highest the first.
        """
        if scores.shape[1:] != self.input_size:
            raise ValueError(f"expected scores of {self.input_size}, got {scores.shape}")
        height, width = self.image_size
        inside = scores[:, self.top : self.top + self.height, self.left : self.left + self.width]
        labels = np.zeros(self.image_size, np.uint8)
        best: NDArray[np.float32] | None = None
        for number, one in enumerate(inside):
            resized = cv2.resize(
                np.ascontiguousarray(one, np.float32), (width, height), interpolation=cv2.INTER_LINEAR
            ).astype(np.float32, copy=False)
            if best is None:
                best = resized
            else:
                labels[resized > best] = number
                np.maximum(best, resized, out=best)
        return labels

    def to_image(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """Points (..., 2), x before y, from pixels of the input to pixels of the image; centres at whole numbers."""
        scale = np.array([self.image_size[1] / self.width, self.image_size[0] / self.height])
        return np.asarray((points - (self.left, self.top) + 0.5) * scale - 0.5, np.float32)

    def to_frame(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """The inverse of :meth:`to_image`."""
        scale = np.array([self.width / self.image_size[1], self.height / self.image_size[0]])
        return np.asarray((points + 0.5) * scale - 0.5 + (self.left, self.top), np.float32)

    @staticmethod
    def _check(array: Image | LabelMap, size: tuple[int, int]) -> None:
        if array.shape[:2] != size or array.dtype != np.uint8:
            raise ValueError(f"expected uint8 of {size[0]}x{size[1]}, got {array.dtype} of {array.shape}")
