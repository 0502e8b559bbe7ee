"""Pictures are scaled down as they come in, in hardware where there is any."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from trtparse.demo import gstreamer, live_sources
from trtparse.demo.live_sources import csi
from trtparse.demo.open_source import open_source
from trtparse.demo.pacing import within
from trtparse.demo.sources import VideoSource

sides = some.integers(1, 5000)


@given(some.tuples(sides, sides), some.tuples(some.integers(64, 4096), some.integers(64, 4096)))
def test_what_is_larger_lies_within_keeps_its_shape_and_has_even_sides(
    size: tuple[int, int], most: tuple[int, int]
) -> None:
    found = within(size, most)
    if size[0] <= most[0] and size[1] <= most[1]:
        assert found == size
        return
    assert found[0] <= most[0]
    assert found[1] <= most[1]
    assert found[0] % 2 == found[1] % 2 == 0
    # Each side is off by less than two pixels.
    factor = min(most[0] / size[0], most[1] / size[1])
    for have, side in zip(found, size):
        assert have == 2 or side * factor - 2 < have <= side * factor
    assert within(size, None) == size


def test_a_video_comes_smaller_with_all_its_frames(
    make_video: Callable[..., Path], make_frame: Callable[..., np.ndarray]
) -> None:
    path = make_video(frames=6, size=(96, 128))
    with VideoSource(path, most=(48, 48)) as source:
        assert source.size == (36, 48)
        frames = list(source)
    assert [frame.shape for frame in frames] == [(36, 48, 3)] * 6
    with VideoSource(path) as whole:
        full = list(whole)
    expected = cv2.resize(full[3], (48, 36), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(frames[3], expected)


def test_images_come_smaller_too(tmp_path: Path) -> None:
    for number in range(2):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((80, 60, 3), 50 * number, np.uint8))
    told: list[str] = []
    with open_source(str(tmp_path), notify=told.append, most=(40, 400)) as source:
        assert source.size == (40, 30)
        assert [frame.shape for frame in source] == [(40, 30, 3)] * 2
    assert told == []


def test_a_decoder_in_hardware_is_asked_for_the_smaller_size(
    fake_gstreamer: Callable[..., Path], make_video: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = fake_gstreamer(["nvv4l2decoder"], frames=6)
    path = make_video(frames=6, size=(96, 128))
    monkeypatch.setattr(gstreamer, "_PARSERS", dict.fromkeys(("fmp4", "mp4v"), "mpeg4videoparse"))
    monkeypatch.setattr(gstreamer, "_ALIKE", 255)
    with VideoSource(path, most=(48, 48)) as source:
        frames = list(source)
    assert "nvvidconv ! video/x-raw,format=BGRx,width=48,height=36 !" in log.read_text()
    assert {frame.shape for frame in frames} == {(36, 48, 3)}
    # Those of the decoder, as they came out of it: nothing touched them.
    assert [int(frame[0, 0, 0]) for frame in frames[1:]] == list(range(1, 6))


def test_a_camera_port_takes_large_pictures_and_gives_small_ones(
    fake_gstreamer: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = fake_gstreamer(["nvarguscamerasrc"], frames=5, then_hang=True)
    monkeypatch.setattr(live_sources, "opencv_has_gstreamer", lambda: False)
    with csi("0@1920x1080@30", "all", most=(256, 192)) as source:
        assert source.size == (108, 192)
        assert next(source).shape == (108, 192, 3)
    # The size of the sensor's pictures comes first; that of the pipe last, which the stand-in goes by as well.
    words = log.read_text()
    assert "video/x-raw(memory:NVMM),width=1920,height=1080,framerate=30/1 ! nvvidconv !" in words
    assert "video/x-raw,format=BGRx,width=192,height=108 !" in words
