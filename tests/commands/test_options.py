"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from trtparse.commands import bench, options
from trtparse.engines import open as opening
from trtparse.errors import MachineError
from trtparse.serve import model
from trtparse.tests.engines.recording import bundle_with

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("command", ["demo", "parse", "validate", "serve"])
@pytest.mark.parametrize(
    ("words", "options"),
    [([], {"slots": 2, "cuda_graph": False}), (["--slots", "3", "--cuda-graph"], {"slots": 3, "cuda_graph": True})],
)
def test_slots_and_cuda_graphs_reach_the_engine(
    command: str, words: list[str], options: dict[str, Any], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def opened(*_: Any, **given: Any) -> Any:
        asked.append(given)
        raise MachineError("No GPU.")

    bundle = bundle_with(tmp_path / "student")
    for place in ("engines.open_bundle", "engines.bundle.open_bundle"):
        monkeypatch.setattr(f"trtparse.{place}", lambda path: bundle)
    monkeypatch.setattr("trtparse.tasks.open.open_predictor", opened)
    monkeypatch.setattr(model, "open_predictor", opened)
    monkeypatch.setattr(model, "open_bundle", lambda path: bundle)
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("a.png", np.zeros((8, 8, 3), np.uint8))
    what = {
        "demo": ["a.png", "--bundle", bundle.path],
        "parse": ["a.png", "--bundle", bundle.path, "--output", "out"],
        "validate": [bundle.path, "--no-report"],
        "serve": [bundle.path, "--listen", "0"],
    }
    code, _, error = run(command, *what[command], *words)
    assert code == 3, error
    assert {name: asked[0][name] for name in options} == options


def test_what_can_be_typed_is_what_can_be_opened() -> None:
    assert (options.TARGETS, options.PRECISIONS) == (opening.TARGETS, opening.PRECISIONS)
    assert set(bench.TARGETS) < set(opening.TARGETS)
    assert bench.PRECISIONS == opening.PRECISIONS
