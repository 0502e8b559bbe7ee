from __future__ import annotations

import json

import numpy as np
import pytest

from trtparse.errors import DataError
from trtparse.specs.skeleton import load_skeleton
from trtparse.tasks.pose.keypoint_file import coco_results, decode_joints, encode_joints, image_ids

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


def test_images_are_numbered_by_annotations_by_their_names_or_by_counting() -> None:
    names = ["a/000000000785.jpg", "b/000000040083.jpg"]
    assert image_ids(names, None) == [785, 40083]
    assert image_ids(["im1_2.jpg", "im3.jpg"], None) == [1, 2]
    assert image_ids(["x1.jpg", "y1.jpg"], None) == [1, 2]
    assert image_ids(["nobody.jpg"], None) == [1]
    table = {"images": [{"id": 7, "file_name": "val/000000000785.jpg"}, {"id": 8, "file_name": "000000040083.jpg"}]}
    assert image_ids(names, table) == [7, 8]
    with pytest.raises(DataError, match=r"does not have 1 of the 1 images, as other\.jpg"):
        image_ids(["other.jpg"], table, "labels.json")
    with pytest.raises(DataError, match="not COCO's table"):
        image_ids(names, {"images": [{"id": 1}]}, "labels.json")


def test_results_are_coco_s_with_the_name_of_the_file(joints: np.ndarray) -> None:
    joints[:, 2] = 0.5
    entries = json.loads(coco_results([("a.jpg", 4, joints), ("b.jpg", 5, joints)]))
    assert [(entry["image_id"], entry["file_name"], entry["category_id"]) for entry in entries] == [
        (4, "a.jpg", 1),
        (5, "b.jpg", 1),
    ]
    assert entries[0]["score"] == 0.5
    assert entries[0]["keypoints"] == pytest.approx(joints.ravel().tolist(), abs=1e-3)
    assert json.loads(coco_results([])) == []
