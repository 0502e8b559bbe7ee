from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from trtparse.engines import Bundle, choice
from trtparse.engines.bundle import GRAPHS, Manifest, finish
from trtparse.errors import UsageError
from trtparse.specs.framing import Framing
from trtparse.specs.label_set import label_set
from trtparse.specs.skeleton import load_skeleton
from trtparse.tasks.open import open_predictor, task_of
from trtparse.tests.engines.tiny_graphs import SIZE, joints_graph
from trtparse.tests.predicting import LIP


def test_runtimes_are_compared_by_what_the_task_calls_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx.save(joints_graph(("labels",)), tmp_path / GRAPHS["fp32"])
    manifest = Manifest("parsing", "tiny", {}, LIP, Framing(SIZE), None, ("fp32",), {}, {}, {})
    bundle = Bundle(tmp_path, finish(tmp_path, manifest))
    asked: list[Any] = []

    def choose(*arguments: Any) -> choice.Choice:
        asked.extend(arguments)
        return choice.Choice()

    monkeypatch.setattr(choice, "choose", choose)
    with open_predictor(bundle, "cpu", threads=1) as predictor:
        assert asked[-1] == predictor.task.agreement


def manifest_of(task: str, spec: object) -> Manifest:
    values = {name: {} for name in ("options", "parity", "calibration", "versions")}
    return Manifest(task, "some", spec=spec, framing=Framing((64, 64)), batch=1, precisions=("fp32",), **values)  # type: ignore[arg-type]


def test_a_bundle_s_classes_take_the_colours_of_a_set_with_the_same_ones() -> None:
    red = replace(LIP, name="mine", colours=((255, 0, 0),) * len(LIP))
    assert task_of(manifest_of("parsing", LIP), red).spec == red
    assert task_of(manifest_of("parsing", LIP)).spec == LIP


@pytest.mark.parametrize("other", [label_set("atr"), label_set("cihp"), load_skeleton("coco17")])
def test_what_has_other_classes_or_joints_is_refused_by_both_names(other: object) -> None:
    with pytest.raises(UsageError, match=rf"The bundle .*LIP-20.*--labels .*{other.name}"):  # type: ignore[attr-defined]
        task_of(manifest_of("parsing", LIP), other)  # type: ignore[arg-type]


def test_joints_are_named_alike() -> None:
    own, other = load_skeleton("coco17"), load_skeleton("mpii16")
    assert task_of(manifest_of("pose", own), own).spec == own
    with pytest.raises(UsageError, match="--labels"):
        task_of(manifest_of("pose", own), other)
