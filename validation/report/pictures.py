"""The images of a report as data URIs: small, and bounded in number and size."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ...data.dataset import Image
from ...tasks.scoring import Picture
from ..result import WorstImage

LARGEST = 256
"""Pixels along the longer side of a picture."""

_QUALITY = 82


@dataclass(frozen=True)
class Shown:
    """One picture of a row: what it is, and its data URI."""

    caption: str
    uri: str


def panels(picture: Picture, reference: str, engine: str) -> tuple[Shown, ...]:
    """A picture's panels; ``reference`` and ``engine`` are captions."""
    drawn = picture.panels(reference, engine, LARGEST)
    return tuple(Shown(panel.caption, (_png if panel.flat else _jpeg)(panel.pixels)) for panel in drawn)


def within_budget(
    worst: Sequence[WorstImage], reference: str, engine: str, budget: int
) -> list[tuple[WorstImage, tuple[Shown, ...]]]:
    """The panels of the images that have pictures, the worst first, as long as they fit.

    Args:
        budget: letters that all data URIs together may take.
    """
    shown = []
    for image in worst:
        if image.picture is None:
            continue
        row = panels(image.picture, reference, engine)
        budget -= sum(len(panel.uri) for panel in row)
        if budget < 0:
            break
        shown.append((image, row))
    return shown


def _jpeg(pixels: Image) -> str:
    # Colour at full size: halved, as is usual, it would blur what differs in a line of one pixel into the grey.
    fine = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return _uri("jpeg", cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY, *fine])[1])


def _png(pixels: Image) -> str:
    return _uri("png", cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1])


def _uri(kind: str, encoded: NDArray[np.uint8]) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(encoded.tobytes()).decode()}"
