"""People in the boxes of a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trtparse.errors import DataError, UsageError
from trtparse.tasks.people.given import read_given

IMAGES = [{"id": 7, "file_name": "val/a.jpg"}, {"id": 9, "file_name": "val/b.jpg"}]
SOMEBODY = {"image_id": 7, "category_id": 1, "bbox": [10, 20, 30, 40], "score": 0.5}


def written(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return written(tmp_path / "labels.json", {"images": IMAGES})


def test_a_detector_s_list_has_its_images_names_from_annotations(images: Path, tmp_path: Path) -> None:
    dog = {**SOMEBODY, "category_id": 18}
    weak = {**SOMEBODY, "bbox": [1, 2, 3, 4], "score": 0.01}
    given = read_given(written(tmp_path / "found.json", [SOMEBODY, dog, weak]), images)
    people = given.people("elsewhere/a.jpg", (100, 100))
    assert [(one.id, one.box, one.score) for one in people] == [(1, (10, 20, 40, 60), 0.5), (2, (1, 2, 4, 6), 0.01)]
    assert given.people("b.jpg", (100, 100)) == ()
    with pytest.raises(UsageError, match="calls images by their numbers") as caught:
        read_given(given.file)
    assert "--annotations" in caught.value.hint


def test_coco_s_annotations_have_people_and_names_and_a_crowd_is_nobody(tmp_path: Path) -> None:
    table = {
        "images": IMAGES,
        "categories": [{"id": 1, "name": "dog"}, {"id": 3, "name": "person"}],
        "annotations": [
            {"id": 1, "image_id": 9, "category_id": 3, "bbox": [0, 0, 5, 6]},
            {"id": 2, "image_id": 9, "category_id": 3, "bbox": [0, 0, 0, 0], "iscrowd": 1},
            {"id": 3, "image_id": 9, "category_id": 1, "bbox": [0, 0, 7, 8]},
        ],
    }
    given = read_given(written(tmp_path / "people.json", table))
    (one,) = given.people("b.jpg", (100, 100))
    assert (one.box, one.score) == ((0, 0, 5, 6), 1)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"bbox": [10, 20, 0, 40]}, "detection 1 of .* has a box of 0x40 pixels"),
        ({"bbox": [10, float("nan"), 30, 40]}, "has a bbox of nan"),
        ({"bbox": [10, 20, 30]}, "has no box"),
        ({"bbox": "1234"}, "has no box"),
        ({"score": float("nan")}, "has a score of nan"),
        ({"score": 10**400}, "has a score of 1000"),
        ({"image_id": 8}, r"detection 1 of .* is in image 8, which .*labels\.json does not have"),
        ({"image_id": [7]}, r"has \[7\] for an image's id"),
        ({"image_id": None}, "has None for an image's id"),
    ],
)
def test_a_box_that_is_none_or_nowhere_is_refused(
    images: Path, tmp_path: Path, wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        read_given(written(tmp_path / "found.json", [SOMEBODY, {**SOMEBODY, **wrong}]), images)


def test_files_that_are_cut_or_of_another_form_are_refused(images: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.json"
    cut.write_text(json.dumps([SOMEBODY] * 3)[:-20])
    with pytest.raises(DataError, match="cut off or no JSON"):
        read_given(cut, images)
    with pytest.raises(DataError, match="has no list of annotations"):
        read_given(images)
    with pytest.raises(DataError, match="not COCO's table") as caught:
        read_given(written(tmp_path / "found.json", [SOMEBODY]), tmp_path / "found.json")
    assert "--boxes" in caught.value.hint
    with pytest.raises(DataError, match="JSON of another form"):
        read_given(written(tmp_path / "list.json", [1]), images)


def test_a_box_outside_of_its_photograph_and_a_photograph_without_boxes_are_told(images: Path, tmp_path: Path) -> None:
    given = read_given(written(tmp_path / "found.json", [SOMEBODY]), images)
    with pytest.raises(DataError, match=r"somebody at 10, 20, 40, 60 in a\.jpg, which is 100x20 pixels"):
        given.people("a.jpg", (20, 100))
    (cut,) = given.people("a.jpg", (21, 100))
    assert cut.box == (10, 20, 40, 60)
    given.check(["x/a.jpg", "b.jpg"])
    with pytest.raises(DataError, match=r"says nothing of 1 of the 2 photographs, as c\.jpg"):
        given.check(["a.jpg", "c.jpg"])


def test_the_digest_is_of_boxes_and_where_they_are(images: Path, tmp_path: Path) -> None:
    def digest(*found: dict[str, Any]) -> str:
        return read_given(written(tmp_path / "found.json", list(found)), images).digest

    assert digest(SOMEBODY) == digest({**SOMEBODY, "id": 4})
    others = [{**SOMEBODY, **other} for other in ({"image_id": 9}, {"score": 0.6}, {"bbox": [10, 20, 30, 41]})]
    assert len({digest(one) for one in (SOMEBODY, *others)}) == 4
    # The same ids of other images.
    before = digest(SOMEBODY)
    written(images, {"images": [{"id": 9, "file_name": "a.jpg"}, {"id": 7, "file_name": "b.jpg"}]})
    assert digest(SOMEBODY) != before
    np.testing.assert_array_equal(read_given(tmp_path / "found.json", images).images["b.jpg"].boxes, [[10, 20, 40, 60]])
