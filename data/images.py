"""Photographs and label maps from files, and PNGs to files.

Files are read with Python and decoded from memory, so that any path works and every way of failing is told
apart. Half a file is an error: libjpeg would fill the missing part with grey and only warn.

Pixels come as they are stored, unless asked otherwise: an EXIF orientation must not turn a photograph under a label
map that was drawn on the stored pixels.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..specs.label_set import LabelSet, label_set
from ..storage.files import replace_bytes
from .dataset import IGNORE_LABEL, Image, LabelMap
from .image_header import stored_size
from .label_palette import AmbiguousPaletteError, ids_by_index, valid_labels
from .quiet import quiet_opencv

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_SIGNATURE = b"\xff\xd8\xff"
_PNG_PALETTE = 3
_LONGEST_SIDE = 1_000_000  # libpng ends there (PNG_USER_WIDTH_MAX), OpenCV a little later
_COPY_AGAIN = "Copy or download the file again."
_MOST_PIXELS = 1 << 28
"""Phones take 200 million; a small file that unpacks to more would take the memory of everything else."""

# In a scan's data a marker is FF and a byte that is neither 00 (a stuffed FF), RST0-7 nor a fill byte.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_JPEG_SCAN, _JPEG_END = 0xDA, 0xD9
_JPEG_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})

_SPREAD_TO_16_BITS = 257  # 255 of 8 bits is 65535 of 16


def read_image(path: str | os.PathLike[str], *, upright: bool = False) -> Image:
    """Read a photograph.

    Args:
        path: a JPEG, PNG or anything else that OpenCV decodes.
        upright: turn the image as its EXIF orientation says. Leave it off wherever a label map belongs to
            the image; put it on for photographs that a person would look at.

    Returns:
        (H, W, 3) uint8, BGR. Grey becomes three channels, 16 bits become 8, transparency is dropped.

    Raises:
        DataError: the file is missing, empty, cut off, too large or not an image.
    """
    return decode_image(read_bytes(path), path, upright=upright)


def decode_image(data: bytes, path: str | os.PathLike[str], *, upright: bool = False) -> Image:
    """The pixels of a photograph whose bytes are at hand; everything else as in :func:`read_image`.

    Args:
        data: the whole file.
        path: for messages.
        upright: see :func:`read_image`.
    """
    if not data:
        raise DataError(f"{path} is empty.", _COPY_AGAIN)
    _check_complete(data, path)
    height, width = stored_size(data) or (0, 0)
    if height * width > _MOST_PIXELS or max(height, width) > _LONGEST_SIDE:
        raise DataError(
            f"{path} is {width}x{height} pixels; {_MOST_PIXELS} are read, and {_LONGEST_SIDE} a side.",
            "Save the image in a smaller size.",
        )
    flags = cv2.IMREAD_COLOR if upright else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    return _decode(data, flags, path)


def read_label_map(path: str | os.PathLike[str], labels: LabelSet | None = None) -> LabelMap:
    """Read a label map: a PNG whose pixel values are the class ids.

    Of a palette PNG the indices are read, or the grey levels where an optimiser made a palette of them
    (:mod:`.label_palette`); of three equal channels the first. 8 bits that were spread over 16 come back as they
    were. Transparency, gamma and the like are ignored.

    Args:
        path: the file.
        labels: what its ids mean; LIP's where not given.

    Returns:
        (H, W) uint8: ids of the set, and 255 where the file has the set's own value to ignore.

    Raises:
        DataError: as :func:`read_image`; or the file is no PNG, is a coloured rendering of a label map, holds a
            value that is no class, or has a palette that can be read in two ways.
    """
    labels = label_set("lip") if labels is None else labels
    data = read_bytes(path)
    if not data:
        raise DataError(f"{path} is empty.", _COPY_AGAIN)
    if not data.startswith(_PNG_SIGNATURE):
        raise DataError(
            f"{path} is not a PNG, so it cannot be a label map.",
            "A label map is a PNG with one class id per pixel; lossy formats change the ids.",
        )
    _check_complete(data, path)
    plain, factor = _as_grey_png(data, path)
    pixels = _decode(plain, cv2.IMREAD_UNCHANGED, path)
    if pixels.ndim == 3:
        if np.any(pixels[..., 0] != pixels[..., 1]) or np.any(pixels[..., 0] != pixels[..., 2]):
            raise DataError(
                f"{path} has colours in it: it looks like a rendering of a label map, not the label map itself.",
                f"Use the PNGs whose pixel values are the class ids 0..{len(labels) - 1} (LIP: val_segmentations/).",
            )
        pixels = np.ascontiguousarray(pixels[..., 0])
    if factor > 1:
        pixels = pixels // factor
    pixels = _by_palette(pixels, data, path, labels)
    if pixels.dtype == np.uint16 and not (pixels % _SPREAD_TO_16_BITS).any():
        pixels = pixels // _SPREAD_TO_16_BITS
    valid = np.take(valid_labels(labels), pixels)
    if not valid.all():
        raise DataError(
            f"{path} holds the value {int(pixels[~valid][0])}, which is no class of {labels.name}.",
            f"Label maps hold the class ids 0..{len(labels) - 1} of {labels.name}, and {labels.ignore} for pixels to "
            "ignore; --labels names another label set.",
        )
    found = cast(LabelMap, pixels.astype(np.uint8, copy=False))
    if labels.ignore != IGNORE_LABEL:
        found[found == labels.ignore] = IGNORE_LABEL
    return found


def _by_palette(
    pixels: NDArray[np.uint8], data: bytes, path: str | os.PathLike[str], labels: LabelSet
) -> NDArray[np.uint8]:
    """The classes that a palette's indices stand for; ``pixels`` as they are where there is no palette."""
    parts = dict(png_chunks(data, path))
    if parts[b"IHDR"][9] != _PNG_PALETTE or b"PLTE" not in parts:
        return pixels
    palette = np.frombuffer(parts[b"PLTE"], np.uint8)
    palette = palette[: len(palette) // 3 * 3].reshape(-1, 3)
    shown = np.ones(len(palette), np.bool_)
    opacity = np.frombuffer(parts.get(b"tRNS", b""), np.uint8)[: len(palette)]
    shown[: len(opacity)] = opacity > 0
    used = np.flatnonzero(np.bincount(pixels.ravel(), minlength=256))
    try:
        ids = ids_by_index(palette, shown, used, labels)
    except AmbiguousPaletteError as error:
        raise DataError(
            f"{path} can be read in two ways: {error}.",
            "Save it without a palette: a grey PNG whose pixel values are the class ids.",
        ) from None
    return pixels if ids is None else cast("NDArray[np.uint8]", np.take(ids, pixels))


def write_png(path: str | os.PathLike[str], array: NDArray[np.uint8]) -> None:
    """Write a PNG, whole or not at all: into a temporary file beside it, which is then renamed.

    Args:
        path: where; its folder must exist. A file that is there is replaced.
        array: (H, W) uint8 grey or ids, (H, W, 3) uint8 BGR or (H, W, 4) uint8 BGRA.

    Raises:
        UsageError: the folder is missing or not writable.
        MachineError: the disk is full.
        ValueError: an array that is no image.
    """
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or array.size == 0:
        raise ValueError(f"expected (H, W) or (H, W, 3) uint8, got {array.shape} {array.dtype}")
    ok, encoded = cv2.imencode(".png", array)
    if not ok:
        raise ValueError(f"OpenCV cannot encode {array.shape} as PNG")
    replace_bytes(Path(path), encoded.tobytes())


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """A whole file.

    Raises:
        DataError: it is missing, is no file, or cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise read_failed(path, error) from error


def read_failed(path: str | os.PathLike[str], error: OSError) -> DataError:
    """What to tell the user about ``error``, met while reading ``path``."""
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path} does not exist.", "Check the path.")
    if isinstance(error, (IsADirectoryError, NotADirectoryError)):
        return DataError(f"{path} is not a file.", "Name one image file.")
    reason = os.strerror(error.errno) if error.errno else str(error)
    return DataError(f"{path} cannot be read: {reason}.", "Check its permissions.")


def _decode(data: bytes, flags: int, path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    try:
        with quiet_opencv():
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        reason = str(error.err or error).strip()
        raise DataError(f"{path} cannot be decoded: {reason}.", "Save the image again, in a smaller size.") from error
    if pixels is None:
        known = data.startswith((_PNG_SIGNATURE, _JPEG_SIGNATURE))
        raise DataError(
            f"{path} is damaged: its pixels cannot be decoded." if known else f"{path} is not an image.",
            _COPY_AGAIN if known else "Use JPEG or PNG files.",
        )
    return cast("NDArray[np.uint8]", pixels)


def _check_complete(data: bytes, path: str | os.PathLike[str]) -> None:
    if data.startswith(_JPEG_SIGNATURE):
        complete = _jpeg_ends(data)
    elif data.startswith(_PNG_SIGNATURE):
        complete = any(kind == b"IEND" for kind, _ in png_chunks(data, path))
    else:
        return
    if not complete:
        raise DataError(f"{path} is cut off: the file ends in the middle of the image.", _COPY_AGAIN)


def _jpeg_ends(data: bytes) -> bool:
    """Whether the JPEG's own end marker is reached.

    Walks the segments (ITU-T T.81, annex B), so that neither the end marker of an embedded preview nor bytes
    after the image mislead it.
    """
    position = 2
    while True:
        found = _JPEG_MARKER.search(data, position)
        if found is None:
            return False
        marker, position = data[found.start() + 1], found.end()
        if marker == _JPEG_END:
            return True
        if marker in _JPEG_BARE_MARKERS:
            continue
        # Segments carry their length; a scan's header does too, and its data is passed by the search.
        position += int.from_bytes(data[position : position + 2], "big")


def png_chunks(data: bytes, path: str | os.PathLike[str]) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a PNG up to IEND, as far as they are whole (PNG specification, section 5.3).

    Raises:
        DataError: a chunk's checksum is wrong.
    """
    position = len(_PNG_SIGNATURE)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            return
        if zlib.crc32(data[position + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise DataError(f"{path} is damaged: the checksum of its {kind!r} part is wrong.", _COPY_AGAIN)
        yield kind, data[position + 8 : end]
        if kind == b"IEND":
            return
        position = end + 4


def _as_grey_png(data: bytes, path: str | os.PathLike[str]) -> tuple[bytes, int]:
    """The same pixels without metadata; a palette's indices as grey levels.

    OpenCV turns a palette PNG into colours, from which indices cannot be recovered where two entries share a
    colour. Relabelled as a grey PNG the same pixel data decodes to the indices themselves, interlaced or not.

    Returns:
        The PNG, and the factor by which its indices come out too large: a decoder spreads grey levels of
        less than 8 bits over 0..255.
    """
    parts: list[tuple[bytes, bytes]] = []
    factor = 1
    for kind, body in png_chunks(data, path):
        if kind == b"IHDR" and len(body) == 13 and body[9] == _PNG_PALETTE:
            factor = 255 // ((1 << body[8]) - 1) if body[8] in (1, 2, 4) else 1
            body = body[:9] + b"\x00" + body[10:]
        if kind in (b"IHDR", b"IDAT", b"IEND"):
            parts.append((kind, body))
    chunks = [struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in parts]
    return _PNG_SIGNATURE + b"".join(chunks), factor
