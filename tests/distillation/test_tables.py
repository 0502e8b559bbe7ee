"""Tables become recipes, and what is wrong in them is named by its key."""

from __future__ import annotations

import pytest

from trtparse.distillation.people.recipe import PeopleRecipe
from trtparse.distillation.recipe import Recipe
from trtparse.distillation.tables import differences, override
from trtparse.errors import UsageError


@pytest.mark.parametrize(
    ("values", "key", "nearest"),
    [
        ({"stepps": 3}, "stepps", "steps"),
        ({"optimizer": {"learning_rat": 0.1}}, "optimizer.learning_rat", "optimizer.learning_rate"),
        ({"data": {"train": [{"path": "a", "wieght": 1}]}}, "data.train.wieght", "data.train.weight"),
        ({"augmentation": {"rotations": 3}}, "augmentation.rotations", "augmentation.rotation"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_one(values: dict[str, object], key: str, nearest: str) -> None:
    with pytest.raises(UsageError, match=f"unknown key {key}") as caught:
        Recipe.from_dict(values)
    assert f"Did you mean {nearest}?" in caught.value.hint


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"steps": 0}, "steps"),
        ({"steps": 1.5}, "steps"),
        ({"steps": True}, "steps"),
        ({"seed": -1}, "seed"),
        ({"input_size": "32x64"}, "input_size"),
        ({"input_size": "big"}, "input_size"),
        ({"crop": [10, 0]}, "crop"),
        ({"stretch": 0.9}, "stretch"),
        ({"stretch": float("inf")}, "stretch"),
        ({"precision": "bf61"}, "precision"),
        ({"optimizer": {"learning_rate": -1.0}}, "optimizer.learning_rate"),
        ({"optimizer": {"learning_rate": float("nan")}}, "optimizer.learning_rate"),
        ({"optimizer": {"learning_rate": "fast"}}, "optimizer.learning_rate"),
        ({"optimizer": {"kind": "adamax"}}, "optimizer.kind"),
        ({"optimizer": {"warm_up": -1}}, "optimizer.warm_up"),
        ({"optimizer": 3}, "optimizer"),
        ({"loss": {"lovasz": -0.5}}, "loss.lovasz"),
        ({"distillation": {"temperature": 0}}, "distillation.temperature"),
        ({"distillation": {"teacher": "t", "inter": 0, "intra": 0}}, "distillation.kl"),
        ({"data": {"rare_class_share": 1}}, "data.rare_class_share"),
        ({"data": {"train": [{"path": "a", "weight": 0}]}}, "data.train.weight"),
        ({"data": {"train": [{"split": "val"}]}}, "data.train.path"),
        ({"data": {"train": "LIP"}}, "data.train"),
    ],
)
def test_an_impossible_value_is_refused_by_its_name(values: dict[str, object], key: str) -> None:
    with pytest.raises(UsageError) as caught:
        Recipe.from_dict(values)
    assert key in caught.value.message


@pytest.mark.parametrize("setting", ["steps", "=3", "steps.more=3"])
def test_a_setting_that_is_none_is_refused(setting: str) -> None:
    with pytest.raises(UsageError):
        override({"steps": 5}, [setting])


def test_differences_name_keys_and_values() -> None:
    other = Recipe.from_dict({"optimizer": {"learning_rate": 0.5}, "network": {"options": {"fusion": "add"}}})
    assert differences(Recipe(), Recipe()) == []
    assert differences(Recipe(), other) == [
        "network.options.fusion (None and 'add')",
        "optimizer.learning_rate (0.0012 and 0.5)",
    ]


def test_what_a_table_leaves_out_is_as_the_recipe_has_it():
    recipe = PeopleRecipe.from_dict({"task": "people", "network": {"initial": "weights.safetensors"}})
    assert (recipe.network.kind, recipe.network.initial) == ("finder", "weights.safetensors")
