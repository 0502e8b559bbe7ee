"""What ``train`` does alike for every task."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ..errors import UsageError
from .options import Given

if TYPE_CHECKING:
    from ..distillation.stepping import SteppingRecipe, StepProgress
    from ..distillation.tables import RecipeTables

    Recipe = TypeVar("Recipe", bound=SteppingRecipe)

_LEAST_PART = 8
"""Images a process and step: with 16 people at 128x96 a core trains 47 a second, with 32 60."""


def train_and_show(
    run_recipe: Callable[..., Path],
    recipe: Recipe,
    output: Path,
    *,
    batch: int,
    figure: tuple[str, str],
    as_json: bool,
    then: str = "",
) -> None:
    """Train, show how it goes, and say where the checkpoint is.

    Args:
        run_recipe: of the task.
        recipe: what it trains.
        output: folder of the run.
        batch: images of the smallest step.
        figure: what the best checkpoint is chosen by, as JSON has it and in words.
        as_json: print the result as JSON.
        then: what to do next, for the terminal.
    """
    import torch

    from .terminal import Terminal

    key, words = figure
    # A process needs some images a step to be worth its start; the threads of a large machine are divided among few.
    workers = max(min(torch.get_num_threads(), batch // _LEAST_PART), 1)
    last: list[StepProgress] = []

    def report(now: StepProgress) -> None:
        last[:] = [now]
        score = "" if now.best is None else f", best {words} {100 * now.best:.1f}"
        terminal.progress(now.step, now.steps, f"loss {now.loss:.3f}, {now.images_per_second:.1f} images/s{score}")

    with Terminal(as_json=as_json) as terminal:
        best = run_recipe(recipe, output, workers=workers, on_progress=report, on_stage=terminal.stage)
    score = None if not last else last[0].best
    if as_json:
        step = recipe.steps if not last else last[0].step
        result = {"checkpoint": str(best), key: score, "step": step, "steps": recipe.steps}
        terminal.result({**result, "recipe": recipe.to_dict()})
    elif last and last[0].step < recipe.steps:
        terminal.out.print(f"Stopped after step {last[0].step} of {recipe.steps}; the same command goes on.")
    else:
        told = "" if score is None else f"  best {words} {100 * score:.2f}"
        terminal.out.print("\n".join(filter(None, (f"Checkpoint: {best}{told}", then))), markup=False)


def refuse_options(given: Given, kind: str, instead: Mapping[str, str]) -> None:
    """See that no option was given that a kind of recipe does not know.

    Args:
        given: the options of the command line, None where they were not given.
        kind: of recipe, for messages.
        instead: what to do instead, by the option's name.

    Raises:
        UsageError: one was; says what to do instead. Or there are several folders.
    """
    for option, other in instead.items():
        if given.get(option):
            raise UsageError(f"--{option.replace('_', '-')} is not for a recipe of {kind}.", f"Instead {other}.")
    if len(given.get("data") or ()) > 1:
        raise UsageError(f"A recipe of {kind} takes one --data.", "It is the folder that the recipe's files are in.")


def put_in(values: RecipeTables, given: Given, keys: Collection[str], name: str, *, shipped: bool) -> None:
    """Change a recipe's tables to what was given on the command line.

    Args:
        values: the tables.
        given: the options, None where they were not given.
        keys: of the first table, called as their options.
        name: of the recipe, for messages.
        shipped: it comes with the package, and so with no images.

    Raises:
        UsageError: it needs a folder of images, and none was given.
    """
    for key in keys:
        if given.get(key) is not None:
            values[key] = given[key]
    if given.get("data"):
        values["data"]["root"] = given["data"][0]
    elif shipped and values["data"]["train"]:
        raise UsageError(f"The recipe {name} needs images.", "Give the folder that its files are in: --data FOLDER.")
    if given.get("learning_rate") is not None:
        values["optimizer"]["learning_rate"] = given["learning_rate"]
    if given.get("initial") is not None:
        values["network"]["initial"] = given["initial"]
