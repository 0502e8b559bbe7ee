from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from trtparse.demo import sinks
from trtparse.demo.sinks import VideoSink, WindowSink, check_display
from trtparse.errors import MachineError, UsageError

Count = Callable[[Path], int]
Frame = Callable[..., np.ndarray]


def write(
    path: Path, make_frame: Frame, frames: int = 12, fps: float = 25.0, size: tuple[int, int] = (96, 128)
) -> None:
    with VideoSink(path, fps, size) as sink:
        for index in range(frames):
            assert sink.write(make_frame(index, size))


@pytest.mark.parametrize(
    "fps", [29.97, 30000 / 1001, 23.976, 25.0, 10.0, 16.666666666666668, 59.94, 71.42857, 120.001, 0.5]
)
def test_rate_and_count_survive(tmp_path: Path, make_frame: Frame, count_frames: Count, fps: float) -> None:
    path = tmp_path / "out.mp4"
    write(path, make_frame, fps=fps)
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(fps, rel=1e-3)
    assert round(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == 12
    assert count_frames(path) == 12


@pytest.mark.parametrize("name", ["out.mp4", "out.MOV", "out.avi"])
@pytest.mark.parametrize("size", [(97, 129), (96, 129), (33, 64)])
def test_odd_sizes_lose_nothing_and_gain_a_repeated_edge(
    tmp_path: Path, make_frame: Frame, name: str, size: tuple[int, int]
) -> None:
    path = tmp_path / name
    write(path, make_frame, size=size)
    capture = cv2.VideoCapture(str(path))
    decoded, frame = capture.read()
    assert decoded
    assert frame.shape == (size[0] + size[0] % 2, size[1] + size[1] % 2, 3)
    wanted = cv2.copyMakeBorder(make_frame(0, size), 0, size[0] % 2, 0, size[1] % 2, cv2.BORDER_REPLICATE)
    assert np.abs(frame.astype(int) - wanted).mean() < 8


def test_nothing_but_the_video_is_left_behind(tmp_path: Path, make_frame: Frame) -> None:
    write(tmp_path / "out.mp4", make_frame)
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_the_video_appears_only_when_it_is_whole(tmp_path: Path, make_frame: Frame) -> None:
    path = tmp_path / "out.mp4"
    path.write_text("older")
    with VideoSink(path, 25, (96, 128)) as sink:
        sink.write(make_frame(0))
        assert path.read_text() == "older"
    assert path.read_bytes()[4:8] == b"ftyp"


def write_and_fail(sink: VideoSink, frame: np.ndarray, error: type[BaseException]) -> None:
    with sink:
        for _ in range(7):
            sink.write(frame)
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_exception_leaves_the_frames_so_far(
    tmp_path: Path, make_frame: Frame, count_frames: Count, error: type[BaseException]
) -> None:
    path = tmp_path / "out.mp4"
    with pytest.raises(error):
        write_and_fail(VideoSink(path, 25, (96, 128)), make_frame(0), error)
    assert count_frames(path) == 7


def test_an_exception_leaves_the_older_video_where_that_was_asked_for(tmp_path: Path, make_frame: Frame) -> None:
    path = tmp_path / "out.mp4"
    path.write_text("older")
    with pytest.raises(KeyboardInterrupt):
        write_and_fail(VideoSink(path, 25, (96, 128), keep_partial=False), make_frame(0), KeyboardInterrupt)
    assert [item.name for item in tmp_path.iterdir()] == ["out.mp4"]
    assert path.read_text() == "older"


def test_no_frames_make_no_video(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with pytest.raises(UsageError, match="no frames"), VideoSink(path, 25, (96, 128)):
        pass
    with pytest.raises(RuntimeError), VideoSink(path, 25, (96, 128)):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["out.gif", "out", "out.txt"])
def test_another_extension_is_refused_with_a_name_that_works(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError) as caught, VideoSink(tmp_path / name, 25, (96, 128)):
        pass
    assert "out.mp4" in caught.value.hint


def test_a_missing_folder_and_a_folder_in_place_of_a_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.mp4").mkdir()
    for path, message in ((tmp_path / "no" / "out.mp4", "does not exist"), (tmp_path / "folder.mp4", "is a folder")):
        with pytest.raises(UsageError, match=message), VideoSink(path, 25, (96, 128)):
            pass


def test_an_unwritable_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere, so permissions would not do
    with pytest.raises(UsageError, match="cannot be written"), VideoSink(tmp_path / "out.mp4", 25, (96, 128)):
        pass


def test_no_working_codec_is_found_out_before_any_frame(tmp_path: Path) -> None:
    with (
        pytest.raises(MachineError, match=r"cannot write \.mp4 of 20000x20000") as caught,
        VideoSink(tmp_path / "out.mp4", 25, (20000, 20000)),
    ):
        pass
    assert ".avi" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_found_out_while_writing(
    tmp_path: Path, make_frame: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        free = 10

    with VideoSink(tmp_path / "out.mp4", 25, (96, 128)) as sink:
        for index in range(49):
            sink.write(make_frame(index))
        monkeypatch.setattr(sinks.shutil, "disk_usage", lambda _: Full)
        with pytest.raises(MachineError, match="No space left"):
            sink.write(make_frame(49))
    assert sink.frames == 50


LIMITED = """
import resource, signal, sys
import numpy as np
from pathlib import Path
from trtparse.demo.sinks import VideoSink
from trtparse.errors import MachineError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path, noise = Path(sys.argv[1]), np.random.default_rng(0)
try:
    with VideoSink(path, 25, (240, 320)) as sink:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
        for _ in range(60):
            sink.write(noise.integers(0, 255, (240, 320, 3), dtype=np.uint8))
except MachineError as error:
    print(error)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="file size limits are POSIX")
@pytest.mark.parametrize("name", ["out.mp4", "out.avi"])
def test_a_write_that_opencv_does_not_report_is_found_at_the_end_and_the_older_video_stays(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.write_text("older")
    done = subprocess.run([sys.executable, "-c", LIMITED, path, "100000"], capture_output=True, text=True, timeout=60)
    assert "was not written whole" in done.stdout, done.stderr
    assert [item.name for item in tmp_path.iterdir()] == [name]
    assert path.read_text() == "older"


def test_a_frame_of_another_size_is_a_bug_and_says_both_sizes(tmp_path: Path, make_frame: Frame) -> None:
    with (
        pytest.raises(ValueError, match=r"\(96, 128, 3\).*\(50, 60, 3\)"),
        VideoSink(tmp_path / "o.mp4", 25, (96, 128)) as s,
    ):
        s.write(make_frame(0, (50, 60)))


def test_writing_before_and_after_is_an_error(tmp_path: Path, make_frame: Frame) -> None:
    sink = VideoSink(tmp_path / "out.mp4", 25, (96, 128))
    with pytest.raises(ValueError, match="not open"):
        sink.write(make_frame(0))
    with sink:
        sink.write(make_frame(0))
    with pytest.raises(ValueError, match="not open"):
        sink.write(make_frame(0))
    sink.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only there may a display be absent")
def test_a_window_without_a_display_is_an_error_and_not_an_abort(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(MachineError, match="no display") as caught, WindowSink():
        pass
    assert caught.value.hint


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="X11")
def test_a_display_that_does_not_answer_is_an_error_and_not_an_abort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QT_QPA_PLATFORM", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":987")
    with pytest.raises(MachineError):
        check_display()


def test_a_headless_opencv_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "error: (-2) The function is not implemented. Rebuild the library")
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(MachineError, match="headless") as caught:
        check_display()
    assert "pip install opencv-python" in caught.value.hint


def test_a_window_ends_on_q_on_escape_and_when_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    keys, visible = iter([-1, ord("x"), ord("q"), 27, -1]), iter([1, 1, 0])
    monkeypatch.setattr(cv2, "imshow", lambda *_: None)
    monkeypatch.setattr(cv2, "waitKey", lambda _: next(keys))
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: next(visible))
    window, frame = WindowSink(), np.zeros((4, 4, 3), np.uint8)
    assert [window.write(frame) for _ in range(5)] == [True, True, False, False, False]
