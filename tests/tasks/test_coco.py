from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trtparse.errors import DataError
from trtparse.tasks.coco import image_ids, image_numbers


def test_images_are_numbered_by_annotations_by_their_names_or_by_counting() -> None:
    names = ["a/000000000785.jpg", "b/000000040083.jpg"]
    assert image_ids(names, None) == [785, 40083]
    assert image_ids(["im1_2.jpg", "im3.jpg"], None) == [1, 2]
    assert image_ids(["x1.jpg", "y1.jpg"], None) == [1, 2]
    assert image_ids(["nobody.jpg"], None) == [1]
    numbers = {"000000000785.jpg": 7, "000000040083.jpg": 8}
    assert image_ids(names, numbers) == [7, 8]
    with pytest.raises(DataError, match=r"does not have 1 of the 1 images, as other\.jpg"):
        image_ids(["other.jpg"], numbers, "labels.json")


def test_annotations_say_the_numbers_of_images(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"

    def numbers(*images: dict[str, Any]) -> dict[str, int]:
        path.write_text(json.dumps({"images": images}))
        return image_numbers(path)

    image = {"id": 7, "file_name": "val/1.jpg"}
    assert numbers(image, {"id": 8, "file_name": "2.jpg"}) == {"1.jpg": 7, "2.jpg": 8}
    assert numbers(image, image) == {"1.jpg": 7}
    with pytest.raises(DataError, match=r"several images called 1\.jpg"):
        numbers(image, {"id": 8, "file_name": "train/1.jpg"})
    for wrong in ({"id": 1}, {"file_name": "a.jpg"}, {"id": 1, "file_name": 5}):
        with pytest.raises(DataError, match="without id or file_name"):
            numbers(wrong)
    for number in (1.5, float("nan"), "7", True):
        with pytest.raises(DataError, match="for an image's id"):
            numbers({**image, "id": number})
    path.write_text("[]")
    with pytest.raises(DataError, match="not COCO's table") as caught:
        image_numbers(path)
    assert "--boxes" in caught.value.hint
