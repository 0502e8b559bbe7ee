"""What a video file says about itself, without decoding it: sound, its table of contents, when pictures are shown."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

_MP4_KINDS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
_MATROSKA = b"\x1a\x45\xdf\xa3"
# RFC 9559 §5.1.4.1.21: CodecID is the element 86 with its length in a byte; those of sound begin with A_.
_MATROSKA_SOUND = re.compile(rb"\x86[\x83-\xbf]A_[A-Z]")
_MATROSKA_PICTURES = re.compile(rb"\x86[\x83-\xbf]V_[A-Z]")
# MP3 with and without a tag, FLAC, AAC's ADTS.
_SOUND = re.compile(rb"ID3|fLaC|\xff[\xe2-\xe7\xf2-\xf7\xfa\xfb]|\xff[\xf0\xf1\xf8\xf9]|RIFF....WAVE", re.DOTALL)
_OGG, _OGG_SOUND, _OGG_PICTURES = b"OggS", re.compile(rb"OpusHead|\x01vorbis|Speex  |\x7fFLAC"), b"\x80theora"
_SEARCHED_FOR_SOUND = 1 << 20
_LARGEST_INDEX = 1 << 26
"""Bytes of ``moov``; a day of video has some 30 MB."""

USUAL_RATES = (10.0, 15.0, 24000 / 1001, 24.0, 25.0, 30000 / 1001, 30.0, 50.0, 60000 / 1001, 60.0)
_FASTEST = 120.0


@dataclass(frozen=True)
class Container:
    """The first level of a video file.

    Args:
        counts_frames: its header counts the frames, rather than leaving FFmpeg to estimate them from the duration.
        lacks_index: an mp4 or mov without ``moov``.
        cut_off: one that ends inside a box.
        has_audio: there is sound in it; of an MPEG transport stream nobody knows, and it is False.
        only_audio: and no moving picture; a cover is none.
        times: (n,) float64, seconds at which its header has the pictures decoded; None where it does not tell.
        constant: the format has no other than a constant rate.
    """

    counts_frames: bool = False
    lacks_index: bool = False
    cut_off: bool = False
    has_audio: bool = False
    only_audio: bool = False
    times: NDArray[np.float64] | None = None
    constant: bool = False

    @classmethod
    def of(cls, path: Path) -> Container:
        """Look at a file that can be read."""
        with path.open("rb") as file:
            head = file.read(12)
            if head[4:8] in _MP4_KINDS:
                return cls._of_boxes(file)
            head += file.read(_SEARCHED_FOR_SOUND)
        if head.startswith(_MATROSKA):
            sound = _MATROSKA_SOUND.search(head) is not None
            return cls(has_audio=sound, only_audio=sound and _MATROSKA_PICTURES.search(head) is None)
        if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
            return cls(counts_frames=True, has_audio=b"strh8\x00\x00\x00auds" in head, constant=True)
        sound = _SOUND.match(head) is not None
        if head.startswith(_OGG):
            sound = _OGG_SOUND.search(head) is not None and _OGG_PICTURES not in head
        return cls(counts_frames=head[:4] == b"GIF8", has_audio=sound, only_audio=sound)

    @classmethod
    def _of_boxes(cls, file: BinaryIO) -> Container:
        """ISO/IEC 14496-12 §4.2: a box is its size in 4 bytes, its name in 4, and where the size is 1, 8 bytes more."""
        found: dict[bytes, tuple[int, int]] = {}
        end = file.seek(0, os.SEEK_END)
        offset = 0
        while end - offset >= 8:
            file.seek(offset)
            head = file.read(16)
            size = int.from_bytes(head[:4], "big")
            start = offset + (16 if size == 1 else 8)
            if size == 1:
                size = int.from_bytes(head[8:16], "big")
            elif size == 0:
                size = end - offset
            if size < 8 or not head[4:8].isascii():
                break
            found[head[4:8]] = (start, offset + size)
            offset += size
        indexed, fragmented = b"moov" in found, b"moof" in found
        start, stop = found.get(b"moov", (0, 0))
        file.seek(start)
        index = file.read(stop - start) if stop - start <= _LARGEST_INDEX else b""
        tracks = [_Track(body) for kind, body in _boxes(index) if kind == b"trak"]
        times = next((track.times for track in tracks if track.handler == b"vide"), None)
        handlers = {track.handler for track in tracks}
        return cls(
            counts_frames=indexed and not fragmented,
            lacks_index=not indexed,
            cut_off=offset > end,
            has_audio=b"soun" in handlers,
            only_audio=b"soun" in handlers and b"vide" not in handlers,
            times=None if fragmented else times,
        )


class _Track:
    """Of an mp4: which kind (ISO/IEC 14496-12 §8.4.3), and how long each sample lasts (§8.6.1.2)."""

    def __init__(self, body: bytes) -> None:
        media = _inside(body, b"mdia")
        self.handler = _inside(media, b"hdlr")[8:12]
        header = _inside(media, b"mdhd")
        self._ticks = int.from_bytes(header[20:24] if header[:1] == b"\x01" else header[12:16], "big")
        self._durations = _inside(_inside(_inside(media, b"minf"), b"stbl"), b"stts")

    @property
    def times(self) -> NDArray[np.float64] | None:
        entries = np.frombuffer(self._durations[8 : 8 + (len(self._durations) - 8) // 8 * 8], ">u4").reshape(-1, 2)
        counts, lasts = entries[:, 0].astype(np.int64), entries[:, 1].astype(np.int64)
        if not self._ticks or not 1 <= counts.sum() <= _LARGEST_INDEX:
            return None
        ends = np.cumsum(np.repeat(lasts, counts))
        return np.concatenate(([0], ends[:-1])) / self._ticks


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    offset = 0
    while len(data) - offset >= 8:
        size = int.from_bytes(data[offset : offset + 4], "big")
        if size < 8:  # longer ones, with 8 bytes of size, are on the first level only
            return
        yield data[offset + 4 : offset + 8], data[offset + 8 : offset + size]
        offset += size


def _inside(data: bytes, kind: bytes) -> bytes:
    return next((body for name, body in _boxes(data) if name == kind), b"")


def rate_of(times: NDArray[np.float64]) -> tuple[float, bool] | None:
    """The rate at which pictures come.

    Args:
        times: (n,) seconds, ascending.

    Returns:
        Frames per second, and whether every picture is within half a step of where a constant rate has it. Where it
        is not, the rate is one at which nine pictures of ten get a place of their own. None for less than two.
    """
    steps = np.diff(times)
    steps = steps[steps > 0]
    if len(steps) == 0:
        return None
    average = float((len(times) - 1) / (times[-1] - times[0]))
    places = (times - times[0]) * average
    if np.abs(places - np.arange(len(times))).max() < 0.5:
        return average, True
    rate = min(float(1 / np.quantile(steps, 0.1)), _FASTEST)
    return usual_rate(rate), False


def usual_rate(rate: float) -> float:
    """The rate that cameras have within 2 % of a measured one, or that itself."""
    nearest = min(USUAL_RATES, key=lambda usual: abs(usual - rate))
    return nearest if abs(nearest - rate) <= 0.02 * rate else rate
