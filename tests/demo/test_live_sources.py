from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from trtparse.data.dataset import Image
from trtparse.demo import gstreamer, live_reader, live_sources
from trtparse.demo.live_reader import LiveSource
from trtparse.demo.live_sources import camera, csi, mjpeg, rtsp
from trtparse.errors import DataError, MachineError, UsageError


def numbered(number: int, size: tuple[int, int] = (8, 12)) -> Image:
    return np.full((*size, 3), number % 256, np.uint8)


class Stream:
    """A connection whose frames come when the test says so, and which ends with the last of them."""

    fps = 30.0

    def __init__(self, frames: Sequence[Image], told: threading.Semaphore | None = None) -> None:
        self._frames = list(frames)
        self._told = told
        self.read_so_far = 0
        self.closed = False

    def read(self) -> Image | None:
        if self._told is not None and self.read_so_far:
            self._told.acquire()
        if self.closed or self.read_so_far == len(self._frames):
            return None
        self.read_so_far += 1
        return self._frames[self.read_so_far - 1]

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def quick_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_reader, "_FIRST_WAIT_SECONDS", 1 / 128)
    monkeypatch.setattr(live_reader, "_LONGEST_WAIT_SECONDS", 4 / 128)


def until(condition: Callable[[], bool]) -> None:
    """Wait for another thread."""
    for _ in range(1000):
        if condition():
            return
        threading.Event().wait(0.005)
    raise AssertionError("it did not come to that")


def never() -> Stream:
    raise DataError("the line is dead.")


class Line:
    """Gives the connections that it was made with, one after the other; None is a refusal."""

    def __init__(self, *connections: Stream | None) -> None:
        self._left = list(connections)

    def __call__(self) -> Stream:
        connection = self._left.pop(0) if self._left else None
        return connection or never()


def test_the_newest_frame_is_taken_and_those_before_it_are_counted() -> None:
    told = threading.Semaphore(0)
    stream = Stream([numbered(number) for number in range(10)], told)
    with LiveSource("street", Line(stream)) as source:
        assert (source.size, source.fps, source.live, source.policy) == ((8, 12), 30.0, True, "latest")
        assert int(next(source)[0, 0, 0]) == 0
        for _ in range(7):
            told.release()
        until(lambda: source.frames_dropped == 6)
        assert int(next(source)[0, 0, 0]) == 7
        assert source.seconds > 0
        told.release()
        assert int(next(source)[0, 0, 0]) == 8
        source.stop()
        told.release()
    assert source.frames_dropped == 6
    until(lambda: stream.closed)


def test_a_live_source_that_is_to_keep_all_loses_nothing_and_lets_the_stream_wait() -> None:
    stream = Stream([numbered(number) for number in range(100)])
    with LiveSource("street", Line(stream), "all") as source:
        until(lambda: stream.read_so_far > live_reader._MOST_WAITING)
        assert stream.read_so_far == live_reader._MOST_WAITING + 1
        assert [int(frame[0, 0, 0]) for frame in itertools.islice(source, 100)] == list(range(100))
        assert source.frames_dropped == 0


def test_the_policy_changes_while_frames_wait() -> None:
    stream = Stream([numbered(number) for number in range(20)])
    with LiveSource("street", Line(stream), "all") as source:
        until(lambda: stream.read_so_far == 20)
        next(source)
        source.set_policy("latest")
        assert int(next(source)[0, 0, 0]) == 19
        assert source.frames_dropped == 18
        with pytest.raises(UsageError, match="no policy"):
            source.set_policy("some")


def test_a_lost_stream_is_connected_to_again_ever_more_slowly_and_that_is_said() -> None:
    line = Line(Stream([numbered(1)]), None, None, None, Stream([numbered(2)]))
    told: list[str] = []
    with LiveSource("street", line, notify=told.append) as source:
        assert int(next(source)[0, 0, 0]) == 1
        assert int(next(source)[0, 0, 0]) == 2
        until(lambda: source.times_lost == 2)
    waits = [float(text.rpartition(" in ")[2].split()[0]) * 128 for text in told[:4]]
    assert waits == pytest.approx([1, 2, 4, 4], rel=1e-3)
    assert "street is lost: no more pictures came. Connecting again" in told[0]
    assert "street is lost: the line is dead. Connecting again" in told[1]
    assert "street is back after" in told[4]


def test_after_a_break_frames_of_another_size_come_in_the_first_one() -> None:
    told: list[str] = []
    line = Line(Stream([numbered(1)]), Stream([numbered(2, (16, 12)), numbered(3, (16, 12))]))
    with LiveSource("street", line, "all", told.append) as source:
        frames = list(itertools.islice(source, 3))
    assert [frame.shape for frame in frames] == [(8, 12, 3)] * 3
    assert sum("changes its picture size from 12x8 to 12x16" in text for text in told) == 1


def test_stopping_wakes_whoever_waits_for_a_frame_and_ends_the_connecting() -> None:
    source = LiveSource("street", Line(Stream([numbered(1)])))
    next(source)
    threading.Timer(0.1, source.stop).start()
    assert list(source) == []
    source.close()
    assert not source._reader.is_alive()


def test_a_fault_in_the_reader_comes_out_where_the_next_frame_is_asked_for() -> None:
    class Broken(Stream):
        def read(self) -> Image | None:
            if self.read_so_far == 2:
                raise RuntimeError("the driver broke")
            return super().read()

    with (
        LiveSource("street", Line(Broken([numbered(1)] * 5)), "all") as source,
        pytest.raises(RuntimeError, match="driver"),
    ):
        list(source)


def test_a_stream_of_which_nothing_comes_is_an_error_before_any_work() -> None:
    empty = Stream([])
    with pytest.raises(DataError, match="not one picture comes"):
        LiveSource("street", Line(empty))
    assert empty.closed
    with pytest.raises(DataError, match="dead"):
        LiveSource("street", Line(None))


def test_a_rate_that_is_not_told_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(50.0, 0.04)
    stream = Stream([numbered(number) for number in range(12)])
    stream.fps = 0.0
    monkeypatch.setattr(live_reader.time, "monotonic", lambda: next(clock))
    with LiveSource("street", Line(stream), "all") as source:
        assert source.fps == pytest.approx(25.0)
        assert [int(next(source)[0, 0, 0]) for _ in range(12)] == list(range(12))  # none was lost to the measuring


class FakeCapture:
    """In place of OpenCV's."""

    made: list[FakeCapture] = []  # noqa: RUF012
    opens = True

    def __init__(self, *asked: object) -> None:
        self.asked, self.set_to = asked, dict[int, float]()
        self.made.append(self)

    def isOpened(self) -> bool:
        return self.opens

    def read(self) -> tuple[bool, Image]:
        threading.Event().wait(0.002)
        return True, numbered(7)[..., 0] if self.asked[0] == "/dev/video9" else numbered(7)

    def get(self, _: int) -> float:
        return 30.0

    def set(self, what: int, value: float) -> bool:
        self.set_to[what] = value
        return True

    def release(self) -> None:
        """Nothing is held."""


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[FakeCapture]]:
    FakeCapture.made, FakeCapture.opens = [], True
    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    return FakeCapture.made  # type: ignore[return-value]


def test_a_camera_is_asked_for_a_size_and_a_rate(captures: list[FakeCapture]) -> None:
    with camera("0") as source:
        assert (source.name, source.fps, int(next(source)[0, 0, 0])) == ("camera:0", 30.0, 7)
    assert (captures[0].asked, captures[0].set_to) == ((0,), {})
    with camera("2@1280x720@60"):
        wanted = captures[1].set_to
    assert captures[1].asked == (2,)
    assert (wanted[cv2.CAP_PROP_FRAME_WIDTH], wanted[cv2.CAP_PROP_FRAME_HEIGHT]) == (1280, 720)
    assert (wanted[cv2.CAP_PROP_FPS], wanted[cv2.CAP_PROP_FOURCC]) == (60, cv2.VideoWriter.fourcc(*"MJPG"))
    with camera("/dev/video9@320x240") as source:
        assert next(source).shape == (8, 12, 3)  # a grey one
    assert captures[2].asked == ("/dev/video9",)


@pytest.mark.parametrize("text", ["one", "0@big", "0@0x720", "-1", "0@12x12@x"])
def test_what_names_no_camera_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="names no camera") as caught:
        camera(text)
    assert "camera:0" in caught.value.hint


def test_a_camera_that_is_not_there_is_told_from_one_that_is_in_use(
    captures: list[FakeCapture], monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeCapture.opens = False
    monkeypatch.setattr(live_sources.sys, "platform", "linux")
    monkeypatch.setattr(Path, "glob", lambda *_: iter([Path("/dev/video2"), Path("/dev/video0")]))
    monkeypatch.setattr(Path, "exists", lambda path: str(path) == "/dev/video2")
    with pytest.raises(MachineError, match="There is no camera:7") as caught:
        camera("7")
    assert caught.value.hint == "There is camera:0, camera:2."
    monkeypatch.setattr(Path, "glob", lambda *_: iter([]))
    with pytest.raises(MachineError, match="There is no camera:0") as caught:
        camera("0")
    assert "--device /dev/video0" in caught.value.hint
    with pytest.raises(MachineError, match="camera:2 cannot be opened") as caught:
        camera("2")
    assert "fuser -v /dev/video2" in caught.value.hint


def test_a_number_that_no_camera_can_have_is_of_none() -> None:
    with pytest.raises(MachineError, match="There is no camera:99999999999 "):
        camera("99999999999")


def test_a_password_is_never_shown(captures: list[FakeCapture]) -> None:
    address = "rtsp://me:secret@10.0.0.7:554/street?a=1"
    with rtsp(address) as source:
        assert source.name == "rtsp://10.0.0.7:554/street?a=1"
    assert captures[0].asked[0] == address
    FakeCapture.opens = False
    with pytest.raises(DataError) as caught:
        rtsp(address)
    assert "secret" not in str(caught.value)
    with pytest.raises(DataError) as caught:
        mjpeg("http://me:secret@127.0.0.1:9/street")
    assert "secret" not in str(caught.value)
    assert "cannot be reached" in caught.value.message


def test_an_rtsp_stream_is_decoded_in_hardware_where_a_picture_comes_out_of_it(
    captures: list[FakeCapture], fake_gstreamer: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = cv2.VideoWriter.fourcc(*"h264")
    monkeypatch.setattr(FakeCapture, "get", lambda _, what: codec if what == cv2.CAP_PROP_FOURCC else 15.0)
    log = fake_gstreamer(["nvv4l2decoder"], frames=9)
    with rtsp("rtsp://10.0.0.7/street", "all") as source:
        assert (source.size, source.fps) == ((8, 12), 15.0)
        assert [int(frame[0, 0, 0]) for frame in itertools.islice(source, 8)] == list(range(1, 9))
    assert "rtspsrc location=rtsp://10.0.0.7/street protocols=tcp" in log.read_text()
    assert "! parsebin ! h264parse ! nvv4l2decoder !" in log.read_text()
    fake_gstreamer(["nvv4l2decoder"], frames=0)
    told: list[str] = []
    with rtsp("rtsp://me:secret@10.0.0.7/street", notify=told.append) as source:
        assert int(next(source)[0, 0, 0]) == 7  # OpenCV's
    assert told[0].startswith("rtsp://10.0.0.7/street is decoded on the processor, and not in hardware")


def test_a_csi_camera_goes_through_a_pipe_where_opencv_has_no_gstreamer(
    fake_gstreamer: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = fake_gstreamer(["nvarguscamerasrc"], frames=5)
    monkeypatch.setattr(live_sources, "opencv_has_gstreamer", lambda: False)
    with csi("1@64x48@15", "all") as source:
        assert (source.name, source.size, source.fps) == ("csi:1", (48, 64), 15.0)
        assert [int(frame[0, 0, 0]) for frame in itertools.islice(source, 5)] == [0, 1, 2, 3, 4]
    asked = log.read_text()
    assert "nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM),width=64,height=48,framerate=15/1" in asked
    assert asked.count("fdsink") == 1


def test_a_csi_camera_that_gives_nothing_says_what_gstreamer_says(
    fake_gstreamer: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_gstreamer(["nvarguscamerasrc"], frames=0)
    monkeypatch.setattr(live_sources, "opencv_has_gstreamer", lambda: False)
    with pytest.raises(MachineError, match="csi:0 gives no pictures: ERROR: from element: no such camera") as caught:
        csi("0@64x48")
    assert "nvargus-daemon" in caught.value.hint
    fake_gstreamer(["nvarguscamerasrc"], frames=3)
    told: list[str] = []
    with csi("0@64x48", "all", told.append) as source:
        assert len(list(itertools.islice(source, 7))) == 7
    assert "csi:0 is lost: csi:0 gives no pictures: ERROR" in told[0]


def test_a_csi_camera_goes_through_opencv_where_that_has_gstreamer(
    captures: list[FakeCapture], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_sources, "opencv_has_gstreamer", lambda: True)
    with csi("0"):
        pipeline, backend = captures[0].asked
    assert backend == cv2.CAP_GSTREAMER
    assert str(pipeline).startswith("nvarguscamerasrc sensor-id=0 ! video/x-raw(memory:NVMM),width=1280,height=720")
    assert "appsink" in str(pipeline)
    FakeCapture.opens = False
    with pytest.raises(MachineError, match="csi:0 cannot be opened"):
        csi("0")


def test_a_machine_without_a_camera_port_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(live_sources, "opencv_has_gstreamer", lambda: False)
    monkeypatch.setenv("PATH", str(tmp_path))
    gstreamer.has_element.cache_clear()
    with pytest.raises(MachineError, match="nvarguscamerasrc, which this machine does not have") as caught:
        csi("0")
    assert "camera:0" in caught.value.hint
