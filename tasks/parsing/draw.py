"""How is a label map made visible: colours over the frame, outlines, a legend; and as an image of its own."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from ...data.dataset import Image, LabelMap
from ...specs.label_set import LabelSet
from ..drawing import OPACITY
from ..people.draw import mark_people, outline_people
from ..people.person import Person, instance_value
from .legend import Panel, SteadyClasses, legend_panel, text_height, text_panel

ALPHA = OPACITY
"""How far a part's colour covers the frame."""

_LINE_LIGHT = 0.7  # outlines are the part's colour, this far towards white: visible on dark clothes in dark colours
_LARGE = 700  # pixels of the shorter side, from which lines are three wide and not two
_MARGIN = 0.015  # of the shorter side, between a panel and the frame's edge
_CORNERS = ((False, False), (False, True), (True, False), (True, True))
"""At the bottom, at the right."""
_HUD_CORNER = (False, True)
_MUCH_HIDDEN = 0.05  # of a legend's area
_STEP, _SEEN = 4, 8
"""Of each fourth pixel across and down so many are a person's who has an outline: some 130 pixels."""

LABEL_PNG_KIND = b"\x08\x03\x00\x00\x00"
"""The end of a label map's IHDR: 8 bits, palette, not interlaced."""


def blend(
    frame: Image,
    labels: LabelMap,
    label_set: LabelSet,
    *,
    alpha: float = ALPHA,
    classes: frozenset[int] | None = None,
    instances: NDArray[np.uint8] | None = None,
) -> Image:
    """Colour the parts of ``frame`` in place and outline them; background and ignored pixels stay as they are.

    Around people there is a line of a few pixels in the colour of each, where ``instances`` tells them apart.

    Args:
        frame: (H, W, 3) uint8, BGR.
        labels: (H, W) uint8, ids of ``label_set``.
        label_set: whose colours are drawn.
        alpha: 0..1, how far the colour covers the frame; nothing is drawn at 0.
        classes: which are drawn; None for all of them.
        instances: (H, W) uint8, whose each pixel is; see :func:`~trtparse.tasks.people.person.instance_value`.

    Returns:
        ``frame``.

    Raises:
        ValueError: another dtype, or heights and widths that differ.
    """
    if frame.dtype != np.uint8 or labels.dtype != np.uint8 or frame.shape != (*labels.shape, 3):
        raise ValueError(
            f"expected uint8 of (H, W, 3) and (H, W), got {frame.dtype} of {frame.shape} and "
            f"{labels.dtype} of {labels.shape}"
        )
    left, top, width, height = cv2.boundingRect(labels)
    if width == 0 or alpha == 0:
        return frame
    side = 2 if min(labels.shape) < _LARGE else 3
    # some background around the content, so that its outer edge is an edge, with room for a line around it
    rows = slice(max(top - side, 0), top + height + side)
    columns = slice(max(left - side, 0), left + width + side)
    view = frame[rows, columns]
    parts = cast(LabelMap, cv2.LUT(labels[rows, columns], _parts(len(label_set), classes)))
    palette, lines = _colours(label_set)
    colours = cv2.applyColorMap(parts, palette)
    mixed = cv2.addWeighted(view, 1 - alpha, colours, alpha, 0)
    edges = cv2.morphologyEx(parts, cv2.MORPH_GRADIENT, np.ones((side, side), np.uint8))
    cv2.copyTo(cv2.applyColorMap(parts, lines), edges, mixed)
    cv2.copyTo(mixed, parts, view)
    if instances is not None:
        outline_people(view, _owners(parts, instances[rows, columns], side), side)
    return frame


def _owners(parts: LabelMap, instances: NDArray[np.uint8], reach: int) -> NDArray[np.uint8]:
    """Whose each pixel is that is drawn: of what rounding has added at an edge, the person's beside it."""
    side = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    near = cv2.copyTo(instances, instances, cv2.dilate(instances, side))
    return np.asarray(cv2.copyTo(near, parts), np.uint8)


@lru_cache(maxsize=8)
def _colours(label_set: LabelSet) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(256, 1, 3) uint8 each, BGR: the colours of the parts, and of their outlines."""
    palette = label_set.palette_bgr()
    lines = (palette * (1 - _LINE_LIGHT) + 255 * _LINE_LIGHT).astype(np.uint8)
    return palette[:, None], lines[:, None]


@lru_cache(maxsize=8)
def _parts(count: int, classes: frozenset[int] | None) -> NDArray[np.uint8]:
    """The look-up table that makes background of all that is not drawn."""
    drawn = np.array([0 < index < count and (classes is None or index in classes) for index in range(256)])
    return np.where(drawn, np.arange(256), 0).astype(np.uint8)


def smooth(labels: LabelMap, cell: float) -> LabelMap:
    """Round off the stairs of a label map that was enlarged from a network's smaller one, for looking at only.

    Every pixel takes the class with the largest share of its neighbourhood, so no class appears that was not there.

    Args:
        labels: (H, W) uint8.
        cell: the width in pixels of one of the network's pixels.

    Returns:
        (H, W) uint8; ``labels`` itself where ``cell`` is below 1.5, as there is nothing to round.
    """
    if cell < 1.5:
        return labels
    left, top, width, height = cv2.boundingRect(labels)
    if width == 0:
        return labels
    reach = round(cell) + 1
    where = (
        slice(max(top - reach, 0), top + height + reach),
        slice(max(left - reach, 0), left + width + reach),
    )
    inside = np.ascontiguousarray(labels[where])
    side = 2 * round(cell * 0.75) + 1
    best = np.zeros_like(inside)
    winner = inside.copy()
    for index in np.flatnonzero(np.bincount(inside[::2, ::2].ravel(), minlength=256)):
        share = cv2.blur(cv2.inRange(inside, int(index), int(index)), (side, side))
        cv2.copyTo(np.full_like(inside, index), cv2.compare(share, best, cv2.CMP_GT), winner)
        cv2.max(share, best, best)
    out: LabelMap = labels.copy()
    out[where] = winner
    return out


class Overlay:
    """Draws one frame after the other: parts, people, a legend that neither flickers nor hides them, a line of text.

    Args:
        frame_size: (height, width).
        label_set: of the label maps.
        fps: frames per second, for how long the legend names a class that has gone, and stays where somebody is.
        cell: the width in pixels of one of the network's pixels, whose stairs are rounded off.
        alpha: 0..1, how far a part's colour covers the frame.
        legend: whether to draw one.
    """

    def __init__(
        self,
        frame_size: tuple[int, int],
        label_set: LabelSet,
        fps: float = 25.0,
        *,
        cell: float = 1.0,
        alpha: float = ALPHA,
        legend: bool = True,
    ) -> None:
        self._size, self._label_set = frame_size, label_set
        self._cell = cell
        self._alpha = alpha
        self._classes = SteadyClasses(len(label_set), fps) if legend else None
        self._corner = _SteadyCorner(max(1, round(fps)))
        self._named: tuple[int, ...] = ()
        self._legend: Panel | None = None
        self._hud_text = ""
        self._hud: Panel | None = None

    def draw(
        self,
        frame: Image,
        labels: LabelMap,
        *,
        hud: str = "",
        cell: float | None = None,
        people: Sequence[Person] = (),
        instances: NDArray[np.uint8] | None = None,
        alpha: float | None = None,
        classes: frozenset[int] | None = None,
    ) -> Image:
        """Draw on ``frame`` in place.

        Args:
            frame: (H, W, 3) uint8, BGR, of ``frame_size``.
            labels: (H, W) uint8, ids of the label set.
            hud: a line for the upper right corner ("31.2 FPS"); none when empty.
            cell, alpha: of this frame, where they change.
            people: who is marked with a number, and with corners where there is no outline.
            instances: (H, W) uint8, whose each pixel is, for outlines; None draws none.
            classes: which are drawn and named; None for all of them.

        Returns:
            ``frame``.

        Raises:
            ValueError: another size or dtype.
        """
        if labels.shape != self._size:
            raise ValueError(f"expected labels of {self._size}, got {labels.shape}")
        alpha = self._alpha if alpha is None else alpha
        smoothed = smooth(labels, self._cell if cell is None else cell)
        blend(frame, smoothed, self._label_set, alpha=alpha, classes=classes, instances=instances)
        shown = _parts(len(self._label_set), classes)
        mark_people(frame, people, outlined=_outlined(people, instances if alpha else None, labels, shown))
        if self._classes is not None:
            named = tuple(one for one in self._classes.update(labels) if classes is None or one in classes)
            if named != self._named:
                self._named, self._legend = named, legend_panel(named, self._size, self._label_set)
            if self._legend is not None and alpha:
                corners = [corner for corner in _CORNERS if not hud or corner != _HUD_CORNER]
                _paste(frame, self._legend, self._corner.update(labels, self._legend, corners))
        if hud:
            if hud != self._hud_text:
                self._hud_text, self._hud = hud, text_panel(hud, text_height(self._size))
            _paste(frame, self._hud, _HUD_CORNER)
        return frame


def draw(
    frame: Image,
    labels: LabelMap,
    label_set: LabelSet,
    *,
    cell: float = 1.0,
    alpha: float = ALPHA,
    legend: bool = True,
    people: Sequence[Person] = (),
    instances: NDArray[np.uint8] | None = None,
) -> Image:
    """Draw one still image onto a copy, its legend in the corner where it hides least.

    Args:
        frame: (H, W, 3) uint8, BGR.
        labels: (H, W) uint8, ids of ``label_set``.
        label_set: what they mean.
        cell: the width in pixels of one of the network's pixels, whose stairs are rounded off.
        alpha: 0..1, how far a part's colour covers the frame.
        legend: whether to draw one.
        people, instances: as of :meth:`Overlay.draw`.

    Returns:
        (H, W, 3) uint8, BGR; the caller's own.

    Raises:
        ValueError: another dtype, or heights and widths that differ.
    """
    drawn = blend(frame.copy(), smooth(labels, cell), label_set, alpha=alpha, instances=instances)
    shown = _parts(len(label_set), None)
    mark_people(drawn, people, outlined=_outlined(people, instances if alpha else None, labels, shown))
    panel = None
    if legend:
        named = SteadyClasses(len(label_set), 1.0).update(labels)
        panel = legend_panel(named, (labels.shape[0], labels.shape[1]), label_set)
    if panel is not None:
        _paste(drawn, panel, min(_CORNERS, key=lambda corner: _hidden(labels, panel, corner)))
    return drawn


def _outlined(
    people: Sequence[Person], instances: NDArray[np.uint8] | None, labels: LabelMap, parts: NDArray[np.uint8]
) -> frozenset[int]:
    """The numbers of those of whom enough is drawn that their outline shows where they are."""
    if instances is None or not people:
        return frozenset()
    drawn = parts[labels[::_STEP, ::_STEP]] > 0
    counts = np.bincount(instances[::_STEP, ::_STEP][drawn], minlength=256)
    return frozenset(person.id for person in people if counts[instance_value(person.id)] >= _SEEN)


class _SteadyCorner:
    """Where a legend goes: where it hides least; it moves where it has hidden much more than it had to for a while.

    Args:
        patience: frames.
    """

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self._corner: tuple[bool, bool] | None = None
        self._worse = 0

    def update(self, labels: LabelMap, panel: Panel, corners: Sequence[tuple[bool, bool]]) -> tuple[bool, bool]:
        """The corner for the next frame, one of ``corners``."""
        hidden = {corner: _hidden(labels, panel, corner) for corner in corners}
        best = min(corners, key=lambda corner: hidden[corner])
        if self._corner not in hidden:
            self._corner = best
        much = _MUCH_HIDDEN * panel.size[0] * panel.size[1]
        self._worse = self._worse + 1 if hidden[self._corner] > 2 * hidden[best] + much else 0
        if self._worse >= self._patience:
            self._corner, self._worse = best, 0
        return self._corner


def _place(frame_size: tuple[int, ...], panel: Panel, corner: tuple[bool, bool]) -> tuple[slice, slice] | None:
    """Where in the frame a panel goes, or None where it does not fit; ``corner`` is (at the bottom, at the right)."""
    margin = max(2, round(min(frame_size) * _MARGIN))
    slices = []
    for length, side, far in zip(panel.size, frame_size, corner):
        if length + 2 * margin > side:
            return None
        start = side - margin - length if far else margin
        slices.append(slice(start, start + length))
    return slices[0], slices[1]


def _hidden(labels: LabelMap, panel: Panel, corner: tuple[bool, bool]) -> int:
    place = _place(labels.shape, panel, corner)
    return cv2.countNonZero(labels[place]) if place else 0


def _paste(frame: Image, panel: Panel | None, corner: tuple[bool, bool]) -> None:
    place = _place(frame.shape[:2], panel, corner) if panel else None
    if panel and place:
        panel.paste(frame[place])


def label_png_palette(label_set: LabelSet) -> bytes:
    """What a label map's PLTE holds: 256 colours, three bytes each."""
    return label_set.palette_bgr()[:, ::-1].tobytes()


def encode_label_png(labels: LabelMap, label_set: LabelSet, text: bytes = b"") -> bytes:
    """A label map as a PNG of 8-bit palette indices: viewers show the set's colours, the values are the ids.

    OpenCV writes no palettes, and the format needs only four chunks (https://www.w3.org/TR/png-3/#11PLTE).

    Args:
        labels: (H, W) uint8.
        label_set: whose colours viewers show.
        text: a keyword, NUL and a text in Latin-1, for a tEXt chunk before the pixels; none where empty.

    Raises:
        ValueError: another dtype or shape.
    """
    if labels.ndim != 2 or labels.dtype != np.uint8 or labels.size == 0:
        raise ValueError(f"expected (H, W) uint8, got {labels.dtype} of {labels.shape}")
    height, width = labels.shape
    lines = np.zeros((height, width + 1), np.uint8)  # each line begins with its filter: 0, none
    lines[:, 1:] = labels
    chunks = [
        (b"IHDR", struct.pack(">II", width, height) + LABEL_PNG_KIND),
        (b"PLTE", label_png_palette(label_set)),
        (b"IDAT", zlib.compress(lines.tobytes(), 6)),
        (b"IEND", b""),
    ]
    if text:
        chunks.insert(2, (b"tEXt", text))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
