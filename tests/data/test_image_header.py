from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest

from trtparse.data.image_header import orientation, stored_size

PIXELS = np.zeros((6, 10, 3), np.uint8)


def tiff(value: int, order: str = ">", tag: int = 274, kind: int = 3) -> bytes:
    """A TIFF of one number, as EXIF is."""
    mark = b"II*\x00" if order == "<" else b"MM\x00*"
    return mark + struct.pack(f"{order}IHHHI", 8, 1, tag, kind, 1) + struct.pack(f"{order}HH", value, 0) + bytes(4)


def encoded(ending: str) -> bytes:
    return bytes(cv2.imencode(ending, PIXELS)[1])


def jpeg(exif: bytes) -> bytes:
    body = b"Exif\x00\x00" + exif
    data = encoded(".jpg")
    return data[:2] + b"\xff\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]


def png(exif: bytes) -> bytes:
    data = encoded(".png")
    return data[:-12] + struct.pack(">I", len(exif)) + b"eXIf" + exif + bytes(4) + data[-12:]


def webp(exif: bytes) -> bytes:
    data = encoded(".webp")
    return data + bytes(len(data) % 2) + b"EXIF" + struct.pack("<I", len(exif)) + exif


@pytest.mark.parametrize("file", [jpeg, png, webp])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value", [1, 3, 8])
def test_the_orientation_is_found_in_every_kind_of_file(file: object, order: str, value: int) -> None:
    assert callable(file)
    assert orientation(file(tiff(value, order))) == value
    assert orientation(tiff(value, order)) == value


@pytest.mark.parametrize(
    "exif", [b"", b"MM", b"words and more", tiff(0), tiff(9), tiff(3, tag=275), tiff(3, kind=7), tiff(6)[:14]]
)
def test_what_does_not_say_so_or_says_nonsense_stays_as_stored(exif: bytes) -> None:
    for file in (jpeg, png, webp):
        assert orientation(file(exif)) == 1
    assert orientation(exif) == 1


@pytest.mark.parametrize("ending", [".jpg", ".png", ".gif", ".bmp", ".tiff"])
def test_the_size_is_read_from_the_header(ending: str) -> None:
    assert stored_size(encoded(ending)) == (6, 10)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"\x89PNG", b"GIF8", b"BM", b"II*\x00", b"words"])
def test_a_file_that_does_not_say_its_size_has_none(data: bytes) -> None:
    assert stored_size(data) is None


def test_no_length_in_a_file_leads_beyond_it() -> None:
    for data in (jpeg(tiff(6)), png(tiff(6)), webp(tiff(6)), encoded(".tiff"), tiff(6)):
        for end in range(len(data)):
            orientation(data[:end])
            stored_size(data[:end])
