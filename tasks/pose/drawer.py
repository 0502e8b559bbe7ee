"""Skeletons over the frames of a run, kept still where that was asked for, and what of them is written down."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ...data.dataset import Image
from ...specs.skeleton import Skeleton
from ...storage.json_types import JsonObject
from ..drawing import OPACITY, Drawer, Flicker, Seen, Sight
from ..parsing.legend import Hud
from ..parsing.smoothing import StillPixels
from ..people.draw import mark_people
from ..people.person import Person
from .draw import draw_pose
from .keypoint_file import told_joints
from .oks import LEAST_SCORE, person_scores
from .smoothing import JitterMeter, JointSmoothing

_ALONE = 1
"""The id of whoever a whole frame is about."""


@dataclass(frozen=True, eq=False)
class PoseSight(Sight):
    """Everybody's joints in a frame, in its pixels.

    Args:
        poses: by person: (K, 3) float32 x, y and a score.
        skeleton: of the joints.
    """

    poses: Mapping[int, NDArray[np.float32]]
    skeleton: Skeleton
    ending: ClassVar[str] = ".json"

    def file(self) -> bytes:
        return (json.dumps(dict(self.told()), indent=1) + "\n").encode("ascii")

    def told(self) -> JsonObject:
        """Everybody's joints by their names, and a score."""
        people = [
            {"id": number, "score": _score(pose), "keypoints": told_joints(pose, self.skeleton)}
            for number, pose in self.poses.items()
        ]
        return {"poses": people}

    def shares(self) -> Mapping[int, float]:
        """Of the people in whom each joint is seen."""
        if not self.poses:
            return {}
        seen = np.mean([pose[:, 2] >= LEAST_SCORE for pose in self.poses.values()], axis=0)
        return {int(joint): float(seen[joint]) for joint in np.flatnonzero(seen)}


class PoseDrawer(Drawer[NDArray[np.float32], PoseSight]):
    """Draws skeletons.

    Args:
        skeleton: of the joints.
        frame_size: (height, width).
        smooth: keep joints still where they are at rest (One-Euro filter).
    """

    def __init__(self, skeleton: Skeleton, frame_size: tuple[int, int], *, smooth: bool = False) -> None:
        self._skeleton, self._size = skeleton, frame_size
        self._smoothing = JointSmoothing() if smooth else None
        self._still, self._meter = StillPixels(), JitterMeter()
        self._hud = Hud(frame_size)

    @property
    def flicker(self) -> Flicker | None:
        if self._smoothing is None:
            return None
        return Flicker(self._meter.jitter.before, self._meter.jitter.after)

    def look(self, frame: Image, seen: Seen[NDArray[np.float32]]) -> PoseSight:
        numbers = [_ALONE] if seen.people is None else [person.id for person in seen.people]
        found = {
            number: np.column_stack([placement.to_image(answer[:, :2]), answer[:, 2]]).astype(np.float32)
            for number, placement, answer in zip(numbers, seen.placements, seen.answers)
        }
        if self._smoothing is None:
            return PoseSight(found, self._skeleton)
        if seen.people is None:
            heights = {_ALONE: float(self._size[0])}
        else:
            heights = {person.id: float(person.box[3] - person.box[1]) for person in seen.people}
        shown = {
            number: self._smoothing.apply(number, pose, heights[number], seen.seconds) for number, pose in found.items()
        }
        self._smoothing.keep(set(found), seen.seconds)
        self._meter.add(self._still.update(frame), {n: (found[n], shown[n]) for n in found}, heights)
        return PoseSight(shown, self._skeleton)

    def draw(
        self,
        frame: Image,
        sight: PoseSight,
        *,
        people: tuple[Person, ...] = (),
        hud: str = "",
        opacity: float | None = None,
        parts: frozenset[int] | None = None,
    ) -> None:
        opacity = OPACITY if opacity is None else opacity
        # Skeletons are thin: at the usual opacity they cover what is behind them.
        share = min(opacity / OPACITY, 1.0)
        canvas = frame if share == 1 else frame.copy()
        if share > 0:
            for pose in sight.poses.values():
                shown = pose
                if parts is not None:
                    shown = pose.copy()
                    shown[[joint for joint in range(len(pose)) if joint not in parts], 2] = 0
                draw_pose(canvas, shown, self._skeleton)
        if canvas is not frame and share > 0:
            frame[:] = (share * canvas.astype(np.float32) + (1 - share) * frame).round().astype(np.uint8)
        mark_people(frame, people, {number: f"{100 * _score(pose):.0f} %" for number, pose in sight.poses.items()})
        if hud:
            self._hud.write(frame, hud)


def _score(pose: NDArray[np.float32]) -> float:
    return round(float(person_scores(pose[None], np.ones(1))[0]), 4)
