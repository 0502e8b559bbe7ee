"""A photograph's joints, of one person or of everybody, as a file and as COCO's results."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...specs.skeleton import Skeleton
from ...storage.json_types import JsonObject
from ..people.box_file import DAMAGED, people_told, read_values, told_people
from ..people.rows import Rows
from .average_precision import result
from .oks import distinct, person_scores

SCHEMA = 1

Joints = NDArray[np.float32]
"""(K, 3): x and y in pixels of the image, and a score."""


@dataclass(frozen=True, eq=False)
class Everybody:
    """The joints of everybody on a photograph.

    Args:
        people: (P, 5) float32: left, top, right and bottom of their boxes in pixels, and the boxes' scores.
        joints: (P, K, 3) float32: x and y in pixels, and a score.
        skeleton: of the K joints.
    """

    people: Rows
    joints: Joints
    skeleton: Skeleton


def encode_joints(joints: Joints | Everybody, skeleton: Skeleton, record: str = "") -> bytes:
    """A photograph's joints as JSON, the same bytes each time.

    Args:
        joints: (K, 3) of a photograph that shows one person, or everybody's.
        skeleton: whose joints they are.
        record: what they were made from; empty for nothing.
    """
    values = {
        "schema": SCHEMA,
        "skeleton": skeleton.name,
        "skeleton_digest": skeleton.digest,
        **_told(joints, skeleton),
        **({"record": record} if record else {}),
    }
    return (json.dumps(values, indent=1) + "\n").encode("ascii")


def _told(joints: Joints | Everybody, skeleton: Skeleton) -> JsonObject:
    if not isinstance(joints, Everybody):
        return {"keypoints": told_joints(joints, skeleton)}
    boxes = told_people(joints.people)
    poses = [{"keypoints": told_joints(one, skeleton)} for one in joints.joints]
    return {"people": [{**box, **pose} for box, pose in zip(boxes, poses)]}


def decode_joints(data: bytes, skeleton: Skeleton) -> tuple[str | None, Joints | Everybody | None]:
    """What joints were made from, and the joints; None for either where the file does not say or is damaged."""
    try:
        values, record = read_values(data)
        if values["schema"] != SCHEMA or values["skeleton_digest"] != skeleton.digest:
            return record, None
        if "people" not in values:
            return record, _joints(values["keypoints"], skeleton)
        poses = [_joints(one["keypoints"], skeleton) for one in values["people"]]
        rows = people_told(values["people"])
        if rows is None or any(pose is None for pose in poses):
            return record, None
    except DAMAGED:
        return None, None
    return record, Everybody(rows, np.array(poses, np.float32).reshape(-1, len(skeleton), 3), skeleton)


def _joints(told: Any, skeleton: Skeleton) -> Joints | None:
    """(K, 3) of :func:`told_joints`; None of anything else."""
    if set(told) != set(skeleton.joints):
        return None
    joints = np.array([told[name] for name in skeleton.joints], np.float32)
    return joints if joints.shape == (len(skeleton), 3) and np.isfinite(joints).all() else None


def told_joints(joints: Joints, skeleton: Skeleton) -> dict[str, list[float]]:
    """x, y and score of each joint by its name, as JSON has it."""
    return {
        name: [round(float(x), 2), round(float(y), 2), round(float(score), 4)]
        for name, (x, y, score) in zip(skeleton.joints, joints)
    }


def coco_results(image: int, joints: Joints | Everybody) -> list[JsonObject]:
    """COCO's results of one photograph.

    A person's score is the mean of the joints' above 0.2, times the box's where people were found. Of two people in one
    photograph whose joints are alike by 0.9 the lower falls away, as in a validation.

    Args:
        image: its number.
        joints: (K, 3) of a photograph that shows one person, or everybody's.
    """
    if not isinstance(joints, Everybody):
        return [result(image, joints, float(person_scores(joints[None], np.ones(1))[0]))]
    people, poses = joints.people, joints.joints
    scores = person_scores(poses, people[:, 4])
    areas = np.prod(people[:, 2:4] - people[:, :2], axis=1)
    kept = distinct(poses, scores, np.array(joints.skeleton.sigmas), areas)
    return [result(image, poses[number], float(scores[number])) for number in kept]
