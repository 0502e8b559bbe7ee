"""From a finder's recipe to a checkpoint: open what it names, train."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ...errors import DataError, UsageError
from ...networks.finder import Finder
from ...networks.finder_checkpoint import load_finder
from ...networks.registry import create_finder
from ...tasks.people.found import read_found
from ..stepping import StepProgress
from .loader import Supply
from .mosaics import SURE
from .pictures import Picture, picture, rendered_picture, scenery
from .recipe import PeopleRecipe, PeopleSource
from .training import PeopleImages, train

RENDERED_TRAINING, RENDERED_VALIDATION = 256, 64
"""People drawn where a recipe names no images."""

_TRAINING_SEED, _VALIDATION_SEED = 0, 1
"""Of drawn people, who share nobody."""


def run_recipe(
    recipe: PeopleRecipe,
    output: Path,
    *,
    workers: int = 1,
    on_progress: Callable[[StepProgress], None] | None = None,
    on_stage: Callable[[str], None] | None = None,
) -> Path:
    """Train what a recipe says; the same call again goes on where it was stopped.

    Args:
        recipe: its paths are taken as they are.
        output: folder of the run.
        workers: see :func:`~trtparse.distillation.people.training.train`.
        on_progress: called after every step.
        on_stage: told in a few words what begins.

    Returns:
        The path of the best checkpoint.

    Raises:
        DataError, UsageError: boxes, images, a checkpoint or the output folder are not as the recipe needs them.
        TrtparseError: the loss is not a number.
    """
    tell = on_stage or (lambda _: None)
    tell("Reading the boxes")
    images = open_images(recipe)
    network = _network(recipe)
    tell(f"Training in {output}")
    return train(recipe, images, network, output, workers=workers, on_progress=on_progress)


def open_images(recipe: PeopleRecipe) -> PeopleImages:
    """The pictures of a recipe; where it names none, drawn ones.

    Raises:
        DataError: a file is missing or not as it should be, or shows nobody.
    """
    data, root = recipe.data, Path(recipe.data.root)
    rendered = data.rendered if data.train else data.rendered or RENDERED_TRAINING
    training = _supply(data.train, root, rendered, data.rendered_weight, data.scenery, _TRAINING_SEED)
    drawn = 0 if data.validation else RENDERED_VALIDATION
    validation = _supply(data.validation, root, drawn, 1.0, max(data.scenery // 4, 1), _VALIDATION_SEED)
    return PeopleImages(training, validation)


def _supply(
    sources: Sequence[PeopleSource], root: Path, rendered: int, rendered_weight: float, scenes: int, seed: int
) -> Supply:
    pictures: list[Picture] = []
    often: list[float] = []
    for source in sources:
        found = [picture(one) for one in read_found(root / source.boxes, root / source.images)]
        more = [one for one in found if source.empty or (one.scores >= SURE).any()]
        if not any((one.scores >= SURE).any() for one in more):
            raise DataError(
                f"{root / source.boxes} shows nobody: none of its boxes has a score of {SURE} or more.",
                "Find the people with another detector.",
            )
        pictures += more
        often += [source.weight] * len(more)
    pictures += [rendered_picture(seed, number) for number in range(rendered)]
    often += [rendered_weight] * rendered
    return Supply(pictures, np.asarray(often), [scenery(seed, number) for number in range(scenes)])


def _network(recipe: PeopleRecipe) -> Finder:
    what = recipe.network
    network = create_finder(what.kind, what.options)
    if what.initial:
        initial = load_finder(Path(what.initial)).network
        if initial.spec != network.spec:
            raise UsageError(
                f"network.initial, {what.initial}, is a finder with {initial.spec.to_dict()}; "
                f"the recipe trains one with {network.spec.to_dict()}.",
                "Name a checkpoint of the same network with the same options.",
            )
        network.load_state_dict(initial.state_dict())
    return network
