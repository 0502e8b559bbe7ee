"""Where do frames come from: a video file, or arrays made in memory."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol, cast

import cv2
import numpy as np

from ..data.dataset import Image
from ..errors import DataError
from .quiet import quiet_opencv

_FORMATS = "Give an mp4, mov, avi, mkv, webm or gif file."
_CUT_OFF = "Copy or download it again; if it was being recorded, end the recording first."


class FrameSource(Protocol):
    """Frames one after the other, once.

    ``name`` is for messages, ``path`` the file where there is one. ``size`` is (height, width) of every frame,
    ``fps`` frames per second, ``frame_count`` how many frames there should be, or None where nobody knows.
    ``frames_missing`` is, once the frames have ended, how many of those did not come.

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

    def __iter__(self) -> Iterator[Image]: ...


class ArraySource:
    """Frames that are in memory, or made as they are asked for.

    Args:
        frames: (H, W, 3) uint8, BGR, each of ``size``; each is copied before it is handed on.
        size: (height, width).
        fps: frames per second.
        frame_count: how many there are; None takes ``len(frames)`` where there is one.
        name: what to call it in messages.

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
    ) -> None:
        if not (math.isfinite(fps) and fps > 0):
            raise ValueError(f"fps must be above 0, not {fps}")
        known = getattr(frames, "__len__", None)
        self.name = name
        self.path: Path | None = None
        self.size = size
        self.fps = float(fps)
        self.frame_count: int | None = known() if frame_count is None and known is not None else frame_count
        self.frames_missing = 0
        self._frames = frames

    def __iter__(self) -> Iterator[Image]:
        yielded = 0
        for index, frame in enumerate(self._frames):
            if frame.shape != (*self.size, 3) or frame.dtype != np.uint8:
                raise DataError(
                    f"Frame {index} of {self.name} is {frame.dtype} of {frame.shape}, not uint8 of {(*self.size, 3)}."
                )
            yielded += 1
            yield frame.copy()
        self.frames_missing = max(0, (self.frame_count or 0) - yielded)


class VideoSource:
    """The frames of a video file.

    Opened and its first frame decoded at once, so that a file that is none is found out before any work starts. A
    context manager; iterate over it once. Phone videos come upright: OpenCV turns them as their header says.

    Args:
        path: a file on this machine.

    Attributes:
        path: the same; ``name`` is its last part.
        size: (height, width), of the frames as they come.
        fps: frames per second, not rounded.
        frame_count: as the container counts them; None for those that only estimate (mkv, webm, streams).

    Raises:
        DataError: an address instead of a file, no such file, a folder, not a video, a video without frames,
            without a frame rate, or cut off before its index.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = _checked_path(path)
        self.name = self.path.name
        self._layout = _Layout.of(self.path)
        self._lock = threading.Lock()
        self._yielded = 0
        self._finished = False
        with quiet_opencv():
            self._capture: cv2.VideoCapture | None = cv2.VideoCapture(str(self.path.absolute()))
            opened = self._capture.isOpened()
            first = self._read() if opened else None
        if first is None:
            self.close()
            raise self._not_a_video(opened)
        self._first: Image | None = first
        self.size: tuple[int, int] = (first.shape[0], first.shape[1])
        self.fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.frame_count: int | None = round(count) if self._layout.counts_frames and count >= 1 else None
        if not (math.isfinite(self.fps) and self.fps > 0):
            self.close()
            raise DataError(
                f"{self.name} does not say its frame rate.", f"Give it one: ffmpeg -r 25 -i {self.name} with-rate.mp4"
            )

    @property
    def cut_off(self) -> bool:
        """Whether the file ends before its own table of contents says so (mp4 and mov)."""
        return self._layout.cut_off

    @property
    def frames_missing(self) -> int:
        """How many frames the header lists that could not be decoded; 0 until the end has been reached."""
        return max(0, (self.frame_count or 0) - self._yielded) if self._finished else 0

    def close(self) -> None:
        """Free the decoder. Closing twice is fine, and so is closing while another thread reads."""
        with self._lock:
            if self._capture is not None:
                self._capture.release()
            self._capture = None
            self._first = None

    def __iter__(self) -> Iterator[Image]:
        return self

    def __next__(self) -> Image:
        frame, self._first = self._first, None
        if frame is None:
            frame = self._read()
        if frame is None:
            self._finished = self._capture is not None
            raise StopIteration
        if frame.shape[:2] != self.size:
            raise DataError(
                f"{self.name} changes its picture size after {self._yielded} frames, from "
                f"{self.size[1]}x{self.size[0]} to {frame.shape[1]}x{frame.shape[0]}.",
                f"Bring it to one size: ffmpeg -i {self.name} -vf scale={self.size[1]}:{self.size[0]} one-size.mp4",
            )
        self._yielded += 1
        return frame

    def __enter__(self) -> VideoSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self) -> Image | None:
        with self._lock:
            if self._capture is None:
                return None
            decoded, frame = self._capture.read()
        return cast(Image, frame) if decoded and frame is not None and frame.size else None

    def _not_a_video(self, opened: bool) -> DataError:
        if self._layout.cut_off or self._layout.lacks_index:
            reason = "its index (moov) is missing" if self._layout.lacks_index else "not one frame is whole"
            return DataError(f"The file is cut off: {self.name} cannot be played, as {reason}.", _CUT_OFF)
        if opened:
            return DataError(f"{self.name} holds no video frames.", _FORMATS)
        if self.path.stat().st_size == 0:
            return DataError(f"{self.name} is empty.", _CUT_OFF)
        return DataError(
            f"{self.name} is not a video that OpenCV can read.",
            f"{_FORMATS} Other videos can be turned into one: ffmpeg -i {self.name} converted.mp4",
        )


def _checked_path(path: str | Path) -> Path:
    text = str(path)
    if "://" in text or (":/" in text[2:] and not Path(path).exists()):  # pathlib folds "rtsp://" to "rtsp:/"
        raise DataError(f"{path} is an address, not a file.", "Download the video first; only local files are read.")
    path = Path(path)
    if path.is_dir():
        raise DataError(f"{path} is a folder, not a video.", _FORMATS)
    try:
        path.open("rb").close()
    except FileNotFoundError:
        raise DataError(f"There is no file {path}.", "Check the path for typing mistakes.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.", "Check its permissions.") from error
    return path


class _Layout:
    """What the first level of a container tells, without decoding.

    ``counts_frames``: its header counts the frames, rather than leaving FFmpeg to estimate them from the duration.
    ``lacks_index`` and ``cut_off``: an mp4 or mov without ``moov``; one that ends inside a box.
    """

    def __init__(self, counts_frames: bool = False, lacks_index: bool = False, cut_off: bool = False) -> None:
        self.counts_frames = counts_frames
        self.lacks_index = lacks_index
        self.cut_off = cut_off

    @classmethod
    def of(cls, path: Path) -> _Layout:
        with path.open("rb") as file:
            head = file.read(12)
        if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            return cls._of_boxes(path)
        return cls(counts_frames=head[:4] == b"GIF8" or (head[:4] == b"RIFF" and head[8:] == b"AVI "))

    @classmethod
    def _of_boxes(cls, path: Path) -> _Layout:
        """ISO/IEC 14496-12 §4.2: a box is its size in 4 bytes, its name in 4, and where the size is 1, 8 bytes more."""
        kinds: set[bytes] = set()
        end = path.stat().st_size
        offset = 0
        with path.open("rb") as file:
            while end - offset >= 8:
                file.seek(offset)
                head = file.read(16)
                size = int.from_bytes(head[:4], "big")
                if size == 1:
                    size = int.from_bytes(head[8:16], "big")
                elif size == 0:
                    size = end - offset
                if size < 8 or not head[4:8].isascii():
                    break
                kinds.add(head[4:8])
                offset += size
        fragmented = b"moof" in kinds
        return cls(b"moov" in kinds and not fragmented, b"moov" not in kinds, cut_off=offset > end)
