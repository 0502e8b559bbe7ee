"""Where do finished frames go: a video file, or a window."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Protocol, cast

import cv2
import numpy as np

from ..data.dataset import Image
from ..data.quiet import quiet_opencv
from ..errors import MachineError, UsageError
from ..storage.files import DISK_FULL, Claim, check_output_file, partial_path, write_failed
from ..storage.interrupts import uninterrupted
from .encoders import HARDWARE, Encoder, begin
from .sources import FrameSource

_H264 = ("avc1", HARDWARE, "ffmpeg")
_CODECS = {".mp4": (*_H264, "mp4v"), ".mov": (*_H264, "mp4v"), ".avi": ("MJPG",)}
"""Tried in this order. OpenCV's own H.264, where it has one, needs no second program and no copy through a pipe; a
Jetson's encoder takes no processor's time."""
_RATE_TOLERANCE = 1e-3  # containers hold the rate as a fraction; OpenCV rounds it to three decimals
_CHECK_SPACE_EVERY = 50  # frames
_LEAST_SPACE = 16 << 20  # bytes; for the frames up to the next look, those that the encoder still holds, and the index
_LONGEST_STILL = 600.0
"""Seconds for which a picture is repeated: a stream that was away for a night must not fill the disk with one."""


class FrameSink(Protocol):
    """Takes finished frames in order.

    ``path`` is the file it makes, where it makes one. ``latest_only`` sinks are shown the newest frame on the
    caller's thread, and may miss some; the others get every frame, on a thread of the pipeline.
    """

    @property
    def path(self) -> Path | None: ...

    @property
    def latest_only(self) -> bool: ...

    def write(self, frame: Image, seconds: float | None = None) -> bool:
        """Take (H, W, 3) uint8, BGR, shown at ``seconds``. False asks for an end: nobody wants any more.

        The frame may be kept; nobody writes into it any more.
        """
        ...


class VideoSink:
    """Writes a video that appears under its name once it is whole and has been checked.

    Frames go to a hidden file beside ``path``. Closing finishes it, opens it again, compares the frame count and the
    rate, and renames it; whatever fails, an older file of that name stays as it was. When the ``with`` block ends by
    an exception, Ctrl-C included, the frames so far are finished and renamed just so, and the exception goes on its
    way; with ``keep_partial=False`` they are thrown away instead.

    H.264 is used where OpenCV has an encoder for it that works (pip's has none), where GStreamer has a Jetson's, or
    where there is an ``ffmpeg`` program with x264, else MPEG-4 part 2; ``.avi`` holds motion JPEG. All of them need
    even sides, and OpenCV would cut the last row or column off an odd one, so there it is repeated instead: 129x97
    becomes 130x98.

    The rate is constant. Frames that come with their seconds are shown at these, to half a frame: where the next one
    is late, as in videos of a variable rate and from live sources, the last one is repeated; where two fall together,
    one is left out. So the video is as long as what was seen, but for stops of more than ten minutes.

    Args:
        path: where to; .mp4, .mov or .avi.
        fps: frames per second; fractions such as 29.97 are kept.
        size: (height, width) of every frame.
        keep_partial: keep the frames so far when an exception ends the block.

    Attributes:
        codec: the four characters of the codec in use, once entered; ``avc1`` is H.264.
        video_size: (height, width) of the video: ``size`` with both sides made even.
        frames: how many frames have been written, the repeated ones included.
        repeated, left_out: how many frames were, to keep their times.

    Entering raises:
        UsageError: another extension, a missing or unwritable folder, or another run is writing this video.
        MachineError: no codec here can write this size and rate, or the disk is full.
    """

    latest_only = False

    def __init__(self, path: str | Path, fps: float, size: tuple[int, int], *, keep_partial: bool = True) -> None:
        if not (math.isfinite(fps) and fps > 0):
            raise ValueError(f"fps must be above 0, not {fps}")
        if min(size) < 1:
            raise ValueError(f"size must be above 0, not {size}")
        self.path = Path(path)
        self.fps = float(fps)
        self.size = size
        self.video_size = (size[0] + size[0] % 2, size[1] + size[1] % 2)
        self.codec = ""
        self.frames = self.repeated = self.left_out = 0
        self._keep_partial = keep_partial
        self._partial = partial_path(self.path)
        self._claim = Claim(self.path)
        self._encoder: Encoder | None = None
        self._last: Image | None = None
        self._shift = 0
        self._lock = threading.Lock()

    def open(self) -> None:
        """See that the file can be made, and begin it. Errors as for entering."""
        if self.path.suffix.lower() not in _CODECS:
            given = f"ends in {self.path.suffix}" if self.path.suffix else "has no extension"
            raise UsageError(f"{self.path.name} {given}.", f"Name the video {self.path.stem or 'out'}.mp4.")
        check_output_file(self.path)
        self._claim.take()
        try:
            self._begin()
        except BaseException:
            self._claim.release()
            raise

    def _begin(self) -> None:
        self._check_space()
        try:
            with uninterrupted():  # an encoder that is being tried would be left behind
                codec, rate = self._working_codec()
                self.codec = "avc1" if codec in _H264 else codec
                self.frames = self.repeated = self.left_out = self._shift = 0
                self._last = None
                self._encoder = begin(self._partial, codec, rate, self.video_size)
        except BaseException:
            self.discard()
            raise

    def write(self, frame: Image, seconds: float | None = None) -> bool:
        """Append (H, W, 3) uint8, BGR, of ``size``; at ``seconds`` from the beginning, or right after the last one.

        Raises:
            ValueError: another shape or dtype, or the sink is not open.
            MachineError: the disk is full.
        """
        if frame.shape != (*self.size, 3) or frame.dtype != np.uint8:
            raise ValueError(f"expected uint8 of {(*self.size, 3)}, got {frame.dtype} of {frame.shape}")
        if self.video_size != self.size:
            below, beside = self.size[0] % 2, self.size[1] % 2
            frame = cast(Image, cv2.copyMakeBorder(frame, 0, below, 0, beside, cv2.BORDER_REPLICATE))
        with self._lock:
            if self._encoder is None:
                raise ValueError("the video is not open")
            before = self.frames
            self._place(self._encoder, frame, seconds)
        if self.frames // _CHECK_SPACE_EVERY > before // _CHECK_SPACE_EVERY:
            self._check_space()
        return True

    def _place(self, encoder: Encoder, frame: Image, seconds: float | None) -> None:
        """Encode a frame where it belongs, after as many of the one before it as are missing up to there."""
        late = 0 if seconds is None else round(seconds * self.fps) - self._shift - self.frames
        if self._last is None:  # the video begins with it, whenever that was
            self._shift, late, self._last = late, 0, frame
        if late < 0:
            self.left_out += 1
            return
        still = min(late, round(_LONGEST_STILL * self.fps))
        self._shift += late - still
        for _ in range(still):
            encoder.write(self._last)
        encoder.write(frame)
        self.repeated += still
        self.frames += still + 1
        self._last = frame

    @uninterrupted()
    def close(self) -> None:
        """Finish, check and rename the video. Closing twice is fine.

        Raises:
            UsageError: no frame was written, or the folder went away.
            MachineError: the video does not play back as it was written; the disk was full, most likely.
        """
        try:
            if not self._finish(abandon=self.frames == 0):
                return
            if self.frames == 0:
                raise UsageError(f"{self.path.name} was not written: there were no frames.", "Check the input.")
            fault = _fault(self._partial, self.frames, self.fps, self.video_size)
            if fault:
                self._check_space()
                raise MachineError(f"{self.path.name} was not written whole: {fault}.", DISK_FULL)
            os.replace(self._partial, self.path)
        except OSError as error:
            raise write_failed(self.path, error) from error
        finally:
            self._remove_partial()
            self._claim.release()

    def discard(self) -> None:
        """Stop writing and throw the frames so far away."""
        self._finish(abandon=True)
        self._remove_partial()
        self._claim.release()

    def __enter__(self) -> VideoSink:
        self.open()
        return self

    @uninterrupted()
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        elif self._keep_partial and self.frames:
            with contextlib.suppress(UsageError, MachineError):  # the exception under way says more
                self.close()
        else:
            self.discard()

    def _finish(self, abandon: bool = False) -> bool:
        with self._lock:
            encoder, self._encoder, self._last = self._encoder, None, None
        if encoder is None:
            return False
        if abandon:
            encoder.abandon()
        else:
            encoder.finish()
        return True

    def _working_codec(self) -> tuple[str, float]:
        """The first codec and rate with which three frames go into a file and come out again.

        A codec that opens may still not encode, as H.264 on boards whose video device is busy; better to know now
        than after an hour. MPEG-4 stores the rate as a fraction of 16 bits, so 71.429 has to become 71.43.
        """
        codecs = _CODECS[self.path.suffix.lower()]
        rates = [self.fps, round(self.fps, 2), round(self.fps, 1)]
        for codec in codecs:
            for rate in dict.fromkeys(rate for rate in rates if _rates_agree(rate, self.fps)):
                if self._encodes(codec, rate):
                    return codec, rate
        raise MachineError(
            f"OpenCV {cv2.__version__} cannot write {self.path.suffix} of {self.size[1]}x{self.size[0]} at "
            f"{self.fps:g} frames per second (tried {', '.join(codecs)}).",
            "Name the output .avi instead: motion JPEG needs no encoder besides OpenCV's own."
            if self.path.suffix.lower() != ".avi"
            else "Install OpenCV with FFmpeg: pip install opencv-python",
        )

    def _encodes(self, codec: str, rate: float) -> bool:
        try:
            encoder = begin(self._partial, codec, rate, self.video_size)
            if encoder is None:
                return False
            with contextlib.suppress(MachineError):
                for shade in (64, 128, 192):
                    encoder.write(np.full((*self.video_size, 3), shade, np.uint8))
                encoder.finish()
            return _fault(self._partial, 3, self.fps, self.video_size) is None
        finally:
            self._remove_partial()

    def _check_space(self) -> None:
        try:
            free = shutil.disk_usage(self.path.parent).free
        except OSError as error:
            raise write_failed(self.path, error) from error
        if free < _LEAST_SPACE:
            raise MachineError(f"No space left for {self.path}.", DISK_FULL)

    def _remove_partial(self) -> None:
        with contextlib.suppress(OSError):
            self._partial.unlink(missing_ok=True)


def differences(source: FrameSource) -> tuple[str, ...]:
    """What a written video does not take over from its source, in sentences; mostly nothing."""
    told = []
    if source.has_audio:
        told.append(f"{source.name} has sound; the written video is silent.")
    if not source.constant_rate and not source.live:
        told.append(
            f"{source.name} has a variable frame rate; the written video has {source.fps:g} frames per second, some "
            "repeated or left out, so that every picture is shown at its time."
        )
    return tuple(told)


def _rates_agree(one: float, other: float) -> bool:
    # three decimals are all that OpenCV keeps: below one frame per second that is the coarser limit
    return abs(one - other) <= max(_RATE_TOLERANCE * other, 0.00051)


def _fault(path: Path, frames: int, fps: float, size: tuple[int, int]) -> str | None:
    """What is wrong with a finished video, or None: it opens, counts its frames, and the last one decodes."""
    with quiet_opencv():
        capture = cv2.VideoCapture(str(path.absolute()))
    try:
        if not capture.isOpened():
            return "it does not open"
        count = round(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if count != frames:
            return f"it holds {max(count, 0)} of {frames} frames"
        rate = capture.get(cv2.CAP_PROP_FPS)
        if not _rates_agree(rate, fps):
            return f"it plays at {rate:g} frames per second, not {fps:g}"
        capture.set(cv2.CAP_PROP_POS_FRAMES, frames - 1)
        decoded, last = capture.read()
        if not decoded or last.shape[:2] != size:
            return "its last frame does not decode"
        return None
    finally:
        capture.release()


class WindowSink:
    """Shows frames in a window until q or Esc is pressed, or the window is closed.

    Args:
        title: of the window.
        size: (height, width) of the frames; the window opens no larger than 1280x720.

    Entering raises:
        MachineError: OpenCV has no windows (headless), or there is no display to show one on.
    """

    latest_only = True
    path: Path | None = None

    def __init__(self, title: str = "trtparse", size: tuple[int, int] | None = None) -> None:
        self._title = title
        self._size = size

    def __enter__(self) -> WindowSink:
        check_display()
        try:
            cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
            if self._size is not None:
                scale = min(1.0, 720 / self._size[0], 1280 / self._size[1])
                cv2.resizeWindow(
                    self._title, max(1, round(self._size[1] * scale)), max(1, round(self._size[0] * scale))
                )
        except cv2.error as error:
            raise _no_windows() from error
        return self

    def write(self, frame: Image, seconds: float | None = None) -> bool:
        """Show (H, W, 3) uint8, BGR. False once q or Esc was pressed or the window closed."""
        cv2.imshow(self._title, frame)
        pressed = cv2.waitKey(1) & 0xFF in (ord("q"), ord("Q"), 27)
        return not pressed and cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(cv2.error):
            cv2.destroyWindow(self._title)


def check_display() -> None:
    """See that a window can be opened, without risking this process: Qt aborts it where there is no display.

    Raises:
        MachineError: OpenCV has no windows, or there is no display.
    """
    if sys.platform.startswith("linux"):
        names = ("DISPLAY", "WAYLAND_DISPLAY")
        if not any(os.environ.get(name) for name in names) and not os.environ.get("QT_QPA_PLATFORM"):
            raise MachineError(
                "There is no display to show a window on (neither DISPLAY nor WAYLAND_DISPLAY is set).",
                "Write a video instead, or run this on the desktop; over ssh, use ssh -X.",
            )
    probe = "import cv2; cv2.namedWindow('trtparse'); cv2.waitKey(1); cv2.destroyAllWindows()"
    try:
        done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=20)
    except subprocess.TimeoutExpired:
        raise _no_display("it does not answer") from None
    if done.returncode == 0:
        return
    if "not implemented" in done.stderr:
        raise _no_windows()
    raise _no_display(next((line for line in done.stderr.splitlines() if "display" in line), "opening one failed"))


def _no_windows() -> MachineError:
    return MachineError(
        f"OpenCV {cv2.__version__} was installed without windows (headless).",
        "Write a video instead, or: pip uninstall opencv-python-headless && pip install opencv-python",
    )


def _no_display(reason: str) -> MachineError:
    return MachineError(
        f"A window cannot be shown: {reason}.",
        "Write a video instead, or run this on the desktop; check DISPLAY and WAYLAND_DISPLAY.",
    )
