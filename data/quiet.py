"""Keep OpenCV and FFmpeg from talking over our own messages on stderr."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2

_SILENT = 0  # LOG_LEVEL_SILENT

_lock = threading.Lock()
_inside, _level = 0, 0  # threads in such a block, and the level outside


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Read an image or open a video, or try to, without chatter; what went wrong is told by our own error.

    FFmpeg reads its log level once, when the process opens its first video, so it is set for good; OpenCV's own is
    put back once the last thread leaves. ``OPENCV_FFMPEG_LOGLEVEL`` and ``OPENCV_LOG_LEVEL`` in the environment win,
    for those who are looking for a fault.
    """
    global _inside, _level
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET
    if "OPENCV_LOG_LEVEL" in os.environ:
        yield
        return
    # OpenCV 4.8, which JetPack 6 brings, has these two in the module itself.
    logging: Any = getattr(cv2.utils, "logging", cv2)
    with _lock:
        if not _inside:
            _level = logging.getLogLevel()
            logging.setLogLevel(_SILENT)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                logging.setLogLevel(_level)
