"""What turns frames into a video file: OpenCV's own encoders, or the ``ffmpeg`` program through a pipe.

OpenCV from pip brings an FFmpeg without an H.264 encoder (its licence does not allow x264), and MPEG-4 part 2, which
it has, is played by no browser. Many machines have the ``ffmpeg`` program, though, whose distributions do have x264.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from ..data.dataset import Image
from ..data.quiet import quiet_opencv
from ..errors import MachineError
from ..storage.files import DISK_FULL

_LARGEST_DENOMINATOR = 1001  # so that 29.97 becomes 2997/100, and 30000/1001 itself
# On 250 frames of 768x432: 3.6 ms of CPU time per frame, 1.2 MB, 40.0 dB. MPEG-4 part 2 by OpenCV takes
# 1.4 ms, 1.3 MB, 38.8 dB; x264's "veryfast" 4.8 ms, 0.6 MB, 39.3 dB.
_PRESET, _QUALITY = "superfast", "23"
_LARGEST_SIDE = 16384  # x264 takes no more; found out here, not after gigabytes have gone through the pipe
_FINISH_SECONDS = 600.0  # moving the index to the front copies the file once


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


class FfmpegEncoder:
    """H.264 by the ``ffmpeg`` program, with the index in front, so that a browser plays it while it loads.

    Args:
        path: where to.
        rate: frames per second.
        size: (height, width), both even.

    Raises:
        MachineError: the program is not there.
    """

    def __init__(self, path: Path, rate: float, size: tuple[int, int]) -> None:
        self._path = path
        program = shutil.which("ffmpeg")
        if program is None:
            raise MachineError("There is no ffmpeg program on the PATH.", "Install it: apt-get install ffmpeg")
        exact = Fraction(rate).limit_denominator(_LARGEST_DENOMINATOR)
        frames = ["-f", "rawvideo", "-pixel_format", "bgr24", "-video_size", f"{size[1]}x{size[0]}"]
        frames += ["-framerate", f"{exact.numerator}/{exact.denominator}", "-i", "pipe:0", "-an"]
        codec = ["-c:v", "libx264", "-preset", _PRESET, "-crf", _QUALITY, "-pix_fmt", "yuv420p"]
        whole = ["-movflags", "+faststart", "-y", f"file:{path}"]
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        # in a session of its own: Ctrl-C must not end it before the frames so far are written
        self._process = subprocess.Popen(
            [program, "-hide_banner", "-loglevel", "error", *frames, *codec, *whole],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            start_new_session=True,
        )

    def write(self, frame: Image) -> None:
        """Append a frame.

        Raises:
            MachineError: the program has ended; the disk is full, most likely.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(np.ascontiguousarray(frame).data)
        except OSError as error:
            self._process.wait()
            raise self._failed() from error

    def finish(self) -> None:
        """Wait until the file is whole.

        Raises:
            MachineError: it will not be.
        """
        assert self._process.stdin is not None
        try:
            with contextlib.suppress(OSError):  # the exit status says more
                self._process.stdin.close()
            if self._process.wait(_FINISH_SECONDS) != 0:
                raise self._failed()
        except subprocess.TimeoutExpired:
            raise MachineError(f"ffmpeg does not finish {self._path.name}.", "Name the output .avi instead.") from None
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

    def _failed(self) -> MachineError:
        self._errors.seek(0)
        said = [line.strip() for line in self._errors.read().decode("utf-8", "replace").splitlines() if line.strip()]
        reason = next((line for line in said if "No space left" in line or "too large" in line), (said or ["?"])[-1])
        return MachineError(f"ffmpeg stopped writing {self._path.name}: {reason}", DISK_FULL)


def begin(path: Path, codec: str, rate: float, size: tuple[int, int]) -> Encoder | None:
    """Begin a video.

    Args:
        path: where to.
        codec: four characters that OpenCV knows, or ``ffmpeg`` for H.264 by that program.
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
    with quiet_opencv():
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), rate, (size[1], size[0]))
    return OpenCvEncoder(writer) if writer.isOpened() else None
