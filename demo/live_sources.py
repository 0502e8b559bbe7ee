"""Where do live frames come from: cameras, the Jetson's camera port, RTSP and MJPEG streams."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import cast

import cv2

from ..data.dataset import Image
from ..data.quiet import quiet_opencv
from ..errors import DataError, MachineError, UsageError
from .gstreamer import GstPipe, csi_elements, hardware_stream, has_element, opencv_has_gstreamer
from .live_reader import Connection, LiveSource
from .mjpeg import MjpegStream, without_password
from .pacing import Notify, say_nothing, within

_OPEN_MILLISECONDS, _READ_MILLISECONDS = 10_000, 10_000
_RESTART = "See that the camera is plugged in, and restart its service: sudo systemctl restart nvargus-daemon"
_NO_CAMERA = (
    "Plug one in; a container is given it by --device /dev/video0. A Jetson's ribbon camera is csi:0, one in the "
    "network rtsp://…, and a file needs none: trtparse demo video.mp4"
)
_CSI_SIZE, _CSI_FPS = (720, 1280), 30.0
_HIGHEST = (1 << 31) - 1  # OpenCV takes a camera's number as an int of 32 bits
_LARGEST_RAW = 640 * 480
"""Pixels; USB cameras send larger pictures at their full rate as JPEG only."""


class _Capture:
    """What OpenCV has opened, as a connection."""

    def __init__(self, capture: cv2.VideoCapture) -> None:
        self._capture = capture
        self.fps = float(capture.get(cv2.CAP_PROP_FPS))

    def read(self) -> Image | None:
        decoded, frame = self._capture.read()
        if not decoded or frame is None or not frame.size:
            return None
        return cast(Image, frame if frame.ndim == 3 else cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR))

    def close(self) -> None:
        self._capture.release()


class _Pipe:
    """What ``gst-launch-1.0`` reads, as a connection."""

    def __init__(self, pipe: GstPipe, fps: float) -> None:
        self._pipe = pipe
        self.fps = fps

    def read(self) -> Image | None:
        _, frame = self._pipe.read()
        if frame is None:
            raise MachineError(f"{self._pipe.name} gives no pictures: {self._pipe.complaint()}.", _RESTART)
        return frame

    def close(self) -> None:
        self._pipe.release()


_CAMERA = re.compile(r"(?P<device>\d+|/dev/.+?)?(?:@(?P<width>\d+)x(?P<height>\d+)(?:@(?P<fps>\d+(?:\.\d+)?))?)?")


def _asked(text: str, kind: str) -> tuple[str, tuple[int, int] | None, float | None]:
    """Device, (height, width) and rate of ``0``, ``0@1280x720`` or ``0@1280x720@60``."""
    found = _CAMERA.fullmatch(text)
    if found is None or (found["width"] and not int(found["width"]) * int(found["height"])):
        raise UsageError(
            f"{kind}:{text} names no camera.", f"Give {kind}:0, or its size and rate too: {kind}:0@1280x720@30"
        )
    size = (int(found["height"]), int(found["width"])) if found["width"] else None
    return found["device"] or "0", size, float(found["fps"]) if found["fps"] else None


def camera(
    text: str, policy: str = "latest", notify: Notify | None = None, most: tuple[int, int] | None = None
) -> LiveSource:
    """A camera of this machine.

    Args:
        text: ``0``, ``/dev/video2``, each with ``@1280x720`` or ``@1280x720@60`` behind it; the camera gives what is
            nearest to that.
        most: (height, width) within which pictures are to lie, as in all sources here.

    Raises:
        UsageError: the text names no camera.
        MachineError: there is none of that number, or it cannot be opened.
        DataError: not one picture comes from it.
    """
    device, size, fps = _asked(text, "camera")
    if device.isdigit() and int(device) > _HIGHEST:
        raise _no_camera(device)
    name = f"camera:{device}"

    def connect() -> Connection:
        with quiet_opencv():
            capture = cv2.VideoCapture(int(device) if device.isdigit() else device)
        if not capture.isOpened():
            raise _no_camera(device)
        if size is not None:
            if size[0] * size[1] > _LARGEST_RAW:
                capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[1])
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[0])
        if fps is not None:
            capture.set(cv2.CAP_PROP_FPS, fps)
        return _Capture(capture)

    return LiveSource(name, connect, policy, notify, most)


def _no_camera(device: str) -> MachineError:
    path = f"/dev/video{device}" if device.isdigit() else device
    if sys.platform.startswith("linux") and Path(path).exists():
        return MachineError(
            f"camera:{device} cannot be opened.",
            f"Another program may use it, or you may not: fuser -v {path}; sudo usermod -aG video $USER",
        )
    there = sorted(int(item.name[5:]) for item in Path("/dev").glob("video*") if item.name[5:].isdigit())
    known = f"There is {', '.join(f'camera:{number}' for number in there)}." if there else _NO_CAMERA
    return MachineError(f"There is no camera:{device} on this machine.", known)


def csi(
    text: str, policy: str = "latest", notify: Notify | None = None, most: tuple[int, int] | None = None
) -> LiveSource:
    """A camera at a Jetson's camera port, through GStreamer's ``nvarguscamerasrc``.

    Through OpenCV where that has GStreamer, else through a pipe from ``gst-launch-1.0``.

    Args:
        text: ``0``, ``0@1280x720`` or ``0@1280x720@60``; 1280x720 at 30 frames per second where it does not say.

    Raises:
        UsageError: the text names no camera.
        MachineError: there is no GStreamer, or it has no ``nvarguscamerasrc``.
        DataError: not one picture comes from it.
    """
    device, size, fps = _asked(text, "csi")
    size, fps = size or _CSI_SIZE, fps or _CSI_FPS
    if not device.isdigit():
        raise UsageError(f"csi:{text} names no camera.", "Give csi:0")
    given = within(size, most)
    name, elements = f"csi:{device}", csi_elements(int(device), size, fps, given)
    if not opencv_has_gstreamer() and not has_element("nvarguscamerasrc"):
        raise MachineError(
            f"{name} needs GStreamer with NVIDIA's nvarguscamerasrc, which this machine does not have.",
            "On a Jetson install JetPack's nvidia-l4t-gstreamer and gstreamer1.0-tools; elsewhere give camera:0.",
        )

    def connect() -> Connection:
        if not opencv_has_gstreamer():
            return _Pipe(GstPipe(elements, given, name), fps)
        ends = [["videoconvert"], ["video/x-raw,format=BGR"], ["appsink", "drop=true", "max-buffers=1"]]
        capture = cv2.VideoCapture(" ! ".join(" ".join(element) for element in elements + ends), cv2.CAP_GSTREAMER)
        if not capture.isOpened():
            raise MachineError(f"{name} cannot be opened.", _RESTART)
        return _Capture(capture)

    return LiveSource(name, connect, policy, notify, most)


def rtsp(
    address: str, policy: str = "latest", notify: Notify | None = None, most: tuple[int, int] | None = None
) -> LiveSource:
    """An RTSP stream, over TCP; decoded in hardware where GStreamer can.

    Raises:
        UsageError: the address is none.
        DataError: it cannot be reached, or not one picture comes from it.
    """
    name = without_password(address)
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _OPEN_MILLISECONDS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _READ_MILLISECONDS]

    def connect() -> Connection:
        with quiet_opencv():
            capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, limits)
        if not capture.isOpened():
            raise DataError(
                f"{name} cannot be played.",
                "Check the address, and the name and password in it: rtsp://NAME:PASSWORD@HOST:554/PATH",
            )
        stream = _Capture(capture)
        first = stream.read()
        if first is not None:
            codec = round(capture.get(cv2.CAP_PROP_FOURCC))
            pipe = hardware_stream(
                address, codec, within((first.shape[0], first.shape[1]), most), name, notify or say_nothing
            )
            if pipe is not None:
                stream.close()
                return _Pipe(pipe, stream.fps)
        return stream

    return LiveSource(name, connect, policy, notify, most)


def mjpeg(
    address: str, policy: str = "latest", notify: Notify | None = None, most: tuple[int, int] | None = None
) -> LiveSource:
    """An MJPEG stream over HTTP.

    Raises:
        UsageError: the address is none.
        DataError: it cannot be reached, is no MJPEG stream, or not one picture comes from it.
    """
    return LiveSource(without_password(address), lambda: MjpegStream(address), policy, notify, most)
