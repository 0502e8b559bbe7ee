from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest

from trtparse.engines import Bundle, choice
from trtparse.engines.bundle import GRAPHS, Manifest, finish
from trtparse.specs.framing import Framing
from trtparse.tasks.open import open_predictor
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
