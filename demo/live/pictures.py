"""Frames become JPEG pictures on a thread of their own: each at most once, and only while somebody waits for one."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import cv2

from ...data.dataset import Image
from ..parsed_frame import ParsedFrame

_MOST_SIDE = 1280  # pixels; a browser's window is seldom larger, and a 4K picture takes 9 times as long
_QUALITY = 80
_LEAST_SECONDS = 1 / 40  # between pictures: above the 30 of most cameras, below what an eye tells apart
_NICE = 5  # where cores are short, a third of the weight of the pipeline's threads


@dataclass(frozen=True)
class Picture:
    """A frame as a browser takes it.

    Args:
        number: the frame's.
        jpeg: no side longer than 1280 pixels.
    """

    number: int
    jpeg: bytes


class Pictures:
    """Takes every frame in no time, and turns the newest one into a picture when one is wanted.

    Args:
        publish: called with each picture, on the thread that makes them.
    """

    def __init__(self, publish: Callable[[Picture], None]) -> None:
        self._publish = publish
        self._changed = threading.Condition()
        self._newest: ParsedFrame | None = None
        self._done = -1
        self._wanted = False
        self._closed = False
        self.made = 0
        self._thread = threading.Thread(target=self._work, name="live pictures", daemon=True)
        self._thread.start()

    @property
    def newest(self) -> ParsedFrame | None:
        """The frame taken last."""
        return self._newest

    def take(self, frame: ParsedFrame) -> None:
        """Replace the newest frame: a reference, no copy. On the writer's thread."""
        with self._changed:
            self._newest = frame
            if self._wanted:
                self._changed.notify()

    def want(self) -> None:
        """Ask for a picture of a frame that none has been made of."""
        with self._changed:
            self._wanted = True
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(2.0)

    def _work(self) -> None:
        _be_nice()
        while (frame := self._next()) is not None:
            begin = time.monotonic()
            picture = Picture(frame.number, encode_jpeg(frame.drawn))
            self.made += 1
            self._publish(picture)
            time.sleep(max(0.0, begin + _LEAST_SECONDS - time.monotonic()))

    def _next(self) -> ParsedFrame | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or (self._wanted and self._is_new()))
            if self._closed or self._newest is None:
                return None
            self._wanted = False
            self._done = self._newest.number
            return self._newest

    def _is_new(self) -> bool:
        return self._newest is not None and self._newest.number != self._done


def _be_nice() -> None:
    """Have this thread give way to others. On Linux a thread has a priority of its own; elsewhere nothing happens."""
    if hasattr(os, "setpriority") and os.uname().sysname == "Linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def encode_jpeg(image: Image) -> bytes:
    """A picture for a browser.

    Args:
        image: (H, W, 3) uint8, BGR; shrunk where a side is longer than 1280.
    """
    scale = _MOST_SIDE / max(image.shape[:2])
    if scale < 1:
        size = (max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
        # For 1080p the mean of areas takes 8.6 ms, lines between pixels 2.0, the JPEG itself 1.9.
        how = cv2.INTER_LINEAR if scale > 0.5 else cv2.INTER_AREA
        image = cast(Image, cv2.resize(image, size, interpolation=how))
    return _encode(".jpg", image, cv2.IMWRITE_JPEG_QUALITY, _QUALITY)


def encode_png(image: Image) -> bytes:
    """(H, W, 3) uint8, BGR, as it is: a snapshot loses nothing."""
    return _encode(".png", image, cv2.IMWRITE_PNG_COMPRESSION, 1)  # 1 takes a third of the time of 6, for 10 % more


def _encode(kind: str, image: Image, option: int, value: int) -> bytes:
    encoded, data = cv2.imencode(kind, image, [option, value])
    if not encoded:
        raise RuntimeError(f"OpenCV wrote no {kind} of {image.shape}")
    return data.tobytes()
