"""Where are the people: an outline or corners around each in a colour of their own, with their number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from ...data.dataset import Image
from ..parsing.legend import Panel, text_height, text_panel
from .person import Person, instance_value
from .rows import Rows

_DARK = (25, 25, 25)
_COLOURS = (
    (0, 225, 255),  # yellow, and on around the circle: neighbours in number are far apart in colour
    (255, 120, 255),
    (120, 255, 120),
    (90, 165, 255),
    (255, 235, 100),
    (140, 140, 255),
    (80, 255, 200),
    (255, 170, 190),
)
"""BGR, bright: a dark number is read on each, and each is seen on clothes and streets."""

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


def _name(
    frame: Image,
    text: str,
    corner: tuple[int, int],
    thickness: int,
    colour: tuple[int, int, int] | None = None,
    *,
    centred: bool = False,
) -> None:
    """A tag above a box's upper left corner, or above the point; below it where there is no room above."""
    panel = _tag(text, text_height((frame.shape[0], frame.shape[1])), colour)
    column, top = corner
    if centred:
        column -= panel.size[1] // 2
    row = top - panel.size[0] - 2 * thickness
    if row < 0:
        # A box that a file has may begin above the frame.
        row, column = max(top, 0) + 2 * thickness, column + (0 if centred else 2 * thickness)
    column = max(min(column, frame.shape[1] - panel.size[1]), 0)
    view = frame[row : row + panel.size[0], column : column + panel.size[1]]
    if view.shape[:2] == panel.size:
        panel.paste(view)


def person_colour(identity: int) -> tuple[int, int, int]:
    """BGR, of the outline and the number of a person."""
    return _COLOURS[(instance_value(identity) - 1) % len(_COLOURS)]


def mark_people(
    frame: Image,
    people: Sequence[Person],
    words: Mapping[int, str] = MappingProxyType({}),
    *,
    outlined: frozenset[int] = frozenset(),
) -> None:
    """Draw on (H, W, 3) uint8, BGR, in place.

    Args:
        frame: the picture.
        people: who is marked.
        words: what stands behind a person's number, by that number.
        outlined: the numbers of those who need no corners, as an outline shows where they are.
    """
    size = (frame.shape[0], frame.shape[1])
    thickness = max(1, round(min(size) / 360))
    for person in sorted(people, key=lambda one: one.box[3]):  # the nearest ones' numbers lie above
        left, top, right, bottom = (round(value) for value in person.box)
        right, bottom = max(right - 1, left), max(bottom - 1, top)
        colour = person_colour(person.id)
        word = f"{person.id}  {words.get(person.id, '')}".rstrip()
        if person.id in outlined:
            _name(frame, word, ((left + right) // 2, top), thickness, colour, centred=True)
        else:
            _corners(frame, (left, top, right, bottom), thickness, colour)
            _name(frame, word, (left, top), thickness, colour)


def outline_people(frame: Image, instances: NDArray[np.uint8], width: int) -> None:
    """Draw a line around everybody in their colour, on (H, W, 3) uint8, BGR, in place; it covers nobody's inside.

    Args:
        frame: the picture, or a part of it.
        instances: (H, W) uint8, :func:`instance_value` of whom each pixel shows; 0 for nobody.
        width: of the line, in pixels.
    """
    side = 2 * width + 1
    grown = cv2.dilate(instances, np.ones((side, side), np.uint8))
    line = cv2.compare(grown, instances, cv2.CMP_NE)
    cv2.copyTo(cv2.applyColorMap(grown, _outline_colours()), line, frame)


@lru_cache(maxsize=1)
def _outline_colours() -> NDArray[np.uint8]:
    """(256, 1, 3) uint8, BGR, by a pixel's value in a map of people."""
    return np.array([[(0, 0, 0)], *([person_colour(value)] for value in range(1, 256))], np.uint8)


@lru_cache(maxsize=256)
def _tag(text: str, height: int, colour: tuple[int, int, int] | None) -> Panel:
    return text_panel(text, height, colour)


def _corners(frame: Image, box: tuple[int, int, int, int], thickness: int, light: tuple[int, int, int]) -> None:
    left, top, right, bottom = box
    arm = max(3, round(min(right - left, bottom - top) * _ARM))
    for colour, width in ((_DARK, thickness + 2), (light, thickness)):  # the dark rim shows it on bright frames
        for x, inward in ((left, arm), (right, -arm)):
            for y, down in ((top, arm), (bottom, -arm)):
                cv2.line(frame, (x, y), (x + inward, y), colour, width, cv2.LINE_AA)
                cv2.line(frame, (x, y), (x, y + down), colour, width, cv2.LINE_AA)
