"""Keep OpenCV and FFmpeg from talking over our own messages on stderr."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2

_SILENT = 0  # LOG_LEVEL_SILENT


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Open a video, or try to, without chatter; what went wrong is told by our own error.

    FFmpeg reads its log level once, when the process opens its first video, so it is set for good; OpenCV's own is
    put back. ``OPENCV_FFMPEG_LOGLEVEL`` and ``OPENCV_LOG_LEVEL`` in the environment win, for those who are looking
    for a fault.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET
    # OpenCV 4.8, which JetPack 6 brings, has these two in the module itself.
    logging: Any = getattr(cv2.utils, "logging", cv2)
    level = logging.getLogLevel()
    if "OPENCV_LOG_LEVEL" not in os.environ:
        logging.setLogLevel(_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(level)
