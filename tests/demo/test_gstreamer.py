from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from trtparse.demo import gstreamer
from trtparse.demo.gstreamer import GstPipe, hardware_decoder, has_element
from trtparse.demo.sources import VideoSource
from trtparse.errors import MachineError

FakeGStreamer = Callable[..., Path]
H264 = cv2.VideoWriter.fourcc(*"avc1")
SIZE = (48, 64)


def test_pictures_come_whole_through_the_pipe_and_end_with_it(fake_gstreamer: FakeGStreamer) -> None:
    fake_gstreamer([], frames=3)
    pipe = GstPipe([["src", "width=64,height=48"]], SIZE, "the test")
    frames = [pipe.read() for _ in range(4)]
    assert [decoded for decoded, _ in frames] == [True, True, True, False]
    for number, (_, frame) in enumerate(frames[:3]):
        assert frame is not None
        assert (frame.shape, frame.dtype) == ((*SIZE, 3), np.uint8)
        assert np.all(frame == (number, number, number))
    assert "no such camera" in pipe.complaint()
    pipe.release()
    pipe.release()


def test_a_pipe_that_stands_still_is_an_end(fake_gstreamer: FakeGStreamer, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_gstreamer([], frames=1, then_hang=True)
    pipe = GstPipe([["src", "width=64,height=48"]], SIZE, "the test")
    assert pipe.read()[0]
    monkeypatch.setattr(gstreamer, "_PATIENCE_SECONDS", 0.1)
    assert pipe.read() == (False, None)
    pipe.release()
    assert pipe._process.poll() is not None


CAMERA = """#!{python}
import re, signal, sys
heeded, log = {heeded!r}, open({log!r}, "w", buffering=1)
stopped = False

def told(number, frame):
    global stopped
    name = signal.Signals(number).name
    print(name, file=log)
    stopped = stopped or name == heeded

signal.signal(signal.SIGINT, told)
signal.signal(signal.SIGTERM, told)
sink = open(int(re.search("fd=([0-9]+)", " ".join(sys.argv))[1]), "wb")
# Like GStreamer, it stops between two pictures, and a picture is there once it is written.
while not stopped:
    sink.write(bytes(4 << 20))
print("freed", file=log)
"""


@pytest.mark.parametrize(
    ("heeded", "told"),
    [
        ("SIGINT", ["SIGINT", "freed"]),
        ("SIGTERM", ["SIGINT", "SIGTERM", "freed"]),
        ("none", ["SIGINT", "SIGTERM"]),
    ],
)
def test_a_camera_is_let_go_by_an_interrupt_and_killed_only_where_it_heeds_nothing(
    heeded: str, told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, log = tmp_path / "gst-launch-1.0", tmp_path / "signals.txt"
    program.write_text(CAMERA.format(python=sys.executable, heeded=heeded, log=str(log)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    if heeded != "SIGINT":
        short = [(number, 0.2 if number != signal.SIGKILL else 10.0) for number, _ in gstreamer._ENDINGS]
        monkeypatch.setattr(gstreamer, "_ENDINGS", short)
    pipe = GstPipe([["nvarguscamerasrc"]], SIZE, "csi:0")
    # Far less than the program writes: it waits in the middle of a picture.
    assert pipe.read()[0]
    pipe.release()
    assert log.read_text().split() == told
    assert pipe._process.poll() == (0 if heeded != "none" else -signal.SIGKILL)
    assert pipe.read() == (False, None)


def test_a_camera_whose_reader_is_left_behind_is_let_go_when_the_program_ends(
    fake_gstreamer: FakeGStreamer, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_the_end: list[Callable[[], None]] = []
    monkeypatch.setattr(gstreamer.atexit, "register", at_the_end.append)
    monkeypatch.setattr(gstreamer.atexit, "unregister", lambda ending: at_the_end.remove(ending))
    fake_gstreamer([], frames=1, then_hang=True)
    pipe = GstPipe([["src", "width=64,height=48"]], SIZE, "the test")
    assert pipe.read()[0]
    (ending,) = at_the_end
    ending()
    assert pipe._process.poll() is not None
    assert not at_the_end


def test_no_pipe_is_left_open(fake_gstreamer: FakeGStreamer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def opened() -> set[str]:
        return {name for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")}

    before = opened()
    fake_gstreamer([], frames=1)
    pipe = GstPipe([["src", "width=64,height=48"]], SIZE, "the test")
    pipe.read()
    pipe.release()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineError):
        GstPipe([], SIZE, "csi:0")
    assert opened() == before


def test_without_gstreamer_there_are_no_elements_and_a_pipe_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    has_element.cache_clear()
    assert not has_element("nvv4l2decoder")
    with pytest.raises(MachineError, match=r"gst-launch-1\.0 is missing, which csi:0 needs") as caught:
        GstPipe([], SIZE, "csi:0")
    assert "apt-get install" in caught.value.hint


def test_a_hardware_decoder_is_taken_only_where_its_first_picture_is_right(
    fake_gstreamer: FakeGStreamer, tmp_path: Path
) -> None:
    path, right, wrong = tmp_path / "a.mp4", np.zeros((*SIZE, 3), np.uint8), np.full((*SIZE, 3), 200, np.uint8)
    log, told = fake_gstreamer(["nvv4l2decoder"], frames=4), list[str]()
    assert hardware_decoder(path, H264, wrong, told.append) is None
    assert told.pop() == (
        "a.mp4 is decoded on the processor, and not in hardware (nvv4l2decoder): its first picture is another than "
        "OpenCV's."
    )
    assert hardware_decoder(path, cv2.VideoWriter.fourcc(*"MJPG"), right, told.append) is None
    decoder = hardware_decoder(path, H264, right, told.append)
    assert decoder is not None
    assert "! parsebin ! h264parse ! nvv4l2decoder !" in log.read_text()
    decoded, second = decoder.read()
    assert decoded
    assert second is not None
    assert int(second[0, 0, 0]) == 1  # the first one was taken for the comparison
    decoder.release()
    assert told == []
    fake_gstreamer(["nvv4l2decoder"], frames=0)
    assert hardware_decoder(path, cv2.VideoWriter.fourcc(*"hvc1"), right, told.append) is None
    assert "! h265parse !" in log.read_text()
    assert told.pop().endswith("(nvv4l2decoder): ERROR: from element: no such camera.")
    fake_gstreamer([], frames=4)
    assert hardware_decoder(path, H264, right, told.append) is None
    assert told == [], "where there is none, nobody misses it"


def test_a_video_is_decoded_in_hardware_where_there_is_any_and_that_is_said(
    fake_gstreamer: FakeGStreamer, make_video: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_gstreamer(["nvv4l2decoder"], frames=20)
    path = make_video(frames=20, size=SIZE)
    monkeypatch.setattr(gstreamer, "_PARSERS", dict.fromkeys(("fmp4", "mp4v"), "mpeg4videoparse"))
    monkeypatch.setattr(gstreamer, "_ALIKE", 255)
    told: list[str] = []
    with VideoSource(path, notify=told.append) as source:
        frames = list(source)
    assert told == ["walk.mp4 is decoded in hardware (nvv4l2decoder)."]
    assert [int(frame[0, 0, 0]) for frame in frames[1:]] == list(range(1, 20))
    assert source.frames_missing == 0


BUSY = """#!{python}
import sys
# NVIDIA's plugin where another program holds the camera, in the words that people report.
print("Error generated. gstnvarguscamerasrc.cpp, execute:768 Failed to create CaptureSession")
print("(Argus) Error Timeout:  (propagating from ClientSocketManager.cpp, function send(), line 137)")
print("Error generated. gstnvarguscamerasrc.cpp, threadInitialize:317 Failed to create CameraProvider", flush=True)
sys.exit(0)
"""


@pytest.mark.parametrize("others_first", [False, True])
def test_a_camera_service_that_is_busy_is_told_by_what_it_could_not_do(
    others_first: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = BUSY.format(python=sys.executable).splitlines(keepends=True)
    if others_first:
        lines[3], lines[4] = lines[4], lines[3]
    program = tmp_path / "gst-launch-1.0"
    program.write_text("".join(lines))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    pipe = GstPipe([["nvarguscamerasrc"]], SIZE, "csi:0")
    assert pipe.read() == (False, None)
    assert pipe.complaint().endswith("Failed to create CaptureSession")
    pipe.release()


# With GStreamer's own elements, where there is GStreamer

BGRX = [["videoconvert"], [f"video/x-raw,format=BGRx,width={SIZE[1]},height={SIZE[0]}"]]


@pytest.fixture
def real_gstreamer() -> None:
    has_element.cache_clear()
    if not has_element("videotestsrc"):
        pytest.skip("GStreamer's tools and base plugins are not installed")


@pytest.mark.usefixtures("real_gstreamer")
def test_gstreamer_writes_into_the_pipe_and_ends_cleanly_on_an_interrupt() -> None:
    pipe = GstPipe([["videotestsrc", "pattern=white"], *BGRX], SIZE, "the test")
    for _ in range(3):
        decoded, frame = pipe.read()
        assert decoded
        assert frame is not None
        assert np.all(frame == 255)
    pipe.release()
    assert pipe._process.returncode == 0


@pytest.mark.usefixtures("real_gstreamer")
def test_gstreamer_s_first_error_names_the_element(tmp_path: Path) -> None:
    pipe = GstPipe([["filesrc", f"location={tmp_path / 'missing'}"], ["decodebin"], *BGRX], SIZE, "the test")
    assert pipe.read() == (False, None)
    assert "filesrc0" in pipe.complaint()
    pipe.release()
    pipe = GstPipe([["nosuchelement"], *BGRX], SIZE, "the test")
    assert pipe.read() == (False, None)
    assert "nosuchelement" in pipe.complaint()
    pipe.release()


@pytest.mark.usefixtures("real_gstreamer")
@pytest.mark.parametrize("codec", ["avc1", "hvc1"])
def test_a_decoder_that_takes_byte_streams_alone_is_fed_whatever_ranks_above_it(codec: str, tmp_path: Path) -> None:
    encoder, kind = {"avc1": ("x264enc", "video/x-h264"), "hvc1": ("x265enc", "video/x-h265")}[codec]
    parser = gstreamer._PARSERS[codec]
    if not all(map(has_element, (encoder, parser, "mp4mux", "parsebin"))):
        pytest.skip("GStreamer's plugins bad and ugly are not installed")
    path = tmp_path / "a.mp4"
    source = [["videotestsrc", "num-buffers=10"], ["video/x-raw,format=I420,width=320,height=240,framerate=25/1"]]
    written = [*source, [encoder], [parser], ["mp4mux"], ["filesink", f"location={path}"]]
    subprocess.run([gstreamer.LAUNCH, "-q", *gstreamer.chained(written)], check=True, capture_output=True)
    # NVIDIA's decoder asks for this by the caps of its sink; the containers of MP4 hold the other form.
    asked = f"{kind},stream-format=byte-stream,alignment=au"
    read = [["filesrc", f"location={path}"], ["parsebin"], [parser], [asked], ["filesink", f"location={path}.raw"]]
    subprocess.run([gstreamer.LAUNCH, "-q", *gstreamer.chained(read)], check=True, capture_output=True)
    assert (tmp_path / "a.mp4.raw").read_bytes().startswith(bytes([0, 0, 0, 1]))
