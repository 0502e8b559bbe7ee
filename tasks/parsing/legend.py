"""Small text and the legend: rendered once, blended onto every frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from ...data.dataset import Image, LabelMap
from ...specs.label_set import LabelSet

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_OVERSAMPLING = 4  # OpenCV's own anti-aliasing is rough below 12 px
_BACKING = 0.62  # how much of the frame the panel's backing hides
_SOLID = 0.92  # the same of a backing in a colour, which has to be told from others
_INK, _DARK_INK = (242, 242, 242), (15, 15, 15)
_SWATCH_EDGE = (205, 205, 205)  # makes (0, 0, 85) and its like stand out from the backing
_SMALLER = 0.8  # a legend's letters than others: with twelve classes it is half as high as a 480p frame otherwise
_LEAST_TEXT = 9  # pixels of an em
_APPEARS_AFTER = 3  # frames in a row; one frame's noise adds no row
_STAYS_SECONDS = 2.0

LEAST_SHARE = 5e-4
"""Of the frame, below which a class is noise: 13x13 pixels of 768x432."""


@dataclass(frozen=True)
class Panel:
    """Something to lay over a corner.

    Args:
        ink: (h, w, 3) float32, BGR, 0..255, already multiplied by its opacity.
        clear: (h, w, 3) float32, 0..1, how much of the frame stays; the same in each channel, as NumPy takes six times
            as long for one that counts for all three.
    """

    ink: NDArray[np.float32]
    clear: NDArray[np.float32]

    @property
    def size(self) -> tuple[int, int]:
        return self.ink.shape[0], self.ink.shape[1]

    def paste(self, under: Image) -> None:
        """Blend onto ``under`` in place; it has the panel's size."""
        under[:] = (under * self.clear + self.ink).astype(np.uint8)


def text_height(frame_size: tuple[int, int]) -> int:
    """The em height in pixels for frames of (height, width): 9 at 192x256, 14 at 768x432, 29 at 1080p."""
    return int(np.clip(round(min(frame_size) / 42 + 3.5), _LEAST_TEXT, 32))


@lru_cache(maxsize=256)
def text_coverage(text: str, height: int) -> NDArray[np.float32]:
    """How far ``text`` covers each pixel.

    Returns:
        (h, w) float32, 0..1, with h the same for every text of this ``height``.
    """
    scale = height * _OVERSAMPLING / 30.0  # the font's own em is about 30 px
    thickness = max(1, round(height * _OVERSAMPLING / 15))
    (width, _), _ = cv2.getTextSize(text, _FONT, scale, thickness)
    columns = width // _OVERSAMPLING + 2
    canvas = np.zeros((round(height * 1.34) * _OVERSAMPLING, columns * _OVERSAMPLING), np.uint8)
    cv2.putText(
        canvas,
        text,
        (_OVERSAMPLING // 2, round(height * _OVERSAMPLING * 0.92)),
        _FONT,
        scale,
        255,
        thickness,
        cv2.LINE_AA,
    )
    small = cv2.resize(canvas, None, fx=1 / _OVERSAMPLING, fy=1 / _OVERSAMPLING, interpolation=cv2.INTER_AREA)
    coverage: NDArray[np.float32] = np.asarray(small, np.float32) / np.float32(255)
    return coverage


def text_panel(text: str, height: int, colour: tuple[int, int, int] | None = None) -> Panel:
    """One line, light on a dark translucent backing; or dark on a bright ``colour``, BGR."""
    coverage = text_coverage(text, height)
    pad = max(2, round(height * 0.35))
    canvas = _Canvas((coverage.shape[0] + 2 * (pad // 2), coverage.shape[1] + 2 * pad), colour)
    canvas.text(coverage, pad // 2, pad)
    return canvas.panel()


class Hud:
    """A line of text in the upper right corner, rendered anew where it changes.

    Args:
        frame_size: (height, width).
    """

    def __init__(self, frame_size: tuple[int, int]) -> None:
        self._size = frame_size
        self._text = ""
        self._panel: Panel | None = None

    def write(self, frame: Image, text: str) -> None:
        """Write on (H, W, 3) uint8, BGR, in place; nothing where the frame is too small for it."""
        if self._panel is None or text != self._text:
            self._text, self._panel = text, text_panel(text, text_height(self._size))
        margin = max(2, round(min(self._size) * 0.015))
        height, width = self._panel.size
        view = frame[margin : margin + height, self._size[1] - margin - width : self._size[1] - margin]
        if view.shape[:2] == self._panel.size:
            self._panel.paste(view)


def legend_panel(classes: Sequence[int], frame_size: tuple[int, int], label_set: LabelSet) -> Panel | None:
    """Swatches and names of ``classes``, in columns where one would not fit.

    Args:
        classes: ids.
        frame_size: (height, width).
        label_set: what they mean.

    Returns:
        None where there is no class to name, or the frame is too small to be read over.
    """
    height = max(_LEAST_TEXT, round(_SMALLER * text_height(frame_size)))
    names = [text_coverage(_plain(label_set.classes[index]), height) for index in classes]
    if not names:
        return None
    row, pad, swatch = names[0].shape[0] + height // 10, max(3, round(height * 0.45)), round(height * 0.8)
    rows = min(len(names), (frame_size[0] - 4 * pad) // row)
    column = swatch + pad + max(name.shape[1] for name in names)
    columns = -(-len(names) // rows) if rows > 0 else 0
    width = columns * column + (columns + 1) * pad
    if columns == 0 or width + 2 * pad > frame_size[1] * 0.75:
        return None
    rows = -(-len(names) // columns)
    canvas = _Canvas((rows * row + pad, width))
    for place, (index, name) in enumerate(zip(classes, names)):
        top, left = pad // 2 + place % rows * row, pad + place // rows * (column + pad)
        canvas.swatch(label_set.colours[index][::-1], top + (row - swatch) // 2, left, swatch)
        canvas.text(name, top + (row - name.shape[0]) // 2, left + swatch + pad)
    return canvas.panel()


class _Canvas:
    """A panel in the making: colour and opacity, laid over each other."""

    def __init__(self, size: tuple[int, int], backing: tuple[int, int, int] | None = None) -> None:
        opaque = np.full((*size, 1), _BACKING if backing is None else _SOLID, np.float32) * _rounded(size)
        self._colour = np.asarray(backing or (0, 0, 0), np.float32) * opaque
        self._opacity = opaque
        self._ink = _INK if backing is None else _DARK_INK

    def text(self, coverage: NDArray[np.float32], top: int, left: int) -> None:
        height, width = coverage.shape
        self._lay((slice(top, top + height), slice(left, left + width)), self._ink, coverage[..., None])

    def swatch(self, colour: tuple[int, ...], top: int, left: int, side: int) -> None:
        solid = np.ones((1, 1, 1), np.float32)
        self._lay((slice(top, top + side), slice(left, left + side)), _SWATCH_EDGE, solid)
        edge = max(1, side // 14)
        inside = (slice(top + edge, top + side - edge), slice(left + edge, left + side - edge))
        self._lay(inside, colour, solid)

    def _lay(self, where: tuple[slice, slice], colour: tuple[int, ...], cover: NDArray[np.float32]) -> None:
        self._colour[where] = self._colour[where] * (1 - cover) + np.asarray(colour, np.float32) * cover
        self._opacity[where] = self._opacity[where] * (1 - cover) + cover

    def panel(self) -> Panel:
        return Panel(self._colour, np.repeat(1 - self._opacity, 3, axis=2))


def _rounded(size: tuple[int, int]) -> NDArray[np.float32]:
    """(h, w, 1) float32: 1 inside a rectangle of rounded corners."""
    s, radius = _OVERSAMPLING, max(2, min(size) // 12)
    canvas = np.zeros((size[0] * s, size[1] * s), np.uint8)
    last = (size[1] * s - 1, size[0] * s - 1)
    radius = min(radius, 8) * s
    cv2.rectangle(canvas, (radius, 0), (last[0] - radius, last[1]), 255, cv2.FILLED)
    cv2.rectangle(canvas, (0, radius), (last[0], last[1] - radius), 255, cv2.FILLED)
    for x in (radius, last[0] - radius):
        for y in (radius, last[1] - radius):
            cv2.circle(canvas, (x, y), radius, 255, cv2.FILLED)
    small = cv2.resize(canvas, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    opaque: NDArray[np.float32] = np.asarray(small, np.float32)[..., None] / np.float32(255)
    return opaque


def class_shares(labels: LabelMap, classes: int) -> NDArray[np.float64]:
    """(classes,) float64: the share of pixels of each class, from a grid of at most some 60,000 of them."""
    step = max(1, round((labels.size / 60_000) ** 0.5))
    sample = np.ascontiguousarray(labels[::step, ::step])
    counts = np.ravel(cv2.calcHist([sample], [0], None, [256], [0, 256])).astype(np.float64)
    return counts[:classes] / sample.size


def _plain(name: str) -> str:
    """OpenCV's letters are ASCII."""
    return name.encode("ascii", "replace").decode()


class SteadyClasses:
    """Which classes a legend names from frame to frame, without flicker.

    A class enters after three frames in a row and leaves after two seconds of absence; they are in the order of ids.

    Args:
        classes: how many there are.
        fps: frames per second.
    """

    def __init__(self, classes: int, fps: float) -> None:
        self._classes = classes
        self._patience = max(_APPEARS_AFTER, round(fps * _STAYS_SECONDS))
        self._streak = np.zeros(classes, np.int64)
        self._absent = np.full(classes, self._patience, np.int64)
        self._shown = np.zeros(classes, bool)
        self._first = True

    def update(self, labels: LabelMap) -> tuple[int, ...]:
        """Take the next frame's (H, W) uint8 labels and tell which classes to name; background never is."""
        present = class_shares(labels, self._classes) >= LEAST_SHARE
        present[0] = False
        self._streak = np.where(present, self._streak + 1, 0)
        self._absent = np.where(present, 0, self._absent + 1)
        enters = present if self._first else self._streak >= _APPEARS_AFTER
        self._shown = (self._shown | enters) & (self._absent < self._patience)
        self._first = False
        return tuple(int(index) for index in np.flatnonzero(self._shown))
