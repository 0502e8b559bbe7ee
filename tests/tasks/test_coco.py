from __future__ import annotations

import pytest

from trtparse.errors import DataError
from trtparse.tasks.coco import image_ids


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
