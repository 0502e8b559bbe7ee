"""What turns frames into a video file: OpenCV's encoders, or a program through a pipe: GStreamer's or ``ffmpeg``.

OpenCV from pip brings an FFmpeg without an H.264 encoder (its licence does not allow x264), and MPEG-4 part 2, which
it has, is played by no browser. Many machines have the ``ffmpeg`` program, though, whose distributions do have x264.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ..data.dataset import Image
from ..data.quiet import quiet_opencv
from ..errors import MachineError
from ..storage.files import DISK_FULL
from .gstreamer import LAUNCH, chained, has_element

_LARGEST_DENOMINATOR = 1001  # so that 29.97 becomes 2997/100, and 30000/1001 itself
# On 250 frames of 768x432: 3.6 ms of CPU time per frame, 1.2 MB, 40.0 dB. MPEG-4 part 2 by OpenCV takes
# 1.4 ms, 1.3 MB, 38.8 dB; x264's "veryfast" 4.8 ms, 0.6 MB, 39.3 dB.
_PRESET, _QUALITY = "superfast", "23"
_LARGEST_SIDE = 16384  # x264 takes no more; found out here, not after gigabytes have gone through the pipe
_FINISH_SECONDS = 600.0  # moving the index to the front copies the file once
_FEW_SECONDS = 20.0  # for a file of hardly a frame; a frame more may take a second more
_STALL_SECONDS = 30.0  # in which a program that still works takes a part of a frame

HARDWARE = "nvv4l2h264enc"
"""A Jetson's encoder, as GStreamer calls it. An Orin Nano has the element and not the hardware: three frames tell."""
_BITS_PER_PIXEL, _LEAST_BITS = 0.15, 1_000_000  # 3.5 Mbit/s at 720p25; by rule of thumb, nothing was measured
_MUXERS = {".mov": "qtmux"}


class Encoder(Protocol):
    """Takes frames of one size."""

    def write(self, frame: Image) -> None:
        """Append (H, W, 3) uint8, BGR."""
        ...

    def finish(self) -> None:
        """Write what is left, and close the file."""
        ...

    def abandon(self) -> None:
        """Close the file as it is; somebody will remove it."""
        ...


class OpenCvEncoder:
    """One of OpenCV's encoders; see :func:`begin`."""

    def __init__(self, writer: cv2.VideoWriter) -> None:
        self._writer = writer

    def write(self, frame: Image) -> None:
        self._writer.write(frame)

    def finish(self) -> None:
        self._writer.release()

    abandon = finish


class PipeEncoder:
    """A program that takes frames through a pipe and makes a video of them.

    Args:
        command: the program and its words.
        path: of the video, for messages.

    Raises:
        MachineError: the program is not there.
    """

    def __init__(self, command: Sequence[str], path: Path) -> None:
        self._path, self._name, self._frames = path, Path(command[0]).name, 0
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        # in a session of its own: Ctrl-C must not end it before the frames so far are written
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=self._errors,
            stderr=self._errors,
            start_new_session=True,
        )

    def write(self, frame: Image) -> None:
        """Append a frame.

        Raises:
            MachineError: the program has ended, as where the disk is full; or it takes nothing any more.
        """
        assert self._process.stdin is not None
        left = self._bytes(frame).data.cast("B")
        pipe = self._process.stdin.fileno()
        try:
            os.set_blocking(pipe, False)
            while left:
                _, ready, _ = select.select([], [pipe], [], _STALL_SECONDS)
                if not ready:
                    raise self._failed(f"it has taken nothing for {_STALL_SECONDS:g} seconds")
                with contextlib.suppress(BlockingIOError):
                    left = left[os.write(pipe, left) :]
        except OSError as error:
            # It takes nothing any more, and ends on its own as a rule.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_FEW_SECONDS)
            raise self._failed() from error
        self._frames += 1

    def finish(self) -> None:
        """Wait until the file is whole.

        Raises:
            MachineError: it will not be.
        """
        assert self._process.stdin is not None
        try:
            with contextlib.suppress(OSError):  # the exit status says more
                self._process.stdin.close()
            if self._process.wait(min(_FINISH_SECONDS, _FEW_SECONDS + self._frames)) != 0:
                raise self._failed()
        except subprocess.TimeoutExpired:
            message = f"{self._name} does not finish {self._path.name}."
            raise MachineError(message, "Name the output .avi instead.") from None
        finally:
            self.abandon()

    def abandon(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        self._errors.close()

    def _bytes(self, frame: Image) -> NDArray[np.uint8]:
        """A frame as the program takes it, in one piece of memory."""
        return np.ascontiguousarray(frame)

    def _failed(self, reason: str = "") -> MachineError:
        self._errors.seek(0)
        said = [line.strip() for line in self._errors.read().decode("utf-8", "replace").splitlines() if line.strip()]
        first = next((line for line in said if re.search("No space left|too large|^ERROR", line)), (said or ["?"])[-1])
        return MachineError(f"{self._name} stopped writing {self._path.name}: {reason or first}", DISK_FULL)


class FfmpegEncoder(PipeEncoder):
    """H.264 by the ``ffmpeg`` program, with the index in front, so that a browser plays it while it loads.

    Args:
        path: where to.
        rate: frames per second.
        size: (height, width), both even.

    Raises:
        MachineError: the program is not there.
    """

    def __init__(self, path: Path, rate: float, size: tuple[int, int]) -> None:
        program = shutil.which("ffmpeg")
        if program is None:
            raise MachineError("There is no ffmpeg program on the PATH.", "Install it: apt-get install ffmpeg")
        frames = ["-f", "rawvideo", "-pixel_format", "bgr24", "-video_size", f"{size[1]}x{size[0]}"]
        frames += ["-framerate", _fraction(rate), "-i", "pipe:0", "-an"]
        codec = ["-c:v", "libx264", "-preset", _PRESET, "-crf", _QUALITY, "-pix_fmt", "yuv420p"]
        whole = ["-movflags", "+faststart", "-y", f"file:{path}"]
        super().__init__([program, "-hide_banner", "-loglevel", "error", *frames, *codec, *whole], path)


class GstEncoder(PipeEncoder):
    """H.264 by GStreamer's command-line program, with an encoder of the machine's hardware, as a Jetson's.

    Its frames are BGRx: NVIDIA's converter takes no three bytes a pixel.

    Args:
        path: where to.
        rate: frames per second.
        size: (height, width), both even.

    Raises:
        MachineError: the program is not there.
    """

    def __init__(self, path: Path, rate: float, size: tuple[int, int]) -> None:
        program = shutil.which(LAUNCH)
        if program is None:
            raise MachineError(f"There is no {LAUNCH} on the PATH.", "Install it: apt-get install gstreamer1.0-tools")
        height, width = size
        elements = [
            ["fdsrc", "fd=0", f"blocksize={4 * width * height}"],
            ["rawvideoparse", "format=bgrx", f"width={width}", f"height={height}", f"framerate={_fraction(rate)}"],
            *hardware_encoder(rate, size),
            ["h264parse"],
            [_MUXERS.get(path.suffix.lower(), "mp4mux"), "faststart=true"],
            ["filesink", f"location={path}"],
        ]
        super().__init__([program, "-q", *chained(elements)], path)

    def _bytes(self, frame: Image) -> NDArray[np.uint8]:
        return cv2.cvtColor(frame, cv2.COLOR_BGR2BGRA)  # type: ignore[return-value]


def hardware_encoder(rate: float, size: tuple[int, int]) -> list[list[str]]:
    """From BGRx in the processor's memory to H.264, on a Jetson; one list per element."""
    bits = max(_LEAST_BITS, round(_BITS_PER_PIXEL * size[0] * size[1] * rate))
    return [["nvvidconv"], ["video/x-raw(memory:NVMM),format=NV12"], [HARDWARE, f"bitrate={bits}"]]


def _fraction(rate: float) -> str:
    exact = Fraction(rate).limit_denominator(_LARGEST_DENOMINATOR)
    return f"{exact.numerator}/{exact.denominator}"


def begin(path: Path, codec: str, rate: float, size: tuple[int, int]) -> Encoder | None:
    """Begin a video.

    Args:
        path: where to.
        codec: four characters that OpenCV knows; ``ffmpeg`` for H.264 by that program; or ``HARDWARE``.
        rate: frames per second.
        size: (height, width), both even.

    Returns:
        None where the encoder is not there.
    """
    if codec == "ffmpeg":
        if max(size) > _LARGEST_SIDE:
            return None
        with contextlib.suppress(MachineError, OSError):
            return FfmpegEncoder(path, rate, size)
        return None
    if codec == HARDWARE:
        if has_element(HARDWARE):
            with contextlib.suppress(MachineError, OSError):
                return GstEncoder(path, rate, size)
        return None
    with quiet_opencv():
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), rate, (size[1], size[0]))
    return OpenCvEncoder(writer) if writer.isOpened() else None
