"""The images of a report as data URIs: small, and bounded in number and size."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from ...data.dataset import Image, LabelMap
from ...specs.label_set import LabelSet
from ...tasks.parsing.scoring import Picture
from ..result import WorstImage

LARGEST = 256
"""Pixels along the longer side of a picture."""

_QUALITY = 82
_DIFFERS_BGR = (200, 0, 225)
"""Magenta stands out from grey for every kind of colour vision; no class is drawn in the same picture."""


Pixel = TypeVar("Pixel", np.uint8, np.float32)


@dataclass(frozen=True)
class Panel:
    """One picture of a row: what it is, and its data URI."""

    caption: str
    uri: str


def panels(picture: Picture, reference: str, engine: str, label_set: LabelSet) -> tuple[Panel, ...]:
    """Photo, truth (where there is one), reference, engine and their difference.

    Args:
        reference, engine: captions.
        label_set: whose colours label maps are drawn in.
    """
    size = _shown_size(picture)
    photo = _resized(picture.photo, size, cv2.INTER_AREA)
    truth, expected, found = (
        None if labels is None else _resized(labels, size, cv2.INTER_NEAREST)
        for labels in (picture.truth, picture.reference, picture.engine)
    )
    maps = [("truth", truth), (reference, expected), (engine, found)]
    palette = label_set.palette_bgr()
    drawn = [Panel(caption, _png(palette[labels])) for caption, labels in maps if labels is not None]
    # The difference is taken before anything is shrunk, so that a single pixel is not lost.
    differs = _resized((picture.reference != picture.engine).astype(np.float32), size, cv2.INTER_AREA) > 0
    return (Panel("photo", _jpeg(photo)), *drawn, Panel("difference", _jpeg(_difference(photo, differs))))


def within_budget(
    worst: Sequence[WorstImage], reference: str, engine: str, label_set: LabelSet, budget: int
) -> list[tuple[WorstImage, tuple[Panel, ...]]]:
    """The panels of the images that have pictures, the worst first, as long as they fit.

    Args:
        budget: letters that all data URIs together may take.
    """
    shown = []
    for image in worst:
        if image.picture is None:
            continue
        row = panels(image.picture, reference, engine, label_set)
        budget -= sum(len(panel.uri) for panel in row)
        if budget < 0:
            break
        shown.append((image, row))
    return shown


def _shown_size(picture: Picture) -> tuple[int, int]:
    """(height, width) in the image's shape: no more pixels than the network saw, no side above ``LARGEST``."""
    there = picture.photo.shape[:2]
    height, width = picture.image_size or there
    scale = min(there[0] / height, there[1] / width, LARGEST / max(height, width))
    return max(round(height * scale), 1), max(round(width * scale), 1)


def _resized(pixels: NDArray[Pixel], size: tuple[int, int], how: int) -> NDArray[Pixel]:
    if pixels.shape[:2] == size:
        return pixels
    return cast("NDArray[Pixel]", cv2.resize(pixels, size[::-1], interpolation=how))


def _difference(photo: Image, differs: NDArray[np.bool_]) -> Image:
    """The photograph in pale grey, and what differs in one colour."""
    grey = cv2.cvtColor(photo, cv2.COLOR_BGR2GRAY)
    drawn = np.repeat((110 + grey[..., None] // 2).clip(0, 235), 3, axis=2).astype(np.uint8)
    drawn[differs] = _DIFFERS_BGR
    return drawn


def _jpeg(pixels: Image) -> str:
    # Colour at full size: halved, as is usual, it would blur what differs in a line of one pixel into the grey.
    fine = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return _uri("jpeg", cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY, *fine])[1])


def _png(pixels: Image | LabelMap) -> str:
    return _uri("png", cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1])


def _uri(kind: str, encoded: NDArray[np.uint8]) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(encoded.tobytes()).decode()}"
