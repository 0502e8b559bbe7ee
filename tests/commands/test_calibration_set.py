"""The command line of ``trtparse calibration-set``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from trtparse.calibration.selection import SPREADS, Selection, read_selection
from trtparse.cli import main
from trtparse.commands.calibration_set import FILE_NAME, SHEET_NAME, _columns
from trtparse.data.images import read_image
from trtparse.data.synthetic import write_lip_layout
from trtparse.engines.base import Arrays, Engine, Frames
from trtparse.specs.label_set import label_set
from trtparse.tasks.parsing.files import ImageFolder
from trtparse.tasks.parsing.task import Parsing
from trtparse.tests.predicting import predicting

Run = Callable[..., tuple[int, str, str]]


class FaceEngine(Engine):
    """Everything is Face."""

    def __init__(self) -> None:
        super().__init__()
        self.name, self.target, self.precision = "face", "fake", "fp32"
        self.input_size, self.batch = (48, 32), 1

    def _run(self, frames: Frames) -> Arrays:
        return (np.full(frames.shape[:3], 13, np.uint8),)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call the command in a folder with eight images, ``photos/0.png`` on, the last two copies of the first two."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    rng = np.random.default_rng(8)
    images = [rng.integers(0, 256, (64, 48, 3)).astype(np.uint8) for _ in range(6)]
    for number, image in enumerate([*images, *images[:2]]):
        cv2.imwrite(f"photos/{number}.png", image)
    monkeypatch.setattr("trtparse.commands.calibration_set._open", lambda *_: predicting(FaceEngine()))

    def call(*arguments: object) -> tuple[int, str, str]:
        code = 0
        try:
            main(["calibration-set", *map(str, arguments)])
        except SystemExit as end:
            code = int(end.code or 0)
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


def test_files_of_the_folder_that_are_no_images_are_told(run: Run) -> None:
    assert "left out" not in run("photos", "--size", 6)[2]
    Path("photos/a.heic").touch()
    assert "photos: 1 other file left out (.heic)." in run("photos", "--size", 6, "--output", "again")[2]


def test_it_writes_the_set_and_a_page_that_shows_it(run: Run) -> None:
    code, out, _ = run("photos", "--size", 6)
    assert code == 0
    folder = Path("build/calibration-set")
    assert sorted(path.name for path in folder.iterdir()) == [FILE_NAME, SHEET_NAME]
    assert read_image(folder / SHEET_NAME).shape[1] == 1600
    dataset = ImageFolder("photos")
    selection = read_selection(folder / FILE_NAME, dataset)
    assert sorted(index % 6 for index in selection.indices) == list(range(6))
    assert selection.classes == {13: 6}
    for text in ("class, from predictions", "6 images of 8 looked at", "2 near-duplicates of these", str(folder)):
        assert text in out


def test_json_is_the_document_and_where_it_is(run: Run) -> None:
    code, out, err = run("photos", "--size", 3, "--output", "here", "--seed", 4, "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    written = json.loads(Path("here", FILE_NAME).read_text("utf-8"))
    assert document == {"file": f"here/{FILE_NAME}", "contact_sheet": f"here/{SHEET_NAME}", **written}
    assert (len(written["images"]), written["seed"]) == (3, 4)


def test_near_duplicates_that_were_needed_are_told(run: Run) -> None:
    code, out, _ = run("photos", "--size", 8)
    assert code == 0
    assert "2 near-duplicates, as nothing else is left" in out


def test_label_maps_tell_the_classes_where_there_are_any(run: Run) -> None:
    write_lip_layout(Path("lip"), train=3, val=1)
    code, out, _ = run("lip", "--size", 2, "--json")
    assert code == 0
    document = json.loads(out)
    assert document["classes_from"] == "label maps"
    assert document["classes"]["Background"] == 2
    assert len(document["classes"]) > 5
    assert document["looked_at"] == 3


def test_an_unreadable_image_is_named_and_left_out(run: Run) -> None:
    Path("photos/broken.png").write_bytes(b"half of")
    code, out, err = run("photos", "--size", 20)
    assert code == 0
    assert "8 images of 9 looked at" in out
    assert "broken.png" in err
    assert "broken.png" not in json.loads(Path("build/calibration-set", FILE_NAME).read_text())["images"]


def test_strict_refuses_it(run: Run) -> None:
    Path("photos/broken.png").write_bytes(b"half of")
    code, _, err = run("photos", "--strict")
    assert code == 2
    assert "broken.png" in err
    assert list(Path("build/calibration-set").iterdir()) == []


def test_a_folder_where_nothing_can_be_read_is_refused(run: Run) -> None:
    for path in Path("photos").iterdir():
        path.write_bytes(b"half of")
    code, _, err = run("photos")
    assert code == 2
    assert "No image of photos/, 8 images without label maps can be read." in err


def test_a_folder_that_is_not_there_is_refused_before_anything_is_written(run: Run) -> None:
    code, _, err = run("nowhere")
    assert code == 2
    assert "nowhere does not exist" in err
    assert not Path("build").exists()


@pytest.mark.parametrize("word", ["person", "atr", "lip", "bodypix"])
def test_the_page_shows_every_class_of_the_label_set_once_in_its_colour(word: str) -> None:
    labels = label_set(word)
    spread = {spread.name: {} for spread in SPREADS}
    columns = _columns(Selection((0,), {1: 4}, 0, labels, "label maps", spread), Parsing(labels))
    classes = columns[: -len(SPREADS)]
    assert [row[0] for column in classes for row in column.rows] == list(labels.classes)
    assert [row[2] for column in classes for row in column.rows] == [colour[::-1] for colour in labels.colours]
    assert sum(row[1] for column in classes for row in column.rows) == 4
    assert len(classes) <= 3
    assert [column.title for column in classes] == ["classes, from label maps", "", ""][: len(classes)]


def test_label_maps_are_read_as_those_of_the_label_set_that_is_named(run: Run) -> None:
    write_lip_layout(Path("drawn"), train=2, val=1)
    code, out, _ = run("drawn", "--size", 2, "--labels", "cihp", "--json")
    assert code == 0
    document = json.loads(out)
    assert document["label_set"]["name"] == "CIHP-20"
    assert set(document["classes"]) <= set(label_set("cihp").classes)
    assert document["classes"]["Background"] == 2
