"""One photograph's joints as a file, and as COCO's results."""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray

from ...specs.skeleton import Skeleton
from ...storage.json_types import JsonObject
from .average_precision import result
from .oks import person_scores

SCHEMA = 1

Joints = NDArray[np.float32]
"""(K, 3): x and y in pixels of the image, and a score."""


def encode_joints(joints: Joints, skeleton: Skeleton, record: str = "") -> bytes:
    """A photograph's joints as JSON, the same bytes each time.

    Args:
        joints: (K, 3).
        skeleton: whose joints they are.
        record: what they were made from; empty for nothing.
    """
    values = {
        "schema": SCHEMA,
        "skeleton": skeleton.name,
        "skeleton_digest": skeleton.digest,
        "keypoints": told_joints(joints, skeleton),
        **({"record": record} if record else {}),
    }
    return (json.dumps(values, indent=1) + "\n").encode("ascii")


def decode_joints(data: bytes, skeleton: Skeleton) -> tuple[str | None, Joints | None]:
    """What joints were made from, and the joints; None for either where the file does not say or is damaged."""
    try:
        values = json.loads(data)
        record = values.get("record")
        told = values["keypoints"]
        if (
            values["schema"] != SCHEMA
            or values["skeleton_digest"] != skeleton.digest
            or set(told) != set(skeleton.joints)
        ):
            return record, None
        joints = np.array([told[name] for name in skeleton.joints], np.float32)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None, None
    return record, joints if joints.shape == (len(skeleton), 3) and np.isfinite(joints).all() else None


def told_joints(joints: Joints, skeleton: Skeleton) -> dict[str, list[float]]:
    """x, y and score of each joint by its name, as JSON has it."""
    return {
        name: [round(float(x), 2), round(float(y), 2), round(float(score), 4)]
        for name, (x, y, score) in zip(skeleton.joints, joints)
    }


def coco_results(image: int, joints: Joints) -> list[JsonObject]:
    """COCO's results of one photograph, which shows one person.

    Args:
        image: its number.
        joints: (K, 3).
    """
    return [result(image, joints, float(person_scores(joints[None], np.ones(1))[0]))]
