"""One image under the eyes of a reference and its engines: every count that a result is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ...data.dataset import Image, LabelMap
from ...data.reading import Frame
from ...specs.label_set import LabelSet
from .metrics import Counts, count_pixels

BAND = 2
"""Pixels on each side of a label edge that are the boundary: a letterboxed crop's labels are no finer than that."""


@dataclass(frozen=True)
class Prediction:
    """What one engine found in one frame.

    Args:
        labels: (h, w) uint8 at the network's input size.
        logits: (C, h, w) float32 where the protocol resizes them before argmax, else None.
        exponentials: it resizes their exp, as HRNet's evaluation does, so that the class that is surer of itself
            spreads.
    """

    labels: LabelMap
    logits: NDArray[np.float32] | None = None
    exponentials: bool = True

    def at_image_size(self, frame: Frame) -> LabelMap:
        """(H, W) uint8 at the size of the image: the nearest label, or argmax of the resized logits."""
        if self.logits is None:
            return frame.letterbox.restore(self.labels)
        if not self.exponentials:
            return frame.letterbox.restore_scores(self.logits)
        height, width = frame.letterbox.image_size
        # One factor for the whole image moves no argmax, and nothing overflows.
        scores = np.exp(self.logits - self.logits.max()).transpose(1, 2, 0)[frame.inside]
        resized = cv2.resize(np.ascontiguousarray(scores), (width, height), interpolation=cv2.INTER_LINEAR)
        labels: LabelMap = resized.argmax(axis=2).astype(np.uint8)
        return labels


@dataclass(frozen=True)
class Picture:
    """What a report shows of an image: four arrays of one height and width, at the network's input size.

    Args:
        photo: (h, w, 3) uint8, BGR, without the letterbox's borders.
        truth: (h, w) uint8, 255 where it is to be ignored; None without labels.
        reference, engine: (h, w) uint8.
        image_size: (height, width) of the image, in whose shape it is shown; None: in the shape that the network sees.
    """

    photo: Image
    truth: LabelMap | None
    reference: LabelMap
    engine: LabelMap
    image_size: tuple[int, int] | None = None


@dataclass(frozen=True)
class EngineScore:
    """Pixels of one image and one engine.

    Args:
        truth: true class by found class, at the image's size; None without a label map.
        agreement: the reference's class by the engine's, at the network's input size without borders.
        areas: pixels in the boundary band, outside it, and those of each that differ.
    """

    truth: Counts | None
    agreement: Counts
    areas: tuple[int, int, int, int]

    @property
    def disagreement(self) -> float:
        """Share of the pixels that differ from the reference."""
        band, interior, band_differs, interior_differs = self.areas
        return (band_differs + interior_differs) / (band + interior)


@dataclass(frozen=True)
class ImageScore:
    """Pixels of one image.

    Args:
        index: in the dataset.
        name: of the image.
        reference: true class by the reference's class, at the image's size; None without a label map.
        engines: in the engines' order.
    """

    index: int
    name: str
    reference: Counts | None
    engines: tuple[EngineScore, ...]


def score_image(frame: Frame, reference: Prediction, engines: Sequence[Prediction], label_set: LabelSet) -> ImageScore:
    """Count an image's pixels for the reference and every engine; ``label_set`` is everybody's."""
    expected = np.ascontiguousarray(reference.labels[frame.inside])
    band = boundary_band(expected)
    scores = tuple(_score(frame, expected, band, engine, label_set) for engine in engines)
    return ImageScore(frame.index, frame.name, against_truth(frame, reference, label_set), scores)


def _score(
    frame: Frame, expected: LabelMap, band: NDArray[np.bool_], engine: Prediction, label_set: LabelSet
) -> EngineScore:
    found = np.ascontiguousarray(engine.labels[frame.inside])
    differs = expected != found
    in_band, all_differ = int(np.count_nonzero(band)), int(np.count_nonzero(differs))
    band_differs = int(np.count_nonzero(band & differs))
    areas = (in_band, band.size - in_band, band_differs, all_differ - band_differs)
    return EngineScore(against_truth(frame, engine, label_set), count_pixels(expected, found, label_set), areas)


def against_truth(frame: Frame, prediction: Prediction, label_set: LabelSet) -> Counts | None:
    """True class by found class at the image's size; None without a label map."""
    return None if frame.labels is None else count_pixels(frame.labels, prediction.at_image_size(frame), label_set)


def boundary_band(labels: LabelMap) -> NDArray[np.bool_]:
    """Pixels that have a pixel of another label within ``BAND`` rows and columns.

    Args:
        labels: (h, w) uint8.

    Returns:
        (h, w) bool.
    """
    window = np.ones((2 * BAND + 1, 2 * BAND + 1), np.uint8)
    band: NDArray[np.bool_] = cv2.dilate(labels, window) != cv2.erode(labels, window)
    return band


def picture(frame: Frame, reference: Prediction, engine: Prediction) -> Picture:
    """What a report shows of an image; the arrays are its own."""
    truth = None if frame.labels is None else frame.letterbox.apply_labels(frame.labels)[frame.inside]
    return Picture(
        frame.pixels[frame.inside].copy(),
        None if truth is None else truth.copy(),
        reference.labels[frame.inside].copy(),
        engine.labels[frame.inside].copy(),
        frame.letterbox.image_size,
    )
