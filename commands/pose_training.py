"""``train`` and ``distill`` with a recipe of the task "pose"."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from .options import Given
from .stepping import put_in, refuse_options, train_and_show

if TYPE_CHECKING:
    from ..distillation.pose.recipe import PoseRecipe

_INSTEAD = {
    "steps": "each of its phases has steps of its own: edit the file",
    "batch": "each of its phases has a batch of its own: edit the file",
    "input_size": "each of its phases has an input size of its own: edit the file",
    "validation": "name it in the file: data.validation, inside of --data",
    "student": "take --set network.kind=..., or --initial",
    "family": "teachers are checkpoints of pose networks",
    "unlabelled": "name a teacher's annotations in the file: data.train.taught",
}


def run_pose_training(
    name: str,
    output: Path,
    settings: tuple[str, ...],
    given: Given,
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
    from ..distillation.pose.run import run_recipe

    recipe = _recipe(name, settings, given)
    if taught and not recipe.distillation.teachers:
        raise UsageError("There is no teacher to distil from.", "Give --teacher, or train without one: trtparse train.")
    batch = min(phase.batch for phase in recipe.phases)
    train_and_show(run_recipe, recipe, output, batch=batch, figure=("pck", "PCK@0.2"), as_json=as_json)


def _recipe(name: str, settings: tuple[str, ...], given: Given) -> PoseRecipe:
    """The recipe's file, changed by what was given on the command line."""
    from ..distillation.pose.recipe import PoseRecipe, load_pose_recipe, shipped_pose
    from ..distillation.recipe import read_recipe
    from ..distillation.tables import override

    refuse_options(given, "pose", _INSTEAD)
    path = shipped_pose().get(name, Path(name))
    values = load_pose_recipe(path, read_recipe(path)).to_dict()
    put_in(values, given, ("seed", "validate_every"), name, shipped=name in shipped_pose())
    if given.get("teacher") is not None:
        values["distillation"]["teachers"] = [given["teacher"]]
    return PoseRecipe.from_dict(override(values, settings))
