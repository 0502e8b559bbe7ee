from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from trtparse.errors import DataError, UsageError
from trtparse.specs.skeleton import load_skeleton
from trtparse.tasks.pose.data import open_data

COCO = load_skeleton("coco17")


def write(path: Path, *, scores: bool = False, names: tuple[str, ...] = ("a.jpg", "a.jpg", "b.jpg")) -> None:
    """COCO annotations of one person in each of ``names``."""
    ids = {name: number for number, name in enumerate(dict.fromkeys(names), 1)}
    annotation = {"category_id": 1, "bbox": [2, 2, 20, 30], "area": 300, "keypoints": [5, 6, 2] * 17}
    more = {"scores": [0.5] * 17} if scores else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    table = {
        "images": [{"id": number, "file_name": name, "width": 40, "height": 50} for name, number in ids.items()],
        "annotations": [{"id": n, "image_id": ids[name], **annotation, **more} for n, name in enumerate(names)],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO.joints)}],
    }
    path.write_text(json.dumps(table))


def photographs(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        cv2.imwrite(str(folder / name), np.full((50, 40, 3), 90, np.uint8))


@pytest.mark.parametrize(
    ("annotations", "images"),
    [
        ("annotations/person_keypoints_val2017.json", "val2017"),
        ("annotations/lsp14_val.json", "images/val"),
        ("people_val.json", ""),
        ("annot/val.json", "images"),
    ],
)
def test_images_are_found_where_layouts_have_them(annotations: str, images: str, tmp_path: Path) -> None:
    write(tmp_path / annotations)
    photographs(tmp_path / images, "a.jpg", "b.jpg")
    found = open_data(str(tmp_path), None, "validation")
    assert found.names == ("a.jpg", "a.jpg#2", "b.jpg")
    assert found.labelled
    sample = found[1]
    assert sample.image.shape == (50, 40, 3)
    assert sample.box == (2, 2, 20, 30)
    assert sample.labels is not None
    assert sample.labels.shape == (17, 3)
    assert open_data(str(tmp_path / annotations), None, "calibration").names == found.names


def test_a_purpose_has_its_split_and_what_people_labelled_comes_before_a_teacher(tmp_path: Path) -> None:
    write(tmp_path / "annotations" / "lsp14_train.json", names=("a.jpg",))
    write(tmp_path / "annotations" / "teacher_train.json", names=("a.jpg", "a.jpg"), scores=True)
    write(tmp_path / "annotations" / "lsp14_val.json", names=("b.jpg",))
    write(tmp_path / "annotations" / "instances_val.json", names=("b.jpg",))
    photographs(tmp_path / "images" / "train", "a.jpg")
    photographs(tmp_path / "images" / "val", "b.jpg")
    assert open_data(str(tmp_path), None, "calibration").names == ("a.jpg",)
    assert open_data(str(tmp_path), None, "validation").names == ("b.jpg",)
    assert open_data(str(tmp_path), "train", "validation").names == ("a.jpg",)
    with pytest.raises(DataError, match="no annotations for test"):
        open_data(str(tmp_path), "test", "validation")
    write(tmp_path / "annotations" / "others_val.json", names=("b.jpg",))
    with pytest.raises(DataError, match="several files of annotations that may be meant"):
        open_data(str(tmp_path), None, "validation")


def test_rendered_people_of_calibration_and_validation_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trtparse.tasks.pose.data.SYNTHETIC_PEOPLE", {"calibration": 3, "validation": 2})
    calibration, validation = (open_data(None, None, purpose) for purpose in ("calibration", "validation"))
    assert (len(calibration), len(validation)) == (3, 2)
    assert not set(calibration.names) & set(validation.names)
    assert validation.skeleton == COCO


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--split goes with --data"):
        open_data(None, "val", "validation")
    with pytest.raises(DataError, match="nothing at"):
        open_data(str(tmp_path / "nowhere"), None, "validation")
    with pytest.raises(DataError, match="has no annotations of poses"):
        open_data(str(tmp_path), None, "validation")
    path = tmp_path / "people_val.json"
    write(path)
    with pytest.raises(UsageError, match="--split goes with a folder"):
        open_data(str(path), "val", "validation")
    with pytest.raises(DataError, match=r"The image a\.jpg of .* is missing"):
        open_data(str(path), None, "validation")
    photographs(tmp_path, "a.jpg", "b.jpg")
    with pytest.raises(DataError, match="has the joints of coco17; --labels names lsp14"):
        open_data(str(path), None, "validation", "lsp14")
    path.write_text(path.read_text()[:200])
    with pytest.raises(DataError, match="cut off"):
        open_data(str(path), None, "validation")
