from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from trtparse.errors import DataError
from trtparse.specs.skeleton import load_skeleton
from trtparse.tasks.pose.files import coco_skeleton, read_coco, read_detections, read_lip, read_mpii

COCO = load_skeleton("coco17")
SAMPLES = Path(__file__).parents[4] / "shared" / "data" / "pose" / "samples"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "1.jpg").write_bytes(cv2.imencode(".jpg", np.zeros((100, 80, 3), np.uint8))[1].tobytes())
    return tmp_path


@pytest.fixture
def table() -> dict[str, Any]:
    """One image of 80x100 with one person of two joints."""
    return {
        "images": [{"id": 7, "file_name": "1.jpg", "width": 80, "height": 100}],
        "annotations": [
            {"id": 3, "image_id": 7, "bbox": [1, 2, 30, 40], "area": 600, "keypoints": [5, 6, 2, 20, 30, 1, 0, 0, 0]}
        ],
        "categories": [
            {
                "id": 1,
                "name": "cat",
                "keypoints": ["head", "left_paw", "right_paw"],
                "skeleton": [[1, 2], [1, 3]],
                "sigmas": [0.1, 0.05, 0.05],
            }
        ],
    }


def written(folder: Path, table: object) -> Path:
    path = folder / "people.json"
    path.write_text(json.dumps(table))
    return path


def test_a_file_brings_its_own_skeleton(folder: Path, table: dict[str, Any]) -> None:
    people = read_coco(written(folder, table), folder)

    assert people.skeleton.joints == ("head", "left_paw", "right_paw")
    assert people.skeleton.flip == (("left_paw", "right_paw"),)
    assert people.skeleton.limbs == (("head", "left_paw"), ("head", "right_paw"))
    assert people.skeleton.sigmas == (0.1, 0.05, 0.05)
    (person,) = people.people
    assert (person.image_id, person.number, person.box, person.area) == (7, 3, (1, 2, 30, 40), 600)
    assert person.joints.tolist() == [[5, 6, 2], [20, 30, 1], [0, 0, 0]]
    assert person.read().shape == (100, 80, 3)


def test_the_joints_of_coco_are_the_shipped_skeleton(table: dict[str, Any]) -> None:
    table["categories"][0]["keypoints"] = list(COCO.joints)
    assert coco_skeleton(table, Path("x")) == COCO


def test_crowds_and_people_without_a_labelled_joint_are_left_out(folder: Path, table: dict[str, Any]) -> None:
    person = table["annotations"][0]
    table["annotations"] += [{**person, "id": 4, "iscrowd": 1}, {**person, "id": 5, "keypoints": [0] * 9}]
    assert [person.number for person in read_coco(written(folder, table), folder).people] == [3]


def test_few_joints_outside_of_their_images_are_dropped_and_told(folder: Path, table: dict[str, Any]) -> None:
    person = table["annotations"][0]
    table["annotations"] = [{**person, "id": number} for number in range(10)]
    table["annotations"].append({**person, "id": 11, "keypoints": [5, 6, 2, 200, 30, 2, 0, 0, 0]})

    people = read_coco(written(folder, table), folder)

    assert "1 joints outside of their images left out" in people.description
    assert people[10].joints.tolist() == [[5, 6, 2], [0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("keypoints", None, "annotation 3 .* has no keypoints"),
        ("keypoints", [5, 6, 3, 0, 0, 0, 0, 0, 0], "annotation 3 .* a visibility of 3"),
        ("keypoints", [5, 6, 2], "has 1 keypoints; cat has 3 joints"),
        ("keypoints", [5, 6, 2, 1], "no list of x, y and visibility"),
        ("keypoints", [float("nan"), 6, 2, 0, 0, 0, 0, 0, 0], "a coordinate that is no number"),
        ("keypoints", [5, 600, 2, 20, 30, 1, 0, 0, 0], "1 of 2 labelled joints outside"),
        ("bbox", None, "annotation 3 .* has no box"),
        ("bbox", [1, 2, 0, 40], "a box of 0x40 pixels"),
        ("bbox", [1, 2, float("inf"), 40], "a bbox of inf"),
        ("image_id", 8, "image 8, which the file does not list"),
        ("image_id", [7], r"image \[7\], which the file does not list"),
        ("id", "seven", "annotation seven .* has 'seven' for an id"),
        ("keypoints", 17, "no list of x, y and visibility"),
        ("area", float("nan"), "annotation 3 .* has a person's area of nan"),
        ("scores", [1, 2], "2 scores for 3 joints"),
        ("scores", [1, 2, "x"], "has scores that are no numbers"),
        ("scores", [1, 2, float("nan")], "has a score that is no number"),
    ],
)
def test_an_annotation_that_cannot_be_is_refused(
    folder: Path, table: dict[str, Any], place: str, value: object, said: str
) -> None:
    if value is None:
        del table["annotations"][0][place]
    else:
        table["annotations"][0][place] = value
    with pytest.raises(DataError, match=said):
        read_coco(written(folder, table), folder)


def test_another_skeleton_than_the_wanted_is_refused_with_both(folder: Path, table: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="has the joints head, left_paw, right_paw; coco17 has nose"):
        read_coco(written(folder, table), folder, skeleton=COCO)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table.pop("annotations"), "no list of annotations"),
        (lambda table: table["categories"][0].pop("keypoints"), "no category with keypoints"),
        (lambda table: table["categories"][0].update(keypoints=["head", "head", "tail"]), "two joints are named head"),
        (lambda table: table["categories"][0].update(skeleton=[[1, 9]]), "a limb that names no joint"),
        (lambda table: table["categories"].append({"keypoints": ["tail"]}), "several skeletons"),
        (lambda table: table["images"][0].update(file_name="2.jpg"), r"2\.jpg is missing"),
        (lambda table: table["images"][0].pop("id"), "an image without id"),
        (lambda table: table["images"][0].update(id=[7]), "an image without id"),
        (lambda table: table["images"][0].update(width="wide"), "image 7 of .* has a width of 'wide'"),
        (lambda table: table["categories"][0].update(keypoints=3), "keypoints are no list of names"),
        (lambda table: table["categories"][0].update(sigmas=["x"]), "has sigmas that are no numbers"),
        (lambda table: table["annotations"].clear(), "nobody with labelled joints"),
    ],
)
def test_a_table_that_is_not_coco_s_is_refused(folder: Path, table: dict[str, Any], change: Any, said: str) -> None:
    table = copy.deepcopy(table)
    change(table)
    with pytest.raises(DataError, match=said):
        read_coco(written(folder, table), folder)


def test_a_file_that_is_cut_off_missing_or_a_list_is_refused(folder: Path, table: dict[str, Any]) -> None:
    path = written(folder, table)
    path.write_text(path.read_text()[:-20])
    with pytest.raises(DataError, match=r"people\.json is cut off or no JSON"):
        read_coco(path, folder)
    with pytest.raises(DataError, match="There is no file"):
        read_coco(folder / "none.json", folder)
    with pytest.raises(DataError, match="not COCO's table"):
        read_coco(written(folder, []), folder)


def test_detections_are_people_without_joints(folder: Path, table: dict[str, Any]) -> None:
    annotations = written(folder, table)
    path = folder / "boxes.json"
    box = {"image_id": 7, "category_id": 1, "bbox": [1, 2, 10, 20], "score": 0.9}
    path.write_text(json.dumps([box, {**box, "category_id": 18}]))

    people = read_detections(path, folder, annotations, COCO)

    (person,) = people.people
    assert (person.score, person.number, person.area) == (0.9, -1, pytest.approx(106))
    assert not person.joints.any()
    path.write_text(json.dumps([{**box, "image_id": 9}]))
    with pytest.raises(DataError, match=r"detection 0 .* is in image 9"):
        read_detections(path, folder, annotations, COCO)
    path.write_text(json.dumps({}))
    with pytest.raises(DataError, match="list of detections"):
        read_detections(path, folder, annotations, COCO)


def test_mpii_s_scale_is_a_square_of_200_pixels_moved_down_and_counted_from_one(folder: Path) -> None:
    entry = {
        "image": "1.jpg",
        "center": [41, 51],
        "scale": 0.5,
        "joints": [[11, 21]] * 16,
        "joints_vis": [1] * 15 + [0],
    }
    people = read_mpii(written(folder, [entry]), folder)

    assert people[0].box == pytest.approx((-10, 7.5, 100, 100))
    assert people[0].joints[0].tolist() == [10, 20, 2]
    assert people[0].joints[15].tolist() == [0, 0, 0]
    entry["joints"][15] = [float("nan")] * 2  # of one that is not there
    assert read_mpii(written(folder, [entry]), folder)[0].joints[15].tolist() == [0, 0, 0]
    with pytest.raises(DataError, match=r"person 0 .* has no scale"):
        read_mpii(written(folder, [{"image": "1.jpg", "center": [1, 1]}]), folder)
    for wrong, said in (
        ({"joints": [[1, 1]] * 3}, r"joints of shape \(3, 2\)"),
        ({"joints_vis": None}, r"and joints_vis of shape \(\)"),
        ({"joints_vis": "x"}, "has joints_vis that are no numbers"),
        ({"joints": [[1, 1]] * 15 + [[1]]}, "has joints that are no numbers"),
        ({"joints": [[1, float("nan")]] * 16}, "a coordinate that is no number"),
        ({"center": 5}, r"a center of shape \(\)"),
        ({"image": 5}, "has 5 for an image"),
    ):
        with pytest.raises(DataError, match=said):
            read_mpii(written(folder, [{**entry, **wrong}]), folder)


def test_lip_s_nan_is_not_labelled_and_its_one_is_hidden(folder: Path) -> None:
    fields = ["1.jpg", "5", "6", "0", "7", "8", "1", "nan", "nan", "nan", "500", "6", "0"] + ["9", "9", "0"] * 12
    path = folder / "lip.csv"
    path.write_text(",".join(fields) + "\n")

    (person,) = read_lip(path, folder).people

    assert person.joints[:4].tolist() == [[5, 6, 2], [7, 8, 1], [0, 0, 0], [0, 0, 0]]
    assert person.box == (0, 0, 80, 100)
    path.write_text(",".join(fields[:-1]) + "\n")
    with pytest.raises(DataError, match=r"line 1 .* has 48 fields"):
        read_lip(path, folder)
    path.write_text(",".join(["1.jpg", "five", *fields[2:]]) + "\n")
    with pytest.raises(DataError, match="no number"):
        read_lip(path, folder)


@pytest.mark.shared
@pytest.mark.skipif(not SAMPLES.is_dir(), reason="no photographs beside the project")
def test_samples_of_coco_and_mpii_are_read() -> None:
    coco = read_coco(SAMPLES / "coco" / "test_coco.json", SAMPLES / "coco")
    assert (len(coco), coco.skeleton.name) == (12, "coco17")
    assert len(read_mpii(SAMPLES / "mpii" / "test_mpii.json", SAMPLES / "mpii")) == 5
    detections = SAMPLES / "coco" / "test_coco_det_AP_H_56.json"
    found = read_detections(detections, SAMPLES / "coco", SAMPLES / "coco" / "test_coco.json", COCO)
    assert len(found) == 118
