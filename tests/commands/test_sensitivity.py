from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import onnx
import pytest
from click.testing import CliRunner, Result

from trtparse.calibration.quantise.placement import Placement, place, restrict
from trtparse.cli import cli
from trtparse.commands import sensitivity as command
from trtparse.data.dataset import Dataset
from trtparse.engines import Bundle
from trtparse.engines.bundle import CALIBRATION_NAME
from trtparse.errors import DataError, UsageError
from trtparse.tasks.parsing.task import Parsing

LAYERS = ("backbone.conv1", "fuse4.out.0", "head.conv.0")


@pytest.fixture(autouse=True)
def _few_layers_and_images(monkeypatch: pytest.MonkeyPatch, people: Dataset) -> None:
    """Three layers instead of 49, and twelve people at hand."""

    def some_layers(model: onnx.ModelProto) -> Placement:
        return restrict(place(model), LAYERS)

    monkeypatch.setattr("trtparse.calibration.quantise.placement.place", some_layers)
    monkeypatch.setattr(Parsing, "open_data", lambda *_: people)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["sensitivity", *arguments, "--images", "2", "--threads", "1"])


@pytest.fixture(scope="module")
def convolutions(pristine_bundle: Bundle) -> tuple[str, ...]:
    return place(onnx.load(pristine_bundle.graph("fp32"))).layers


def test_the_layers_of_these_tests_are_in_the_student(convolutions: tuple[str, ...]) -> None:
    assert set(LAYERS) <= set(convolutions)


def test_the_table_ranks_the_layers_and_ends_with_the_whole(pristine_bundle: Bundle, tmp_path: Path) -> None:
    plot, record = tmp_path / "plot.svg", tmp_path / "record.jsonl"
    options = ("--plot", str(plot), "--record", str(record))
    result = run(str(pristine_bundle.path), *options, "--top", "2")
    assert result.exception is None, result.output
    rows = [line.split()[0] for line in result.stdout.splitlines()]
    assert rows[:2] == ["multiply-", "layer"]
    assert len(set(rows) & set(LAYERS)) == 2
    assert "and 1 more" in result.stdout
    assert "all of them" in result.stdout
    assert "on 2 held-out images" in result.stdout
    drawn = "".join(ElementTree.fromstring(plot.read_text()).itertext())
    assert all(layer in drawn for layer in LAYERS)
    assert len(record.read_text().splitlines()) == 1 + 2 + len(LAYERS)


def test_json_has_every_layer_and_every_score(pristine_bundle: Bundle, tmp_path: Path) -> None:
    record = str(tmp_path / "record.jsonl")
    result = run(str(pristine_bundle.path), "--record", record, "--by", "sqnr", "--json")
    assert result.exception is None, result.output
    document = json.loads(result.stdout)
    assert document["measure"] == "sqnr"
    assert sorted(entry["layer"] for entry in document["layers"]) == sorted(LAYERS)
    decibels = [entry["score"]["raw_sqnr"] for entry in document["layers"]]
    assert decibels == sorted(decibels), "the most error first"
    assert document["whole"]["raw_sqnr"] < decibels[0]
    assert 0 < sum(entry["multiply_adds"] for entry in document["layers"]) < 1

    again = run(str(pristine_bundle.path), "--record", record, "--json")
    assert json.loads(again.stdout)["whole"] == document["whole"]
    other = run(str(pristine_bundle.path), "--record", record, "--seed", "1")
    assert isinstance(other.exception, DataError)
    assert "its images is" in other.exception.message


def test_images_that_calibrated_do_not_judge(bundle: Bundle, people: Dataset) -> None:
    calibrated = set(json.loads((bundle.path / CALIBRATION_NAME).read_text())["images"])
    assert 0 < len(calibrated) < len(people)
    ranges = command._calibration(bundle)
    held_out = command._held_out(people, ranges, 100, 0)
    assert {people.names[index] for index in held_out} == set(people.names) - calibrated
    assert command._held_out(people, ranges, 2, 0) == command._held_out(people, ranges, 2, 0)
    assert {tuple(command._held_out(people, ranges, 2, seed)) for seed in range(9)} != {tuple(held_out[:2])}


def test_where_all_images_calibrated_others_are_asked_for(pristine_bundle: Bundle, people: Dataset) -> None:
    from dataclasses import replace

    ranges = replace(command._calibration(pristine_bundle), images=tuple(people.names))
    with pytest.raises(DataError, match="the set that judges must be another"):
        command._held_out(people, ranges, 2, 0)


def test_a_bundle_without_int8_is_refused_with_the_command_that_builds_it(bundle: Bundle) -> None:
    from dataclasses import replace

    files = {name: digest for name, digest in bundle.manifest.files.items() if "int8" not in name}
    (bundle.path / "bundle.json").write_text(replace(bundle.manifest, files=files).to_json())
    result = run(str(bundle.path))
    assert isinstance(result.exception, UsageError)
    assert "--int8" in result.exception.hint


def test_a_plot_that_cannot_be_written_is_refused_before_any_work(pristine_bundle: Bundle, tmp_path: Path) -> None:
    result = run(str(pristine_bundle.path), "--plot", str(tmp_path / "nowhere" / "plot.svg"))
    assert isinstance(result.exception, UsageError)
    assert "does not exist" in result.exception.message
