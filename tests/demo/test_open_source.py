from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from trtparse.demo import open_source as module
from trtparse.demo.image_sources import ImageSource
from trtparse.demo.open_source import open_source
from trtparse.demo.sources import VideoSource
from trtparse.errors import DataError, UsageError

MakeVideo = Callable[..., Path]


def images(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        cv2.imwrite(str(folder / name), np.full((8, 12, 3), 9, np.uint8))
    return folder


def test_files_folders_and_patterns_open_as_what_they_are(tmp_path: Path, make_video: MakeVideo) -> None:
    folder = images(tmp_path / "set", "a1.png", "a2.png", "b1.jpg")
    kinds = {
        str(make_video()): (VideoSource, 20),
        str(folder): (ImageSource, 3),
        f"{folder}/a*.png": (ImageSource, 2),
        f"{tmp_path}/**/b1.jpg": (ImageSource, 1),
        str(folder / "b1.jpg"): (ImageSource, 1),
    }
    for text, (kind, count) in kinds.items():
        with open_source(text) as source:
            assert isinstance(source, kind), text
            assert (source.frame_count, source.policy, source.live) == (count, "all", False)
            assert len(list(source)) == count
        assert list(source) == []


def test_a_rate_is_for_images_and_refused_for_what_has_its_own(tmp_path: Path, make_video: MakeVideo) -> None:
    folder = images(tmp_path / "set", "a1.png", "a2.png")
    for text in (str(folder), f"{folder}/*.png", str(folder / "a1.png")):
        with open_source(text, fps=12.5) as source:
            assert source.fps == 12.5
    for text in (str(make_video()), "camera:0", "rtsp://10.0.0.7/a"):
        with pytest.raises(UsageError, match="--fps is for images"):
            open_source(text, fps=12.5)


def test_an_animation_that_is_named_alone_plays(tmp_path: Path) -> None:
    path = images(tmp_path / "set", "a.gif") / "a.gif"
    with open_source(str(path)) as source:
        assert isinstance(source, VideoSource)
    with open_source(str(path.parent)) as source:
        assert isinstance(source, ImageSource)
        assert len(list(source)) == 1


def test_a_file_whose_name_looks_like_something_else_is_still_a_file(
    make_video: MakeVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("rtsp:clip.mp4", "take[1].mp4", "camera:0.mp4"):
        make_video(name)
        with open_source(name) as source:
            assert (source.name, source.frame_count) == (name, 20)


def test_a_policy_can_be_asked_for_and_is_checked_first(make_video: MakeVideo) -> None:
    with open_source(str(make_video()), "latest") as source:
        assert source.policy == "latest"
    with pytest.raises(UsageError, match="no policy newest"):
        open_source("nothing.mp4", "newest")


@pytest.mark.parametrize(
    ("text", "kind", "rest"),
    [
        ("camera:0", "camera", "0"),
        ("CAMERA:/dev/video1@640x480", "camera", "/dev/video1@640x480"),
        ("csi:1", "csi", "1"),
        ("rtsp://10.0.0.7/a", "rtsp", "rtsp://10.0.0.7/a"),
        ("rtsps://10.0.0.7/a", "rtsps", "rtsps://10.0.0.7/a"),
        ("http://cam.local/video", "http", "http://cam.local/video"),
        ("https://cam.local/video", "https", "https://cam.local/video"),
    ],
)
def test_live_sources_keep_the_newest_frame_unless_told(
    text: str, kind: str, rest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for table in (module._LIVE, module._STREAMS):
        for name in table:
            monkeypatch.setitem(table, name, lambda *given, name=name: (name, *given))
    assert open_source(text) == (kind, rest, "latest", None, None)
    assert open_source(text, "all", print, most=(64, 64)) == (kind, rest, "all", print, (64, 64))


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("cam:0", "Did you mean camera:0?"),
        ("camra:1", "Did you mean camera:1?"),
        ("rstp://10.0.0.7/a", "Did you mean rtsp://10.0.0.7/a?"),
        ("s3://bucket/a.mp4", "Give a video, an image folder"),
    ],
)
def test_an_unknown_kind_names_the_nearest(text: str, hint: str) -> None:
    with pytest.raises(UsageError, match="is no kind of source") as caught:
        open_source(text)
    assert caught.value.hint.startswith(hint)


def test_a_bare_number_is_a_camera_that_was_not_named_so() -> None:
    with pytest.raises(UsageError) as caught:
        open_source("0")
    assert caught.value.hint == "Did you mean camera:0?"


def test_an_address_may_be_longer_than_a_file_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module._STREAMS, "http", lambda *given: given[0])
    address = "http://cam.local/video?token=" + "x" * 5000
    assert open_source(address) == address


@pytest.mark.parametrize("scheme", ["http", "https", "rtsp", "rtsps"])
def test_an_address_that_is_none_is_refused_without_its_password(scheme: str) -> None:
    with pytest.raises(UsageError, match="is no address") as caught:
        open_source(f"{scheme}://camera:secret[1@10.0.0.7/a")
    assert "secret" not in caught.value.message


def test_a_name_longer_than_a_file_may_have_is_no_file(tmp_path: Path) -> None:
    for text in (f"{tmp_path}/{'x' * 300}.mp4", f"{tmp_path}/{'x' * 300}"):
        with pytest.raises(DataError, match="cannot be read: File name too long"):
            open_source(text)


def test_what_is_not_there_says_so(tmp_path: Path) -> None:
    for text, message in (
        (f"{tmp_path}/none.mp4", "There is no file"),
        (f"{tmp_path}/none.png", "does not exist"),
        (f"{tmp_path}/*.png", "There are no images in"),
        (str(images(tmp_path / "empty")), "There are no images in"),
    ):
        with pytest.raises(DataError, match=message):
            open_source(text)
