"""The ablation of pose, rehearsed: two steps a row on rendered people, stopped, gone on with, and written down."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.distillation.pose import run
from trtparse.networks.registry import POSE_NETWORKS
from trtparse.tasks.pose.people import People
from trtparse.tests.tasks.pose.conftest import drawn

__all__ = ["drawn"]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    import trtparse

    monkeypatch.syspath_prepend(str(Path(trtparse.__file__).parent / "benchmarks"))
    from trtparse.benchmarks import ablation_pose

    return ablation_pose


def test_every_row_names_a_network_and_what_it_starts_from_comes_before_it(script: ModuleType) -> None:
    names = [row.name for row in script.ROWS]
    assert len({(row.table, row.name) for row in script.ROWS}) == len(names) == 17
    for number, row in enumerate(script.ROWS):
        spec = POSE_NETWORKS[row.kind].spec_class.from_dict({**row.options, "joints": 14})
        if row.start:
            before = script.ROWS[names.index(row.start)]
            assert names.index(row.start) < number
            assert (before.kind, before.options, before.claimed) == (row.kind, row.options, True)
        assert bool(row.teachers) == (row.mse + row.kl > 0)
        assert not row.mse or row.gaussians
        assert spec.joints == 14


@pytest.mark.usefixtures("tiny_layout")
def test_rows_are_trained_once_each_and_a_killed_run_goes_on(
    script: ModuleType, drawn: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = People(drawn.description, drawn.skeleton, drawn.people[:4])
    monkeypatch.setattr(run, "rendered_people", lambda count, seed: few)
    options = script.CENTRED
    rows = [row for row in script.ROWS if row.kind == "l-mspn" and row.name in ("L-MSPN alone", "+ both", "MSE and KL")]
    monkeypatch.setattr(script, "ROWS", (*rows[:2], rows[2].__class__(**{**vars(rows[2]), "claimed": False})))
    monkeypatch.setattr(
        script, "TEACHERS", (script.Teacher("one", "l-mspn", options), script.Teacher("two", "l-mspn", options))
    )
    trained: list[str] = []
    original = script.run_recipe

    def told(recipe: object, place: Path, **more: int) -> Path:
        trained.append(place.name.partition("-steps")[0])
        if trained[-1] == "row-1-seed-1" and trained.count("row-1-seed-1") == 1:
            raise KeyboardInterrupt
        return original(recipe, place, **more)

    monkeypatch.setattr(script, "run_recipe", told)
    document = tmp_path / "ablation-pose.md"
    arguments = [
        "--data",
        "synthetic",
        "--steps",
        "2",
        "--teacher-steps",
        "2",
        "--batch",
        "2",
        "--size",
        "64",
        "64",
        "--threads",
        "1",
    ]
    arguments += ["--output", str(tmp_path / "runs"), "--document", str(document)]
    with pytest.raises(KeyboardInterrupt):
        script.main(arguments)
    document.write_text(document.read_text() + "## Reading\n\nBy hand.\n")
    script.main(arguments)
    teachers = ["teacher-0", "teacher-1", "teacher-0-gaussians", "teacher-1-gaussians"]
    rehearsed = ["row-0-seed-0", *teachers[:2], "row-1-seed-0", *teachers[2:], "row-2-seed-0"]
    assert trained == [*rehearsed, "row-0-seed-1", "row-1-seed-1", "row-1-seed-1"]
    results = json.loads((tmp_path / "runs/results.json").read_text())
    assert [(entry["number"], entry["seed"]) for entry in results.values()] == [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1)]
    assert all(0 <= entry["pck"] <= 100 for entry in results.values())
    text = document.read_text()
    assert text.count("| L-MSPN alone |") == text.count("| + both |") == text.count("| MSE and KL |") == 1
    assert "- two, taught Gaussians afterwards: " in text
    assert text.endswith("## Reading\n\nBy hand.\n")
    shutil.rmtree(tmp_path / "runs" / "row-0-seed-0-steps-2")
    script.main(arguments)  # nothing is left to do
    assert len(trained) == 10


def test_so_many_people_of_a_file_are_taken_from_all_over_it(script: ModuleType, tmp_path: Path) -> None:
    table = {
        "images": [{"id": number, "file_name": f"{number}.jpg"} for number in range(10)],
        "annotations": [{"id": number, "image_id": number} for number in range(10)],
    }
    (tmp_path / "people.json").write_text(json.dumps(table))
    part = json.loads(script._part(tmp_path / "people.json", 5, tmp_path).read_text())
    assert [person["id"] for person in part["annotations"]] == [0, 2, 4, 6, 8]
    assert [image["id"] for image in part["images"]] == [0, 2, 4, 6, 8]
