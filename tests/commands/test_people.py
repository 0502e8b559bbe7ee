"""A finder of people through the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.engines import open_bundle  # noqa: E402
from trtparse.graphs.index import property_of  # noqa: E402
from trtparse.graphs.interface import read_onnx  # noqa: E402
from trtparse.tests.finding import SIZE  # noqa: E402

Run = Callable[..., tuple[int, str, str]]

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "report.schema.json").read_text("utf-8"))


@pytest.fixture
def bundle(people_bundle: Path, tmp_path: Path) -> Path:
    shutil.copytree(people_bundle, tmp_path / "people")
    return tmp_path / "people"


@pytest.fixture
def streets(people_bundle: Path) -> Path:
    return people_bundle.parent / "streets"


def test_validate_measures_ap_and_writes_a_report_with_boxes(bundle: Path, streets: Path, run: Run) -> None:
    code, out, err = run("validate", bundle, "--task", "people", "--data", streets, "--json", "--threads", "1")
    assert code == 0, err
    result = json.loads(out)
    jsonschema.validate(result, SCHEMA)
    assert (result["task"], result["spec"]["name"], result["images"]) == ("people", "Person", 6)
    assert (result["reference"]["ap50"], result["reference"]["threshold"]) == (1.0, 0.3)
    assert result["engines"][0]["scores"]["ap50"] > 0.9
    page = (bundle / "report.html").read_text("utf-8")
    assert "AP50" in page
    assert page.count("data:image/") >= 4
    accuracy = json.loads((bundle / "bundle.json").read_text())["accuracy"]
    assert [name.rpartition("-")[2] for name in accuracy] == ["int8"]


def test_a_terminal_has_recall_and_precision_at_the_finder_s_score(bundle: Path, streets: Path, run: Run) -> None:
    code, out, err = run("validate", bundle, "--data", streets, "--no-report", "--threads", "1")
    assert code == 0, err
    assert "Recall at 0.3" in out
    assert "PASSED" in out


def test_without_a_bundle_the_task_names_its_own(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run("validate", "--task", "people")
    assert code == 2
    assert "No bundle at build/people" in err.replace("\n", " ")


def test_build_takes_its_graph_again_and_chooses_the_score_on_other_pictures(
    people_bundle: Path, streets: Path, run: Run, tmp_path: Path
) -> None:
    graph = people_bundle / "student.fp32.onnx"
    options = (
        "--task",
        "people",
        "--int8",
        "--calibration",
        "max",
        "--data",
        streets,
        "--threads",
        "1",
        "--calibration-images",
        "2",
    )
    code, _, err = run("build", graph, *options, "--max-drop", "5", "--sure", streets, "--output", tmp_path / "again")
    assert code == 0, err
    assert "a box is somebody: 100.0 % of the people are found" in " ".join(err.split())
    manifest = open_bundle(tmp_path / "again").manifest
    assert 0.4 < manifest.options["sure"] < 0.5  # between 0.9 of somebody and 0.02 of nobody
    told = property_of(read_onnx(tmp_path / "again" / "student.int8-cpu.onnx"), "sure")
    assert float(told or 0) == manifest.options["sure"]
    assert manifest.calibration["search"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--sure", "1.5"), "--sure 1.5 is no score"),
        (("--labels", "lip"), "finds people, and --labels names"),
        (("--task", "pose"), "is for people, and --task says pose"),
    ],
)
def test_what_a_finder_cannot_be_built_with_is_refused(
    people_bundle: Path, run: Run, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    code, _, err = run("build", people_bundle / "student.fp32.onnx", *options, "--output", tmp_path / "none")
    assert code == 2
    assert said in " ".join(err.split())


def test_inspect_sensitivity_and_bench_know_it(bundle: Path, streets: Path, run: Run) -> None:
    code, out, err = run("inspect", bundle)
    assert code == 0, err
    assert "people" in out
    code, out, err = run("sensitivity", bundle, "--data", streets, "--threads", "1", "--images", "3", "--json")
    assert code == 0, err
    assert json.loads(out)["layers"]


def test_parse_writes_boxes_and_coco_s_results(bundle: Path, streets: Path, run: Run, tmp_path: Path) -> None:
    output = tmp_path / "parsed"
    code, _, err = run("parse", streets, "--bundle", bundle, "--output", output, "--threads", "1")
    assert code == 0, err
    results = json.loads((output / "people.json").read_text())
    assert {entry["file_name"] for entry in results} >= {"street-0.png", "street-1.png"}
    assert (output / "street-1_overlay.jpg").is_file()
    assert len(json.loads((output / "street-1.json").read_text())["people"]) >= 2


def test_a_frame_of_another_size_than_a_finder_takes_is_refused(people_bundle: Path, run: Run, tmp_path: Path) -> None:
    weights = people_bundle.parent / "bright.safetensors"
    code, _, err = run("build", weights, "--fp32", "--input-size", "70x96", "--output", tmp_path / "none")
    assert code == 2
    assert "multiples of 32" in err
    assert SIZE == (64, 96)


def test_a_finder_is_no_parser_and_a_parser_finds_nobody(
    bundle: Path, pose_bundle: Path, streets: Path, run: Run, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    code, _, err = run("parse", streets, "--bundle", bundle, "--people", "auto", "--output", output)
    assert code == 2
    assert f"Give it as --detector {bundle}" in " ".join(err.split())
    code, _, err = run("parse", streets, "--bundle", bundle, "--detector", pose_bundle, "--output", output)
    assert code == 2
    for command in ("demo", "parse"):
        code, _, err = run(command, streets, "--bundle", pose_bundle, "--detector", pose_bundle, "--output", output)
        assert code == 2
        assert "is for pose: it finds nobody" in " ".join(err.split())
    code, _, err = run("demo", streets, "--bundle", bundle, "--detector", bundle, "--output", tmp_path / "out.mp4")
    assert code == 2
    assert "does nothing with those that are found" in " ".join(err.split())
    assert not output.exists()


def test_demo_draws_the_boxes_of_a_finder_s_bundle(bundle: Path, streets: Path, run: Run, tmp_path: Path) -> None:
    told = tmp_path / "w.jsonl"
    code, _, err = run("demo", streets, "--bundle", bundle, "--jsonl", told, "--threads", "1")
    assert code == 0, err
    found = [len(json.loads(line)["found"]) for line in told.read_text().splitlines()]
    assert found == [1, 2, 1, 0, 2, 1]
