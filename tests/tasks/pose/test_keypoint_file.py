from __future__ import annotations

import json

import numpy as np
import pytest

from trtparse.specs.skeleton import load_skeleton
from trtparse.tasks.coco import Results, results_file
from trtparse.tasks.pose.keypoint_file import Everybody, coco_results, decode_joints, encode_joints

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


@pytest.fixture
def two(joints: np.ndarray) -> Everybody:
    """The same joints twice, a hundred pixels apart; of the second the box is surer."""
    joints[:, 2] = 0.5
    boxes = np.array([[0, 0, 90, 95, 0.4], [100, 0, 190, 95, 0.8]], np.float32)
    return Everybody(boxes, np.stack([joints, joints + np.float32([100, 0, 0])]), COCO)


def test_everybody_comes_back_from_their_file_with_their_boxes(two: Everybody) -> None:
    record, found = decode_joints(encode_joints(two, COCO, "record"), COCO)
    assert record == "record"
    assert isinstance(found, Everybody)
    np.testing.assert_allclose(found.people, two.people, atol=1e-3)
    np.testing.assert_allclose(found.joints, two.joints, atol=1e-2)
    nobody = Everybody(two.people[:0], two.joints[:0], COCO)
    _, found = decode_joints(encode_joints(nobody, COCO), COCO)
    assert isinstance(found, Everybody)
    assert (found.people.shape, found.joints.shape) == ((0, 5), (0, 17, 3))
    assert coco_results(4, found) == []


@pytest.mark.parametrize("part", [{"box": [1, 2, 3]}, {"score": None}, {"keypoints": {"nose": [1, 2, 3]}}])
def test_somebody_without_a_box_a_score_or_joints_makes_a_file_damaged(two: Everybody, part: dict[str, object]) -> None:
    told = json.loads(encode_joints(two, COCO))
    told["people"][1].update(part)
    assert decode_joints(json.dumps(told).encode(), COCO)[1] is None


def test_results_have_everybody_once_with_the_score_of_box_and_joints(two: Everybody) -> None:
    surer, other = coco_results(4, two)
    assert (surer["image_id"], surer["score"], other["score"]) == (4, pytest.approx(0.4), pytest.approx(0.2))
    assert surer["keypoints"] == pytest.approx(two.joints[1].ravel().tolist(), abs=1e-3)
    again = Everybody(two.people, two.joints[[1, 1]], COCO)
    assert [one["score"] for one in coco_results(4, again)] == [pytest.approx(0.4)]


@pytest.mark.parametrize("record", [5, [1], {}])
def test_a_record_that_is_no_text_says_nothing(record: object) -> None:
    told = json.loads(encode_joints(np.zeros((17, 3), np.float32), COCO))
    assert decode_joints(json.dumps({**told, "record": record}).encode(), COCO)[0] is None


@pytest.mark.parametrize("value", ["1" + "0" * 400, "[" * 100_000])
def test_joints_of_no_numbers_are_damaged(value: str) -> None:
    text = encode_joints(np.zeros((17, 3), np.float32), COCO).decode()
    assert "0.0" in text
    assert decode_joints(text.replace("0.0", value, 1).encode(), COCO) == (None, None)
