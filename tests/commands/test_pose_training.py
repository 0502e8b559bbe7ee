from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.distillation.stepping import StepProgress

Run = Callable[..., tuple[int, str, str]]

RECIPE = """
task = "pose"
validate_every = 1
[[phases]]
input_size = "64x64"
batch = 2
steps = 1
[data]
rendered = 2
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(RECIPE)
    return path


def test_a_recipe_of_pose_trains_on_rendered_people_and_gives_a_checkpoint(
    run: Run, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trtparse.distillation.pose.run.RENDERED_VALIDATION", 2)
    options = ("--output", tmp_path / "run", "--learning-rate", "0.001", "--set", "seed=3", "--json")

    code, out, _ = run("train", recipe, *options)

    assert code == 0
    result = json.loads(out)
    assert Path(result["checkpoint"]).is_file()
    assert (result["recipe"]["seed"], result["recipe"]["optimizer"]["learning_rate"]) == (3, 0.001)
    assert 0 <= result["pck"] <= 1


def test_a_run_that_was_stopped_says_so_and_not_that_it_has_a_checkpoint(
    run: Run, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe.write_text(RECIPE.replace("steps = 1", "steps = 5"))

    def stopped(recipe: object, output: Path, *, on_progress: Callable[[StepProgress], None], **_: object) -> Path:
        on_progress(StepProgress(2, 5, 1.0, 10.0, None, None))
        return output / "best.safetensors"

    monkeypatch.setattr("trtparse.distillation.pose.run.run_recipe", stopped)
    code, out, _ = run("train", recipe, "--output", tmp_path / "run")
    assert code == 0
    assert "Stopped after step 2 of 5; the same command goes on." in out
    assert "Checkpoint" not in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("train", "--steps", "5"), "--steps is not for a recipe of pose"),
        (("train", "--batch", "5"), "--batch is not for a recipe of pose"),
        (("train", "--input-size", "64x64"), "--input-size is not for a recipe of pose"),
        (("train", "--data", "a", "--data", "b"), "one --data"),
        (("train", "--set", "los.kind=mse"), "unknown key los"),
        (("train", "--set", "skeleton=coco71"), "There is no skeleton coco71"),
        (("train", "--set", "network.kind=l-mspm"), "Did you mean l-mspn"),
        (("distill",), "no teacher to distil from"),
        (("distill", "--teacher", "none.pth", "--set", "loss.kind=mse"), "none.pth"),
        (("distill", "--teacher", "t.pth"), "distillation.mse compares heatmaps"),
        (("distill", "--teacher", "t.pth", "--unlabelled", "a"), "--unlabelled is not for a recipe of pose"),
    ],
)
def test_what_a_recipe_of_pose_cannot_be_given_is_told(
    run: Run, recipe: Path, tmp_path: Path, arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trtparse.distillation.pose.run.RENDERED_VALIDATION", 1)
    command, *options = arguments
    code, _, err = run(command, recipe, "--output", tmp_path / "run", *options)
    assert code == 2
    assert said in " ".join(err.split())


def test_a_shipped_recipe_of_photographs_asks_for_them(run: Run) -> None:
    code, _, err = run("train", "s-hrnet-coco")
    assert code == 2
    assert "s-hrnet-coco needs images" in err
