"""Augmentation for training: one affine warp, a mirror that swaps left and right, and colour.

The geometry starts from the letterbox that inference uses and jitters it, so an un-jittered sample is what an engine
would see, or the middle of it where samples are smaller than the input. Everything outside the photograph is black,
with label 255.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from ...data.dataset import IGNORE_LABEL, Box, Image, LabelMap, Sample
from ...data.letterbox import scales

_GREY = np.array([0.114, 0.587, 0.299])
"""Luma of blue, green and red (ITU-R BT.601)."""

_NOISE_MARGIN = 64
"""Offsets of the noise along each axis."""


@dataclass(frozen=True)
class Geometry:
    """How images become samples.

    Args:
        input_size: (height, width) of the network's input.
        stretch: as of :meth:`~trtparse.data.letterbox.Letterbox.fit`.
        crop: (height, width) of the samples, the middle of the input; (0, 0): all of it.
    """

    input_size: tuple[int, int]
    stretch: float = 1.0
    crop: tuple[int, int] = (0, 0)

    @property
    def sample_size(self) -> tuple[int, int]:
        """(height, width) of the samples."""
        return self.input_size if self.crop == (0, 0) else self.crop


@dataclass(frozen=True, eq=False)
class Placing:
    """Where an image comes to lie in a sample.

    Args:
        matrix: (2, 3) float64, from the image's pixels to the sample's, centres at whole numbers.
        mirrored: left and right are exchanged.
        size: (height, width) of the sample.
    """

    matrix: NDArray[np.float64]
    mirrored: bool
    size: tuple[int, int]

    def frame(self, image: Image) -> Image:
        """(H, W, 3) uint8, BGR, black around the image."""
        return _warp(image, self.matrix, self.size[::-1])

    def labels(self, labels: LabelMap, flip_table: NDArray[np.uint8]) -> LabelMap:
        """(H, W) uint8, 255 around the image; left and right classes swapped where it is mirrored."""
        target = cv2.warpAffine(
            labels,
            self.matrix,
            self.size[::-1],
            flags=cv2.INTER_NEAREST,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=IGNORE_LABEL,
        )
        return np.asarray(flip_table[target] if self.mirrored else target, np.uint8)


@dataclass(frozen=True)
class Augmentation:
    """How far a training sample is changed.

    Args:
        scale: range of the zoom, relative to the letterbox; drawn on a log scale.
        rotation: degrees, uniform in both directions.
        shift: fraction of the input size, uniform in both directions.
        aspect: height against width, uniform in log scale up to this factor.
        flip: probability of a mirror image with left and right classes swapped.
        brightness, contrast, saturation: half width of a uniform factor around 1.
        tint: half width of a uniform factor around 1 for each channel.
        grey: probability of a grey image.
        soften: probability of being scaled down and up again, as small crops of large photographs are.
        noise: standard deviation of Gaussian noise, in grey levels; applied to half of the samples.
        erase: probability that a rectangle is painted over; its label stays, as occlusion does not.
        boxes: probability that a sample shows what a finder's box would, in the place of the image zoomed and shifted.
        loose: range of how far each side of such a box lies outside of the person, in parts of the person's height or
            width, each drawn by itself; below 0 it cuts. Inference adds 0.08 to whatever its finder gives.
    """

    scale: tuple[float, float] = (0.7, 1.5)
    rotation: float = 20.0
    shift: float = 0.08
    aspect: float = 1.12
    flip: float = 0.5
    brightness: float = 0.25
    contrast: float = 0.25
    saturation: float = 0.3
    tint: float = 0.05
    grey: float = 0.03
    soften: float = 0.15
    noise: float = 4.0
    erase: float = 0.08
    boxes: float = 0.0
    loose: tuple[float, float] = (-0.12, 0.35)

    def __post_init__(self) -> None:
        if not 0 <= self.boxes <= 1:
            raise ValueError(f"boxes is a probability, 0 to 1, not {self.boxes}")
        if not -0.4 <= self.loose[0] <= self.loose[1] <= 2:
            raise ValueError(f"loose is a range between -0.4 and 2, not {list(self.loose)}")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale is a range above 0, not {list(self.scale)}")

    def __call__(
        self, sample: Sample, geometry: Geometry, rng: np.random.Generator, flip_table: NDArray[np.uint8]
    ) -> tuple[Image, LabelMap]:
        """A changed copy.

        Args:
            sample: image and label map; a sample without labels gets 255 everywhere.
            geometry: what an un-jittered sample would look like.
            rng: all randomness comes from here.
            flip_table: (256,) uint8, what each class is called in a mirror: the label set's.

        Returns:
            (H, W, 3) uint8 BGR and (H, W) uint8, of ``geometry.sample_size``.
        """
        labels = sample.labels if sample.labels is not None else np.full(sample.image.shape[:2], IGNORE_LABEL, np.uint8)
        placing = self.place((sample.image.shape[0], sample.image.shape[1]), geometry, rng)
        frame, target = placing.frame(sample.image), placing.labels(labels, flip_table)
        return self.colour(frame, rng), target

    def place(
        self, image_size: tuple[int, int], geometry: Geometry, rng: np.random.Generator, window: Box | None = None
    ) -> Placing:
        """Where an image is to lie: its letterbox, zoomed, turned, shifted and mirrored by chance.

        Args:
            image_size: (height, width).
            geometry: what an un-jittered sample would look like.
            rng: all randomness comes from here.
            window: the part that is to be seen, which may reach beyond the image; neither zoomed nor shifted. None:
                the whole image.
        """
        left, top, width, height = window or (0.0, 0.0, float(image_size[1]), float(image_size[0]))
        down, across = scales((height, width), geometry.input_size, geometry.stretch)
        zoom = float(np.exp(rng.uniform(*np.log(self.scale))))
        taller = float(np.exp(rng.uniform(-1, 1) * np.log(self.aspect) / 2))
        angle = np.deg2rad(rng.uniform(-self.rotation, self.rotation))
        mirrored = bool(rng.random() < self.flip)
        shift = rng.uniform(-self.shift, self.shift, 2)
        if window is not None:
            zoom, shift = 1.0, 0 * shift
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        linear = turn @ np.diag([across * zoom / taller * (-1 if mirrored else 1), down * zoom * taller])
        centre = np.array(geometry.sample_size[::-1]) * (0.5 + shift)
        # warpAffine's coordinates are pixel centres: 0.5 in from the corner that `centre` is measured from.
        offset = centre - 0.5 - linear @ (np.array([left + width / 2, top + height / 2]) - 0.5)
        return Placing(np.column_stack([linear, offset]), mirrored, geometry.sample_size)

    def box(self, person: Box, rng: np.random.Generator) -> Box:
        """What a finder might have for a person: left, top, width, height.

        Args:
            person: around them.
            rng: all randomness comes from here.
        """
        left, top, width, height = person
        out = rng.uniform(*self.loose, 4) * (width, height, width, height)
        return left - out[0], top - out[1], width + out[0] + out[2], height + out[1] + out[3]

    def colour(self, frame: Image, rng: np.random.Generator) -> Image:
        """Everything but the geometry: sharpness, colours, noise, a painted rectangle.

        Args:
            frame: (H, W, 3) uint8, BGR; may be changed in place.
            rng: all randomness comes from here.

        Returns:
            (H, W, 3) uint8, BGR.
        """
        height, width = frame.shape[:2]
        if rng.random() < self.soften:
            factor = rng.uniform(0.3, 0.8)
            small = cv2.resize(
                frame, (max(int(width * factor), 1), max(int(height * factor), 1)), interpolation=cv2.INTER_AREA
            )
            frame = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
        saturation = 0.0 if rng.random() < self.grey else 1 + rng.uniform(-self.saturation, self.saturation)
        contrast = 1 + rng.uniform(-self.contrast, self.contrast)
        brightness = (1 + rng.uniform(-self.brightness, self.brightness)) * (1 + rng.uniform(-self.tint, self.tint, 3))
        frame = _mix_colours(frame, saturation, contrast, brightness)
        if rng.random() < 0.5 and self.noise > 0:
            frame = _add_noise(frame, rng.uniform(0, self.noise), rng)
        if rng.random() < self.erase:
            h, w = (int(n * rng.uniform(0.08, 0.3)) for n in (height, width))
            y, x = int(rng.integers(0, height - h)), int(rng.integers(0, width - w))
            frame[y : y + h, x : x + w] = rng.integers(0, 256, 3)
        return frame


def _mix_colours(frame: Image, saturation: float, contrast: float, brightness: NDArray[np.float64]) -> Image:
    """Saturation, then contrast around the frame's mean grey, then brightness of each channel.

    All three are linear in the channels, so they are one matrix and one pass over the pixels.
    """
    towards_grey = saturation * np.eye(3) + (1 - saturation) * _GREY
    middle = float(_GREY @ np.asarray(cv2.mean(frame)[:3]))
    matrix = np.column_stack([contrast * towards_grey, np.full(3, (1 - contrast) * middle)]) * brightness[:, None]
    return np.asarray(cv2.transform(frame, matrix), np.uint8)


def _add_noise(frame: Image, deviation: float, rng: np.random.Generator) -> Image:
    """A random part of one sheet of noise: drawing a normal number for every pixel took most of a sample's time."""
    height, width = frame.shape[:2]
    y, x = (int(rng.integers(0, _NOISE_MARGIN)) for _ in range(2))
    part = _noise_sheet(height, width)[y : y + height, x : x + width]
    return np.asarray(cv2.add(frame, np.rint(part * np.float32(deviation)).astype(np.int16), dtype=cv2.CV_8U), np.uint8)


@lru_cache(2)
def _noise_sheet(height: int, width: int) -> NDArray[np.float32]:
    shape = (height + _NOISE_MARGIN, width + _NOISE_MARGIN, 3)
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def _warp(image: Image, matrix: NDArray[np.float64], size: tuple[int, int]) -> Image:
    """Warp with an area average first where the image shrinks to less than half: bilinear alone would alias."""
    zoom = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if zoom < 0.5:
        height, width = image.shape[:2]
        shrink = max(zoom * 1.4, 1 / min(height, width))
        new = (max(round(width * shrink), 1), max(round(height * shrink), 1))
        image = cv2.resize(image, new, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        ratio = np.diag([width / new[0], height / new[1]])
        linear = matrix[:, :2] @ ratio
        # Keep pixel centres in place: old = new * ratio + (ratio - 1) / 2.
        offset = matrix[:, 2] + matrix[:, :2] @ ((np.diag(ratio) - 1) / 2)
        matrix = np.column_stack([linear, offset])
    warped = cv2.warpAffine(
        image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(0, 0, 0)
    )
    return np.asarray(warped, np.uint8)
