"""From an image, or a person's box in it, to what the network sees, and back: one affine map.

Points are pixels with centres at whole numbers. A box is measured from the image's edge, as COCO has it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ..specs.framing import CropRule, Framing
from .dataset import Box, Image
from .letterbox import Letterbox

Matrix = NDArray[np.float64]
"""(2, 3): from pixels of the image to pixels of the input."""


_MARGIN = 0.08  # of a box's sides, around it: a detector's box cuts hands and feet off, LIP's crops do not
_LEAST_SIDE = 2  # pixels
_LEAST_SHRINK = 0.5  # below it bilinear interpolation alone would alias

RULES = {
    "trtparse": CropRule(),
    "hrnet": CropRule(half_pixel=False),
    "mspn": CropRule(1.09, 1.135, half_pixel=False),
}
"""By family of networks."""


@dataclass(frozen=True)
class Jitter:
    """How a training crop differs from the one that inference takes.

    Args:
        zoom: factor of the person's size in the crop.
        angle: radians, clockwise.
        shift: (x, y) in parts of the input.
        mirrored: left and right exchanged.
    """

    zoom: float = 1.0
    angle: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    mirrored: bool = False


def crop_matrix(box: Box, size: tuple[int, int], rule: CropRule, jitter: Jitter = Jitter()) -> Matrix:
    """The map from the image's pixels to the input's.

    Args:
        box: of an area above 0.
        size: (height, width) of the input.
        rule: of the network's family.
        jitter: none in inference.
    """
    left, top, wide, high = box
    height, width = size
    scale = jitter.zoom * min(width / (wide * rule.across), height / (high * rule.down))
    cosine, sine = np.cos(jitter.angle) * scale, np.sin(jitter.angle) * scale
    linear = np.array([[cosine, -sine], [sine, cosine]])
    if jitter.mirrored:
        linear = np.diag([-1.0, 1.0]) @ linear
    half = 0.5 if rule.half_pixel else 0.0
    middle = np.array([left + wide / 2 - half, top + high / 2 - half])
    place = np.array([width * (0.5 + jitter.shift[0]) - half, height * (0.5 + jitter.shift[1]) - half])
    return np.column_stack([linear, place - linear @ middle])


def apply(matrix: Matrix, points: NDArray[np.floating]) -> NDArray[np.float32]:
    """Points (..., 2) through the map."""
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2], np.float32)


def inverse(matrix: Matrix) -> Matrix:
    """The map back."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def cut(image: Image, matrix: Matrix, size: tuple[int, int]) -> Image:
    """What the network sees: (H, W, 3) uint8, black outside of the image.

    Args:
        image: (h, w, 3) uint8.
        matrix: of :func:`crop_matrix`.
        size: (height, width).
    """
    shrink = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if shrink < _LEAST_SHRINK:
        image, matrix = _averaged(image, matrix, size, math.ceil(_LEAST_SHRINK / shrink))
    warped = cv2.warpAffine(image, matrix, (size[1], size[0]), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(warped, np.uint8)


def _averaged(image: Image, matrix: Matrix, size: tuple[int, int], side: int) -> tuple[Image, Matrix]:
    """The means of an image's squares of ``side`` pixels, of those that a crop shows; and the map from them.

    The squares begin at the image's corner, whatever the crop: what lies outside of it changes nothing in it.
    """
    edges = np.array([[x, y] for x in (-1, size[1]) for y in (-1, size[0])], np.float64)
    seen = apply(inverse(matrix), edges)
    # One square more on each side: bilinear weights reach there.
    first = np.floor(seen.min(axis=0) / side).astype(int) - 1
    last = np.ceil(seen.max(axis=0) / side).astype(int) + 1
    whole = -(-np.array(image.shape[1::-1]) // side)
    (left, top), (right, bottom) = np.clip(first, 0, whole - 1), np.clip(last, 1, whole)
    part = image[top * side : bottom * side, left * side : right * side]
    below, beside = (bottom - top) * side - part.shape[0], (right - left) * side - part.shape[1]
    if below or beside:
        part = cv2.copyMakeBorder(part, 0, below, 0, beside, cv2.BORDER_REPLICATE)  # type: ignore[assignment]
    means = cv2.resize(part, (int(right - left), int(bottom - top)), interpolation=cv2.INTER_AREA)
    # Pixel centres stay where they are.
    corner = np.array([left, top]) * side + (side - 1) / 2
    return np.asarray(means, np.uint8), np.column_stack([matrix[:, :2] * side, matrix[:, 2] + matrix[:, :2] @ corner])


class Placement(Protocol):
    """Where an image lies in a frame: a letterbox, or a crop."""

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the image."""
        ...

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the frame."""
        ...

    def apply(self, image: Image, out: Image | None = None) -> Image:
        """The frame, (h, w, 3) uint8, of one grey where the image is not; into ``out`` where it is given."""
        ...

    def to_image(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """Points (..., 2), x before y, from pixels of the frame to pixels of the image."""
        ...

    def to_frame(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """The way back: from pixels of the image to pixels of the frame."""
        ...


@dataclass(frozen=True)
class Crop:
    """What lies around a box, in a frame.

    Args:
        image_size: (height, width) of the image.
        input_size: (height, width) of the frame.
        box: in the image.
        rule: how much around it.
    """

    image_size: tuple[int, int]
    input_size: tuple[int, int]
    box: Box
    rule: CropRule

    @property
    def matrix(self) -> Matrix:
        """From the image's pixels to the frame's."""
        return crop_matrix(self.box, self.input_size, self.rule)

    def apply(self, image: Image, out: Image | None = None) -> Image:
        """As :meth:`Placement.apply`."""
        frame = cut(image, self.matrix, self.input_size)
        if out is None:
            return frame
        out[:] = frame
        return out

    def to_image(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """As :meth:`Placement.to_image`."""
        return apply(inverse(self.matrix), points)

    def to_frame(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """As :meth:`Placement.to_frame`."""
        return apply(self.matrix, points)


@dataclass(frozen=True)
class Window:
    """A rectangle of an image, letterboxed into a frame.

    Args:
        image_size: (height, width) of the image.
        top, left: the rectangle's corner, whole pixels.
        letterbox: from the rectangle's size to the frame's.
    """

    image_size: tuple[int, int]
    top: int
    left: int
    letterbox: Letterbox

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the frame."""
        return self.letterbox.input_size

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the rectangle."""
        return self.letterbox.image_size

    @property
    def where(self) -> tuple[slice, slice]:
        """Its rows and columns in the image."""
        height, width = self.size
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    def apply(self, image: Image, out: Image | None = None) -> Image:
        """As :meth:`Placement.apply`."""
        return self.letterbox.apply(image[self.where], out)

    def to_frame(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """As :meth:`Placement.to_frame`."""
        corner = np.array([self.left, self.top], np.float32)
        return self.letterbox.to_frame(points - corner)

    def to_image(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """As :meth:`Placement.to_image`."""
        corner = np.array([self.left, self.top], np.float32)
        return np.asarray(self.letterbox.to_image(points) + corner, np.float32)


def place(framing: Framing, image_size: tuple[int, int], box: Box | None = None) -> Placement:
    """Where an image lies in the frames of a network.

    Args:
        framing: of the network. One that sees whole images takes no notice of the box.
        image_size: (height, width).
        box: around the person, of an area above 0; None takes the whole image for one.
    """
    if framing.crop is None:
        return Letterbox.of(image_size, framing)
    height, width = image_size
    return Crop(image_size, framing.input_size, box or (0.0, 0.0, float(width), float(height)), framing.crop)


def place_around(
    framing: Framing, image_size: tuple[int, int], corners: tuple[float, float, float, float]
) -> Placement:
    """Where somebody in an image lies in the frames of a network.

    One that sees whole images sees the rectangle around them with a margin, as far as it lies in the image.

    Args:
        framing: of the network.
        image_size: (height, width).
        corners: left, top, right and bottom of the person; may lie outside of the image, wholly or in part.
    """
    left, top, right, bottom = corners
    if framing.crop is not None:
        return place(framing, image_size, (left, top, max(right - left, 1.0), max(bottom - top, 1.0)))
    beside, above = _MARGIN * (right - left), _MARGIN * (bottom - top)
    first_row, last_row = _inside(top - above, bottom + above, image_size[0])
    first_column, last_column = _inside(left - beside, right + beside, image_size[1])
    size = (last_row - first_row, last_column - first_column)
    return Window(image_size, first_row, first_column, Letterbox.of(size, framing))


def _inside(start: float, end: float, length: int) -> tuple[int, int]:
    """Whole pixels of 0..length that cover start..end; at least two where there are two."""
    first = min(max(math.floor(start), 0), max(length - _LEAST_SIDE, 0))
    last = min(max(math.ceil(end), first + _LEAST_SIDE), length)
    return first, last
