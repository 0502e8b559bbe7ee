"""What ``train`` and ``distill`` share: a recipe from a file and from options, and how a run is shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import UsageError
from .options import Given, labels_option, parse_size
from .people_training import run_people_training
from .pose_training import run_pose_training
from .recipes import task_of
from .stepping import train_and_show

if TYPE_CHECKING:
    from ..distillation.recipe import Recipe
    from ..distillation.tables import RecipeTables

Command = TypeVar("Command", bound=Callable[..., Any])

OTHERS = {"pose": run_pose_training, "people": run_people_training}
"""Task of a recipe to what trains it, where that is not parsing."""


def recipe_options(command: Command) -> Command:
    """A recipe, and an option for every value that is changed often; the others have ``--set``."""
    for option in (
        click.option(
            "--set",
            "settings",
            multiple=True,
            metavar="KEY=VALUE",
            help="Any other value of the recipe, e.g. optimizer.kind=sgd; may be repeated.",
        ),
        click.option("--seed", type=int, help="Of weights, order and augmentation.  [default: 0]"),
        click.option("--validate-every", type=int, help="Steps; the state is saved then.  [default: 200]"),
        click.option("--learning-rate", type=float, help="[default: 0.0012]"),
        click.option("--input-size", type=parse_size, metavar="HxW", help="Height x width.  [default: 256x192]"),
        click.option("--batch", type=int, help="Images per step.  [default: 16]"),
        click.option("--steps", type=int, help="[default: 4000]"),
        click.option("--initial", help="Checkpoint to start from.  [default: random weights]"),
        click.option(
            "--output", type=click.Path(path_type=Path), default=Path("runs/student"), show_default=True, help="Folder."
        ),
        labels_option,
        click.option("--validation", help="Where the val split is.  [default: the first --data]"),
        click.option("--data", multiple=True, help="Labelled images in LIP's layout; may be repeated."),
        click.argument("recipe", required=False),
    ):
        command = option(command)
    return command


def run_training(
    name: str | None,
    output: Path,
    settings: tuple[str, ...],
    given: Given,
    *,
    threads: int,
    as_json: bool,
    needs_teacher: bool = False,
) -> None:
    """Train, show how it goes, and say where the checkpoint is."""
    from ..engines.machine.dependencies import require

    torch = require("torch")
    from ..distillation.run import run_recipe

    if threads:
        torch.set_num_threads(threads)
    other = None if name is None else OTHERS.get(task_of(name))
    if name is not None and other is not None:
        other(name, output, settings, given, as_json=as_json, taught=needs_teacher)
        return
    recipe = _recipe(name, settings, given)
    if needs_teacher and not recipe.distillation.teacher:
        raise UsageError("There is no teacher to distil from.", "Give --teacher, or train without one: trtparse train.")
    data = recipe.data.train[0].path if recipe.data.train else ""
    data += "" if recipe.labels == "lip" else f" --labels {recipe.labels}"
    then = f"Next: trtparse build {output / 'best.safetensors'} --int8 --data {data}"
    train_and_show(
        run_recipe, recipe, output, batch=recipe.batch, figure=("mean_iou", "mIoU"), as_json=as_json, then=then
    )


def _recipe(name: str | None, settings: tuple[str, ...], given: Given) -> Recipe:
    """The recipe's file, changed by what was given on the command line."""
    from ..distillation.recipe import Recipe, load_recipe, shipped
    from ..distillation.tables import override

    path = None if name is None else shipped().get(name, Path(name))
    values = {} if path is None else load_recipe(path).to_dict()
    for key in ("steps", "batch", "input_size", "seed", "validate_every", "labels"):
        if given.get(key) is not None:
            values[key] = given[key]
    for table, key, option in (
        ("optimizer", "learning_rate", "learning_rate"),
        ("network", "initial", "initial"),
        ("data", "validation", "validation"),
        ("distillation", "teacher", "teacher"),
        ("distillation", "family", "family"),
    ):
        if given.get(option) is not None:
            values.setdefault(table, {})[key] = given[option]
    _set_student(values, given.get("student"))
    _set_sources(values, given.get("data") or (), given.get("unlabelled") or ())
    return Recipe.from_dict(override(values, settings))


def _set_student(values: RecipeTables, student: str | None) -> None:
    if student is None:
        return
    from ..networks.network import check_choice
    from ..networks.registry import NETWORKS

    if not Path(student).is_file():
        check_choice("network", student, NETWORKS)
        values.setdefault("network", {})["kind"] = student
        return
    from ..networks.checkpoint import load_checkpoint
    from ..specs.label_set import label_set

    labels = label_set(values["labels"]) if "labels" in values else None
    network = load_checkpoint(Path(student), labels, "the recipe").network
    values["network"] = {"kind": network.kind, "options": network.spec.to_dict(), "initial": student}


def _set_sources(values: RecipeTables, data: tuple[str, ...], unlabelled: tuple[str, ...]) -> None:
    sources = values.setdefault("data", {}).get("train", [])
    if data:
        sources = [source for source in sources if not source.get("labels", True)]
        sources = [{"path": folder} for folder in data] + sources
    sources = list(sources) + [{"path": folder, "labels": False} for folder in unlabelled]
    values["data"]["train"] = sources
