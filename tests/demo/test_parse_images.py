from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from trtparse.data.images import read_label_map
from trtparse.demo.parse_images import expand, parse_images
from trtparse.errors import DataError, UsageError

Frame = Callable[..., np.ndarray]


@pytest.fixture
def photos(tmp_path: Path, make_frame: Frame) -> Path:
    """A folder of three photographs of different sizes, something else, and a subfolder."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name, size in (("c.PNG", (96, 128)), ("a.jpg", (200, 90)), ("b.bmp", (70, 71)), ("more/d.png", (96, 128))):
        cv2.imwrite(str(folder / name), make_frame(3, size))
    (folder / "notes.txt").write_text("words")
    return folder


@pytest.mark.parametrize("batch", [None, 1, 2])
def test_every_photograph_gets_a_label_map_and_an_overlay_of_its_own_size(
    photos: Path, tmp_path: Path, make_engine: Any, batch: int | None
) -> None:
    output = tmp_path / "new" / "out"
    with make_engine(batch) as engine:
        result = parse_images([photos], engine, output)
    assert [item.image.name for item in result.parsed] == ["a.jpg", "b.bmp", "c.PNG"]
    assert sorted(path.name for path in output.iterdir()) == sorted(
        f"{stem}{end}" for stem in "abc" for end in (".png", "_overlay.jpg")
    )
    for item in result.parsed:
        image = cv2.imread(str(item.image))
        labels = read_label_map(item.labels)
        assert labels.shape == image.shape[:2]
        assert cv2.imread(str(item.overlay)).shape == image.shape
        height = image.shape[0]
        assert (labels[height // 2 : height - 12, 14:22] == 5).all()


def test_files_with_one_stem_do_not_replace_each_other(
    photos: Path, tmp_path: Path, make_frame: Frame, engine: Any
) -> None:
    cv2.imwrite(str(photos / "A.png"), make_frame(0))
    cv2.imwrite(str(photos / "more" / "a-2.png"), make_frame(0))
    result = parse_images([photos / "a.jpg", photos / "A.png", photos / "more" / "a-2.png"], engine, tmp_path / "out")
    assert [item.labels.name for item in result.parsed] == ["a.png", "A-2.png", "a-2-2.png"]
    assert all(item.labels.exists() and item.overlay.exists() for item in result.parsed)


def test_a_file_that_is_named_twice_is_parsed_once(photos: Path) -> None:
    assert [path.name for path in expand([photos / "b.bmp", photos])] == ["b.bmp", "a.jpg", "c.PNG"]


def test_unreadable_images_are_skipped_and_named(photos: Path, tmp_path: Path, engine: Any) -> None:
    (photos / "b.jpg").write_text("no image")
    calls = []
    result = parse_images([photos], engine, tmp_path / "out", progress=lambda *args: calls.append(args))
    assert [path.name for path, _ in result.skipped] == ["b.jpg"]
    assert "b.jpg" in result.skipped[0][1]
    assert len(result.parsed) == 3
    assert calls[-1] == (4, 4)


def test_strict_raises_at_the_first_unreadable_image_and_leaves_the_engine_usable(
    photos: Path, tmp_path: Path, engine: Any
) -> None:
    (photos / "b.jpg").write_text("no image")
    with pytest.raises(DataError, match=r"b\.jpg"):
        parse_images([photos], engine, tmp_path / "out", strict=True)
    engine.infer(np.zeros((1, 48, 32, 3), np.uint8))


def test_nothing_readable_is_an_error(tmp_path: Path, engine: Any) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_text("no image")
    with pytest.raises(DataError, match="None of 1 images"):
        parse_images([broken], engine, tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images in"):
        parse_images([tmp_path / "empty"], engine, tmp_path / "out")
    with pytest.raises(DataError, match="There is no file"):
        parse_images([tmp_path / "missing.jpg"], engine, tmp_path / "out")


def test_a_photograph_is_never_replaced_by_its_label_map(photos: Path, engine: Any, make_frame: Frame) -> None:
    cv2.imwrite(str(photos / "c.png"), make_frame(0))
    before = (photos / "c.png").read_bytes()
    with pytest.raises(UsageError, match="would replace"):
        parse_images([photos / "c.png"], engine, photos)
    assert (photos / "c.png").read_bytes() == before


def test_a_file_in_place_of_the_output_folder_is_refused(photos: Path, tmp_path: Path, engine: Any) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(UsageError, match="is not a folder"):
        parse_images([photos], engine, tmp_path / "out")


def test_a_broken_engine_comes_out_as_it_is(photos: Path, tmp_path: Path, make_engine: Any) -> None:
    with make_engine(fail_at=2) as engine:
        with pytest.raises(RuntimeError, match="the engine broke"):
            parse_images([photos], engine, tmp_path / "out")
        engine.infer(np.zeros((1, 48, 32, 3), np.uint8))


def test_a_write_that_fails_leaves_the_engine_usable(photos: Path, tmp_path: Path, engine: Any) -> None:
    (tmp_path / "out" / "a.png").mkdir(parents=True)
    with pytest.raises(UsageError, match="is a folder") as caught:
        parse_images([photos], engine, tmp_path / "out")
    engine.infer(np.zeros((1, 48, 32, 3), np.uint8))
    assert caught.value.hint


def test_progress_reaches_the_end_where_the_last_image_is_skipped(photos: Path, tmp_path: Path, engine: Any) -> None:
    (photos / "z.jpg").write_text("no image")
    calls = []
    parse_images([photos], engine, tmp_path / "out", progress=lambda *args: calls.append(args))
    assert calls[-1] == (4, 4)


def test_a_result_goes_to_json(photos: Path, tmp_path: Path, engine: Any) -> None:
    told = json.loads(json.dumps(parse_images([photos], engine, tmp_path / "out").to_dict()))
    assert told["schema_version"] == 1
    assert told["parsed"][0]["labels"] == str(tmp_path / "out" / "a.png")
    assert told["skipped"] == []
