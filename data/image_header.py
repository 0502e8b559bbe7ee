"""What a photograph's file says of it, without its pixels: how it is to be turned, and how large it is."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

_ORIENTATION, _WIDTH, _HEIGHT = 274, 256, 257
_FORMATS = {3: "H", 4: "I"}  # of TIFF's types those that these tags have
_SIZE_OF_JPEG = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
_TIFF = re.compile(rb"II\*\x00|MM\x00\*")


def orientation(data: bytes) -> int:
    """The EXIF orientation of a JPEG, PNG, WebP or TIFF.

    Returns:
        1, as stored, to 8; from 5 on height and width change places. 1 where the file does not say, or says nonsense.
    """
    for block in _exif_blocks(data):
        value = _tags(block).get(_ORIENTATION, 1)
        if 1 <= value <= 8:
            return value
    return 1


def stored_size(data: bytes) -> tuple[int, int] | None:
    """(height, width) as a JPEG, PNG, GIF, BMP or TIFF says it has; None where it is none of these."""
    if data.startswith(b"\x89PNG") and len(data) >= 24:
        width, height = struct.unpack_from(">II", data, 16)
        return height, width
    if data.startswith(b"GIF8") and len(data) >= 10:
        width, height = struct.unpack_from("<HH", data, 6)
        return height, width
    if data.startswith(b"BM") and len(data) >= 26:
        width, height = struct.unpack_from("<ii", data, 18)
        return abs(height), abs(width)
    if _TIFF.match(data):
        tags = _tags(data)
        return (tags[_HEIGHT], tags[_WIDTH]) if _HEIGHT in tags and _WIDTH in tags else None
    for marker, body in _jpeg_segments(data):
        if marker in _SIZE_OF_JPEG and len(body) >= 5:
            height, width = struct.unpack_from(">HH", body, 1)
            return height, width
    return None


def _exif_blocks(data: bytes) -> Iterator[bytes]:
    """Where EXIF lies in a file: each is a small TIFF."""
    if _TIFF.match(data):
        yield data
    elif data.startswith(b"\x89PNG"):
        yield from (body for kind, body in _chunks(data, 8, ">I4s", 4) if kind == b"eXIf")
    elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        for kind, body in _chunks(data, 12, "<4sI", 0):
            if kind == b"EXIF":
                yield body.removeprefix(b"Exif\x00\x00")
    else:
        for marker, body in _jpeg_segments(data):
            if marker == 0xE1 and body.startswith(b"Exif\x00\x00"):
                yield body[6:]


def _chunks(data: bytes, position: int, head: str, checksum: int) -> Iterator[tuple[bytes, bytes]]:
    """The parts of a PNG or of a RIFF file: a kind and a length, in the order that ``head`` has, and the body."""
    while position + 8 <= len(data):
        one, other = struct.unpack_from(head, data, position)
        kind, length = (one, other) if isinstance(one, bytes) else (other, one)
        yield kind, data[position + 8 : position + 8 + length]
        position += 8 + length + checksum + (length % 2 if not checksum else 0)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The segments of a JPEG before its pixels (ITU-T T.81, annex B)."""
    position = 2 if data.startswith(b"\xff\xd8") else len(data)
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF or marker in _BARE:
            position += 1 if marker == 0xFF else 2
            continue
        if marker == 0xDA:
            return
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        yield marker, data[position + 4 : position + 2 + length]
        position += 2 + max(length, 2)


def _tags(tiff: bytes) -> dict[int, int]:
    """The whole numbers of a TIFF's first directory (TIFF 6.0, section 2), as far as they stand in it."""
    if not _TIFF.match(tiff) or len(tiff) < 8:
        return {}
    order = "<" if tiff.startswith(b"II") else ">"
    (start,) = struct.unpack_from(f"{order}I", tiff, 4)
    if start + 2 > len(tiff):
        return {}
    (count,) = struct.unpack_from(f"{order}H", tiff, start)
    tags: dict[int, int] = {}
    for position in range(start + 2, min(start + 2 + 12 * count, len(tiff) - 11), 12):
        tag, kind, values = struct.unpack_from(f"{order}HHI", tiff, position)
        if values == 1 and kind in _FORMATS:
            (tags[tag],) = struct.unpack_from(f"{order}{_FORMATS[kind]}", tiff, position + 8)
    return tags
