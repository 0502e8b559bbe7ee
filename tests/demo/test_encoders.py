"""A Jetson's encoder through GStreamer: software elements in NVIDIA's place, and a stand-in for the program."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from trtparse.demo import encoders, gstreamer, sinks
from trtparse.demo.encoders import HARDWARE, GstEncoder, begin, hardware_encoder
from trtparse.demo.gstreamer import has_element
from trtparse.demo.sinks import VideoSink
from trtparse.demo.sources import VideoSource
from trtparse.errors import MachineError

Frame = Callable[..., np.ndarray]
Count = Callable[[Path], int]

SOFTWARE = [["videoconvert"], ["video/x-raw,format=I420"], ["x264enc", "speed-preset=superfast", "bitrate=4000"]]
"""In the place of NVIDIA's converter and encoder."""


@pytest.fixture
def software(monkeypatch: pytest.MonkeyPatch) -> None:
    """GStreamer's own elements play a Jetson's."""
    has_element.cache_clear()
    if not all(map(has_element, ("x264enc", "mp4mux", "rawvideoparse", "h264parse"))):
        pytest.skip("GStreamer's tools with the plugins base, good, bad and ugly are not installed")
    monkeypatch.setattr(encoders, "hardware_encoder", lambda rate, size: SOFTWARE)
    monkeypatch.setattr(encoders, "has_element", lambda name: True)
    monkeypatch.setattr(sinks, "_CODECS", {".mp4": (HARDWARE,), ".mov": (HARDWARE,)})


@pytest.mark.usefixtures("software")
@pytest.mark.parametrize(("name", "rate"), [("a film: 50%.mp4", 30000 / 1001), ("walk.mov", 25.0)])
def test_a_video_through_gstreamer_keeps_its_frames_its_rate_and_its_pictures(
    name: str, rate: float, tmp_path: Path, count_frames: Count
) -> None:
    path = tmp_path / name
    colours = [(200, 40, 30), (30, 180, 60), (40, 50, 220)]
    with VideoSink(path, rate, (97, 129)) as sink:
        for number in range(12):
            sink.write(np.full((97, 129, 3), colours[number // 4], np.uint8))
    assert (count_frames(path), sink.codec, sink.video_size) == (12, "avc1", (98, 130))
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(rate, abs=1e-3)
    for number in range(12):
        frame = capture.read()[1]
        assert np.abs(frame[40:50, 40:50].mean(axis=(0, 1)) - colours[number // 4]).max() < 6
    assert [item.name for item in tmp_path.iterdir()] == [name]


@pytest.mark.usefixtures("software")
@pytest.mark.parametrize("most", [None, (48, 64)])
def test_what_gstreamer_wrote_it_reads_again_in_the_size_that_is_asked_for(
    most: tuple[int, int] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_element("avdec_h264"):
        pytest.skip("GStreamer's libav plugin is not installed")

    def as_bgrx(size: tuple[int, int]) -> list[list[str]]:
        caps = f"video/x-raw,format=BGRx,width={size[1]},height={size[0]}"
        return [["videoconvert"], ["videoscale"], [caps]]

    monkeypatch.setattr(gstreamer, "_DECODER", "avdec_h264")
    monkeypatch.setattr(gstreamer, "_as_bgrx", as_bgrx)
    path, told = tmp_path / "out.mp4", list[str]()
    with VideoSink(path, 25.0, (96, 128)) as sink:
        for number in range(8):
            sink.write(np.full((96, 128, 3), 20 + 25 * number, np.uint8))
    with VideoSource(path, notify=told.append, most=most) as source:
        frames = list(source)
    assert told == ["out.mp4 is decoded in hardware (avdec_h264)."]
    assert {frame.shape for frame in frames} == {(*(most or (96, 128)), 3)}
    shades = [float(frame.mean()) for frame in frames]
    assert shades == pytest.approx([20 + 25 * number for number in range(8)], abs=4)
    assert source.frames_missing == 0


@pytest.mark.usefixtures("software")
def test_an_encoder_that_fails_says_which_element_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "hardware_encoder", lambda rate, size: [["nosuchencoder"]])
    encoder = begin(tmp_path / "out.mp4", HARDWARE, 25.0, (48, 64))
    assert encoder is not None
    with pytest.raises(MachineError, match=r"gst-launch-1\.0 stopped writing out\.mp4: .*nosuchencoder"):
        encoder.finish()


NVIDIA = """#!{python}
import sys, time
from pathlib import Path
Path({log!r}).write_text(" ".join(sys.argv[1:]))
# As NVIDIA's plugins do, whatever -q asks of gst-launch itself.
print("Opening in BLOCKING MODE", "NvMMLiteOpen : Block : BlockType = 4", sep=chr(10), flush=True)
if {hangs}:
    time.sleep(60)
print("ERROR: from element /GstPipeline:pipeline0/nvv4l2h264enc0: Device '/dev/v4l2-nvenc' failed", file=sys.stderr)
sys.exit(1)
"""


@pytest.fixture
def nvidia(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A gst-launch-1.0 with NVIDIA's plugins on a board without an encoder; gives the file its words are in."""

    def make(hangs: bool = False) -> Path:
        folder, log = tmp_path / "gst", tmp_path / "gst" / "words.txt"
        folder.mkdir()
        program = folder / "gst-launch-1.0"
        program.write_text(NVIDIA.format(python=sys.executable, log=str(log), hangs=hangs))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        monkeypatch.setattr(encoders, "has_element", lambda name: True)
        return log

    return make


def test_a_board_without_the_hardware_goes_on_with_the_next_encoder(
    nvidia: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count_frames: Count
) -> None:
    log = nvidia()
    monkeypatch.setattr(sinks, "_CODECS", {".mp4": (HARDWARE, "mp4v")})
    with VideoSink(tmp_path / "out.mp4", 25.0, (720, 1280)) as sink:
        for _ in range(3):
            sink.write(np.zeros((720, 1280, 3), np.uint8))
    assert (sink.codec, count_frames(tmp_path / "out.mp4")) == ("mp4v", 3)
    assert log.read_text().split(" ! ")[:5] == [
        "-q fdsrc fd=0 blocksize=3686400",
        "rawvideoparse format=bgrx width=1280 height=720 framerate=25/1",
        "nvvidconv",
        "video/x-raw(memory:NVMM),format=NV12",
        "nvv4l2h264enc bitrate=3456000",
    ]


def test_an_encoder_that_takes_nothing_any_more_is_no_endless_wait(
    nvidia: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvidia(hangs=True)
    monkeypatch.setattr(encoders, "_STALL_SECONDS", 0.2)
    monkeypatch.setattr(encoders, "_FEW_SECONDS", 0.1)
    encoder = begin(tmp_path / "out.mp4", HARDWARE, 25.0, (480, 640))
    assert isinstance(encoder, GstEncoder)
    with pytest.raises(MachineError, match=r"it has taken nothing for 0\.2 seconds"):
        encoder.write(np.zeros((480, 640, 3), np.uint8))
    encoder.abandon()
    encoder = begin(tmp_path / "out.mp4", HARDWARE, 25.0, (4, 4))
    assert encoder is not None
    with pytest.raises(MachineError, match=r"gst-launch-1\.0 does not finish out\.mp4"):
        encoder.finish()


def test_small_videos_have_a_least_bit_rate() -> None:
    assert hardware_encoder(25.0, (48, 64))[-1] == [HARDWARE, "bitrate=1000000"]


def test_where_there_is_no_such_element_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "has_element", lambda name: False)
    assert begin(tmp_path / "out.mp4", HARDWARE, 25.0, (48, 64)) is None
