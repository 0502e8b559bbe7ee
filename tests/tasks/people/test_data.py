from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from trtparse.errors import DataError, UsageError
from trtparse.tasks.people.data import open_data
from trtparse.tasks.people.images import RenderedCrowds
from trtparse.tests.finding import write_streets


def test_without_data_there_are_rendered_scenes_that_no_two_purposes_share() -> None:
    one, other = (open_data(None, None, purpose) for purpose in ("calibration", "validation"))
    assert not set(one.names) & set(other.names)
    crowds = RenderedCrowds(3, seed=5)
    first, again = crowds[1], crowds[1]
    assert np.array_equal(first.image, again.image)
    assert first.labels is not None
    assert first.labels.shape[1] == 5
    with pytest.raises(UsageError, match="--split goes with --data"):
        open_data(None, "val", "validation")


def test_a_folder_is_looked_through_for_the_file_of_boxes_of_a_split(tmp_path: Path) -> None:
    boxes = write_streets(tmp_path)
    assert len(open_data(str(tmp_path), None, "calibration")) == 6
    folder = tmp_path / "annotations"
    folder.mkdir()
    for split in ("train", "val"):
        shutil.copy(boxes, folder / f"instances_{split}.json")
    boxes.unlink()
    assert open_data(str(tmp_path), None, "validation").description.startswith("instances_val.json, 6 images with 7")
    assert open_data(str(tmp_path), "train", "validation").description.startswith("instances_train.json")
    with pytest.raises(DataError, match="not one file of boxes for test"):
        open_data(str(tmp_path), "test", "validation")


def test_a_folder_with_a_file_of_another_form_is_one_of_images(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((20, 30, 3), np.uint8))
    (tmp_path / "other.json").write_text('{"images": [], "annotations": [1]}')
    assert not open_data(str(tmp_path), None, "validation").labelled


def test_images_alone_have_no_boxes(tmp_path: Path) -> None:
    write_streets(tmp_path).unlink()
    images = open_data(str(tmp_path), None, "calibration")
    assert not images.labelled
    assert images.description.endswith("6 images without boxes")
    assert images[0].labels is None
    with pytest.raises(UsageError, match="no splits"):
        open_data(str(tmp_path), "val", "calibration")


def test_groups_and_boxes_that_a_detector_doubts_are_not_asked_about(tmp_path: Path) -> None:
    path = write_streets(tmp_path)
    table = json.loads(path.read_text())
    table["annotations"][1]["score"] = 0.4
    table["annotations"][2]["iscrowd"] = 1
    table["categories"] = [{"id": 7, "name": "Person"}]
    for annotation in table["annotations"]:
        annotation["category_id"] = 7
    table["annotations"].append({**table["annotations"][0], "category_id": 3})
    path.write_text(json.dumps(table))
    labels = open_data(str(path), None, "validation")[1].labels
    assert labels is not None
    assert labels[:, 4].tolist() == [0, 0]


def test_a_file_that_names_no_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    path.write_text('{"images": [], "annotations": []}')
    with pytest.raises(DataError, match="names no image"):
        open_data(str(path), None, "validation")
    for nonsense in ('{"images": [', "[" * 100_000):
        path.write_text(nonsense)
        for data in (path, tmp_path):
            with pytest.raises(DataError, match="cut off or no JSON"):
                open_data(str(data), None, "validation")
