"""What a report shows of an image: boxes of labels, reference and engine, and whom one has alone."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ...data.dataset import Image
from .. import scoring
from ..scoring import Panel
from .boxes import Boxes, Detections, overlap
from .draw import draw_boxes
from .matching import NEARLY
from .rows import Rows, detections, rows_of

COLOURS_RGB = (("somebody", (255, 170, 0)), ("not found", (0, 150, 255)), ("differs", (225, 0, 200)))
"""Of labels and answers, and in the difference: whom the reference has alone, and what the engine has elsewhere."""

_SOMEBODY, _MISSED, _DIFFERS = ((blue, green, red) for _, (red, green, blue) in COLOURS_RGB)


@dataclass(frozen=True)
class Picture(scoring.Picture):
    """An image as the network sees it.

    Args:
        photo: (h, w, 3) uint8, BGR: the frame.
        truth: (n, 4) in the frame's pixels; None without labels.
        reference, engine: (n, 5) in the frame's pixels.
        sure: the score from which a box is somebody.
    """

    photo: Image
    truth: Boxes | None
    reference: Rows
    engine: Rows
    sure: float

    def panels(self, reference: str, engine: str, largest: int) -> tuple[Panel, ...]:
        scale = largest / max(self.photo.shape[:2])
        height, width = (max(round(side * scale), 1) for side in self.photo.shape[:2])
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        photo = np.asarray(cv2.resize(self.photo, (width, height), interpolation=how), np.uint8)

        def drawn(rows: Rows) -> Image:
            canvas: Image = photo.copy()
            draw_boxes(canvas, _scaled(rows, scale), self.sure, colour=_SOMEBODY)
            return canvas

        shown = [Panel("photo", photo)]
        if self.truth is not None:
            shown.append(Panel("truth", drawn(rows_of(Detections(self.truth, np.ones(len(self.truth)))))))
        shown += [
            Panel(reference, drawn(self.reference)),
            Panel(engine, drawn(self.engine)),
            Panel("difference", self._difference(photo, scale)),
        ]
        return tuple(shown)

    def _difference(self, photo: Image, scale: float) -> Image:
        canvas: Image = (photo // 2).astype(np.uint8)
        sure = [detections(rows[rows[:, 4] >= self.sure]) for rows in (self.reference, self.engine)]
        shares = overlap(sure[0].boxes, sure[1].boxes)
        missed = [not len(shares[row]) or shares[row].max() < NEARLY for row in range(len(sure[0]))]
        other = [not len(shares) or shares[:, column].max() < NEARLY for column in range(len(sure[1]))]
        for people, chosen, colour in ((sure[0], missed, _MISSED), (sure[1], other, _DIFFERS)):
            draw_boxes(canvas, _scaled(rows_of(people)[np.array(chosen, bool)], scale), self.sure, colour=colour)
        return canvas


def _scaled(rows: Rows, scale: float) -> Rows:
    return rows * np.array([scale] * 4 + [1], np.float32)
