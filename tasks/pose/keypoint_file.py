"""One photograph's joints as a file, and many photographs' as COCO's results."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ...specs.skeleton import Skeleton
from .average_precision import result
from .oks import person_scores

SCHEMA = 1

Joints = NDArray[np.float32]
"""(K, 3): x and y in pixels of the image, and a score."""

_NUMBER = re.compile(r"\d+")


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


def image_ids(names: Iterable[str], annotations: Mapping[str, Any] | None, path: str = "") -> list[int]:
    """COCO's number of each image.

    It is what the annotations say, where some are given; else the number in the file's name, where every name has one
    and no two are alike; else they are counted from 1.

    Args:
        names: file names, with or without folders.
        annotations: COCO's table.
        path: of the annotations, for messages.

    Raises:
        DataError: the annotations do not have an image, or are no such table.
    """
    files = [PurePath(name).name for name in names]
    if annotations is not None:
        try:
            known = {PurePath(image["file_name"]).name: int(image["id"]) for image in annotations["images"]}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"{path} is JSON, but not COCO's table: {error!r}.",
                "It should have images, each with id and file_name.",
            ) from error
        missing = [file for file in files if file not in known]
        if missing:
            raise DataError(
                f"{path} does not have {len(missing)} of the {len(files)} images, as {missing[0]}.",
                "Give the annotations of these images, or leave --annotations out.",
            )
        return [known[file] for file in files]
    numbers = [_NUMBER.findall(PurePath(file).stem) for file in files]
    if all(len(found) == 1 for found in numbers):
        ids = [int(found[0]) for found in numbers]
        if len(set(ids)) == len(ids):
            return ids
    return list(range(1, len(files) + 1))


def coco_results(found: Iterable[tuple[str, int, Joints]]) -> bytes:
    """``keypoints.json``: COCO's results, one a photograph, with the file's name.

    Args:
        found: name, image id and joints of each.
    """
    entries = []
    for name, number, joints in found:
        score = float(person_scores(joints[None], np.ones(1))[0])
        entries.append({**result(number, joints, score), "file_name": PurePath(name).name})
    lines = ",\n".join(json.dumps(entry) for entry in entries)
    return f"[\n{lines}\n]\n".encode("ascii")
