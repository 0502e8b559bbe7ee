"""Where are the people: corners around each, with their number and what else is known of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

import cv2

from ...data.dataset import Image
from ..parsing.legend import Panel, text_height, text_panel
from .person import Person
from .rows import Rows

_LIGHT, _DARK = (245, 245, 245), (25, 25, 25)
_BOX = (0, 170, 255)
_ARM = 0.16  # of the shorter side of a box: corners show where it is and hide next to nothing


def draw_boxes(frame: Image, rows: Rows, sure: float, *, colour: tuple[int, int, int] = _BOX) -> None:
    """Draw everybody's box with its score in percent, on (H, W, 3) uint8, BGR, in place.

    Args:
        frame: that is drawn on.
        rows: (n, 5) in its pixels.
        sure: score below which nobody is drawn.
        colour: BGR.
    """
    size = (frame.shape[0], frame.shape[1])
    thickness = max(1, round(min(size) / 300))
    for left, top, right, bottom, score in rows[rows[:, 4] >= sure][::-1].tolist():
        corner, far = (round(left), round(top)), (max(round(right) - 1, 0), max(round(bottom) - 1, 0))
        cv2.rectangle(frame, corner, far, _DARK, thickness + 2)
        cv2.rectangle(frame, corner, far, colour, thickness)
        _name(frame, f"{100 * score:.0f}", corner, thickness)


def _name(frame: Image, text: str, corner: tuple[int, int], thickness: int) -> None:
    """A tag above a box's upper left corner; inside it where there is no room above."""
    panel = _tag(text, text_height((frame.shape[0], frame.shape[1])))
    column, top = corner
    row = top - panel.size[0] - 2 * thickness
    if row < 0:
        row, column = top + 2 * thickness, column + 2 * thickness
    column = max(min(column, frame.shape[1] - panel.size[1]), 0)
    view = frame[row : row + panel.size[0], column : column + panel.size[1]]
    if view.shape[:2] == panel.size:
        panel.paste(view)


def mark_people(frame: Image, people: Sequence[Person], words: Mapping[int, str] = MappingProxyType({})) -> None:
    """Draw on (H, W, 3) uint8, BGR, in place.

    Args:
        frame: the picture.
        people: who is marked.
        words: what stands behind a person's number, by that number.
    """
    size = (frame.shape[0], frame.shape[1])
    thickness = max(1, round(min(size) / 360))
    for person in people:
        left, top, right, bottom = (round(value) for value in person.box)
        right, bottom = max(right - 1, left), max(bottom - 1, top)
        _corners(frame, (left, top, right, bottom), thickness)
        word = f"{person.id}  {words.get(person.id, '')}".rstrip()
        _name(frame, word, (left, top), thickness)


@lru_cache(maxsize=256)
def _tag(text: str, height: int) -> Panel:
    return text_panel(text, height)


def _corners(frame: Image, box: tuple[int, int, int, int], thickness: int) -> None:
    left, top, right, bottom = box
    arm = max(3, round(min(right - left, bottom - top) * _ARM))
    for colour, width in ((_DARK, thickness + 2), (_LIGHT, thickness)):  # the dark rim shows it on bright frames
        for x, inward in ((left, arm), (right, -arm)):
            for y, down in ((top, arm), (bottom, -arm)):
                cv2.line(frame, (x, y), (x + inward, y), colour, width, cv2.LINE_AA)
                cv2.line(frame, (x, y), (x, y + down), colour, width, cv2.LINE_AA)
