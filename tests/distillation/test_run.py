from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.distillation import run
from trtparse.distillation.recipe import Recipe


def test_which_of_the_networks_in_a_teacher_s_file_was_taken_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "open_images", lambda recipe: SimpleNamespace(training=()))
    monkeypatch.setattr(run, "load_teacher", lambda path, **_: SimpleNamespace(told=f"Took the mean of {path}"))
    monkeypatch.setattr(run, "train", lambda recipe, images, output, **_: output / "best.safetensors")
    recipe = Recipe.from_dict({"data": {"train": [{"path": "lip"}]}, "distillation": {"teacher": "t.pth"}})
    stages: list[str] = []
    assert run.run_recipe(recipe, Path("out"), on_stage=stages.append) == Path("out/best.safetensors")
    assert stages == ["Loading the teacher", "Took the mean of t.pth"]
