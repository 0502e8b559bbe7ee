from __future__ import annotations

import json
from pathlib import Path

import pytest

from trtparse.distillation.recipe import Recipe, Source, load_recipe, shipped
from trtparse.errors import UsageError
from trtparse.specs.origin import Origin


def test_a_recipe_survives_the_way_through_json() -> None:
    recipe = Recipe.from_dict(
        {
            "steps": 7,
            "input_size": "96x64",
            "data": {"train": [{"path": "a", "weight": 2}, {"path": "b", "labels": False}], "rare_class_share": 0.1},
            "network": {"options": {"fusion": "add"}},
            "augmentation": {"scale": [0.5, 2]},
        }
    )
    assert recipe.input_size == recipe.geometry.sample_size == (96, 64)
    assert recipe.data.train == (Source("a", weight=2.0), Source("b", labels=False))
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_what_is_left_out_has_its_default() -> None:
    assert Recipe.from_dict({}) == Recipe()


def test_paths_are_relative_to_the_recipe(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text(
        '[data]\nvalidation = "/v"\n[[data.train]]\npath = "lip"\n[network]\ninitial = "../a.safetensors"\n'
    )
    recipe = load_recipe(path)
    assert recipe.data.train[0].path == str(tmp_path / "lip")
    assert recipe.data.validation == "/v"
    assert Path(recipe.network.initial).resolve() == tmp_path.parent / "a.safetensors"
    assert recipe.distillation.teacher == ""


def test_every_value_can_be_overridden(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text("steps = 5\n[optimizer]\nlearning_rate = 0.1\n")
    recipe = load_recipe(
        path, ["optimizer.kind=sgd", "steps=9", "augmentation.scale=[0.9, 1.1]", "network.options.finest_stride=8"]
    )
    assert (recipe.steps, recipe.optimizer.kind, recipe.optimizer.learning_rate) == (9, "sgd", 0.1)
    assert recipe.augmentation.scale == (0.9, 1.1)
    assert recipe.network.options == {"finest_stride": 8}


def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no recipe") as caught:
        load_recipe(tmp_path / "none.toml")
    assert "lsfa-r18-lip" in caught.value.hint
    (tmp_path / "bad.toml").write_text("steps = = 3")
    with pytest.raises(UsageError, match=r"bad\.toml is not TOML"):
        load_recipe(tmp_path / "bad.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot be read"):
        load_recipe(tmp_path / "bytes.toml")


@pytest.mark.parametrize("name", shipped())
def test_the_recipes_that_come_along_can_be_read(name: str) -> None:
    assert load_recipe(shipped()[name]).steps > 0


def test_a_label_set_is_a_word_or_a_path_relative_to_the_recipe(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('labels = "my.toml"')
    assert load_recipe(path).labels == str(tmp_path / "my.toml")
    path.write_text('labels = "atr"')
    assert load_recipe(path).labels == "atr"
    assert Recipe().labels == "lip"


def test_what_the_weights_come_from_is_a_table_of_the_recipe(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('[origin]\ntraining_data = "my photographs"\nlicence = "CC BY 4.0"\n')
    assert load_recipe(path).origin == Origin("my photographs", "CC BY 4.0")
    with pytest.raises(UsageError, match=r"unknown key origin\.license") as caught:
        Recipe.from_dict({"origin": {"license": "MIT"}})
    assert "Did you mean origin.licence?" in caught.value.hint
