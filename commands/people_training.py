"""``train`` with a recipe of the task "people"."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError

if TYPE_CHECKING:
    from ..distillation.people.recipe import PeopleRecipe
    from ..distillation.stepping import StepProgress

_LEAST_PART = 8
"""Mosaics a process and step."""


def run_people_training(
    name: str, output: Path, settings: tuple[str, ...], given: Mapping[str, Any], *, as_json: bool
) -> None:
    """Train, show how it goes, and say where the checkpoint is.

    Args:
        name: of a recipe, or its file.
        output: folder of the run.
        settings: ``key=value`` with dotted keys.
        given: the other options of the command line, None where they were not given.
        as_json: print the result as JSON.
    """
    import torch

    from ..distillation.people.run import run_recipe
    from .terminal import Terminal

    recipe = _recipe(name, settings, given)
    workers = max(min(torch.get_num_threads(), recipe.batch // _LEAST_PART), 1)
    last: list[StepProgress] = []

    def report(now: StepProgress) -> None:
        last[:] = [now]
        score = "" if now.best is None else f", best F1 {100 * now.best:.1f}"
        terminal.progress(now.step, now.steps, f"loss {now.loss:.3f}, {now.images_per_second:.1f} images/s{score}")

    with Terminal(as_json=as_json) as terminal:
        best = run_recipe(recipe, output, workers=workers, on_progress=report, on_stage=terminal.stage)
    score = None if not last else last[0].best
    if as_json:
        step = recipe.steps if not last else last[0].step
        result = {"checkpoint": str(best), "f1": score, "step": step, "steps": recipe.steps}
        terminal.result({**result, "recipe": recipe.to_dict()})
    elif last and last[0].step < recipe.steps:
        terminal.out.print(f"Stopped after step {last[0].step} of {recipe.steps}; the same command goes on.")
    else:
        told = "" if score is None else f"  best F1 {100 * score:.2f}"
        terminal.out.print(f"Checkpoint: {best}{told}", markup=False)


def _recipe(name: str, settings: tuple[str, ...], given: Mapping[str, Any]) -> PeopleRecipe:
    """The recipe's file, changed by what was given on the command line."""
    from ..distillation.people.recipe import PeopleRecipe, load_people_recipe, shipped_people
    from ..distillation.recipe import override, read_recipe

    for option, instead in (
        ("validation", "name it in the file: data.validation, inside of --data"),
        ("student", "take --set network.options=..., or --initial"),
        ("labels", "a finder tells people from everything else"),
        ("unlabelled", "let a detector find the people first: trtparse find"),
    ):
        if given.get(option):
            raise UsageError(f"--{option.replace('_', '-')} is not for a recipe of people.", f"Instead {instead}.")
    if len(given.get("data") or ()) > 1:
        raise UsageError("A recipe of people takes one --data.", "It is the folder that the recipe's files are in.")
    path = shipped_people().get(name, Path(name))
    values = load_people_recipe(path, read_recipe(path)).to_dict()
    for key in ("steps", "batch", "input_size", "seed", "validate_every"):
        if given.get(key) is not None:
            values[key] = given[key]
    if given.get("data"):
        values["data"]["root"] = given["data"][0]
    elif name in shipped_people() and values["data"]["train"]:
        raise UsageError(f"The recipe {name} needs images.", "Give the folder that its files are in: --data FOLDER.")
    if given.get("learning_rate") is not None:
        values["optimizer"]["learning_rate"] = given["learning_rate"]
    if given.get("initial") is not None:
        values["network"]["initial"] = given["initial"]
    return PeopleRecipe.from_dict(override(values, settings))
