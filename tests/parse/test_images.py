from __future__ import annotations

import csv
import errno
import gc
import json
import os
import resource
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trtparse.data.images import read_label_map
from trtparse.errors import DataError, FileNameError, MachineError, UsageError
from trtparse.parse.images import ParseResult, parse_images
from trtparse.parse.listing import list_images
from trtparse.parse.objects import LocalStorage
from trtparse.parse.parser import ImageResult, ParseSpec, _Looked
from trtparse.parse.provenance import MadeBy
from trtparse.tasks.parsing.metrics import pixels_of_classes
from trtparse.tests.predicting import LIP, predicting

Frame = Callable[..., np.ndarray]


@pytest.fixture
def photos(tmp_path: Path, make_frame: Frame) -> Path:
    """A folder of three photographs of different sizes, something else, and a subfolder."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name, size in (("c.PNG", (96, 128)), ("a.jpg", (200, 90)), ("b.bmp", (70, 71)), ("more/d.png", (96, 128))):
        cv2.imwrite(str(folder / name), make_frame(3, size))
    (folder / "notes.txt").write_text("words")
    return folder


@pytest.mark.parametrize("batch", [None, 1, 2])
def test_every_photograph_gets_a_label_map_and_an_overlay_of_its_own_size(
    photos: Path, tmp_path: Path, make_engine: Any, batch: int | None
) -> None:
    output = tmp_path / "new" / "out"
    with make_engine(batch) as engine:
        result = parse_images([photos], predicting(engine), output)
    assert [item.image.name for item in result.parsed] == ["a.jpg", "b.bmp", "c.PNG"]
    assert sorted(path.name for path in output.iterdir()) == sorted(
        f"{stem}{end}" for stem in "abc" for end in (".png", "_overlay.jpg")
    )
    for item in result.parsed:
        image = cv2.imread(str(item.image))
        labels = read_label_map(item.labels)
        assert labels.shape == image.shape[:2]
        assert cv2.imread(str(item.overlay)).shape == image.shape
        height = image.shape[0]
        assert (labels[height // 2 : height - 12, 14:22] == 5).all()


def test_files_with_one_stem_do_not_replace_each_other(
    photos: Path, tmp_path: Path, make_frame: Frame, engine: Any
) -> None:
    cv2.imwrite(str(photos / "A.png"), make_frame(0))
    cv2.imwrite(str(photos / "more" / "a-2.png"), make_frame(0))
    result = parse_images(
        [photos / "a.jpg", photos / "A.png", photos / "more" / "a-2.png"], predicting(engine), tmp_path / "out"
    )
    assert [item.labels.name for item in result.parsed] == ["a.png", "A-2.png", "a-2-2.png"]
    assert all(item.labels.exists() and item.overlay.exists() for item in result.parsed)


def test_a_file_that_is_named_twice_is_parsed_once(photos: Path) -> None:
    listing = list_images([photos / "b.bmp", photos])
    assert [Path(image.path).name for image in listing] == ["b.bmp", "a.jpg", "c.PNG"]


def test_unreadable_images_are_skipped_and_named(photos: Path, tmp_path: Path, engine: Any) -> None:
    (photos / "b.jpg").write_text("no image")
    calls = []
    result = parse_images([photos], predicting(engine), tmp_path / "out", progress=lambda *args: calls.append(args))
    assert [path.name for path, _ in result.skipped] == ["b.jpg"]
    assert "b.jpg" in result.skipped[0][1]
    assert len(result.parsed) == 3
    assert calls[-1] == (4, 4)


def test_strict_raises_at_the_first_unreadable_image_and_leaves_the_engine_usable(
    photos: Path, tmp_path: Path, engine: Any
) -> None:
    (photos / "b.jpg").write_text("no image")
    with pytest.raises(DataError, match=r"b\.jpg"):
        parse_images([photos], predicting(engine), tmp_path / "out", ParseSpec(strict=True))
    engine.infer(np.zeros((1, 48, 32, 3), np.uint8))


LONG = "ä" * 125  # 250 bytes: with .jpg all but one that a file system takes


@pytest.fixture
def awkward(tmp_path: Path, make_frame: Frame) -> Path:
    """A folder in which every second photograph is one that something is wrong with."""
    folder = tmp_path / "awkward"
    (folder / "folder.jpg").mkdir(parents=True)
    picture = make_frame(3)
    for name in ("a", "n", "z"):
        cv2.imwrite(str(folder / f"{name}.png"), picture)
    whole = (folder / "a.png").read_bytes()
    for name in (f"{LONG}.jpg", f"{LONG}.png", f"{LONG[:-1]}b.jpg"):
        (folder / name).write_bytes(whole)
    cv2.imwrite(str(folder / "long.png"), np.repeat(picture[:6, :1], 66_000, 1))
    (folder / "b.jpg").touch()
    (folder / "c.jpg").write_bytes(whole[:100])
    (folder / "d.jpg").write_text("<html>not found</html>")
    (folder / "e.jpg").symlink_to("gone.jpg")
    (folder / "gone.jpg").write_bytes(whole)
    (folder / "f.png").write_bytes(bomb(40_000, 40_000))
    (folder / "g.png").write_bytes(bomb(2_000_000, 1))
    (folder / "h.heic").touch()
    return folder


def bomb(width: int, height: int) -> bytes:
    """A small PNG that says it has as many pixels."""
    parts = ((b"IHDR", width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])),)
    parts += ((b"IDAT", zlib.compress(bytes(100))), (b"IEND", b""))
    chunks = (
        len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big") for kind, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("recursive", [False, True])
def test_no_photograph_ends_the_run_and_a_rerun_makes_nothing_anew(
    awkward: Path, tmp_path: Path, make_engine: Any, monkeypatch: pytest.MonkeyPatch, recursive: bool
) -> None:
    read = LocalStorage.read

    def vanish(self: LocalStorage, path: str) -> bytes:
        if path.endswith("gone.jpg"):
            raise DataError(f"{path} does not exist.", "Check the path.")
        return read(self, path)

    monkeypatch.setattr(LocalStorage, "read", vanish)
    seen = []
    for _ in range(2):
        with make_engine() as engine:
            spec = ParseSpec(recursive=recursive, index=str(tmp_path / "i.csv"))
            seen.append(
                (parse_images([awkward], predicting(engine), tmp_path / "out", spec, made_by=NETWORK), engine.passes)
            )
    (first, passes), (again, more) = seen
    assert (len(first.parsed), first.skipped_images, passes) == (7, 6, 7)
    assert (len(again.parsed), again.found, again.skipped_images, more) == (7, 7, 6, 0)
    reasons = {path.name: reason for path, reason in first.skipped}
    assert {name: reasons[name].split(str(awkward / name))[1][:12] for name in reasons} == {
        "b.jpg": " is empty.",
        "c.jpg": " is cut off:",
        "d.jpg": " is not an i",
        "f.png": " is 40000x40",
        "g.png": " is 2000000x",
        "gone.jpg": " does not ex",
    }
    assert first.left_out == {".heic": 1}
    for item in first.parsed:
        assert read_label_map(item.labels).shape == cv2.imread(str(item.image)).shape[:2]
        assert item.overlay.exists()
    with (tmp_path / "i.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["labels"]]
    assert [tmp_path / "out" / row["labels"] for row in rows] == [item.labels for item in first.parsed]
    assert not list((tmp_path / "out").glob("*.partial*"))


def test_an_overlay_that_is_too_long_for_jpeg_is_shrunk_and_that_is_told(
    awkward: Path, tmp_path: Path, engine: Any
) -> None:
    result = parse_images([awkward / "long.png"], predicting(engine), tmp_path / "out")
    (item,) = result.parsed
    assert read_label_map(item.labels).shape == (6, 66_000)
    assert cv2.imread(str(item.overlay)).shape == (5, 65_500, 3)
    assert (result.noted_images, [path.name for path, _ in result.notes]) == (1, ["long.png"])
    assert "long_overlay.jpg is 65500x5 pixels, as JPEG ends at 65500" in result.notes[0][1]
    assert result.to_dict()["notes"][0]["note"] == result.notes[0][1]


def test_a_name_that_the_output_s_disk_does_not_take_skips_its_photograph_alone(
    photos: Path, tmp_path: Path, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_file = os.replace

    def refuse(source: Path, target: Path) -> None:
        if target.name == "b.png":
            raise OSError(errno.EILSEQ, os.strerror(errno.EILSEQ))
        replace_file(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    result = parse_images([photos], predicting(engine), tmp_path / "out")
    assert [item.image.name for item in result.parsed] == ["a.jpg", "c.PNG"]
    assert "b.png could not be written" in result.skipped[0][1]
    with pytest.raises(FileNameError, match=r"b\.png could not be written"):
        parse_images([photos], predicting(engine), tmp_path / "strict", ParseSpec(strict=True))
    engine.infer(np.zeros((1, 48, 32, 3), np.uint8))


def test_nothing_readable_is_an_error(tmp_path: Path, engine: Any) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_text("no image")
    with pytest.raises(DataError, match="None of 1 images"):
        parse_images([broken], predicting(engine), tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images in"):
        parse_images([tmp_path / "empty"], predicting(engine), tmp_path / "out")
    with pytest.raises(DataError, match="There is no file"):
        parse_images([tmp_path / "missing.jpg"], predicting(engine), tmp_path / "out")


def test_a_photograph_is_never_replaced_by_its_label_map(photos: Path, engine: Any, make_frame: Frame) -> None:
    cv2.imwrite(str(photos / "c.png"), make_frame(0))
    before = (photos / "c.png").read_bytes()
    with pytest.raises(UsageError, match="would replace"):
        parse_images([photos / "c.png"], predicting(engine), photos)
    assert (photos / "c.png").read_bytes() == before


def test_a_file_in_place_of_the_output_folder_is_refused(photos: Path, tmp_path: Path, engine: Any) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(UsageError, match="is not a folder"):
        parse_images([photos], predicting(engine), tmp_path / "out")


def test_a_broken_engine_comes_out_as_it_is(photos: Path, tmp_path: Path, make_engine: Any) -> None:
    with make_engine(fail_at=2) as engine:
        with pytest.raises(RuntimeError, match="the engine broke"):
            parse_images([photos], predicting(engine), tmp_path / "out")
        engine.infer(np.zeros((1, 48, 32, 3), np.uint8))


def test_a_write_that_fails_leaves_the_engine_usable(photos: Path, tmp_path: Path, engine: Any) -> None:
    (tmp_path / "out" / "a.png").mkdir(parents=True)
    with pytest.raises(UsageError, match="is a folder") as caught:
        parse_images([photos], predicting(engine), tmp_path / "out")
    engine.infer(np.zeros((1, 48, 32, 3), np.uint8))
    assert caught.value.hint


def test_progress_reaches_the_end_where_the_last_image_is_skipped(photos: Path, tmp_path: Path, engine: Any) -> None:
    (photos / "z.jpg").write_text("no image")
    calls = []
    parse_images([photos], predicting(engine), tmp_path / "out", progress=lambda *args: calls.append(args))
    assert calls[-1] == (4, 4)


def test_a_result_goes_to_json(photos: Path, tmp_path: Path, engine: Any) -> None:
    told = json.loads(json.dumps(parse_images([photos], predicting(engine), tmp_path / "out").to_dict()))
    assert told["schema_version"] == 1
    assert told["parsed"][0]["labels"] == str(tmp_path / "out" / "a.png")
    assert told["skipped"] == []


# What is there already.

NETWORK = MadeBy("ab" * 32, "fake", "fp32", (48, 32))


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def parse(photos: Path, tmp_path: Path, make_engine: Any) -> Callable[..., Any]:
    """Parse the photographs, subfolder included; the result, and how often the engine was asked."""

    def run(output: str = "out", made_by: MadeBy | None = NETWORK, **options: Any) -> tuple[ParseResult, int]:
        spec = ParseSpec(recursive=True, index=str(tmp_path / f"{output}.csv"), **options)
        with make_engine() as engine:
            return parse_images([photos], predicting(engine), tmp_path / output, spec, made_by=made_by), engine.passes

    return run


def test_what_is_there_is_not_made_again_and_the_index_has_the_same_bytes(parse: Any, tmp_path: Path) -> None:
    first, passes = parse()
    made, index = content(tmp_path / "out"), (tmp_path / "out.csv").read_bytes()
    assert (len(first.parsed), first.found, passes) == (4, 0, 4)
    assert sorted(made) == sorted(
        f"{name}{end}" for name in ("a", "b", "c", "more/d") for end in (".png", "_overlay.jpg")
    )
    again, passes = parse()
    assert (len(again.parsed), again.found, passes) == (4, 4, 0)
    assert list(again.parsed) == list(first.parsed)
    assert content(tmp_path / "out") == made
    assert (tmp_path / "out.csv").read_bytes() == index


def test_the_index_counts_the_pixels_of_the_label_maps(parse: Any, tmp_path: Path) -> None:
    result, _ = parse()
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    for row, item in zip(rows, result.parsed):
        labels = read_label_map(item.labels)
        assert (row["image"], tmp_path / "out" / row["labels"]) == (str(item.image), item.labels)
        assert [int(row[name]) for name in LIP.classes] == np.bincount(labels.ravel(), minlength=20).tolist()
        assert (int(row["height"]), int(row["width"])) == labels.shape
        assert row["skipped"] == ""


@pytest.mark.parametrize(
    "change", ["gone", "empty", "cut", "no overlay", "another photograph", "a newer one of its size"]
)
def test_only_what_is_missing_damaged_or_of_another_photograph_is_made_again(
    parse: Any, photos: Path, tmp_path: Path, change: str
) -> None:
    parse()
    made, labels = content(tmp_path / "out"), tmp_path / "out" / "b.png"
    if change == "gone":
        labels.unlink()
    elif change == "empty":
        labels.write_bytes(b"")
    elif change == "cut":
        labels.write_bytes(made["b.png"][:-20])
    elif change == "no overlay":
        (tmp_path / "out" / "b_overlay.jpg").unlink()
    else:
        image = np.full((70, 71, 3), 200, np.uint8)
        before = (photos / "b.bmp").stat()
        cv2.imwrite(str(photos / "b.bmp"), image if "newer" in change else image[:30])
        os.utime(photos / "b.bmp", ns=(before.st_atime_ns, before.st_mtime_ns))
    result, passes = parse()
    assert (result.found, passes) == (3, 1)
    changed = {name for name, data in content(tmp_path / "out").items() if made[name] != data}
    assert changed == ({"b.png", "b_overlay.jpg"} if "photograph" in change or "newer" in change else set())


def test_results_of_another_network_are_refused_before_any_work_and_overwritten_when_asked(
    parse: Any, tmp_path: Path
) -> None:
    other = replace(NETWORK, graph="cd" * 32)
    parse()
    (tmp_path / "out" / "a.png").unlink()
    made = content(tmp_path / "out")
    with pytest.raises(UsageError, match="was made with another graph: abababababab, not cdcdcdcdcdcd"):
        parse(made_by=other)
    assert content(tmp_path / "out") == made
    result, passes = parse(made_by=other, overwrite=True)
    assert (result.found, passes) == (0, 4)
    assert parse(made_by=other)[0].found == 4


def test_a_label_map_that_somebody_drew_is_never_replaced_unasked(photos: Path, tmp_path: Path, engine: Any) -> None:
    (tmp_path / "out").mkdir()
    drawn = tmp_path / "out" / "c.png"
    cv2.imwrite(str(drawn), np.zeros((96, 128), np.uint8))
    before = drawn.read_bytes()
    with pytest.raises(UsageError, match="does not say what made it"):
        parse_images([photos], predicting(engine), tmp_path / "out", made_by=NETWORK)
    assert (drawn.read_bytes(), engine.passes) == (before, 0)
    parse_images([photos], predicting(engine), tmp_path / "out", ParseSpec(overwrite=True), made_by=NETWORK)
    assert drawn.read_bytes() != before


def test_overlays_are_left_out_when_asked_and_an_outdated_one_goes(parse: Any, photos: Path, tmp_path: Path) -> None:
    result, _ = parse("plain", overlay=False)
    assert sorted(content(tmp_path / "plain")) == ["a.png", "b.png", "c.png", "more/d.png"]
    assert result.to_dict()["parsed"][0]["overlay"] is None
    parse()
    cv2.imwrite(str(photos / "b.bmp"), np.full((70, 71, 3), 200, np.uint8))
    parse(overlay=False)
    assert not (tmp_path / "out" / "b_overlay.jpg").exists()
    assert parse()[1] == 1
    assert (tmp_path / "out" / "b_overlay.jpg").exists()


def test_shards_together_make_exactly_the_results_of_the_whole(parse: Any, tmp_path: Path) -> None:
    parse("whole")
    seen = [len(parse("parts", shard=(number, 3))[0].parsed) for number in (1, 2, 3)]
    assert sum(seen) == 4
    assert content(tmp_path / "parts") == content(tmp_path / "whole")
    whole = (tmp_path / "whole.csv").read_text().splitlines()
    parts = [(tmp_path / f"parts.{number}-of-3.csv").read_text().splitlines() for number in (1, 2, 3)]
    assert {lines[0] for lines in parts} == {whole[0]}
    assert sorted(line for lines in parts for line in lines[1:]) == sorted(whole[1:])


def test_a_shard_without_images_is_no_error(parse: Any, tmp_path: Path) -> None:
    sizes = {number: len(parse(shard=(number, 50))[0].parsed) for number in (1, 2, 3)}
    assert 0 in sizes.values()


def test_the_whole_after_the_shards_only_makes_the_index(parse: Any, tmp_path: Path) -> None:
    parse("whole")
    for number in (1, 2):
        parse("parts", shard=(number, 2))
    result, passes = parse("parts")
    assert (result.found, passes) == (4, 0)
    assert (tmp_path / "parts.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from trtparse.tests.demo.conftest import BrightEngine
from trtparse.tests.predicting import predicting
from trtparse.parse.images import parse_images
from trtparse.parse.parser import ParseSpec
from trtparse.parse.provenance import MadeBy
from trtparse.parse.objects import LocalStorage

class Killed(BrightEngine):
    def _run(self, frames):
        if self.passes == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._run(frames)

photos, output = Path(sys.argv[2]), Path(sys.argv[3])
spec = ParseSpec(recursive=True, index=f"{output}.csv")
parse_images([photos], predicting(Killed()), output, spec, made_by=MadeBy("ab" * 32, "fake", "fp32", (48, 32)))
"""


def test_a_killed_run_leaves_whole_files_and_the_same_command_goes_on_to_the_same_bytes(
    parse: Any, photos: Path, tmp_path: Path, make_frame: Frame
) -> None:
    for number in range(12):
        cv2.imwrite(str(photos / "more" / f"{number:02}.png"), make_frame(number))
    arguments = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(photos), str(tmp_path / "out")]
    assert subprocess.run(arguments, capture_output=True).returncode == -signal.SIGKILL
    left = {name: data for name, data in content(tmp_path / "out").items() if ".partial" not in name}
    assert not (tmp_path / "out.csv").exists()
    result, passes = parse()
    assert 0 < result.found < len(result.parsed) == 16
    assert passes == 16 - result.found
    parse("straight")
    straight = content(tmp_path / "straight")
    assert left.items() <= straight.items()
    assert content(tmp_path / "out") == straight
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "straight.csv").read_bytes()
    assert not [path for path in tmp_path.rglob("*") if ".partial" in path.name]


# Very many, and a machine that does not want to.


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(
    photos: Path, tmp_path: Path, make_frame: Frame, make_engine: Any
) -> None:
    cv2.imwrite(str(photos / "x.png"), make_frame(0))
    for number in range(60):
        (photos / f"x{number}.png").hardlink_to(photos / "x.png")

    def most_alive(count: int) -> int:
        alive = []

        def look(done: int, total: int) -> None:
            alive.append(sum(isinstance(item, (ImageResult, _Looked)) for item in gc.get_objects()))

        paths = [photos / f"x{number}.png" for number in range(count)]
        with make_engine() as engine:
            parse_images(
                paths,
                predicting(engine),
                tmp_path / str(count),
                ParseSpec(index=str(tmp_path / "i.csv")),
                progress=look,
            )
        return max(alive)

    assert most_alive(60) <= most_alive(20) + 2 < 20


def test_of_very_many_unreadable_images_the_first_are_told_and_all_are_counted_and_in_the_index(
    photos: Path, tmp_path: Path, engine: Any
) -> None:
    for number in range(130):
        (photos / f"bad{number}.jpg").touch()
    spec = ParseSpec(index=str(tmp_path / "index.csv"))
    result = parse_images([photos], predicting(engine), tmp_path / "out", spec)
    assert (len(result.parsed), result.skipped_images, len(result.skipped)) == (3, 130, 100)
    assert (tmp_path / "index.csv").read_text().count("is empty.") == 130


def test_a_full_disk_ends_the_run_with_the_machine_s_error(photos: Path, tmp_path: Path, engine: Any) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (700, hard))
    try:
        with pytest.raises(MachineError, match="No space left"):
            parse_images([photos], predicting(engine), tmp_path / "out", ParseSpec(overlay=False), made_by=NETWORK)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert content(tmp_path / "out") == {}
    engine.infer(np.zeros((1, 48, 32, 3), np.uint8))


def test_an_index_that_cannot_be_written_is_refused_before_any_work(photos: Path, tmp_path: Path, engine: Any) -> None:
    for index, told in (("no/index.csv", "does not exist"), ("index.txt", "ends in neither")):
        with pytest.raises(UsageError, match=told):
            parse_images([photos], predicting(engine), tmp_path / "out", ParseSpec(index=str(tmp_path / index)))
    assert (content(tmp_path / "out"), engine.passes) == ({}, 0)


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 19)))
def test_pixels_are_counted_in_parts_as_in_one(labels: np.ndarray) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trtparse.tasks.parsing.metrics._COUNTED_AT_ONCE", 5)
        assert pixels_of_classes(labels, LIP) == tuple(np.bincount(labels.ravel(), minlength=20))


def test_an_id_that_is_no_class_is_never_left_out_of_a_count() -> None:
    labels = np.array([[0, 3], [3, 22]], np.uint8)
    with pytest.raises(UsageError, match=r"a\.png holds the id 22; LIP-20 ends at 19") as caught:
        pixels_of_classes(labels, LIP, "a.png")
    assert "--overwrite" in caught.value.hint
