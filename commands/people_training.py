"""``train`` with a recipe of the task "people"."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from .options import Given
from .stepping import put_in, refuse_options, train_and_show

if TYPE_CHECKING:
    from ..distillation.people.recipe import PeopleRecipe

_INSTEAD = {
    "validation": "name it in the file: data.validation, inside of --data",
    "student": "take --set network.options=..., or --initial",
    "labels": "a finder tells people from everything else",
    "unlabelled": "let a detector find the people first: trtparse find",
}


def run_people_training(
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
        taught: a teacher is wanted, which a finder has only beforehand.
    """
    from ..distillation.people.run import run_recipe

    if taught:
        raise UsageError(
            "A finder's teacher draws boxes before the training: trtparse find.", "Then: trtparse train RECIPE."
        )
    recipe = _recipe(name, settings, given)
    train_and_show(run_recipe, recipe, output, batch=recipe.batch, figure=("f1", "F1"), as_json=as_json)


def _recipe(name: str, settings: tuple[str, ...], given: Given) -> PeopleRecipe:
    """The recipe's file, changed by what was given on the command line."""
    from ..distillation.people.recipe import PeopleRecipe, load_people_recipe, shipped_people
    from ..distillation.recipe import read_recipe
    from ..distillation.tables import override

    refuse_options(given, "people", _INSTEAD)
    path = shipped_people().get(name, Path(name))
    values = load_people_recipe(path, read_recipe(path)).to_dict()
    keys = ("steps", "batch", "input_size", "seed", "validate_every")
    put_in(values, given, keys, name, shipped=name in shipped_people())
    return PeopleRecipe.from_dict(override(values, settings))
