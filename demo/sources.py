"""Where do frames come from: a video file, or arrays made in memory."""

from __future__ import annotations

import math
import os
import shlex
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol, cast

import cv2
import numpy as np

from ..data.dataset import Image
from ..data.quiet import quiet_opencv
from ..errors import DataError
from .containers import Container, rate_of, usual_rate
from .gstreamer import hardware_decoder
from .pacing import Notify, PacedSource, fitted, scaled, within

_FORMATS = "Give an mp4, mov, avi, mkv, webm or gif file."
_CUT_OFF = "Copy or download it again; if it was being recorded, end the recording first."
_MEASURED_FRAMES = 30  # of containers that do not list when pictures are shown; decoding them takes under 0.1 s
_BESIDE = 0.49  # steps that a picture of a constant rate may lie beside its place; below a half, as 30 may become 60
_SQUARE = 0.01  # what the shape of a pixel may be off by: containers round it
_LONGEST_PIXEL = 5.0  # times as wide as high or the other way; what says more is no picture's shape
_JOINED_SECONDS = 1.0  # that a clock goes back by where a second recording begins, and never within one


class FrameSource(Protocol):
    """Frames one after the other, once.

    ``name`` is for messages, ``path`` the file where there is one. ``size`` is (height, width) of every frame,
    ``fps`` frames per second, ``frame_count`` how many frames there should be, or None where nobody knows.
    ``frames_missing`` is, once the frames have ended, how many of those did not come.

    ``live`` sources do not wait for whoever takes the frames. ``policy`` is one of
    :data:`~trtparse.demo.pacing.POLICIES`, and ``set_policy`` changes it, from any thread; ``frames_dropped`` is how
    many it cost. ``seconds`` is when the frame handed out last is shown, from the first one on; of live sources, when
    it was captured. ``waited`` is for how many seconds it had nothing to do but wait until a frame came or was due.
    ``has_audio`` and ``constant_rate`` tell what a written video will lack.

    Each frame is (H, W, 3) uint8, BGR, and belongs to whoever took it: it may be drawn on.
    """

    @property
    def name(self) -> str: ...

    @property
    def path(self) -> Path | None: ...

    @property
    def size(self) -> tuple[int, int]: ...

    @property
    def fps(self) -> float: ...

    @property
    def frame_count(self) -> int | None: ...

    @property
    def frames_missing(self) -> int: ...

    @property
    def live(self) -> bool: ...

    @property
    def policy(self) -> str: ...

    @property
    def frames_dropped(self) -> int: ...

    @property
    def seconds(self) -> float: ...

    @property
    def waited(self) -> float: ...

    @property
    def has_audio(self) -> bool: ...

    @property
    def constant_rate(self) -> bool: ...

    def set_policy(self, policy: str) -> None:
        """Change the policy.

        Raises:
            UsageError: there is no such policy.
        """
        ...

    def stop(self) -> None:
        """Have a thread that waits for the next frame wait no longer; there are no more. From any thread."""
        ...

    def __iter__(self) -> Iterator[Image]: ...


class ArraySource(PacedSource):
    """Frames that are in memory, or made as they are asked for.

    Args:
        frames: (H, W, 3) uint8, BGR, each of ``size``; each is copied before it is handed on.
        size: (height, width).
        fps: frames per second.
        frame_count: how many there are; None takes ``len(frames)`` where there is one.
        name: what to call it in messages.
        policy: see :data:`~trtparse.demo.pacing.POLICIES`.

    Iterating raises:
        DataError: a frame of another shape or dtype.
    """

    def __init__(
        self,
        frames: Iterable[Image],
        size: tuple[int, int],
        fps: float = 25.0,
        frame_count: int | None = None,
        name: str = "frames in memory",
        policy: str = "all",
    ) -> None:
        super().__init__(policy)
        known = getattr(frames, "__len__", None)
        self.name = name
        self.path: Path | None = None
        self.size = size
        self.fps = float(fps)
        self.frame_count: int | None = known() if frame_count is None and known is not None else frame_count
        self.frames_missing = 0
        self._frames = frames
        self._iterator: Iterator[Image] | None = None
        self._taken = 0

    def __iter__(self) -> Iterator[Image]:
        self._iterator, self._taken = iter(self._frames), 0
        self._ahead = self._origin = None
        return self

    def _take(self) -> tuple[Image, float] | None:
        if self._iterator is None:
            self._iterator = iter(self._frames)
        frame = next(self._iterator, None)
        if frame is None:
            self.frames_missing = max(0, (self.frame_count or 0) - self._taken)
            return None
        if frame.shape != (*self.size, 3) or frame.dtype != np.uint8:
            raise DataError(
                f"Frame {self._taken} of {self.name} is {frame.dtype} of {frame.shape}, not uint8 of {(*self.size, 3)}."
            )
        self._taken += 1
        return frame.copy(), (self._taken - 1) / self.fps


class _Decoder(Protocol):
    """As OpenCV's ``VideoCapture`` has it."""

    def read(self) -> tuple[bool, Image | None]: ...

    def release(self) -> None: ...


class VideoSource(PacedSource):
    """The frames of a video file.

    Opened and its first frame decoded at once, so that a file that is none is found out before any work starts. A
    context manager; iterate over it once. Phone videos come upright: OpenCV turns them as their header says. Where
    pixels are not square (DV, DVR), the width is scaled so that they are. Grey, 16-bit and transparent ones become
    BGR. Where the picture size changes on the way, frames are brought to the first one's; OpenCV 5 does so by itself,
    stretching them. Where GStreamer has a decoder in hardware that turns out the same first picture, it is used.

    A rate counts as constant until a picture lies half a step beside its place. From there on all are shown when the
    file says.

    Args:
        path: a file on this machine.
        policy: see :data:`~trtparse.demo.pacing.POLICIES`.
        notify: told what is unusual about it.
        most: (height, width) within which pictures are to lie; larger ones are scaled down, in hardware where that is
            a Jetson's. None takes them as they are.

    Attributes:
        path: the same; ``name`` is its last part.
        size: (height, width), of the frames as they come, with square pixels.
        constant_rate: no picture so far was shown beside its place.
        fps: frames per second, not rounded; of a variable rate one that nine frames of ten can keep.
        frame_count: as the container counts them; None for those that only estimate (mkv, webm, streams).

    Raises:
        DataError: an address instead of a file, no such file, a folder, not a video, a video without frames,
            without a frame rate, or cut off before its index.
    """

    def __init__(
        self,
        path: str | Path,
        policy: str = "all",
        notify: Notify | None = None,
        most: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(policy, notify)
        self.path = _checked_path(path)
        self.name = self.path.name
        self._container = Container.of(self.path)
        self.has_audio = self._container.has_audio
        self._lock = threading.Lock()
        self._taken = 0
        self._last = self._shown = self._zero = 0.0
        self._finished = self._resized = False
        with quiet_opencv():
            capture = cv2.VideoCapture(str(self.path.absolute()))
            self._capture: cv2.VideoCapture | None = capture
            self._decoder: _Decoder | None = cast(_Decoder, capture)
            opened = capture.isOpened()
            first = self._read() if opened else None
        if first is None or self._container.only_audio:
            self.close()
            raise self._not_a_video(opened)
        self._first: tuple[Image, float] | None = first
        self._scale = _pixel_scale(capture)
        self._own_size = _scaled_size(first[0], self._scale)
        if self._own_size != first[0].shape[:2]:
            shown = f"{self._own_size[1]}x{self._own_size[0]}"
            self._notify(f"{self.name} has pixels that are not square; it is shown {shown}.")
        self.size: tuple[int, int] = within(self._own_size, most)
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.frame_count: int | None = round(count) if self._container.counts_frames and count >= 1 else None
        self.fps, self.constant_rate = self._rate(float(capture.get(cv2.CAP_PROP_FPS)))
        self._in_hardware = self._use_hardware(capture, scaled(first[0], self.size))

    @property
    def cut_off(self) -> bool:
        """Whether the file ends before its own table of contents says so (mp4 and mov)."""
        return self._container.cut_off

    @property
    def frames_missing(self) -> int:
        """How many frames the header lists that could not be decoded; 0 until the end has been reached."""
        return max(0, (self.frame_count or 0) - self._taken) if self._finished else 0

    def close(self) -> None:
        self.stop()
        with self._lock:
            if self._decoder is not None:
                self._decoder.release()
            self._decoder = self._capture = None
            self._first = None

    def _take(self) -> tuple[Image, float] | None:
        taken, self._first = self._first, None
        taken = taken or self._read()
        if taken is None:
            self._finished = self._decoder is not None
            return None
        frame, shown = taken
        self._last = self._second(shown)
        self._taken += 1
        return self._sized(frame), self._last

    def _sized(self, frame: Image) -> Image:
        """A frame in the source's size, to which a decoder in hardware may have brought it already."""
        if self._in_hardware and frame.shape[:2] == self.size:
            return frame
        if self._scale != (1.0, 1.0):
            frame = scaled(frame, _scaled_size(frame, self._scale))
        if frame.shape[:2] == self._own_size:
            return scaled(frame, self.size)
        self._say_resized(frame)
        return fitted(frame, self.size)

    def _second(self, shown: float) -> float:
        """When a picture is shown, of which the file says that it is at ``shown``; 0 where it does not."""
        if not self._taken:
            self._shown = shown
            self._zero = shown if self.constant_rate else 0.0
            return shown - self._zero
        place, due = self._taken / self.fps, self._last + 1 / self.fps
        if shown and shown < self._shown - _JOINED_SECONDS:
            self._zero = shown - due
            self._shown = 0.0
        # The last pictures that a decoder gives have no time in some containers.
        told, step = shown > self._shown, shown - self._shown
        self._shown = shown or self._shown
        shown -= self._zero
        if self.constant_rate:
            if not told or abs(shown - place) * self.fps < _BESIDE:
                return place
            self._leave_constant_rate(shown < place)
        if not told:
            return due
        # The last one by its place may have been ahead of where its time is.
        return shown if shown > self._last else self._last + min(step, 1 / self.fps) / 2

    def _leave_constant_rate(self, faster: bool) -> None:
        self.constant_rate = False
        if self._container.constant:  # an AVI counts its empty places as well
            self.frame_count = None
        lost = (
            f"; a written video has no more than {self.fps:g} of them per second. For all, make an mp4 of it first: "
            f"ffmpeg -i {shlex.quote(self.name)} -c copy {shlex.quote(Path(self.name).stem)}-all.mp4"
            if faster
            else "."
        )
        self._notify(
            f"{self.name} changes its frame rate after {self._taken} frames. From there on every picture is shown at "
            f"its time{lost}"
        )

    def _say_resized(self, frame: Image) -> None:
        if not self._resized:
            self._resized = True
            self._notify(
                f"{self.name} changes its picture size after {self._taken - 1} frames, from {self.size[1]}x"
                f"{self.size[0]} to {frame.shape[1]}x{frame.shape[0]}; it goes on in the first size."
            )

    def _read(self) -> tuple[Image, float] | None:
        with self._lock:
            if self._decoder is None:
                return None
            decoded, frame = self._decoder.read()
            shown = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3 if self._capture is not None else 0.0
        if not decoded or frame is None or not frame.size:
            return None
        return frame if frame.ndim == 3 else cast(Image, cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR)), shown

    def _rate(self, told: float) -> tuple[float, bool]:
        """Frames per second, and whether they are constant."""
        assert self.path is not None
        told = told if math.isfinite(told) and told > 0 else 0.0
        times = self._container.times
        if times is None and not self._container.constant:
            times = _shown_at(self.path)
        found = None if times is None else rate_of(times)
        if found is None or (found[1] and told and abs(found[0] - told) <= 0.01 * told):
            found = (told, True) if told else None
        elif found[1]:  # as of a browser's recordings, which tell 1000 frames per second
            found = (usual_rate(found[0]), True)
        if found is None:
            self.close()
            raise DataError(
                f"{self.name} does not say its frame rate.", f"Give it one: ffmpeg -r 25 -i {self.name} with-rate.mp4"
            )
        return found

    def _use_hardware(self, capture: cv2.VideoCapture, first: Image) -> bool:
        """Go over to a decoder in hardware, which gives pictures in the size of ``first``; only where they and their
        times are known to be those of OpenCV. Whether there is one."""
        assert self.path is not None
        if not self.constant_rate or self._container.times is None or capture.get(cv2.CAP_PROP_ORIENTATION_META):
            return False
        decoder = hardware_decoder(self.path, round(capture.get(cv2.CAP_PROP_FOURCC)), first, self._notify)
        if decoder is None:
            return False
        with self._lock:
            capture.release()
            self._capture, self._decoder = None, decoder
        self._notify(f"{self.name} is decoded in hardware ({decoder.name}).")
        return True

    def _not_a_video(self, opened: bool) -> DataError:
        assert self.path is not None
        if self._container.only_audio:
            return DataError(f"{self.name} holds sound and no moving pictures.", f"{_FORMATS[:-1]} with some.")
        if self._container.cut_off or self._container.lacks_index:
            reason = "its index (moov) is missing" if self._container.lacks_index else "not one frame is whole"
            return DataError(f"The file is cut off: {self.name} cannot be played, as {reason}.", _CUT_OFF)
        if opened:
            return DataError(f"{self.name} holds no video frames.", _FORMATS)
        if self.path.stat().st_size == 0:
            return DataError(f"{self.name} is empty.", _CUT_OFF)
        return DataError(
            f"{self.name} is not a video that OpenCV can read.",
            f"{_FORMATS} Other videos can be turned into one: ffmpeg -i {self.name} converted.mp4",
        )


def _shown_at(path: Path) -> np.ndarray[tuple[int], np.dtype[np.float64]] | None:
    """(n,) seconds at which the first frames of a file are shown."""
    with quiet_opencv():
        capture = cv2.VideoCapture(str(path.absolute()))
    times: list[float] = []
    while len(times) < _MEASURED_FRAMES and capture.grab():
        times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3)
    capture.release()
    return np.maximum.accumulate(np.asarray(times, np.float64)) if times else None


def _pixel_scale(capture: cv2.VideoCapture) -> tuple[float, float]:
    """How many times as (high, wide) as it is stored a picture is shown; only one of them is not 1."""
    wide, high = capture.get(cv2.CAP_PROP_SAR_NUM), capture.get(cv2.CAP_PROP_SAR_DEN)
    aspect = wide / high if wide > 0 and high > 0 else 1.0
    if abs(aspect - 1) < _SQUARE or not 1 / _LONGEST_PIXEL <= aspect <= _LONGEST_PIXEL:
        return 1.0, 1.0
    # OpenCV has turned the picture; its pixels are told as they are stored.
    turned = round(capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 180 == 90
    return (aspect, 1.0) if turned else (1.0, aspect)


def _scaled_size(frame: Image, scale: tuple[float, float]) -> tuple[int, int]:
    return max(1, round(frame.shape[0] * scale[0])), max(1, round(frame.shape[1] * scale[1]))


def _checked_path(path: str | Path) -> Path:
    text = str(path)
    if "://" in text or (":/" in text[2:] and not os.path.exists(path)):  # pathlib folds "rtsp://" to "rtsp:/"
        raise DataError(f"{path} is an address, not a file.", "Download the video first; only local files are read.")
    path = Path(path)
    if os.path.isdir(path):  # pathlib raises where a name is longer than a name may be
        raise DataError(f"{path} is a folder, not a video.", _FORMATS)
    try:
        path.open("rb").close()
    except FileNotFoundError:
        raise DataError(f"There is no file {path}.", "Check the path for typing mistakes.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.", "Check its permissions.") from error
    return path
