from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from trtparse.data.images import read_label_map
from trtparse.specs.label_set import LabelSet, label_set
from trtparse.tasks.parsing.draw import Overlay, blend, draw, encode_label_png, smooth
from trtparse.tasks.parsing.legend import SteadyClasses, legend_panel, text_coverage, text_height
from trtparse.tasks.people.draw import person_colour
from trtparse.tasks.people.person import Person

LIP = label_set("lip")
NUM_CLASSES = len(LIP)
SIZES = [(256, 192), (192, 256), (432, 768), (1080, 1920)]


def stripes(size: tuple[int, int]) -> np.ndarray:
    """All 20 classes side by side in the lower half, background above."""
    labels = np.zeros(size, np.uint8)
    labels[size[0] // 2 :] = np.arange(size[1]) * NUM_CLASSES // size[1]
    return labels


def noise(size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)


def test_background_and_ignored_pixels_are_untouched() -> None:
    frame, labels = noise((96, 128)), stripes((96, 128))
    labels[60:70, 50:80] = 255
    labels[80:85, 50:80] = 77
    drawn = blend(frame.copy(), labels, LIP)
    untouched = (labels == 0) | (labels >= NUM_CLASSES)
    assert np.array_equal(drawn[untouched], frame[untouched])
    assert (drawn[~untouched] != frame[~untouched]).any(axis=-1).mean() > 0.98


def test_inside_a_part_frame_and_colour_mix_by_alpha() -> None:
    frame, labels = noise((64, 64)), np.zeros((64, 64), np.uint8)
    labels[16:48, 16:48] = 7
    drawn = blend(frame.copy(), labels, LIP, alpha=0.55)
    inside = slice(20, 44)
    wanted = 0.45 * frame[inside, inside] + 0.55 * np.array(LIP.colours[7][::-1])
    assert np.abs(drawn[inside, inside] - wanted).max() <= 1


@pytest.mark.parametrize("index", range(1, NUM_CLASSES))
@pytest.mark.parametrize("shade", [0, 255])
def test_every_class_can_be_told_from_a_black_and_a_white_frame(index: int, shade: int) -> None:
    labels = np.zeros((64, 64), np.uint8)
    labels[16:48, 16:48] = index
    drawn = blend(np.full((64, 64, 3), shade, np.uint8), labels, LIP).astype(int)
    assert np.abs(drawn[32, 32] - shade).max() >= 40
    if shade == 0:
        assert (drawn[16:48, 16].min(axis=1) >= 150).all()  # the outline is light where the class is dark


def test_only_the_chosen_classes_are_drawn_and_named() -> None:
    frame, labels = noise((432, 768)), stripes((432, 768))
    overlay, everything = Overlay((432, 768), LIP), Overlay((432, 768), LIP)
    some = overlay.draw(frame.copy(), labels, classes=frozenset({5, 13}))
    for index in range(1, NUM_CLASSES):
        middle = (400, (2 * index + 1) * 768 // (2 * NUM_CLASSES))
        assert (some[middle] == frame[middle]).all() == (index not in (5, 13))
    short, long = overlay._legend, everything.draw(frame.copy(), labels) is not None and everything._legend
    assert short
    assert long
    assert short.size[0] < long.size[0] / 3
    back = overlay.draw(frame.copy(), labels)
    assert np.array_equal(back, everything.draw(frame.copy(), labels))


def test_opacity_of_the_moment_counts_and_at_0_nothing_is_drawn() -> None:
    frame, labels = noise((432, 768)), stripes((432, 768))
    overlay = Overlay((432, 768), LIP)
    assert np.array_equal(overlay.draw(frame.copy(), labels, alpha=0.0), frame)
    full = overlay.draw(frame.copy(), labels, alpha=1.0)
    middle = (400, (2 * 7 + 1) * 768 // (2 * NUM_CLASSES))
    assert tuple(full[middle]) == LIP.colours[7][::-1]


def test_nothing_to_colour_changes_nothing() -> None:
    frame = noise((50, 60))
    assert np.array_equal(draw(frame, np.zeros((50, 60), np.uint8), LIP), frame)
    assert np.array_equal(draw(frame, np.full((50, 60), 255, np.uint8), LIP), frame)


def test_a_still_is_drawn_on_a_copy_and_a_video_frame_in_place() -> None:
    frame, labels = noise((96, 128)), stripes((96, 128))
    before = frame.copy()
    draw(frame, labels, LIP)
    assert np.array_equal(frame, before)
    assert Overlay((96, 128), LIP).draw(frame, labels) is frame
    assert not np.array_equal(frame, before)


@pytest.mark.parametrize("size", [*SIZES, (1, 1), (2, 300), (300, 2), (17, 23), (48, 32)])
def test_any_size_is_drawn_with_and_without_room_for_a_legend(size: tuple[int, int]) -> None:
    frame = noise(size)
    overlay = Overlay(size, LIP, cell=3.0)
    for _ in range(4):
        assert overlay.draw(frame, stripes(size), hud="31 FPS").shape == (*size, 3)
    assert draw(frame, stripes(size), LIP, cell=3.0).shape == (*size, 3)


def test_sizes_and_dtypes_that_do_not_fit_say_what_was_expected() -> None:
    frame = noise((20, 30))
    with pytest.raises(ValueError, match="expected uint8"):
        blend(frame, np.zeros((30, 20), np.uint8), LIP)
    with pytest.raises(ValueError, match="int64"):
        blend(frame, np.zeros((20, 30), np.int64), LIP)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\(20, 30\)"):
        Overlay((20, 30), LIP).draw(frame, np.zeros((30, 20), np.uint8))


@pytest.mark.parametrize("size", SIZES)
def test_a_legend_of_all_classes_fits_every_usual_size(size: tuple[int, int]) -> None:
    panel = legend_panel(range(1, NUM_CLASSES), size, LIP)
    assert panel is not None
    assert panel.size[0] < size[0]
    assert panel.size[1] < size[1] * 0.75


def test_swatches_have_the_palettes_own_colours() -> None:
    panel = legend_panel([6], (432, 768), LIP)
    assert panel is not None
    colours = {tuple(colour) for colour in panel.ink[(panel.clear == 0).all(axis=2)].round().astype(int)}
    assert LIP.colours[6][::-1] in colours


@pytest.mark.parametrize("name", LIP.classes)
def test_names_are_not_clipped(name: str) -> None:
    for size in SIZES:
        coverage = text_coverage(name, text_height(size))
        assert coverage.max() > 0.5
        assert coverage[0].max() == 0
        assert coverage[-1].max() < 0.05
        assert coverage[:, -1].max() < 0.5


def labelled(*classes: int) -> np.ndarray:
    labels = np.zeros((100, 100), np.uint8)
    for row, index in enumerate(classes):
        labels[row * 10 : row * 10 + 10] = index
    return labels


def test_the_legend_ignores_flicker_and_forgets_after_two_seconds() -> None:
    classes = SteadyClasses(NUM_CLASSES, fps=10)
    assert classes.update(labelled(13, 5)) == (5, 13)
    assert classes.update(labelled(13, 5, 12)) == (5, 13)
    assert classes.update(labelled(13, 5)) == (5, 13)
    for _ in range(2):
        assert classes.update(labelled(13, 12)) == (5, 13)
    assert classes.update(labelled(13, 12)) == (5, 12, 13)
    for _ in range(16):
        assert classes.update(labelled(13, 12)) == (5, 12, 13)
    assert classes.update(labelled(13, 12)) == (12, 13)


def standing(column: int) -> np.ndarray:
    labels = np.zeros((432, 768), np.uint8)
    labels[:, column : column + 90] = 5
    return labels


def where_the_legend_is(overlay: Overlay, labels: np.ndarray) -> str:
    frame = np.full((432, 768, 3), 120, np.uint8)
    changed = (overlay.draw(frame.copy(), labels, hud="31 FPS") != frame).any(axis=2) & (labels == 0)
    changed[:, 600:] &= np.arange(432)[:, None] > 60  # not the line of text
    edge = changed.copy()
    edge[20:-20, 20:-20] = False
    rows, columns = np.nonzero(edge)
    return f"{'lower' if rows.mean() > 216 else 'upper'} {'right' if columns.mean() > 384 else 'left'}"


def test_the_legend_goes_where_nobody_is_and_stays_until_somebody_has_stood_behind_it_for_a_second() -> None:
    overlay = Overlay((432, 768), LIP, fps=10)
    assert where_the_legend_is(overlay, standing(10)) == "lower right"
    for _ in range(30):
        assert where_the_legend_is(overlay, standing(350)) == "lower right"
    for _ in range(9):
        assert where_the_legend_is(overlay, standing(670)) == "lower right"
    assert where_the_legend_is(overlay, standing(350)) == "lower right"
    for _ in range(9):
        assert where_the_legend_is(overlay, standing(670)) == "lower right"
    assert where_the_legend_is(overlay, standing(670)) == "upper left"


def test_people_are_outlined_in_their_colour_and_marked_and_who_is_hardly_seen_has_corners() -> None:
    labels, instances = np.zeros((480, 640), np.uint8), np.zeros((480, 640), np.uint8)
    labels[100:300, 100:160], instances[100:300, 100:160] = 5, 2
    people = [Person(2, (95, 95, 165, 305), 0.9), Person(4, (400, 100, 460, 300), 0.9)]
    frame = np.full((480, 640, 3), 90, np.uint8)
    drawn = Overlay((480, 640), LIP, legend=False).draw(frame.copy(), labels, people=people, instances=instances)
    assert (drawn[200, 98:100] == person_colour(2)).all()
    assert (drawn[200, 160:162] == person_colour(2)).all()
    assert (drawn[200, 103:157] == drawn[200, 130]).all()
    for row, column in ((100, 400), (299, 459)):
        near = drawn[row - 2 : row + 3, column - 2 : column + 3].astype(int)
        assert (np.abs(near - person_colour(4)).max(axis=2) < 60).any()
    assert (drawn[94:97, 95:97] == 90).all()  # and who is outlined has none
    hidden = Overlay((480, 640), LIP, legend=False).draw(
        frame.copy(), labels, people=people, instances=instances, classes=frozenset({13})
    )
    assert (hidden[150:280, 90:170] == 90).all()
    assert (hidden[93:97, 95:105] != 90).any()  # without an outline they have corners again


def test_an_outline_follows_the_rounded_edge() -> None:
    rows, columns = np.mgrid[:400, :400]
    truth = np.where(np.hypot(rows - 200, columns - 190) < 120, 5, 0).astype(np.uint8)
    stairs = cv2.resize(truth[4::8, 4::8], (400, 400), interpolation=cv2.INTER_NEAREST_EXACT)
    frame = np.full((400, 400, 3), 90, np.uint8)
    Overlay((400, 400), LIP, cell=8.0, legend=False).draw(
        frame, stairs, instances=np.where(stairs, 3, 0).astype(np.uint8)
    )
    line = (frame == person_colour(3)).all(axis=2)
    inside = (frame != 90).any(axis=2) & ~line
    assert not (cv2.dilate(inside.astype(np.uint8), np.ones((3, 3), np.uint8)) > inside + line).any()


def test_a_few_stray_pixels_are_not_named() -> None:
    labels = labelled(13)
    labels[50, 50:54] = 9
    assert SteadyClasses(NUM_CLASSES, 25).update(labels) == (13,)


def test_the_hud_changes_only_its_corner() -> None:
    frame, labels = noise((432, 768)), np.zeros((432, 768), np.uint8)
    drawn = Overlay((432, 768), LIP).draw(frame.copy(), labels, hud="31 FPS")
    changed = (drawn != frame).any(axis=-1)
    assert changed[:40, -100:].any()
    changed[:40, -100:] = False
    assert not changed.any()


def test_smoothing_rounds_the_stairs_of_a_disc_and_invents_no_class() -> None:
    rows, columns = np.mgrid[:400, :400]
    truth = np.where(np.hypot(rows - 200, columns - 190) < 120, 5, 0).astype(np.uint8)
    truth[150:180, 150:250] = 13
    stairs = cv2.resize(truth[4::8, 4::8], (400, 400), interpolation=cv2.INTER_NEAREST_EXACT)
    rounded = smooth(stairs, 8.0)
    assert set(np.unique(rounded)) == {0, 5, 13}
    assert (rounded != truth).sum() < 0.85 * (stairs != truth).sum()
    assert smooth(stairs, 1.0) is stairs


def chunks(data: bytes) -> dict[bytes, bytes]:
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    found, offset = {}, 8
    while offset < len(data):
        (length,) = struct.unpack(">I", data[offset : offset + 4])
        kind, body = data[offset + 4 : offset + 8], data[offset + 8 : offset + 8 + length]
        (crc,) = struct.unpack(">I", data[offset + 8 + length : offset + 12 + length])
        assert crc == zlib.crc32(kind + body)
        found[kind] = body
        offset += 12 + length
    return found


@pytest.mark.parametrize("size", [(1, 1), (3, 7), (50, 40)])
def test_a_label_png_holds_ids_as_indices_of_lips_palette(tmp_path: Path, size: tuple[int, int]) -> None:
    labels = np.random.default_rng(1).integers(0, NUM_CLASSES, size, dtype=np.uint8)
    labels[-1, -1] = 255
    path = tmp_path / "labels.png"
    path.write_bytes(encode_label_png(labels, LIP))
    parts = chunks(path.read_bytes())
    assert list(parts) == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
    assert struct.unpack(">IIBBBBB", parts[b"IHDR"]) == (size[1], size[0], 8, 3, 0, 0, 0)
    assert parts[b"PLTE"][: 3 * NUM_CLASSES] == bytes(value for colour in LIP.colours for value in colour)
    lines = np.frombuffer(zlib.decompress(parts[b"IDAT"]), np.uint8).reshape(size[0], size[1] + 1)
    assert not lines[:, 0].any()
    assert np.array_equal(lines[:, 1:], labels)
    assert np.array_equal(cv2.imread(str(path)), LIP.palette_bgr()[labels])
    assert np.array_equal(read_label_map(path), labels)


def test_only_label_maps_become_label_pngs() -> None:
    with pytest.raises(ValueError, match="int64"):
        encode_label_png(np.zeros((2, 2), np.int64), LIP)  # type: ignore[arg-type]


def test_a_label_png_has_the_colours_of_its_set() -> None:
    small = LabelSet("Small", ("A", "B"), ((0, 0, 0), (1, 2, 3)))
    palette = chunks(encode_label_png(np.ones((2, 2), np.uint8), small))[b"PLTE"]
    assert palette[:9] == bytes([0, 0, 0, 1, 2, 3, 128, 128, 128])
