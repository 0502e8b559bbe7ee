from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trtparse.demo import sinks
from trtparse.demo.layers import layers_of
from trtparse.demo.parsed_frame import ParsedFrame, StageTimes
from trtparse.demo.records import JsonlRecorder
from trtparse.demo.sinks import VideoSink, WindowSink, check_display, differences
from trtparse.demo.sources import ArraySource
from trtparse.errors import MachineError, UsageError
from trtparse.storage.interrupts import interrupts
from trtparse.tasks.parsing.drawer import LabelSight
from trtparse.tasks.parsing.task import Parsing
from trtparse.tests.predicting import LIP

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


def test_a_second_run_to_one_video_is_refused_and_takes_nothing_from_the_first(
    tmp_path: Path, make_frame: Frame, count_frames: Count
) -> None:
    path = tmp_path / "out.mp4"
    with VideoSink(path, 25.0, (96, 128)) as first:
        for index in range(4):
            first.write(make_frame(index))
        with (
            pytest.raises(UsageError, match=r"out\.mp4 is being written by another run"),
            VideoSink(path, 25.0, (96, 128)),
        ):
            pass
        first.write(make_frame(4))
    assert count_frames(path) == 5
    write(path, make_frame)
    assert [item.name for item in tmp_path.iterdir()] == ["out.mp4"]


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


def interrupted_while_closing(
    recorder: VideoSink | JsonlRecorder, fill: Callable[[], object], line: int, number: signal.Signals
) -> bool:
    """Close with a signal at the line of that number; whether there was one."""
    left = line

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal left
        if os.path.basename(frame.f_code.co_filename) not in ("sinks.py", "encoders.py", "records.py"):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                signal.raise_signal(number)
        return trace

    recorder.__enter__()
    fill()
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        recorder.__exit__(None, None, None)
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_any_moment_of_closing_loses_nothing(
    tmp_path: Path, make_frame: Frame, count_frames: Count, number: signal.Signals
) -> None:
    frame = ParsedFrame(
        0,
        0.0,
        make_frame(0),
        layers_of([Parsing(LIP)]),
        (LabelSight(np.zeros((4, 4), np.uint8), LIP),),
        (),
        False,
        1.0,
        StageTimes(1, 1, 1, 1, 1),
    )
    fewest = {}
    for name in ("out.avi", "out.jsonl"):
        path, line, interrupted = tmp_path / name, 0, True
        while interrupted:
            line += 1
            path.unlink(missing_ok=True)
            sink = VideoSink(path, 25, (96, 128)) if name == "out.avi" else JsonlRecorder(path)
            fill = (
                (lambda sink=sink: [sink.write(make_frame(index)) for index in range(3)])
                if isinstance(sink, VideoSink)
                else (lambda sink=sink: [sink(frame) for _ in range(3)])
            )
            with interrupts(own_process=False):
                interrupted = interrupted_while_closing(sink, fill, line, number)
            found = count_frames(path) if name == "out.avi" else len(path.read_text().splitlines())
            assert found == 3, f"line {line}"
            assert list(tmp_path.glob(".*")) == []
        fewest[name] = line
    assert fewest["out.avi"] > 25
    assert fewest["out.jsonl"] > 10


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
    command = [sys.executable, "-c", LIMITED, path, "100000"]
    without_ffmpeg = {**os.environ, "PATH": ""}  # a program of its own has no such limit
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=without_ffmpeg)
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


def shades(path: Path) -> list[int]:
    """What the frames of a video show, of greys that are multiples of ten."""
    capture = cv2.VideoCapture(str(path))
    found = []
    while (read := capture.read())[0]:
        found.append(round(float(read[1].mean()) / 10) * 10)
    return found


def write_at(path: Path, times: list[float], fps: float = 10.0) -> VideoSink:
    """Frames of shades 10, 20, 30 and so on."""
    with VideoSink(path, fps, (48, 64)) as sink:
        for number, seconds in enumerate(times, 1):
            sink.write(np.full((48, 64, 3), 10 * number, np.uint8), seconds)
    return sink


def test_pictures_of_a_variable_rate_keep_their_times_and_the_video_its_length(tmp_path: Path) -> None:
    sink = write_at(tmp_path / "out.avi", [0.0, 0.1, 0.42, 0.45, 0.5, 1.0])
    assert shades(tmp_path / "out.avi") == [10, 20, 20, 20, 30, 50, 50, 50, 50, 50, 60]
    assert (sink.frames, sink.repeated, sink.left_out) == (11, 6, 1)


@pytest.mark.parametrize("fps", [29.97, 30000 / 1001, 25.0, 0.5])
def test_pictures_of_a_constant_rate_are_neither_repeated_nor_left_out(fps: float, tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "out.avi", fps, (2, 2))
    sink._encoder = Nowhere()
    rng = np.random.default_rng(1)
    for number in range(20_000):
        sink.write(np.zeros((2, 2, 3), np.uint8), number / fps + float(rng.uniform(-0.3, 0.3)) / fps)
    assert (sink.frames, sink.repeated, sink.left_out) == (20_000, 0, 0)


class Nowhere:
    """An encoder that forgets."""

    def write(self, _: np.ndarray) -> None: ...

    def finish(self) -> None: ...

    abandon = finish


class Kept(Nowhere):
    """An encoder that keeps the first pixel of each frame."""

    def __init__(self) -> None:
        self.shown: list[int] = []

    def write(self, frame: np.ndarray) -> None:
        self.shown.append(int(frame[0, 0, 0]))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 30), min_size=1, max_size=60).map(sorted), st.floats(1, 60))
def test_at_each_step_the_picture_is_shown_that_is_due(times: list[float], fps: float) -> None:
    sink, kept = VideoSink("out.mp4", fps, (2, 2)), Kept()
    sink._encoder = kept
    for number, seconds in enumerate(times):
        sink.write(np.full((2, 2, 3), number, np.uint8), seconds)
    steps = [round(seconds * fps) - round(times[0] * fps) for seconds in times]
    first = {step: number for number, step in reversed(list(enumerate(steps)))}  # of several at one step
    assert kept.shown == [first[max(step for step in first if step <= now)] for now in range(steps[-1] + 1)]
    assert sink.frames == len(kept.shown) == len(times) + sink.repeated - sink.left_out


def test_a_stop_of_a_night_is_shortened_to_ten_minutes(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "out.avi", 10.0, (2, 2))
    sink._encoder = Nowhere()
    for seconds in (0.0, 0.1, 30_000.0, 30_000.1):
        sink.write(np.zeros((2, 2, 3), np.uint8), seconds)
    assert (sink.frames, sink.repeated) == (6004, 6000)


def test_what_a_written_video_lacks_is_told_once_and_only_where_it_does(make_frame: Frame) -> None:
    source = ArraySource([make_frame(0)], (96, 128), name="walk.mp4")
    assert differences(source) == ()
    source.has_audio, source.constant_rate, source.fps = True, False, 30.0
    sound, rate = differences(source)
    assert sound == "walk.mp4 has sound; the written video is silent."
    assert "variable frame rate" in rate
    assert "30 frames per second" in rate
    source.live = True
    assert differences(source) == (sound,)


FAKE_FFMPEG = """#!{python}
import os, sys
from pathlib import Path
import cv2, numpy as np
asked = sys.argv
width, height = map(int, asked[asked.index("-video_size") + 1].split("x"))
over, under = map(int, asked[asked.index("-framerate") + 1].split("/"))
out = asked[-1].removeprefix("file:")
Path({log!r}).write_text(" ".join(asked))
codec = cv2.VideoWriter.fourcc(*"mp4v")
writer, written = cv2.VideoWriter(out, codec, over / under, (width, height)), 0
while len(data := sys.stdin.buffer.read(width * height * 3)) == width * height * 3:
    if written == {fail_after}:
        print("x264 [error]: malloc", "av_interleaved_write_frame(): No space left on device", sep=os.linesep,
              file=sys.stderr)
        sys.exit(1)
    writer.write(np.frombuffer(data, np.uint8).reshape(height, width, 3))
    written += 1
writer.release()
"""


@pytest.fixture
def fake_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Puts a program on the PATH that takes frames as ffmpeg does; gives the file that its arguments are in."""

    def make(fail_after: int = -1) -> Path:
        folder, log = tmp_path / "bin", tmp_path / "bin" / "arguments.txt"
        folder.mkdir(exist_ok=True)
        program = folder / "ffmpeg"
        program.write_text(FAKE_FFMPEG.format(python=sys.executable, log=str(log), fail_after=fail_after))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        monkeypatch.setattr(sinks, "_CODECS", {".mp4": ("ffmpeg",)})
        return log

    return make


def test_h264_goes_through_the_ffmpeg_program_with_its_exact_rate(
    tmp_path: Path, make_frame: Frame, count_frames: Count, fake_ffmpeg: Callable[..., Path]
) -> None:
    log = fake_ffmpeg()
    path = tmp_path / "a film: 50%.mp4"
    with VideoSink(path, 30000 / 1001, (97, 129)) as sink:
        for index in range(12):
            sink.write(make_frame(index, (97, 129)))
        assert not path.exists()
    assert (count_frames(path), sink.codec) == (12, "avc1")
    arguments = log.read_text()
    for wanted in ("-framerate 30000/1001", "-video_size 130x98", "libx264", "yuv420p", "+faststart"):
        assert wanted in arguments


def test_an_ffmpeg_that_stops_says_why_and_leaves_the_older_video(
    tmp_path: Path, make_frame: Frame, fake_ffmpeg: Callable[..., Path]
) -> None:
    fake_ffmpeg(fail_after=5)  # so it passes the trial of three frames
    path = tmp_path / "out.mp4"
    path.write_text("older")
    with pytest.raises(MachineError) as caught:
        write(path, make_frame, frames=400)
    assert "No space left on device" in caught.value.message
    assert path.read_text() == "older"
    assert [item.name for item in tmp_path.iterdir() if item.name != "bin"] == ["out.mp4"]


def test_an_ffmpeg_without_x264_is_passed_over(
    tmp_path: Path, make_frame: Frame, monkeypatch: pytest.MonkeyPatch, fake_ffmpeg: Callable[..., Path]
) -> None:
    fake_ffmpeg(fail_after=0)
    monkeypatch.setattr(sinks, "_CODECS", {".mp4": ("ffmpeg", "mp4v")})
    write(tmp_path / "out.mp4", make_frame)
    assert (tmp_path / "out.mp4").stat().st_size


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="there is no ffmpeg program")
@pytest.mark.parametrize("size", [(96, 128), (97, 33), (1, 1)])
def test_the_real_ffmpeg_writes_h264_that_keeps_its_rate_and_pictures(
    tmp_path: Path, make_frame: Frame, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    monkeypatch.setattr(sinks, "_CODECS", {".mp4": ("ffmpeg",)})
    frame = make_frame(0, (96, 128))[: size[0], : size[1]] if size != (96, 128) else make_frame(0)
    with VideoSink(tmp_path / "out.mp4", 29.97, size) as sink:
        for _ in range(9):
            sink.write(np.ascontiguousarray(np.resize(frame, (*size, 3))))
    capture = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    code = round(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little")
    assert code.lower() in (b"avc1", b"h264")
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(29.97, abs=1e-6)
