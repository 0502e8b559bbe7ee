"""The script of the teacher's ablation, on two steps a row."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.data.dataset import Dataset
from trtparse.data.images import write_png


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2] / "benchmarks")
    return importlib.import_module("trtparse.benchmarks.ablation_c_dlinknet")


@pytest.fixture
def layout(new_people: Any, tmp_path: Path) -> Path:
    few: Dataset = new_people(2, seed=7)
    for split in ("train", "val"):
        for kind in ("images", "segmentations"):
            (tmp_path / "data" / f"{split}_{kind}").mkdir(parents=True)
        for sample in (few[0], few[1]):
            write_png(tmp_path / "data" / f"{split}_images" / f"{sample.name}.png", sample.image)
            write_png(tmp_path / "data" / f"{split}_segmentations" / f"{sample.name}.png", sample.labels)
    return tmp_path / "data"


@pytest.mark.usefixtures("short_trunks")
def test_a_stopped_study_goes_on_row_by_row_and_its_table_takes_its_place(
    script: ModuleType, layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = tmp_path / "ablation.md"
    after = f"{script.READING}\n\nA matters.\n\n## The way\n\nlong\n"
    document.write_text(f"# Ablation\n\n{script.HEADING}\n\nold\n\n{after}")
    words = ["--ccp", str(layout), "--lip", str(layout), "--output", str(tmp_path / "runs")]
    words += ["--document", str(document), "--workers", "1"]
    words += ["--seeds", "0", "--steps", "2", "--batch", "2", "--input-size", "64", "64", "--smooth-level", "4"]
    rows = script.ROWS
    monkeypatch.setattr(script, "ROWS", (rows[0], rows[-1]))
    trained: list[str] = []
    train = script.run_recipe

    def stops_at(count: int) -> None:
        def run(recipe: Any, output: Path, **options: Any) -> Path:
            if len(trained) == count:
                raise KeyboardInterrupt
            trained.append(output.name)
            return train(recipe, output, **options)

        monkeypatch.setattr(script, "run_recipe", run)

    stops_at(1)
    with pytest.raises(KeyboardInterrupt):
        script.main(words)
    results = tmp_path / "runs" / "results.json"
    assert [entry["key"]["row"] for entry in json.loads(results.read_text())] == ["B"]
    stops_at(5)
    script.main(words)
    assert trained == ["row-0-seed-0", "row-1-seed-0"]
    text = document.read_text()
    assert [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| B")] == ["| B", "| B + A + S + L"]
    assert text.startswith("# Ablation\n\n## The teacher's parts")
    assert text.endswith(after)
    assert "old" not in text
