from __future__ import annotations

import json

import numpy as np
import pytest

from trtparse.specs.skeleton import load_skeleton
from trtparse.tasks.coco import Results, results_file
from trtparse.tasks.pose.keypoint_file import coco_results, decode_joints, encode_joints

COCO, MPII = load_skeleton("coco17"), load_skeleton("mpii16")


@pytest.fixture
def joints() -> np.ndarray:
    return np.random.default_rng(0).uniform(0.25, 90, (17, 3)).astype(np.float32).round(2)


def test_joints_come_back_from_their_file_with_what_they_were_made_from(joints: np.ndarray) -> None:
    data = encode_joints(joints, COCO, '{"made": "by"}')
    assert data == encode_joints(joints, COCO, '{"made": "by"}')
    record, found = decode_joints(data, COCO)
    assert record == '{"made": "by"}'
    np.testing.assert_allclose(found, joints, atol=1e-3)
    assert decode_joints(encode_joints(joints, COCO), COCO)[0] is None


def test_a_damaged_file_or_one_of_other_joints_has_none(joints: np.ndarray) -> None:
    data = encode_joints(joints, COCO, "record")
    assert decode_joints(data[: len(data) // 2], COCO) == (None, None)
    assert decode_joints(data, MPII) == ("record", None)
    assert decode_joints(b"[1]", COCO) == (None, None)
    changed = json.loads(data)
    changed["keypoints"]["nose"] = [1, 2]
    assert decode_joints(json.dumps(changed).encode(), COCO)[1] is None


def test_results_are_coco_s_with_the_name_of_the_file(joints: np.ndarray) -> None:
    joints[:, 2] = 0.5
    name, content = results_file(Results("keypoints.json", coco_results), None)
    entries = json.loads(content([("a/4.jpg", joints), ("a/5.jpg", joints)]))
    assert name == "keypoints.json"
    assert [(entry["image_id"], entry["file_name"], entry["category_id"]) for entry in entries] == [
        (4, "4.jpg", 1),
        (5, "5.jpg", 1),
    ]
    assert entries[0]["score"] == 0.5
    assert entries[0]["keypoints"] == pytest.approx(joints.ravel().tolist(), abs=1e-3)
    assert json.loads(content([])) == []
