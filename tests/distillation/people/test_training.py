from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.distillation.people.recipe import PeopleRecipe  # noqa: E402
from trtparse.distillation.people.run import open_images, run_recipe  # noqa: E402
from trtparse.distillation.people.training import PeopleImages, train  # noqa: E402
from trtparse.distillation.stepping import StepProgress  # noqa: E402
from trtparse.errors import DataError, UsageError  # noqa: E402
from trtparse.networks.finder import Finder, FinderSpec  # noqa: E402
from trtparse.networks.finder_checkpoint import load_finder  # noqa: E402
from trtparse.tests.signals import handled  # noqa: E402

SMALL = {"widths": [4, 4, 8, 8, 8], "neck": 8}
VALUES = {
    "steps": 4,
    "batch": 2,
    "input_size": "64x96",
    "data": {"rendered": 2, "scenery": 1, "mosaics": 4},
    "network": {"kind": "finder", "options": SMALL},
    "optimizer": {"learning_rate": 0.01, "warm_up": 0},
    "validate_every": 2,
    "save_every": 1,
    "precision": "fp32",
    "origin": {"training_data": "drawn people"},
}


@pytest.fixture(scope="module")
def images() -> PeopleImages:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("trtparse.distillation.people.run.RENDERED_VALIDATION", 2)
        return open_images(PeopleRecipe.from_dict(VALUES))


def small() -> Finder:
    torch.manual_seed(0)
    return Finder(FinderSpec.from_dict(SMALL))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "state.pt", weights_only=True)["network"]


def test_a_run_keeps_the_best_with_what_it_was_trained_on(images: PeopleImages, tmp_path: Path) -> None:
    best = train(PeopleRecipe.from_dict(VALUES), images, small(), tmp_path)

    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries] == [2, 4]
    assert all(0 <= entry[name] <= 1 for entry in entries for name in ("f1", "recall", "precision"))
    checkpoint = load_finder(best)
    assert checkpoint.framing.input_size == (64, 96)
    assert checkpoint.origin.training_data == "drawn people"


def test_scaled_gradients_train_what_unscaled_ones_do(
    images: PeopleImages, tmp_path: Path, scale_gradients: Callable[[], None]
) -> None:
    train(PeopleRecipe.from_dict(VALUES), images, small(), tmp_path / "plain")
    scale_gradients()
    train(PeopleRecipe.from_dict(VALUES), images, small(), tmp_path / "scaled")
    plain, scaled = weights(tmp_path / "plain"), weights(tmp_path / "scaled")
    for name, value in plain.items():
        torch.testing.assert_close(scaled[name], value, msg=name)
    assert torch.load(tmp_path / "scaled" / "state.pt", weights_only=True)["scaler"]["scale"] > 1


def test_a_run_that_was_terminated_ends_where_one_that_was_not_does(images: PeopleImages, tmp_path: Path) -> None:
    recipe = PeopleRecipe.from_dict(VALUES)
    train(recipe, images, small(), tmp_path / "whole")

    def end(progress: StepProgress) -> None:
        if progress.step == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with handled(), pytest.raises(KeyboardInterrupt):
        train(recipe, images, small(), tmp_path / "cut", on_progress=end)
    assert torch.load(tmp_path / "cut" / "state.pt", weights_only=True)["step"] == 1
    train(recipe, images, small(), tmp_path / "cut")

    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_a_run_of_another_input_is_not_continued_and_a_longer_one_is(images: PeopleImages, tmp_path: Path) -> None:
    train(PeopleRecipe.from_dict({**VALUES, "steps": 1}), images, small(), tmp_path)
    with pytest.raises(UsageError, match="input_size"):
        train(PeopleRecipe.from_dict({**VALUES, "input_size": "64x64"}), images, small(), tmp_path)
    train(PeopleRecipe.from_dict({**VALUES, "steps": 2}), images, small(), tmp_path)
    assert torch.load(tmp_path / "state.pt", weights_only=True)["step"] == 2


def test_boxes_of_nobody_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    (tmp_path / "boxes.json").write_text('{"images": [], "annotations": []}')
    values = {**VALUES, "data": {"root": str(tmp_path), "train": [{"boxes": "boxes.json"}]}}
    with pytest.raises(DataError, match="shows nobody"):
        run_recipe(PeopleRecipe.from_dict(values), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"input_size": "60x96"}, "multiples of 32"),
        ({"steps": 0}, "must be 1 or more"),
        ({"seed": -1}, "seed is -1; it must be 0 or more"),
        ({"mosaics": {"cells": []}}, "cells are how often"),
        ({"mosaics": {"cells": [1.0, -0.1]}}, "cells are how often"),
        ({"mosaics": {"heights": [0, 1]}}, "heights is a range above 0"),
        ({"mosaics": {"laid": -1}}, "laid and rotation are 0 or more"),
        ({"mosaics": {"zoom": 0.5}}, "zoom is 1 or more"),
        ({"mosaics": {"colours": {"scale": [1.5, 0.7]}}}, "scale is a range above 0"),
        ({"loss": {"boxes": 0, "distances": 0}}, "not both 0"),
        ({"data": {"train": [{"boxes": "a.json", "weight": 0}]}}, "weight is 0"),
        ({"network": {"kind": "finder", "backbone": "r18.pth"}}, "no trunk"),
        ({"mosaics": {"lay": 3}}, "Did you mean mosaics.laid"),
    ],
)
def test_an_impossible_recipe_is_refused_by_name(changed: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as error:
        PeopleRecipe.from_dict({**VALUES, **changed})
    assert said in f"{error.value.message} {error.value.hint}"
