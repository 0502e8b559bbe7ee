"""The command line of ``trtparse parse``, over an engine that needs no network."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from trtparse.cli import main
from trtparse.commands.terminal import Terminal
from trtparse.engines import Bundle
from trtparse.engines.base import Arrays, Engine, Frames
from trtparse.engines.choice import Choice
from trtparse.errors import DataError
from trtparse.parse.images import ParseResult
from trtparse.parse.provenance import MadeBy
from trtparse.tasks.people.boxes import Detections
from trtparse.tests.predicting import predicting


class GreyEngine(Engine):
    """Everything bright is Face."""

    def __init__(self) -> None:
        super().__init__()
        self.name, self.target, self.precision = "grey", "fake", "fp32"
        self.input_size, self.batch = (48, 32), 1

    def _run(self, frames: Frames) -> Arrays:
        return (np.where(frames[..., 1] > 99, 13, 0).astype(np.uint8),)


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Parse in a folder with ``photos/{a,b}.png`` and ``photos/more/c.png``; exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    Path("photos/more").mkdir(parents=True)
    for number, name in enumerate(("a", "b", "more/c")):
        cv2.imwrite(f"photos/{name}.png", np.full((20, 30, 3), 80 + 30 * number, np.uint8))
    made_by = MadeBy("ab" * 32, "fake", "fp32", (48, 32))
    monkeypatch.setattr("trtparse.commands.parse._open", lambda *_, **__: (predicting(GreyEngine()), made_by))

    def call(*arguments: str) -> tuple[int, str, str]:
        code = 0
        try:
            main(["parse", *arguments])
        except SystemExit as error:
            code = int(error.code or 0)
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


def files(folder: str) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


def test_the_same_command_again_makes_nothing_again(run: Run) -> None:
    assert run("photos")[1] == "2 images parsed into parsed\n"
    assert files("parsed") == ["a.png", "a_overlay.jpg", "b.png", "b_overlay.jpg"]
    assert run("photos")[1] == "0 images parsed into parsed, 2 there already\n"
    assert run("photos", "--overwrite")[1] == "2 images parsed into parsed\n"


def test_what_was_left_out_or_shrunk_is_told(run: Run) -> None:
    Path("photos/c.heic").touch()
    cv2.imwrite("photos/d.png", np.zeros((2, 65_501, 3), np.uint8))
    code, out, err = run("photos")
    assert (code, out) == (0, "3 images parsed into parsed\n")
    assert "1 other file left out (.heic)." in err
    assert "parsed/d_overlay.jpg is 65500x1 pixels" in err.replace("\n", " ")


def test_every_option_reaches_the_work(run: Run) -> None:
    code, out, _ = run("photos", "--recursive", "--no-overlay", "--output", "out", "--index", "index.csv")
    assert (code, out) == (0, "3 images parsed into out\nIndex: index.csv\n")
    assert files("out") == ["a.png", "b.png", "more/c.png"]
    assert len(Path("index.csv").read_text().splitlines()) == 4


class Nobody:
    """Finds nobody, and notes that it was closed."""

    name, sure, at_once, closed = "nobody", 0.5, 1, 0

    def detect(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        return [Detections(np.zeros((0, 4)), np.zeros(0)) for _ in frames]

    def close(self) -> None:
        self.closed += 1


def test_what_finds_people_is_closed_at_the_end_and_on_an_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = Nobody()
    monkeypatch.setattr("trtparse.tasks.people.detector.open_detector", lambda *_, **__: detector)
    code, out, _ = run("photos", "--people", "auto")
    assert (code, detector.closed) == (0, 1)
    assert "0 people found, nobody in 2 of 2" in out
    assert run("photos", "--people", "auto", "--output", "photos")[0] == 2
    assert detector.closed == 2


def test_shards_are_parts_with_an_index_each(run: Run) -> None:
    for number in (1, 2):
        assert run("photos", "--recursive", "--shard", f"{number}/2", "--index", "i.csv")[0] == 0
    rows = [row for number in (1, 2) for row in Path(f"i.{number}-of-2.csv").read_text().splitlines()[1:]]
    assert sorted(row.split(",")[0] for row in rows) == ["photos/a.png", "photos/b.png", "photos/more/c.png"]
    document = json.loads(run("photos", "--recursive", "--json")[1])
    assert (document["found"], len(document["parsed"]), document["index"]) == (3, 3, None)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--shard", "0/2"), "first number must lie between 1"),
        (("--shard", "3/2"), "first number must lie between 1"),
        (("--shard", "half"), "'half' is not a shard such as 2/8"),
        (("--index", "index.txt"), "ends in neither .csv nor .parquet"),
        (("--index", "no/index.csv"), "no does not exist"),
        (("--workers", "2"), "--workers goes with --ray"),
        (("--output", "s3://bucket/out"), "s3://bucket/out is not on this machine's disks"),
        (("s3://bucket/photos",), "s3://bucket/photos is not on this machine's disks"),
        (("--output", "photos"), "would go among the images of photos"),
        (("--output", "photos/a.png"), "is not a folder"),
    ],
)
def test_what_cannot_be_met_is_a_usage_error_and_nothing_is_parsed(
    run: Run, arguments: tuple[str, ...], told: str
) -> None:
    code, out, err = run("photos", *arguments)
    assert (code, out) == (2, "")
    assert told in err
    assert files("photos") == ["a.png", "b.png", "more/c.png"]
    assert not Path("parsed").exists() or files("parsed") == []


def test_people_are_where_a_detector_s_list_says_and_annotations_name_its_images(run: Run) -> None:
    Path("boxes.json").write_text(json.dumps([{"image_id": 1, "bbox": [2, 2, 10, 16], "score": 0.9}]))
    images = [{"id": number, "file_name": f"{name}.png"} for number, name in enumerate("ab", 1)]
    Path("labels.json").write_text(json.dumps({"images": images}))
    code, out, err = run("photos", "--boxes", "boxes.json", "--annotations", "labels.json")
    assert (code, out) == (0, "2 images parsed into parsed\n1 person found, nobody in 1 of 2\n"), err
    code, _, err = run("photos", "--annotations", "labels.json")
    assert (code, "parsing has no use for --annotations" in err) == (2, True)


def test_results_of_another_network_are_refused_with_the_way_out(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("photos")
    other = MadeBy("cd" * 32, "fake", "fp32", (48, 32))
    monkeypatch.setattr("trtparse.commands.parse._open", lambda *_, **__: (predicting(GreyEngine()), other))
    code, _, err = run("photos")
    assert code == 2
    assert "parsed/a.png was made with another graph: abababababab, not cdcdcdcdcdcd." in err
    assert "--overwrite" in err


def test_progress_tells_images_per_second(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[Any] = []
    monkeypatch.setattr(Terminal, "progress", lambda self, *told: notes.append(told))
    run("photos")
    assert [told[:2] for told in notes] == [(1, 2), (2, 2)]
    assert all(told[2].endswith(" images/s") for told in notes)


def test_ray_that_is_not_installed_is_an_error_with_the_line_to_type(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, err = run("photos", "--ray", "local")
    assert code == 3
    assert "Ray is not installed." in err
    assert "pip install 'trtparse[ray]'" in err


@pytest.mark.parametrize(
    ("asked", "taken"), [((), "openvino"), (("--target", "cpu"), "openvino"), (("--target", "simulated"), "simulated")]
)
def test_workers_on_ray_all_take_the_runtime_that_was_measured_here(
    asked: tuple[str, ...], taken: str, run: Run, pristine_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    opened: list[Any] = []

    def parse_on_ray(images: object, open_parser: Callable[[], object], *_: object, **__: object) -> ParseResult:
        opened.append(open_parser)
        raise DataError("This is far enough.")

    monkeypatch.setattr("trtparse.parse.ray.parse_on_ray", parse_on_ray)
    monkeypatch.setattr(
        "trtparse.engines.choice.choose", lambda *_, **__: Choice({"onnxruntime": 5.0, "openvino-bf16": 4.0})
    )
    run("photos", "--ray", "local", "--bundle", str(pristine_bundle.path), *asked)
    assert opened[0].args[1] == taken
    assert opened[0].keywords["between"] == ("bf16" if taken == "openvino" else None)
