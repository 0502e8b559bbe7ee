from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from trtparse.errors import DataError
from trtparse.tasks.people.boxes import Detections
from trtparse.tasks.people.found import Found, read_found, write_found


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "deeper").mkdir(parents=True)
    for name in ("a.png", "deeper/b.png"):
        cv2.imwrite(str(folder / name), np.zeros((20, 30, 3), np.uint8))
    return folder


def test_people_come_back_as_they_were_written(images: Path, tmp_path: Path) -> None:
    people = Detections(np.array([[1, 2, 11, 18.0], [5, 5, 29, 20]]), np.array([0.9, 0.3]))
    nobody = Detections(np.zeros((0, 4)), np.zeros(0))
    written = [Found(images / "a.png", (20, 30), people), Found(images / "deeper/b.png", (20, 30), nobody)]
    write_found(tmp_path / "boxes.json", written, images, "drawn")

    one, other = read_found(tmp_path / "boxes.json", images)

    assert one.image == images / "a.png"
    assert one.people.boxes.tolist() == people.boxes.tolist()
    assert one.people.scores.tolist() == [0.9, 0.3]
    assert len(other.people) == 0
    assert other.read().shape == (20, 30, 3)


def coco(**changed: object) -> dict[str, object]:
    image = {"id": 7, "file_name": "a.png", "height": 20, "width": 30}
    annotation = {"id": 1, "image_id": 7, "category_id": 1, "bbox": [1, 2, 10, 16]}
    return {"images": [image], "annotations": [annotation], **changed}


def read(values: object, images: Path, tmp_path: Path) -> list[Found]:
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(values))
    return read_found(path, images)


def test_cocos_own_boxes_are_certain_and_groups_and_things_are_left_out(images: Path, tmp_path: Path) -> None:
    box = {"image_id": 7, "bbox": [0, 0, 5, 5]}
    others = [{**box, "category_id": 3}, {**box, "category_id": 1, "iscrowd": 1}]
    values = coco()
    (found,) = read({**values, "annotations": [*values["annotations"], *others]}, images, tmp_path)  # type: ignore[misc]
    assert found.people.scores.tolist() == [1]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([], "not COCO's table"),
        ({"images": []}, "no list of annotations"),
        (coco(images=[{"id": 7, "file_name": "a.png"}]), "without id, file_name, height or width"),
        (coco(images=[{"id": 7, "file_name": "c.png", "height": 20, "width": 30}]), "c.png is missing"),
        (coco(annotations=[{"image_id": 7, "bbox": [1, 2, float("nan"), 3]}]), "whose bbox or score is none"),
        (coco(annotations=[{"image_id": 7, "bbox": [1, 2, 0, 3]}]), "whose bbox or score is none"),
        (coco(annotations=[{"image_id": 7, "bbox": [1, 2, 3, 3], "score": "high"}]), "whose bbox or score is none"),
        (coco(annotations=[{"image_id": 7, "bbox": [1, 2, 3, 10**400]}]), "whose bbox or score is none"),
        (coco(annotations=[{"image_id": {}, "bbox": [1, 2, 3, 3]}]), "image's id"),
        (coco(images=[{"id": [7], "file_name": "a.png", "height": 20, "width": 30}]), "image's id"),
    ],
)
def test_a_file_of_another_form_is_named(values: object, said: str, images: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        read(values, images, tmp_path)


def test_a_missing_or_broken_file_is_named(images: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file .*none\.json"):
        read_found(tmp_path / "none.json", images)
    (tmp_path / "half.json").write_text('{"images": [')
    with pytest.raises(DataError, match="cut off or no JSON"):
        read_found(tmp_path / "half.json", images)
    for number, nonsense in enumerate(("[" * 100_000, "1" * 5000)):
        (tmp_path / f"{number}.json").write_text(nonsense)
        with pytest.raises(DataError, match="cut off or no JSON"):
            read_found(tmp_path / f"{number}.json", images)


def test_an_image_of_another_size_than_its_boxes_are_for_is_told(images: Path, tmp_path: Path) -> None:
    (found,) = read(coco(images=[{"id": 7, "file_name": "a.png", "height": 40, "width": 60}]), images, tmp_path)
    with pytest.raises(DataError, match=r"20 x 30 pixels .*, and its boxes are for 40 x 60"):
        found.read()
