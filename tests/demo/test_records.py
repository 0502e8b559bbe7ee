from __future__ import annotations

import json
import os
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from trtparse.data.images import read_label_map
from trtparse.demo.layers import layers_of
from trtparse.demo.parsed_frame import ParsedFrame, StageTimes
from trtparse.demo.records import AnswerRecorder, JsonlRecorder, line_of
from trtparse.errors import MachineError, UsageError
from trtparse.tasks.parsing.drawer import LabelSight
from trtparse.tasks.parsing.task import Parsing
from trtparse.tasks.people.person import Person
from trtparse.tests.predicting import LIP

LAYERS = layers_of([Parsing(LIP)])


def parsed(number: int, labels: np.ndarray | None = None, people: tuple[Person, ...] = ()) -> ParsedFrame:
    if labels is None:
        labels = np.zeros((6, 8), np.uint8)
        labels[2:4, :3] = 13
        labels[5, number % 8] = 5
    drawn = np.zeros((*labels.shape, 3), np.uint8)
    return ParsedFrame(
        number, number / 30, drawn, LAYERS, (LabelSight(labels, LIP),), people, False, 30.0, StageTimes(1, 1, 1, 1, 1)
    )


def record_and_be_interrupted(recorder: AnswerRecorder | JsonlRecorder, frames: int) -> None:
    with recorder as record:
        for number in range(frames):
            record(parsed(number))
        raise KeyboardInterrupt


def record_without_end(recorder: AnswerRecorder | JsonlRecorder, frame: ParsedFrame) -> None:
    with recorder as record:
        for _ in range(100):
            record(frame)


def record_into_what_goes_away(folder: Path, end: type[BaseException] | None) -> None:
    with AnswerRecorder(folder) as record:
        record(parsed(0))
        shutil.rmtree(folder)
        if end is not None:
            raise end


def test_a_folder_that_goes_away_is_told_where_nothing_else_is(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="frames"):
        record_into_what_goes_away(tmp_path / "frames", None)
    with pytest.raises(KeyboardInterrupt):
        record_into_what_goes_away(tmp_path / "frames", KeyboardInterrupt)


def test_a_second_run_to_one_record_is_refused_and_takes_nothing_from_the_first(tmp_path: Path) -> None:
    path = tmp_path / "frames.jsonl"
    with JsonlRecorder(path) as first:
        first(parsed(0))
        with pytest.raises(UsageError, match="is being written by another run"), JsonlRecorder(path):
            pass
        first(parsed(1))
    assert len(path.read_text().splitlines()) == 2
    assert os.listdir(tmp_path) == ["frames.jsonl"]


def test_label_maps_come_back_as_they_were_one_file_per_frame(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "labels"
    with AnswerRecorder(folder) as record:
        for number in range(3):
            record(parsed(number))
    assert sorted(os.listdir(folder)) == [f"frame-00000{number}.png" for number in range(3)]
    for number in range(3):
        assert np.array_equal(read_label_map(folder / f"frame-00000{number}.png"), parsed(number).sights[0].labels)


def test_a_folder_never_holds_frames_of_two_runs_nor_loses_what_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "frame-notes.png").touch()
    with AnswerRecorder(tmp_path) as record:
        for number in range(9):
            record(parsed(number))
    with AnswerRecorder(tmp_path):
        pass
    assert len(os.listdir(tmp_path)) == 10  # a run without a frame replaces nothing
    with pytest.raises(KeyboardInterrupt):
        record_and_be_interrupted(AnswerRecorder(tmp_path), 2)
    assert sorted(os.listdir(tmp_path)) == ["frame-000000.png", "frame-000001.png", "frame-notes.png"]


def test_a_line_has_the_time_the_people_and_the_pixels_of_the_classes_that_are_there(tmp_path: Path) -> None:
    person = Person(3, (1.04, 2.0, np.float32(7.25), 6.0), np.float32(0.87654))  # type: ignore[arg-type]
    with JsonlRecorder(tmp_path / "out.jsonl") as record:
        record(parsed(0))
        record(parsed(1, people=(person,)))
    first, second = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert first == {
        "schema_version": 1,
        "frame": 0,
        "seconds": 0.0,
        "people": [],
        "pixels": {"Background": 41, "Upper-clothes": 1, "Face": 6},
    }
    assert second["people"] == [{"id": 3, "box": [1.0, 2.0, 7.2, 6.0], "score": 0.877}]
    assert (second["frame"], second["seconds"]) == (1, 0.033333)


@settings(max_examples=40, deadline=None)
@given(arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.integers(0, 19)))
def test_every_pixel_is_counted_once(labels: np.ndarray) -> None:
    pixels = line_of(parsed(0, labels))["pixels"]
    assert isinstance(pixels, dict)
    assert sum(pixels.values()) == labels.size
    assert all(count == int((labels == LIP.classes.index(name)).sum()) for name, count in pixels.items())


def test_lines_are_on_the_disk_while_it_grows_and_an_exception_keeps_them(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("older")
    with JsonlRecorder(path) as record:
        for number in range(1, 4):
            record(parsed(number))
            assert (tmp_path / ".out.partial.jsonl").read_text().count("\n") == number
            assert path.read_text() == "older"
    with pytest.raises(KeyboardInterrupt):
        record_and_be_interrupted(JsonlRecorder(path), 1)
    assert json.loads(path.read_text())["frame"] == 0
    assert os.listdir(tmp_path) == ["out.jsonl"]


def test_a_run_without_a_frame_leaves_the_older_record(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("older")
    with JsonlRecorder(tmp_path / "out.jsonl"):
        pass
    assert (tmp_path / "out.jsonl").read_text() == "older"
    assert os.listdir(tmp_path) == ["out.jsonl"]


def test_a_full_disk_is_the_machine_s_error_and_leaves_whole_lines_and_no_half_file(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    rng = np.random.default_rng(0)
    noise = parsed(0, rng.integers(0, 20, (200, 200), np.uint8))
    (tmp_path / "labels").mkdir()
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        for recorder in (JsonlRecorder(tmp_path / "out.jsonl"), AnswerRecorder(tmp_path / "labels")):
            with pytest.raises(MachineError, match="No space left"):
                record_without_end(recorder, noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path / "labels") == []
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert len(lines) >= 5
    assert all(json.loads(line)["frame"] == 0 for line in lines)


def test_places_that_cannot_be_written_are_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for recorder in (
        AnswerRecorder(tmp_path / "file"),
        JsonlRecorder(tmp_path / "no" / "a.jsonl"),
        JsonlRecorder(tmp_path),
    ):
        with pytest.raises(UsageError), recorder:
            pass
    with pytest.raises(ValueError, match="not open"):
        JsonlRecorder(tmp_path / "a.jsonl")(parsed(0))
