"""Small videos and an engine that needs no network."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from trtparse.data.dataset import Image
from trtparse.demo import gstreamer
from trtparse.engines.base import Arrays, Engine, Frames, Ticket

MakeVideo = Callable[..., Path]


class BrightEngine(Engine):
    """Labels by brightness: dark is background, grey Upper-clothes, bright Face.

    Args:
        batch: as every engine's.
        seconds: how long a pass takes.
        fail_at: the number of the pass that raises, from 1.
    """

    def __init__(self, batch: int | None = 1, seconds: float = 0.0, fail_at: int = 0) -> None:
        super().__init__()
        self.name, self.target, self.precision = "brightness", "fake", "fp32"
        self.input_size, self.batch = (48, 32), batch
        self.passes = 0
        self.flying = self.most_flying = 0
        self._seconds, self._fail_at = seconds, fail_at

    def _release(self) -> None:
        """There is nothing to free."""

    def submit(self, frames: Frames) -> Ticket:
        ticket = super().submit(frames)
        self.flying += 1
        self.most_flying = max(self.most_flying, self.flying)
        return ticket

    def collect(self, ticket: Ticket) -> Arrays:
        try:
            return super().collect(ticket)
        finally:
            self.flying -= 1

    def _run(self, frames: Frames) -> Arrays:
        self.passes += 1
        if self.passes == self._fail_at:
            raise RuntimeError("the engine broke")
        time.sleep(self._seconds)
        grey = frames[..., 1]
        return (np.where(grey > 170, 13, np.where(grey > 60, 5, 0)).astype(np.uint8),)


@pytest.fixture
def engine() -> Iterator[BrightEngine]:
    with BrightEngine() as engine:
        yield engine


@pytest.fixture
def make_engine() -> type[BrightEngine]:
    return BrightEngine


def walker(index: int, size: tuple[int, int] = (96, 128)) -> Image:
    """A bright head on a grey body, one step further to the right in each frame."""
    height, width = size
    frame = np.full((height, width, 3), (30, 20, 30), np.uint8)
    left = 5 + index % max(1, width - 30)
    frame[height // 3 : height - 4, left : left + 20] = (90, 110, 100)
    frame[height // 8 : height // 3, left + 4 : left + 16] = (200, 220, 210)
    return frame


@pytest.fixture
def make_frame() -> Callable[..., Image]:
    return walker


@pytest.fixture
def make_video(tmp_path: Path) -> MakeVideo:
    def make(
        name: str = "walk.mp4",
        frames: int = 20,
        size: tuple[int, int] = (96, 128),
        fps: float = 25.0,
        codec: str = "mp4v",
    ) -> Path:
        path = tmp_path / name
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, (size[1], size[0]))
        assert writer.isOpened()
        for index in range(frames):
            writer.write(walker(index, size))
        writer.release()
        return path

    return make


@pytest.fixture
def count_frames() -> Callable[[Path], int]:
    """Decodes a video to its end, rather than trusting its header."""

    def count(path: Path) -> int:
        capture = cv2.VideoCapture(str(path))
        frames = 0
        while capture.read()[0]:
            frames += 1
        capture.release()
        return frames

    return count


FAKE_LAUNCH = """#!{python}
import re, sys, time
from pathlib import Path
text = " ".join(sys.argv[1:])
Path({log!r}).write_text(text)
width, height, sink = (int(re.findall(r"\\b" + name + "=([0-9]+)", text)[-1]) for name in ("width", "height", "fd"))
# As NVIDIA's plugins do, whatever -q asks of gst-launch itself.
print("GST_ARGUS: Creating output stream", flush=True)
with open(sink, "wb") as pictures:
    for number in range({frames}):
        pictures.write(bytes([number, number, number, 255]) * (width * height))
        pictures.flush()
        print("NvMMLiteBlockCreate : Block : BlockType =", number, flush=True)
    if {then_hang}:
        time.sleep(60)
print("(Argus) Error EndOfFile: Unexpected error in reading socket", flush=True)
print("ERROR: from element: no such camera", file=sys.stderr)
sys.exit("ERROR: pipeline doesn't want to preroll.")
"""


@pytest.fixture
def fake_gstreamer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Puts GStreamer's programs on the PATH, with some elements; gives the file that the last pipeline is in.

    The pictures have the shade of their number, in the size that the pipeline names.
    """

    def make(elements: list[str], frames: int = 10, then_hang: bool = False) -> Path:
        folder, log = tmp_path / "gst", tmp_path / "gst" / "pipeline.txt"
        folder.mkdir(exist_ok=True)
        launch = FAKE_LAUNCH.format(python=sys.executable, log=str(log), frames=frames, then_hang=then_hang)
        inspect = f"#!{sys.executable}\nimport sys\nsys.exit(sys.argv[1] not in {elements!r})\n"
        for name, text in (("gst-launch-1.0", launch), ("gst-inspect-1.0", inspect)):
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        gstreamer.has_element.cache_clear()
        return log

    yield make
    gstreamer.has_element.cache_clear()
