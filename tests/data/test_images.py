from __future__ import annotations

import errno
import os
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from trtparse.data.images import read_image, read_label_map, write_png
from trtparse.errors import DataError, TrtparseError, UsageError
from trtparse.specs.label_set import label_set

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    rows: NDArray[np.uint8], colour: int, palette: list[tuple[int, int, int]] | None = None, depth: int = 8
) -> bytes:
    """A PNG of bytes that are already packed as its rows want them; written by hand to be sure of what is in it."""
    channels = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}[colour]
    height, width = rows.shape[0], rows.shape[1] * 8 // depth // channels
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    plte = b"" if palette is None else chunk(b"PLTE", bytes(v for entry in palette for v in entry))
    data = b"".join(b"\x00" + row.tobytes() for row in rows)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + plte + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    )


def packed(indices: NDArray[np.uint8], depth: int) -> NDArray[np.uint8]:
    """Rows of indices as a PNG of so many bits packs them."""
    per_byte = 8 // depth
    shifts = np.arange(per_byte)[::-1] * depth
    return (indices.reshape(len(indices), -1, per_byte).astype(int) << shifts).sum(-1).astype(np.uint8)


def interlaced_png(
    rows: NDArray[np.uint8], colour: int, palette: list[tuple[int, int, int]] | None = None, depth: int = 8
) -> bytes:
    """The same picture in Adam7's seven passes (PNG specification, section 8.2)."""
    width = rows.shape[1] * 8 // depth
    pixels = np.unpackbits(rows, axis=1).reshape(len(rows), width, depth)
    data = b""
    for y, x, down, right in (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ):
        part = pixels[y::down, x::right]
        data += b"".join(b"\x00" + np.packbits(row.ravel()).tobytes() for row in part if row.size)
    plain = png(rows, colour, palette, depth)
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 1)
    start, end = plain.index(b"IHDR") - 4, plain.index(b"IDAT") - 4
    kept = plain[start + 25 : end]
    return plain[:start] + chunk(b"IHDR", header) + kept + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def photograph(height: int = 60, width: int = 40) -> NDArray[np.uint8]:
    ramp = np.linspace(0, 255, height * width * 3).reshape(height, width, 3)
    return ramp.astype(np.uint8)


def jpeg(image: NDArray[np.uint8], *flags: int) -> bytes:
    return bytes(cv2.imencode(".jpg", image, flags)[1])


def with_orientation(data: bytes, orientation: int) -> bytes:
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\x00\x00" + b"MM\x00\x2a\x00\x00\x00\x08" + struct.pack(">H", 1) + entry + b"\x00\x00\x00\x00"
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "fläche 図.png"


LABELS = (np.arange(20 * 20, dtype=np.uint8).reshape(20, 20) % 20).astype(np.uint8)


class TestReadImage:
    def test_returns_bgr_of_the_stored_size(self, file: Path) -> None:
        image = photograph()
        write_png(file, image)
        np.testing.assert_array_equal(read_image(file), image)

    @pytest.mark.parametrize("progressive", [0, 1])
    def test_reads_jpegs(self, file: Path, progressive: int) -> None:
        file.write_bytes(jpeg(photograph(), cv2.IMWRITE_JPEG_PROGRESSIVE, progressive))
        assert np.abs(read_image(file).astype(int) - photograph()).mean() < 8

    def test_makes_three_channels_of_grey(self, file: Path) -> None:
        write_png(file, LABELS)
        np.testing.assert_array_equal(read_image(file), np.repeat(LABELS[..., None], 3, 2))

    def test_drops_transparency(self, file: Path) -> None:
        alpha = np.full((60, 40, 1), 7, np.uint8)
        write_png(file, np.concatenate([photograph(), alpha], 2))
        np.testing.assert_array_equal(read_image(file), photograph())

    def test_makes_8_bits_of_16(self, file: Path) -> None:
        wide = photograph().astype(np.uint16) * 257
        file.write_bytes(bytes(cv2.imencode(".png", wide)[1]))
        np.testing.assert_array_equal(read_image(file), photograph())

    def test_keeps_pixels_as_stored_unless_asked_to_turn_them(self, file: Path) -> None:
        file.write_bytes(with_orientation(jpeg(photograph(60, 40)), 6))
        assert read_image(file).shape == (60, 40, 3)
        assert read_image(file, upright=True).shape == (40, 60, 3)

    @pytest.mark.parametrize("progressive", [0, 1])
    @pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
    def test_refuses_half_a_jpeg(self, file: Path, share: float, progressive: int) -> None:
        data = jpeg(photograph(200, 200), cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
        file.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(DataError, match=r"fläche 図\.png is cut off"):
            read_image(file)

    def test_is_not_taken_in_by_the_end_of_an_embedded_preview(self, file: Path) -> None:
        preview = jpeg(photograph(8, 8))
        whole = jpeg(photograph(200, 200))
        data = whole[:2] + b"\xff\xe2" + struct.pack(">H", len(preview) + 2) + preview + whole[2:]
        file.write_bytes(data)
        assert read_image(file).shape == (200, 200, 3)
        file.write_bytes(data[:-100])
        with pytest.raises(DataError, match="cut off"):
            read_image(file)

    def test_accepts_bytes_after_the_end_of_a_jpeg(self, file: Path) -> None:
        file.write_bytes(jpeg(photograph()) + b"\x00" * 500 + b"trailer")
        assert read_image(file).shape == (60, 40, 3)

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
    def test_refuses_half_a_png(self, file: Path, share: float) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (50, 50, 3), np.uint8)
        data = bytes(cv2.imencode(".png", noise)[1])
        file.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(DataError, match="cut off"):
            read_image(file)

    def test_refuses_a_png_with_a_changed_byte(self, file: Path) -> None:
        data = bytearray(cv2.imencode(".png", photograph())[1])
        data[len(data) // 2] ^= 0xFF
        file.write_bytes(bytes(data))
        with pytest.raises(DataError, match="damaged"):
            read_image(file)

    def test_refuses_a_small_file_that_unpacks_to_more_than_memory_should_hold(self, file: Path) -> None:
        data = png(np.zeros((1, 1), np.uint8), GREY)
        header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, GREY, 0, 0, 0)
        file.write_bytes(data[:8] + chunk(b"IHDR", header) + data[33:])
        with pytest.raises(DataError, match="30000x30000 pixels; 268435456 are read"):
            read_image(file)

    def test_tells_the_ways_of_failing_apart(self, tmp_path: Path) -> None:
        (tmp_path / "empty.jpg").touch()
        (tmp_path / "text.jpg").write_text("this is not an image")
        (tmp_path / "folder.jpg").mkdir()
        expected = {
            "missing.jpg": "does not exist",
            "empty.jpg": "is empty",
            "text.jpg": "is not an image",
            "folder.jpg": "is not a file",
        }
        for name, words in expected.items():
            with pytest.raises(DataError, match=words) as caught:
                read_image(tmp_path / name)
            assert str(tmp_path / name) in caught.value.message
            assert caught.value.hint


class TestReadLabelMap:
    def test_reads_grey_values_as_ids(self, file: Path) -> None:
        labels = LABELS.copy()
        labels[0, 0] = 255
        write_png(file, labels)
        np.testing.assert_array_equal(read_label_map(file), labels)

    def test_reads_the_indices_of_a_palette(self, file: Path) -> None:
        palette = [(index, 255 - index, 128) for index in range(256)]
        file.write_bytes(png(LABELS, PALETTE, palette))
        np.testing.assert_array_equal(read_label_map(file), LABELS)

    def test_tells_palette_entries_of_one_colour_apart(self, file: Path) -> None:
        file.write_bytes(png(LABELS, PALETTE, [(9, 9, 9)] * 20))
        np.testing.assert_array_equal(read_label_map(file), LABELS)

    @pytest.mark.parametrize("depth", [1, 2, 4])
    def test_reads_the_indices_of_a_small_palette(self, file: Path, depth: int) -> None:
        indices = np.random.default_rng(depth).integers(0, 1 << depth, (6, 16), np.uint8)
        file.write_bytes(png(packed(indices, depth), PALETTE, [(index, 0, 0) for index in range(1 << depth)], depth))
        np.testing.assert_array_equal(read_label_map(file), indices)

    def test_ignores_the_transparency_of_a_palette(self, file: Path) -> None:
        data = png(LABELS, PALETTE, [(index, 0, 0) for index in range(20)])
        at = data.index(b"IDAT") - 4
        file.write_bytes(data[:at] + chunk(b"tRNS", b"\x00" * 20) + data[at:])
        np.testing.assert_array_equal(read_label_map(file), LABELS)

    def test_ignores_gamma(self, file: Path) -> None:
        data = png(LABELS, GREY)
        at = data.index(b"IDAT") - 4
        file.write_bytes(data[:at] + chunk(b"gAMA", struct.pack(">I", 100000)) + data[at:])
        np.testing.assert_array_equal(read_label_map(file), LABELS)

    @pytest.mark.parametrize("interlaced", [False, True])
    @pytest.mark.parametrize(("depth", "levels"), [(8, (0, 13, 5, 255, 2, 19)), (4, (0, 13, 5, 255)), (1, (9, 0))])
    def test_reads_the_levels_of_a_palette_that_an_optimiser_made(
        self, file: Path, depth: int, levels: tuple[int, ...], interlaced: bool
    ) -> None:
        indices = np.random.default_rng(1).integers(0, len(levels), (6, 16), np.uint8)
        grey = [(level, level, level) for level in levels]
        make = interlaced_png if interlaced else png
        file.write_bytes(make(packed(indices, depth), PALETTE, grey, depth))
        np.testing.assert_array_equal(read_label_map(file), np.array(levels, np.uint8)[indices])

    def test_reads_the_levels_beside_the_transparent_entry_that_ffmpeg_adds(self, file: Path) -> None:
        indices = LABELS % 3
        palette = [(0, 0, 0), (5, 5, 5), (14, 14, 14), *[(14, 14, 14)] * 4, (0, 255, 0)]
        data = png(indices, PALETTE, palette)
        at = data.index(b"IDAT") - 4
        file.write_bytes(data[:at] + chunk(b"tRNS", b"\xff" * 7 + b"\x00") + data[at:])
        np.testing.assert_array_equal(read_label_map(file), np.array([0, 5, 14], np.uint8)[indices])

    def test_refuses_a_palette_that_can_be_read_in_two_ways(self, file: Path) -> None:
        file.write_bytes(png(LABELS % 2, PALETTE, [(0, 0, 0), (255, 255, 255)]))
        with pytest.raises(
            DataError, match=r"図\.png can be read in two ways: .* 0, 1, by the grey levels 0, 255"
        ) as caught:
            read_label_map(file)
        assert "without a palette" in caught.value.hint

    @pytest.mark.parametrize("colour", [GREY, RGB])
    def test_reads_8_bits_that_were_spread_over_16_and_16_that_hold_the_ids(self, file: Path, colour: int) -> None:
        labels = LABELS.copy()
        labels[0, 0] = 255
        planes = labels if colour == GREY else np.repeat(labels[..., None], 3, 2)
        for factor in (1, 257):
            wide = (planes.astype(">u2") * factor).astype(">u2").reshape(20, -1).view(np.uint8)
            file.write_bytes(png(wide, colour, depth=16))
            np.testing.assert_array_equal(read_label_map(file), labels)

    def test_reads_grey_of_few_bits_as_the_levels_that_it_stands_for(self, file: Path) -> None:
        samples = np.random.default_rng(2).choice(np.array([0, 1, 15], np.uint8), (6, 16))
        file.write_bytes(png(packed(samples, 4), GREY, depth=4))
        np.testing.assert_array_equal(read_label_map(file), samples * 17)

    def test_takes_the_first_of_three_equal_channels(self, file: Path) -> None:
        write_png(file, np.repeat(LABELS[..., None], 3, 2))
        labels = read_label_map(file)
        assert labels.flags.c_contiguous
        np.testing.assert_array_equal(labels, LABELS)

    def test_takes_grey_with_an_alpha_channel(self, file: Path) -> None:
        rows = np.stack([LABELS, np.full_like(LABELS, 200)], 2).reshape(20, 40)
        file.write_bytes(png(rows, GREY_ALPHA))
        np.testing.assert_array_equal(read_label_map(file), LABELS)

    def test_refuses_a_coloured_rendering(self, file: Path) -> None:
        write_png(file, photograph())
        with pytest.raises(DataError, match="rendering of a label map"):
            read_label_map(file)

    @pytest.mark.parametrize("value", [20, 254])
    def test_names_a_value_that_is_no_class(self, file: Path, value: int) -> None:
        labels = LABELS.copy()
        labels[3, 4] = value
        write_png(file, labels)
        with pytest.raises(DataError, match=rf"fläche 図\.png holds the value {value}"):
            read_label_map(file)

    def test_takes_the_ids_of_the_label_set_that_it_is_told(self, file: Path) -> None:
        labels = np.array([[0, 24, 255]], np.uint8)
        write_png(file, labels)
        np.testing.assert_array_equal(read_label_map(file, label_set("bodypix")), labels)
        with pytest.raises(DataError, match=r"図\.png holds the value 24, which is no class of ATR-18") as caught:
            read_label_map(file, label_set("atr"))
        assert "0..17 of ATR-18" in caught.value.hint

    def test_a_set_s_own_value_to_ignore_becomes_255_and_255_is_then_no_class(self, file: Path) -> None:
        own = replace(label_set("person"), ignore=200)
        write_png(file, np.array([[0, 1, 200]], np.uint8))
        np.testing.assert_array_equal(read_label_map(file, own), [[0, 1, 255]])
        write_png(file, np.array([[0, 1, 255]], np.uint8))
        with pytest.raises(DataError, match="holds the value 255"):
            read_label_map(file, own)

    def test_names_an_index_that_is_no_class(self, file: Path) -> None:
        file.write_bytes(png(LABELS + np.uint8(5), PALETTE, [(0, 0, 0)] * 25))
        with pytest.raises(DataError, match=r"holds the value 2[0-4]"):
            read_label_map(file)

    def test_refuses_a_jpeg(self, file: Path) -> None:
        file.write_bytes(jpeg(photograph()))
        with pytest.raises(DataError, match="not a PNG"):
            read_label_map(file)

    def test_refuses_half_a_file(self, file: Path) -> None:
        file.write_bytes(png(LABELS, PALETTE, [(0, 0, 0)] * 20)[:-20])
        with pytest.raises(DataError, match="cut off"):
            read_label_map(file)


class TestWritePng:
    def test_replaces_what_was_there_and_leaves_nothing_else(self, file: Path) -> None:
        file.write_text("old")
        write_png(file, LABELS)
        np.testing.assert_array_equal(read_label_map(file), LABELS)
        assert os.listdir(file.parent) == [file.name]

    @pytest.mark.parametrize(
        ("number", "words"),
        [
            (errno.ENOSPC, "No space left"),
            (errno.EACCES, "could not be written: Permission"),
            (errno.EIO, "could not be written: Input"),
        ],
    )
    def test_keeps_the_old_file_where_the_new_one_cannot_be_written(
        self, file: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
    ) -> None:
        file.write_text("old")

        def fail(*_: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "replace", fail)
        with pytest.raises(TrtparseError, match=words) as caught:
            write_png(file, LABELS)
        assert caught.value.hint
        assert file.read_text() == "old"
        assert os.listdir(file.parent) == [file.name]

    def test_says_that_the_folder_is_missing(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="nowhere does not exist"):
            write_png(tmp_path / "nowhere" / "a.png", LABELS)
        (tmp_path / "file").touch()
        with pytest.raises(UsageError, match="is not a folder"):
            write_png(tmp_path / "file" / "a.png", LABELS)

    def test_refuses_arrays_that_are_no_image(self, file: Path) -> None:
        with pytest.raises(ValueError, match="uint8"):
            write_png(file, LABELS.astype(np.int64))
