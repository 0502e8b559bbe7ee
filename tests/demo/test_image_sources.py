from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from trtparse.demo.image_sources import ImageSource, images_in, images_like
from trtparse.errors import DataError


def save(path: Path, value: int = 90, size: tuple[int, int] = (24, 32), dtype: type = np.uint8, planes: int = 3) -> str:
    scale = 257 if dtype is np.uint16 else 1
    image = np.full((*size, planes) if planes > 1 else size, value * scale, dtype)
    assert cv2.imwrite(str(path), image)
    return str(path)


def test_a_folder_is_a_video_in_the_order_a_person_counts(tmp_path: Path) -> None:
    for number in (10, 9, 1, 2, 100):
        save(tmp_path / f"img{number}.png", number)
    save(tmp_path / ".hidden.png")
    (tmp_path / "notes.txt").touch()
    (tmp_path / "below").mkdir()
    paths = images_in(tmp_path)
    assert [os.path.basename(path) for path in paths] == [f"img{n}.png" for n in (1, 2, 9, 10, 100)]
    source = ImageSource(paths, "set")
    assert [int(frame[0, 0, 0]) for frame in source] == [1, 2, 9, 10, 100]
    assert (source.frame_count, source.frames_missing, source.live) == (5, 0, False)


def test_numbered_images_play_as_a_video_and_others_one_by_one(tmp_path: Path) -> None:
    frames = [save(tmp_path / f"shot7_{number:03}.png") for number in range(4)]
    assert ImageSource(frames, "frames").fps == 25.0
    for paths in ([frames[0], frames[2]], frames[:1], [save(tmp_path / "a.png"), save(tmp_path / "b.png")]):
        source = ImageSource(paths, "photographs")
        assert source.fps == 2.0
        assert [source.seconds for _ in source] == [index / 2 for index in range(len(paths))]
    assert ImageSource(frames, "frames", fps=12.5).fps == 12.5


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ((1, 2, 4, 5, 6), "1 missing in the numbers of set, the first after f2.png: played as a video of 25 "),
        (
            (7, 8, 9, 30, 31, 32, 40),
            "27 missing in the numbers of set, the first after f9.png: played as a video",
        ),
        ((0, 5, 10, 15), "12 missing in the numbers of set, the first after f0.png: 2 are shown per second"),
    ],
)
def test_gaps_in_the_numbers_are_told_and_a_few_leave_a_video_one(
    tmp_path: Path, numbers: tuple[int, ...], told: str
) -> None:
    said: list[str] = []
    paths = [save(tmp_path / f"f{number}.png") for number in numbers]
    source = ImageSource(paths, "set", notify=said.append)
    assert source.fps == (25.0 if "played" in told else 2.0)
    assert source.numbered is ("played" in told)
    assert len(list(source)) == len(numbers)
    assert [sentence.startswith(told) and "--fps sets another rate" in sentence for sentence in said] == [True]
    assert ImageSource(paths, "set", fps=12.5).fps == 12.5


def test_photographs_without_an_order_of_numbers_say_nothing_of_gaps(tmp_path: Path) -> None:
    said: list[str] = []
    for names in (("a1", "a9", "b2"), ("a", "b", "c"), ("x", "x1", "x2"), ("1a1", "1b1", "1c1")):
        paths = [save(tmp_path / f"{name}.png") for name in names]
        assert ImageSource(paths, "set", notify=said.append).fps == 2.0
    assert said == []


def test_what_a_folder_holds_besides_images_is_told(tmp_path: Path) -> None:
    said: list[str] = []
    save(tmp_path / "a.jpg")
    for name in ("a.heic", "b.HEIC", "c.mov", ".hidden.heic"):
        (tmp_path / name).touch()
    assert len(images_in(tmp_path, said.append)) == 1
    assert said == [f"{tmp_path}: 3 other files left out (.heic, .mov)."]


def test_grey_16_bit_and_transparent_images_become_bgr_of_8_bits(tmp_path: Path) -> None:
    paths = [
        save(tmp_path / "a.png"),
        save(tmp_path / "b.png", planes=1),
        save(tmp_path / "c.png", planes=4),
        save(tmp_path / "d.png", dtype=np.uint16),
        save(tmp_path / "e.tiff", dtype=np.uint16, planes=1),
    ]
    for frame in ImageSource(paths, "set"):
        assert (frame.shape, frame.dtype) == ((24, 32, 3), np.uint8)
        assert int(frame[3, 3, 1]) == 90


def test_images_of_other_sizes_are_brought_to_the_first_one_s_and_that_is_said_once(tmp_path: Path) -> None:
    sizes = [(24, 32), (48, 64), (31, 7), (1, 1), (24, 32)]
    paths = [save(tmp_path / f"{number}.png", size=size) for number, size in enumerate(sizes)]
    told: list[str] = []
    frames = list(ImageSource(paths, "set", notify=told.append))
    assert [frame.shape for frame in frames] == [(24, 32, 3)] * 5
    assert [round(float((frame[..., 0] == 90).mean()), 2) for frame in frames] == [1.0, 1.0, 0.16, 0.75, 1.0]
    assert told == ["The images of set differ in size; all are brought to the first one's, 32x24."]


def test_an_image_that_cannot_be_read_is_left_out_said_and_counted(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_text("no image")
    whole = Path(save(tmp_path / "1.png", 11)).read_bytes()
    (tmp_path / "2.png").write_bytes(whole[:40])
    save(tmp_path / "3.png", 33)
    told: list[str] = []
    source = ImageSource(images_in(tmp_path), "set", notify=told.append)
    assert [int(frame[0, 0, 0]) for frame in source] == [11, 33]
    assert source.frames_missing == 2
    assert "0.png is not an image. It is left out." in told[0]
    assert "2.png is cut off" in told[1]


def test_nothing_to_show_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images in set"):
        ImageSource(images_in(tmp_path), "set")
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match="Not one of the 2 images in set"):
        ImageSource(images_in(tmp_path), "set")
    with pytest.raises(DataError, match=r"a\.png is empty"):
        ImageSource([str(tmp_path / "a.png")], "a.png")


def test_a_folder_that_cannot_be_opened_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> Iterator[Path]:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(DataError, match=f"{tmp_path} cannot be opened: Permission denied"):
        images_in(tmp_path)


def test_a_photograph_comes_upright(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", size=(24, 32))
    exif = b"Exif\x00\x00MM\x00\x2a\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00" + bytes(4)
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:])
    assert ImageSource([path], "a.jpg").size == (32, 24)


def test_a_pattern_finds_images_and_nothing_else(tmp_path: Path) -> None:
    for name in ("x2.png", "x10.png", "y1.png"):
        save(tmp_path / name)
    assert [os.path.basename(path) for path in images_like(f"{tmp_path}/x*.png")] == ["x2.png", "x10.png"]
    (tmp_path / "x.txt").touch()
    with pytest.raises(DataError, match=r"x\.txt, which is no image"):
        images_like(f"{tmp_path}/x*")
