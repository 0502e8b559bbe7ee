"""What docs/adding-a-label-set.md says is done, command for command, with fewer people and steps."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.cli import main
from trtparse.data.images import read_label_map
from trtparse.engines import open_bundle
from trtparse.networks.checkpoint import load_checkpoint
from trtparse.specs.label_set import LabelSet, label_set

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-label-set.md"

SMALLER = {
    "--train 2000 --val 200": "--train 5 --val 4",
    "--steps 4000 --input-size 256x192": "--steps 2 --batch 2 --input-size 64x64",
    "--int8 --data people": "--int8 --data people --calibration max",
    "--report reports/parts": "--report reports/parts --tolerance 100",
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


def commands() -> list[str]:
    return [line for block in blocks("sh") for line in block.splitlines() if line.startswith("trtparse ")]


def test_every_command_is_made_smaller_where_it_is_large() -> None:
    told = "\n".join(commands())
    assert all(told.count(words) == 1 for words in SMALLER)


def typed(command: str, word: str) -> None:
    for words, fewer in SMALLER.items():
        command = command.replace(words, fewer)
    command = command.replace("--labels parts.toml", f"--labels {word}").replace("--labels atr", f"--labels {word}")
    code: object = 0
    try:
        main(shlex.split(command)[1:])
    except SystemExit as end:
        code = end.code
    assert not code, command


@pytest.mark.usefixtures("short_trunks")
@pytest.mark.slow
@pytest.mark.parametrize("word", ["parts.toml", "atr"])
def test_the_page_goes_from_a_file_to_a_network_that_is_built_measured_and_drawn(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("parts.toml").write_text(blocks("toml")[0], "utf-8")
    meant = label_set(word)
    for command in commands():
        if "theirs.onnx" in command:
            without_words(Path("build/parts/student.fp32.onnx"), Path("theirs.onnx"))
        typed(command, word)
    check_people(meant)
    assert load_checkpoint(Path("runs/parts/best.safetensors")).spec == meant
    assert [open_bundle(Path("build", name)).manifest.spec for name in ("parts", "theirs")] == [meant, meant]
    check_report(meant)
    with open("parsed/index.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert tuple(header[4:-1]) == meant.classes
    assert len(rows) == 4
    records = [json.loads(line) for line in Path("people.jsonl").read_text().splitlines()]
    seen = {name for record in records for name in record["pixels"]}
    assert seen <= set(meant.classes)
    assert seen
    assert Path("people.mp4").stat().st_size > 0


def without_words(graph: Path, place: Path) -> None:
    """A graph as others have them: it does not say what its classes are."""
    model = onnx.load(graph)
    del model.metadata_props[:]
    onnx.save(model, place)


def check_people(meant: LabelSet) -> None:
    masks = sorted(Path("people").rglob("*.png"))
    assert len(masks) == 9
    found = {value for mask in masks for value in np.unique(cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)).tolist()}
    assert found <= {*range(len(meant)), 255}
    assert {0, 1} & found
    assert all(read_label_map(mask, meant).ndim == 2 for mask in masks)


def check_report(meant: LabelSet) -> None:
    page = Path("reports/parts/report.html").read_text("utf-8")
    assert all(name in page for name in meant.classes)
    assert "Jumpsuits" not in page
    report = json.loads(Path("reports/parts/report.json").read_text("utf-8"))
    assert len(report["reference"]["class_iou"]) == len(meant)
