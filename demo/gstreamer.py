"""Frames from GStreamer's command-line program, through a pipe: for cameras and decoders that OpenCV's wheels lack.

``gst-launch-1.0`` writes raw BGRx pictures into a pipe that is theirs alone: NVIDIA's plugins print to standard output,
and one line among the pictures would shift every later one. OpenCV from pip is built without GStreamer; on a Jetson the
camera port and the hardware decoder are reached through nothing else.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ..data.dataset import Image
from ..errors import MachineError
from .pacing import Notify

LAUNCH, _INSPECT = "gst-launch-1.0", "gst-inspect-1.0"
_DECODER = "nvv4l2decoder"
_PARSERS = {
    **dict.fromkeys(("avc1", "avc3", "h264"), "h264parse"),
    **dict.fromkeys(("hvc1", "hev1", "hevc"), "h265parse"),
}
"""By a codec's four characters. NVIDIA's decoder takes byte streams alone, and what parsebin makes of a container's
pictures goes by the decoder that ranks highest; a parser in front of NVIDIA's makes what that asks for."""
_PATIENCE_SECONDS = 10.0
_ENDINGS = ((signal.SIGINT, 5.0), (signal.SIGTERM, 2.0), (signal.SIGKILL, 10.0))
"""How a program is ended, and the seconds that each has. gst-launch stops its elements on SIGINT alone: a camera that
is ended otherwise stays taken, until its service is restarted."""
_ALIKE = 12.0
"""Mean difference of two decoders' first pictures, of 255; they round colours and chroma differently, by 1 to 3."""
_COMPLAINTS = (r".*(Failed to create CaptureSession|No cameras available)", r"ERROR|WARNING: erroneous", "(?i).*error")
"""What tells most first: NVIDIA's camera service says that it gives no camera in a line of its own, beside others."""
_PIPE_BYTES = 1 << 20  # fewer switches between the programs; the most that Linux gives without privileges
_F_SETPIPE_SZ = 1031


class GstPipe:
    """A running ``gst-launch-1.0`` whose last element is a ``fdsink`` of BGRx pictures of one size.

    Args:
        elements: of the pipeline, one list per element, without the sink.
        size: (height, width) of the pictures.
        name: what is special about it, for messages.

    Raises:
        MachineError: the program is not there.
    """

    fps = 0.0

    def __init__(self, elements: Sequence[Sequence[str]], size: tuple[int, int], name: str) -> None:
        self.name = name
        self._buffer = np.empty((*size, 4), np.uint8)
        self._file: int | None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._file, theirs = os.pipe()
        command = [LAUNCH, "-q", *chained([*elements, ["fdsink", f"fd={theirs}", "sync=false"]])]
        try:
            # in a session of its own, so that Ctrl-C ends it through us
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._errors,
                stderr=self._errors,
                pass_fds=(theirs,),
                start_new_session=True,
            )
        except OSError as error:
            os.close(self._file)
            self._errors.close()
            raise MachineError(
                f"{LAUNCH} is missing, which {name} needs.",
                "Install it: apt-get install gstreamer1.0-tools. On a Jetson it comes with JetPack.",
            ) from error
        finally:
            os.close(theirs)
        self._ending = threading.Lock()
        # A reader that waits for a camera that gives nothing is left behind at the end, and the camera with it.
        atexit.register(self.release)
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            fcntl.fcntl(self._file, _F_SETPIPE_SZ, _PIPE_BYTES)

    def read(self) -> tuple[bool, Image | None]:
        """The next picture, (H, W, 3) uint8, BGR; (False, None) at the end, or where none comes for ten seconds."""
        file = self._file
        if file is None:
            return False, None
        pixels = self._buffer.data.cast("B")
        filled, until = 0, time.monotonic() + _PATIENCE_SECONDS
        while filled < len(pixels):
            ready, _, _ = select.select([file], [], [], max(0.0, until - time.monotonic()))
            count = os.readv(file, [pixels[filled:]]) if ready else 0
            if not count:
                return False, None
            filled += count
        return True, cv2.cvtColor(self._buffer, cv2.COLOR_BGRA2BGR)  # type: ignore[return-value]

    def release(self) -> None:
        """End the program, the gentlest way first. Twice is fine."""
        atexit.unregister(self.release)
        with self._ending:
            if self._file is None:
                return
            for number, seconds in _ENDINGS:
                if self._process.poll() is None:
                    self._process.send_signal(number)
                    self._drain(self._file, seconds)
            os.close(self._file)
            self._file = None
            self._errors.close()

    def _drain(self, file: int, seconds: float) -> None:
        """Wait for the program's end, reading on: while it cannot write its picture, it cannot stop either."""
        until = time.monotonic() + seconds
        open_still = True
        while self._process.poll() is None and time.monotonic() < until:
            if open_still:
                ready, _, _ = select.select([file], [], [], 0.05)
                open_still = not ready or bool(os.read(file, _PIPE_BYTES))
            else:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(max(0.0, until - time.monotonic()))

    def complaint(self) -> str:
        """What the program said was wrong: its first error, which names the element; those after it follow from it."""
        # The pipe may be closed before the last word is said.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").splitlines()
        # NVIDIA's camera service says on a line of its own, and after others, that it gives no camera.
        for of_its_own in _COMPLAINTS:
            errors = [line for line in lines if re.match(of_its_own, line)]
            if errors:
                return errors[0].strip()
        return lines[-1].strip() if lines else "it ended without a word"


def chained(elements: Sequence[Sequence[str]]) -> list[str]:
    """A pipeline as ``gst-launch-1.0`` takes it."""
    return [word for element in elements for word in ("!", *element)][1:]


@functools.cache
def has_element(name: str) -> bool:
    """Whether GStreamer is there, with an element of this name."""
    program = shutil.which(_INSPECT)
    if program is None or shutil.which(LAUNCH) is None:
        return False
    try:
        return subprocess.run([program, name], capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


@functools.cache
def opencv_has_gstreamer() -> bool:
    return re.search(r"GStreamer:\s+YES", cv2.getBuildInformation()) is not None


def hardware_decoder(path: Path, codec: int, first: Image, notify: Notify) -> GstPipe | None:
    """A decoder of this machine's hardware for a file, standing after the first picture.

    Args:
        path: the video.
        codec: its four characters, as OpenCV gives them.
        first: (H, W, 3) uint8, BGR, the first picture as OpenCV decodes it.
        notify: told why a decoder that is there is not taken.

    Returns:
        None where there is none, or it turns out another first picture.
    """
    parser = _parser(codec)
    if parser is None:
        return None
    size = (first.shape[0], first.shape[1])
    source = ["filesrc", f"location={path.absolute()}"]
    pipe = GstPipe([source, ["parsebin"], [parser], [_DECODER], *_as_bgrx(size)], size, _DECODER)
    decoded, picture = pipe.read()
    if decoded and picture is not None and cv2.norm(picture, first, cv2.NORM_L1) <= _ALIKE * first.size:
        return pipe
    reason = "its first picture is another than OpenCV's" if decoded else pipe.complaint()
    pipe.release()
    notify(_on_the_processor(path.name, reason))
    return None


def hardware_stream(address: str, codec: int, size: tuple[int, int], name: str, notify: Notify) -> GstPipe | None:
    """An RTSP stream through a decoder of this machine's hardware, over TCP.

    Args:
        address: with the name and the password, where it needs them.
        codec: its four characters, as OpenCV gives them.
        size: (height, width) of its pictures, as OpenCV decodes them.
        name: for messages.
        notify: told why a decoder that is there is not taken.

    Returns:
        None where there is no such decoder, or not one picture comes out of it.
    """
    parser = _parser(codec)
    if parser is None:
        return None
    source = ["rtspsrc", f"location={address}", "protocols=tcp", "latency=100"]
    pipe = GstPipe([source, ["parsebin"], [parser], [_DECODER], *_as_bgrx(size)], size, name)
    if pipe.read()[0]:
        return pipe
    reason = pipe.complaint().replace(address, name)
    pipe.release()
    notify(_on_the_processor(name, reason))
    return None


def _parser(codec: int) -> str | None:
    """The element in front of the hardware's decoder; None where that is not here, or not for this codec."""
    parser = _PARSERS.get(codec.to_bytes(4, "little").decode("latin-1").lower())
    return parser if parser is not None and has_element(_DECODER) else None


def _on_the_processor(name: str, reason: str) -> str:
    """What to say where a decoder that is there is not taken: the other is slower."""
    return f"{name} is decoded on the processor, and not in hardware ({_DECODER}): {reason.rstrip('.')}."


def _as_bgrx(size: tuple[int, int]) -> list[list[str]]:
    """Out of the hardware's memory, in the layout that :class:`GstPipe` reads."""
    return [["nvvidconv"], [f"video/x-raw,format=BGRx,width={size[1]},height={size[0]}"]]


def csi_elements(
    number: int, size: tuple[int, int], fps: float, scaled: tuple[int, int] | None = None
) -> list[list[str]]:
    """A Jetson's camera port as elements whose last one gives BGRx.

    Args:
        number: of the camera.
        size: (height, width) that it takes pictures in.
        fps: frames per second.
        scaled: (height, width) that they are brought to in hardware; None leaves them as they are.
    """
    height, width = size
    return [
        ["nvarguscamerasrc", f"sensor-id={number}"],
        [f"video/x-raw(memory:NVMM),width={width},height={height},framerate={round(fps)}/1"],
        *_as_bgrx(scaled or size),
    ]
