"""A label map's PNG, read back: only where it is as :func:`.draw.encode_label_png` wrote it."""

from __future__ import annotations

import zlib

import numpy as np

from ...data.dataset import LabelMap
from ...data.images import png_chunks
from ...errors import DataError
from ...specs.label_set import LabelSet
from .draw import LABEL_PNG_KIND, label_png_palette

KEYWORD = b"trtparse\x00"
"""Of the tEXt chunk that says what a label map was made from."""


def decode_label_png(data: bytes, label_set: LabelSet, path: str) -> tuple[str | None, LabelMap | None]:
    """What a label map was made from, and the label map.

    Args:
        data: the file.
        label_set: what its ids have to mean.
        path: for messages.

    Returns:
        The text of its record, None where it has none; and (H, W) uint8, None where the file is damaged or was packed
        anew by another program: the record may have outlived that, the indices may not.
    """
    record: str | None = None
    whole, pixels, size, header, palette = False, b"", (0, 0), b"", b""
    try:
        for kind, body in png_chunks(data, path) if data.startswith(b"\x89PNG") else ():
            if kind == b"IHDR":
                size, header = (int.from_bytes(body[4:8], "big"), int.from_bytes(body[:4], "big")), body[8:]
            elif kind == b"PLTE":
                palette = body
            elif kind == b"tEXt" and body.startswith(KEYWORD):
                record = body[len(KEYWORD) :].decode("latin-1")
            elif kind == b"IDAT":
                pixels += body
            whole = whole or kind == b"IEND"
    except DataError:
        whole = False
    packed_by_us = whole and header == LABEL_PNG_KIND and palette == label_png_palette(label_set)
    if not packed_by_us:
        return record, None
    try:
        unpacked = np.frombuffer(zlib.decompress(pixels), np.uint8)
    except zlib.error:
        return record, None
    if unpacked.size != size[0] * (size[1] + 1):
        return record, None
    lines = unpacked.reshape(size[0], size[1] + 1)
    return record, None if lines[:, 0].any() else lines[:, 1:]
