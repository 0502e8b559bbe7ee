"""What a report shows of a person: skeletons of labels, reference and engine, and how far joints moved."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ...data.dataset import Image
from ...specs.skeleton import Skeleton
from .. import scoring
from ..scoring import Panel
from .draw import draw_pose
from .oks import LEAST_SCORE

DIFFERS_RGB = (225, 0, 200)
"""Magenta: as label maps that differ are shown."""

_PALE = (200, 200, 200)


@dataclass(frozen=True)
class Picture(scoring.Picture):
    """One person, as the network sees them.

    Args:
        photo: (h, w, 3) uint8, BGR: the frame.
        truth: (J, 3) x, y and visibility in the frame's pixels; None without labels.
        truth_skeleton: of the labels.
        reference, engine: (K, 3) x, y and score in the frame's pixels.
        skeleton: of the answers.
    """

    photo: Image
    truth: NDArray[np.float32] | None
    truth_skeleton: Skeleton | None
    reference: NDArray[np.float32]
    engine: NDArray[np.float32]
    skeleton: Skeleton

    def panels(self, reference: str, engine: str, largest: int) -> tuple[Panel, ...]:
        scale = largest / max(self.photo.shape[:2])
        height, width = (max(round(side * scale), 1) for side in self.photo.shape[:2])
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        photo = np.asarray(cv2.resize(self.photo, (width, height), interpolation=how), np.uint8)

        def placed(keypoints: NDArray[np.float32]) -> NDArray[np.float32]:
            points = (keypoints[:, :2] + 0.5) * scale - 0.5
            return np.column_stack([points, keypoints[:, 2]]).astype(np.float32)

        def drawn(keypoints: NDArray[np.float32], skeleton: Skeleton) -> Image:
            canvas: Image = photo.copy()
            draw_pose(canvas, placed(keypoints), skeleton)
            return canvas

        shown = [Panel("photo", photo)]
        if self.truth is not None and self.truth_skeleton is not None:
            labelled = np.column_stack([self.truth[:, :2], self.truth[:, 2] > 0]).astype(np.float32)
            shown.append(Panel("truth", drawn(labelled, self.truth_skeleton)))
        shown += [
            Panel(reference, drawn(self.reference, self.skeleton)),
            Panel(engine, drawn(self.engine, self.skeleton)),
            Panel("difference", self._difference(photo, placed(self.reference), placed(self.engine))),
        ]
        return tuple(shown)

    def _difference(self, photo: Image, reference: NDArray[np.float32], engine: NDArray[np.float32]) -> Image:
        """The reference's skeleton in pale grey on a dark photograph, and from each joint of it to the engine's."""
        canvas = (photo // 2).astype(np.uint8)
        draw_pose(canvas, reference, self.skeleton, colour=_PALE)
        for before, after in zip(reference, engine):
            if before[2] < LEAST_SCORE or not (np.isfinite(before).all() and np.isfinite(after).all()):
                continue
            near = np.clip([before[:2], after[:2]], -4096, 4096)
            ends = [tuple(round(float(value)) for value in point) for point in near]
            if ends[0] != ends[1]:
                cv2.line(canvas, ends[0], ends[1], DIFFERS_RGB[::-1], 2, cv2.LINE_AA)
                cv2.circle(canvas, ends[1], 3, DIFFERS_RGB[::-1], -1, cv2.LINE_AA)
        return canvas
