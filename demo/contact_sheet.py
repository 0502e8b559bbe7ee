"""Many photographs on one page: what they are and how they spread above, all of them below."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import cast

import cv2
import numpy as np

from ..data.dataset import Image
from ..tasks.parsing.legend import text_coverage

MOST = 1024
"""Photographs on a page; any more would be specks, and the page too large to open."""

_WIDTH = 1600
_MARGIN = 28
_GAP = 4
_ROW_HEIGHTS = (84, 220)
_TEXT, _TITLE = 13, 26
_LINE = 21
_BAR = 9

_PAPER = (30, 28, 27)
_INK = (240, 240, 240)
_FAINT = (165, 162, 160)
_TRACK = (52, 49, 47)
_EDGE = (128, 126, 124)
_ACCENT = (190, 160, 60)

Colour = tuple[int, ...]


@dataclass(frozen=True)
class Bars:
    """A column of bars.

    Args:
        title: above it.
        rows: (name, count, colour of the bar in BGR or None for the usual one).
    """

    title: str
    rows: tuple[tuple[str, int, Colour | None], ...]


def contact_sheet(
    title: str, lines: Sequence[str], columns: Sequence[Bars], images: Iterable[Image], count: int
) -> Image:
    """Draw a page.

    Args:
        title: in large letters.
        lines: below it, in small ones.
        columns: side by side below those, the longest bar of each as long as its column.
        images: (H, W, 3) uint8, BGR, of any size; no more than ``MOST`` are taken, and none is kept at its full size.
        count: about how many there are: how large they can be.

    Returns:
        (h, 1600, 3) uint8, BGR: the photographs in rows that fill the width, from the darkest to the brightest.
    """
    low, high = _ROW_HEIGHTS
    inside = _WIDTH - 2 * _MARGIN
    # LIP's crops are on average 0.7 as wide as high; so the page becomes about as high as it is wide.
    row_height = int(np.clip(inside / (0.7 * max(min(count, MOST), 1)) ** 0.5, low, high))
    # Rows are stretched to the width, mostly by less than a third.
    thumbnails = [_shrunk(image, round(row_height * 1.3), inside) for image in islice(images, MOST)]
    thumbnails.sort(key=lambda image: float(image.mean()))
    head = _head(title, lines, columns)
    rows = [_row(row, row_height, inside) for row in _rows(thumbnails, row_height, inside)]
    height = head.shape[0] + sum(row.shape[0] + _GAP for row in rows) + _MARGIN
    page = np.full((height, _WIDTH, 3), _PAPER, np.uint8)
    page[: head.shape[0]] = head
    top = head.shape[0]
    for row in rows:
        page[top : top + row.shape[0], _MARGIN : _MARGIN + row.shape[1]] = row
        top += row.shape[0] + _GAP
    return page


def _shrunk(image: Image, height: int, most_width: int) -> Image:
    scale = min(height / image.shape[0], most_width / image.shape[1])
    size = (max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
    return _resized(image, size)


def _resized(image: Image, size: tuple[int, int]) -> Image:
    how = cv2.INTER_AREA if size[1] < image.shape[0] else cv2.INTER_CUBIC
    return cast(Image, cv2.resize(image, size, interpolation=how))


def _rows(thumbnails: Sequence[Image], row_height: int, inside: int) -> list[list[Image]]:
    """Rows that are at least as wide as the page at ``row_height``; the last one may be narrower."""
    rows: list[list[Image]] = []
    row: list[Image] = []
    width = 0.0
    for image in thumbnails:
        row.append(image)
        width += row_height * image.shape[1] / image.shape[0] + _GAP
        if width - _GAP >= inside:
            rows.append(row)
            row, width = [], 0.0
    return [*rows, row] if row else rows


def _row(images: Sequence[Image], row_height: int, inside: int) -> Image:
    """The images side by side at one height: that at which they fill the page, or ``row_height`` where they cannot."""
    aspects = [image.shape[1] / image.shape[0] for image in images]
    free = inside - _GAP * (len(images) - 1)
    height = min(free / sum(aspects), row_height)
    edges = np.round(np.cumsum([0.0, *aspects]) * height).astype(int)
    height = max(round(height), 1)
    row = np.full((height, inside, 3), _PAPER, np.uint8)
    for number, image in enumerate(images):
        left, width = int(edges[number]) + number * _GAP, max(int(edges[number + 1] - edges[number]), 1)
        row[:, left : left + width] = _resized(image, (width, height))
    return row


def _head(title: str, lines: Sequence[str], columns: Sequence[Bars]) -> Image:
    longest = max((len(column.rows) for column in columns), default=0)
    below = _MARGIN + round(_TITLE * 1.5) + len(lines) * _LINE + 16
    height = below + ((longest + 1) * _LINE + _MARGIN if columns else 0)
    page = np.full((height, _WIDTH, 3), _PAPER, np.uint8)
    _write(page, title, (_MARGIN - 6, _MARGIN), _TITLE, _INK)
    for number, line in enumerate(lines):
        _write(page, line, (_MARGIN + round(_TITLE * 1.5) + number * _LINE, _MARGIN), _TEXT, _FAINT)
    gutter = 36
    width = (_WIDTH - 2 * _MARGIN + gutter) // max(len(columns), 1) - gutter
    for number, column in enumerate(columns):
        _draw_column(page, column, (below, _MARGIN + number * (width + gutter)), min(width, 300))
    return page


def _draw_column(page: Image, column: Bars, corner: tuple[int, int], width: int) -> None:
    top, left = corner
    _write(page, column.title, (top, left), _TEXT, _FAINT)
    names = [text_coverage(_plain(name), _TEXT).shape[1] for name, _, _ in column.rows]
    counts = [text_coverage(f"{count:,}", _TEXT).shape[1] for _, count, _ in column.rows]
    start, end = left + max(names, default=0) + 8, left + width - max(counts, default=0) - 8
    most = max((count for _, count, _ in column.rows), default=0)
    for number, (name, count, colour) in enumerate(column.rows):
        line = top + (number + 1) * _LINE
        middle = line + _LINE // 2 - 1
        _write(page, name, (line, left), _TEXT, _INK if count else _FAINT)
        box = (slice(middle - _BAR // 2, middle + _BAR // 2 + 1), slice(start, end))
        page[box] = _TRACK
        if count:
            length = max(round((end - start) * count / most), 3)
            cv2.rectangle(page, (start, box[0].start), (start + length - 1, box[0].stop - 1), _EDGE, cv2.FILLED)
            inner = (start + 1, box[0].start + 1), (start + length - 2, box[0].stop - 2)
            cv2.rectangle(page, *inner, colour or _ACCENT, cv2.FILLED)
        _write(page, f"{count:,}", (line, end + 8), _TEXT, _INK if count else _FAINT)


def _write(page: Image, text: str, corner: tuple[int, int], height: int, colour: Colour) -> None:
    """Letters onto the page, as far as they fit."""
    top, left = corner
    cover = text_coverage(_plain(text), height)[:, : page.shape[1] - left, None]
    under = page[top : top + cover.shape[0], left : left + cover.shape[1]]
    under[:] = (under * (1 - cover) + np.asarray(colour, np.float32) * cover).astype(np.uint8)


def _plain(text: str) -> str:
    """OpenCV's letters are ASCII."""
    return text.replace("–", "-").replace("≥", ">=").replace("·", "|").encode("ascii", "replace").decode()
