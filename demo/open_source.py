"""Which source does a text name: a file, a folder, a pattern, a camera or a stream."""

from __future__ import annotations

import difflib
import glob
import os
import re
from pathlib import Path
from types import TracebackType
from typing import Protocol

from ..data.image_files import is_image
from ..errors import UsageError
from .image_sources import ImageSource, images_in, images_like
from .live_sources import camera, csi, mjpeg, rtsp
from .pacing import Notify, check_policy, say_nothing
from .sources import FrameSource, VideoSource

_LIVE = {"camera": camera, "csi": csi}
_STREAMS = {"rtsp": rtsp, "rtsps": rtsp, "http": mjpeg, "https": mjpeg}
_KINDS = "a video, an image folder, a pattern, camera:0, csi:0, rtsp://... or http://... (MJPEG)"
_ANIMATED = (".gif",)
"""Images that are videos where they are named alone."""
_SCHEME = re.compile(r"(?P<kind>[A-Za-z][A-Za-z0-9+.-]+):(?P<rest>.*)")


class OpenedSource(FrameSource, Protocol):
    """A source that is closed where its ``with`` block ends."""

    def __enter__(self) -> OpenedSource: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_source(
    text: str,
    policy: str | None = None,
    notify: Notify | None = None,
    *,
    fps: float | None = None,
    most: tuple[int, int] | None = None,
) -> OpenedSource:
    """Open what a person named on the command line.

    Streams may be at any address, private ones included: whoever types a command may reach them anyway. So this is
    never called with a text that came over a network.

    Args:
        text: a video or image file, a folder of images, a pattern such as ``run/*.png``, ``camera:0``, ``csi:0``,
            either with ``@1280x720`` or ``@1280x720@60`` behind it, ``rtsp://...``, or ``http://...`` of an MJPEG
            stream.
        policy: ``all`` or ``latest``; None takes ``latest`` for live sources and ``all`` for others.
        notify: told in sentences what a person should know: that a stream is lost or back, that images differ in
            size; from any thread.
        fps: frames per second, of images; None as for :class:`ImageSource`.
        most: (height, width) within which pictures are to lie; larger ones are scaled down, in hardware where a
            Jetson reads a camera port, a video or an RTSP stream. None takes them as they are.

    Raises:
        UsageError: it names no kind of source, or an address that is none; there is no such policy; ``fps`` is given
            for something else.
        DataError: it is not there, or cannot be read.
        MachineError: this machine has no such camera.
    """
    if policy is not None:
        check_policy(policy)
    found = _SCHEME.fullmatch(text)
    if found is not None and not os.path.exists(text):  # pathlib raises where an address is longer than a name may be
        kind, rest = found["kind"].lower(), found["rest"]
        if kind in _LIVE:
            _refuse_fps(fps)
            return _LIVE[kind](rest, policy or "latest", notify, most)
        if kind in _STREAMS and rest.startswith("//"):
            _refuse_fps(fps)
            return _STREAMS[kind](text, policy or "latest", notify, most)
        near = difflib.get_close_matches(kind, [*_LIVE, *_STREAMS], 1)
        if near or rest.startswith("//"):
            hint = f"Did you mean {near[0]}:{'//' if near[0] in _STREAMS else ''}{rest.lstrip('/')}?" if near else ""
            raise UsageError(f"{kind}: is no kind of source.", hint or f"Give {_KINDS}.")
    return _from_disk(text, policy or "all", notify, fps, most)


def _from_disk(
    text: str, policy: str, notify: Notify | None, fps: float | None, most: tuple[int, int] | None
) -> OpenedSource:
    path, there = Path(text), os.path.exists(text)
    if os.path.isdir(text):
        return ImageSource(images_in(path, notify or say_nothing), text, fps, policy, notify, most)
    if not there and glob.has_magic(text):
        return ImageSource(images_like(text), text, fps, policy, notify, most)
    if is_image(path.name) and path.suffix.lower() not in _ANIMATED:
        return ImageSource([text], path.name, fps, policy, notify, most)
    if text.isdigit() and not there:
        raise UsageError(f"There is no file {text}.", f"Did you mean camera:{text}?")
    _refuse_fps(fps)
    return VideoSource(path, policy, notify, most)


def _refuse_fps(fps: float | None) -> None:
    if fps is not None:
        raise UsageError("--fps is for images; videos, cameras and streams have a rate of their own.", "Leave it out.")
