"""``train`` and ``distill`` with a recipe of the task "pose"."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError

if TYPE_CHECKING:
    from ..distillation.pose.recipe import PoseRecipe
    from ..distillation.stepping import StepProgress


_LEAST_PART = 8
"""People a process and step: with 16 at 128x96 a core trains 47 people a second, with 32 60."""


def run_pose_training(
    name: str,
    output: Path,
    settings: tuple[str, ...],
    given: Mapping[str, Any],
    *,
    as_json: bool,
    taught: bool,
) -> None:
    """Train, show how it goes, and say where the checkpoint is.

    Args:
        name: of a recipe, or its file.
        output: folder of the run.
        settings: ``key=value`` with dotted keys.
        given: the other options of the command line, None where they were not given.
        as_json: print the result as JSON.
        taught: the recipe must name a teacher.
    """
    import torch

    from ..distillation.pose.run import run_recipe
    from .terminal import Terminal

    recipe = _recipe(name, settings, given)
    if taught and not recipe.distillation.teachers:
        raise UsageError("There is no teacher to distil from.", "Give --teacher, or train without one: trtparse train.")
    # A process needs some people a step to be worth its start; the threads of a large machine are divided among few.
    workers = max(min(torch.get_num_threads(), min(phase.batch for phase in recipe.phases) // _LEAST_PART), 1)
    last: list[StepProgress] = []

    def report(now: StepProgress) -> None:
        last[:] = [now]
        score = "" if now.best is None else f", best PCK@0.2 {100 * now.best:.1f}"
        terminal.progress(now.step, now.steps, f"loss {now.loss:.3f}, {now.images_per_second:.1f} images/s{score}")

    with Terminal(as_json=as_json) as terminal:
        best = run_recipe(recipe, output, workers=workers, on_progress=report, on_stage=terminal.stage)
    score = None if not last else last[0].best
    if as_json:
        step = recipe.steps if not last else last[0].step
        result = {"checkpoint": str(best), "pck": score, "step": step, "steps": recipe.steps}
        terminal.result({**result, "recipe": recipe.to_dict()})
    elif last and last[0].step < recipe.steps:
        terminal.out.print(f"Stopped after step {last[0].step} of {recipe.steps}; the same command goes on.")
    else:
        told = "" if score is None else f"  best PCK@0.2 {100 * score:.2f}"
        terminal.out.print(f"Checkpoint: {best}{told}", markup=False)


def _recipe(name: str, settings: tuple[str, ...], given: Mapping[str, Any]) -> PoseRecipe:
    """The recipe's file, changed by what was given on the command line."""
    from ..distillation.pose.recipe import PoseRecipe, load_pose_recipe, shipped_pose
    from ..distillation.recipe import override, read_recipe

    for option, instead in (
        ("steps", "each of its phases has steps of its own: edit the file"),
        ("batch", "each of its phases has a batch of its own: edit the file"),
        ("input_size", "each of its phases has an input size of its own: edit the file"),
        ("validation", "name it in the file: data.validation, inside of --data"),
        ("student", "take --set network.kind=..., or --initial"),
        ("family", "teachers are checkpoints of pose networks"),
        ("unlabelled", "name a teacher's annotations in the file: data.train.taught"),
    ):
        if given.get(option):
            raise UsageError(f"--{option.replace('_', '-')} is not for a recipe of pose.", f"Instead {instead}.")
    if len(given.get("data") or ()) > 1:
        raise UsageError("A recipe of pose takes one --data.", "It is the folder that the recipe's files are in.")
    path = shipped_pose().get(name, Path(name))
    values = load_pose_recipe(path, read_recipe(path)).to_dict()
    for key in ("seed", "validate_every"):
        if given.get(key) is not None:
            values[key] = given[key]
    if given.get("data"):
        values["data"]["root"] = given["data"][0]
    elif name in shipped_pose() and values["data"]["train"]:
        raise UsageError(f"The recipe {name} needs images.", "Give the folder that its files are in: --data FOLDER.")
    if given.get("learning_rate") is not None:
        values["optimizer"]["learning_rate"] = given["learning_rate"]
    if given.get("initial") is not None:
        values["network"]["initial"] = given["initial"]
    if given.get("teacher") is not None:
        values["distillation"]["teachers"] = [given["teacher"]]
    return PoseRecipe.from_dict(override(values, settings))
