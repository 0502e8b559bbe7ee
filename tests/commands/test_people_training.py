from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")

Run = Callable[..., tuple[int, str, str]]

RECIPE = """
task = "people"
input_size = "64x64"
steps = 1
batch = 2
[data]
rendered = 2
scenery = 1
mosaics = 2
[network]
kind = "finder"
[network.options]
widths = [4, 4, 8, 8, 8]
neck = 8
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(RECIPE)
    return path


def test_a_recipe_of_people_trains_on_rendered_people_and_gives_a_checkpoint(
    run: Run, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trtparse.distillation.people.run.RENDERED_VALIDATION", 2)
    code, out, _ = run("train", recipe, "--output", tmp_path / "run", "--seed", "3", "--batch", "1", "--json")
    assert code == 0
    result = json.loads(out)
    assert Path(result["checkpoint"]).is_file()
    assert (result["recipe"]["seed"], result["recipe"]["batch"], result["step"]) == (3, 1, 1)
    assert 0 <= result["f1"] <= 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("train", "--validation", "a"), "--validation is not for a recipe of people"),
        (("train", "--labels", "lip"), "--labels is not for a recipe of people"),
        (("train", "--data", "a", "--data", "b"), "one --data"),
        (("train", "--set", "mosaics.lay=3"), "Did you mean mosaics.laid"),
        (("train", "--initial", "none.safetensors"), "No checkpoint at none.safetensors"),
        (("distill", "--teacher", "t.pth"), "trtparse find"),
    ],
)
def test_what_a_recipe_of_people_cannot_be_given_is_told(
    run: Run, recipe: Path, tmp_path: Path, arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trtparse.distillation.people.run.RENDERED_VALIDATION", 1)
    command, *options = arguments
    code, _, err = run(command, recipe, "--output", tmp_path / "run", *options)
    assert code == 2
    assert said in " ".join(err.split())


def test_the_shipped_recipe_asks_for_its_images(run: Run) -> None:
    code, _, err = run("train", "person-finder")
    assert code == 2
    assert "person-finder needs images" in err


def test_a_recipe_of_an_unknown_task_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('task = "depth"')
    code, _, err = run("train", tmp_path / "r.toml")
    assert code == 2
    assert "recipe of the task 'depth'" in " ".join(err.split())
