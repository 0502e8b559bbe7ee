from __future__ import annotations

import cv2
import numpy as np
import pytest

from trtparse.data.image_files import IMAGE_EXTENSIONS, endings, is_image, left_out
from trtparse.data.images import decode_image

FORMAT_OF = {".jpe": ".jpg", ".jfif": ".jpg"}


@pytest.mark.parametrize("extension", IMAGE_EXTENSIONS)
def test_every_ending_that_is_taken_is_of_a_kind_that_decodes(extension: str) -> None:
    pixels = np.full((64, 96, 1 if extension == ".pgm" else 3), 90, np.uint8)
    kind = FORMAT_OF.get(extension, extension)
    if not cv2.haveImageWriter(f"a{kind}"):
        pytest.skip(f"OpenCV {cv2.__version__} here writes no {kind}")
    data = bytes(cv2.imencode(kind, pixels)[1])
    decoded = decode_image(data, f"a{extension}")
    assert decoded.shape == (64, 96, 3)
    assert abs(float(decoded.mean()) - 90) < 5


@pytest.mark.parametrize(("name", "taken"), [("a.JPG", True), ("a.b.avif", True), (".a.png", False), ("png", False)])
def test_a_name_tells_whether_a_file_is_an_image(name: str, taken: bool) -> None:
    assert is_image(name) is taken


def test_what_is_left_out_is_told_by_endings_the_most_frequent_first() -> None:
    assert left_out(endings(["b.mov", "a.HEIC", "c.heic", "README"])) == (
        "4 other files left out (.heic, no ending, .mov)"
    )
    assert left_out({}) == ""
    assert left_out({".txt": 1}) == "1 other file left out (.txt)"
    assert left_out(endings("abcdefg") | {f".{n}": 1 for n in range(6)}) == (
        "13 other files left out (no ending, .0, .1, .2, .3 and 2 more)"
    )
