"""Where are the people: corners around each, with their number and what else is known of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

import cv2

from ...data.dataset import Image
from ..parsing.legend import Panel, text_height, text_panel
from .person import Person

_LIGHT, _DARK = (245, 245, 245), (25, 25, 25)
_ARM = 0.16  # of the shorter side of a box: corners show where it is and hide next to nothing


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
        panel = _tag(f"{person.id}  {words.get(person.id, '')}".rstrip(), text_height(size))
        row, column = top - panel.size[0] - 2 * thickness, left
        if row < 0:  # above the frame: inside the box
            row, column = top + 2 * thickness, left + 2 * thickness
        view = frame[row : row + panel.size[0], column : column + panel.size[1]]
        if view.shape[:2] == panel.size:
            panel.paste(view)


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
