"""Boxes over the frames of a run, and what of them is written down."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...data.crops import Placement
from ...data.dataset import Image
from ...storage.json_types import JsonObject
from ..drawing import Drawer, Seen, Sight
from ..parsing.legend import Hud
from .box_file import told_people
from .draw import draw_boxes, mark_people
from .person import Person
from .rows import Rows, rows_of, without_doubles


@dataclass(frozen=True, eq=False)
class PeopleSight(Sight):
    """Everybody in a frame.

    Args:
        rows: (n, 5) float32 in the frame's pixels.
        sure: the score from which a box is somebody.
    """

    rows: Rows
    sure: float
    ending: ClassVar[str] = ".json"

    def file(self) -> bytes:
        return (json.dumps(dict(self.told()), indent=1) + "\n").encode("ascii")

    def told(self) -> JsonObject:
        """Box and score of everybody."""
        return {"found": told_people(self.rows[self.rows[:, 4] >= self.sure])}

    def shares(self) -> Mapping[int, float]:
        return {}


class PeopleDrawer(Drawer[Rows, PeopleSight]):
    """Draws boxes.

    Args:
        restore: brings an answer back onto the frame.
        frame_size: (height, width).
        sure: the score from which a box is somebody.
    """

    def __init__(self, restore: Callable[[Rows, Placement], Rows], frame_size: tuple[int, int], sure: float) -> None:
        self._restore, self._sure = restore, sure
        self._hud = Hud(frame_size)

    def look(self, frame: Image, seen: Seen[Rows]) -> PeopleSight:
        found = [self._restore(*one) for one in zip(seen.answers, seen.placements)]
        if len(found) == 1:
            return PeopleSight(found[0], self._sure)
        rows = np.concatenate([np.zeros((0, 5), np.float32), *found])
        return PeopleSight(rows_of(without_doubles(rows)), self._sure)

    def draw(
        self,
        frame: Image,
        sight: PeopleSight,
        *,
        people: tuple[Person, ...] = (),
        hud: str = "",
        opacity: float | None = None,
        parts: frozenset[int] | None = None,
    ) -> None:
        if opacity is None or opacity > 0:
            draw_boxes(frame, sight.rows, self._sure)
        mark_people(frame, people)
        if hud:
            self._hud.write(frame, hud)
