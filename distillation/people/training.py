"""The training of finders: mosaics in, the best checkpoint by F1 on the validation's mosaics out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...networks.checkpoint_file import save_checkpoint
from ...networks.finder import Finder, decode
from ...networks.preprocessing import normalise
from ...specs.framing import Framing
from ...storage.files import check_output_folder
from ...storage.json_types import ReadJson
from ...tasks.people.boxes import Detections
from ...tasks.people.matching import best_threshold
from ...tasks.people.rows import without_doubles
from ..optimising import Precision, training_device
from ..stepping import BEST_NAME, SteppingRun, StepProgress, rounded
from .criterion import Backward
from .loader import PeopleLoader, Supply
from .mosaics import Mosaic
from .pictures import Limit
from .recipe import PeopleRecipe

_VALIDATION_SEED = 1_000_003
"""Of the validation's mosaics; they stay the same whatever the run's seed is."""


@dataclass(frozen=True, eq=False)
class PeopleImages:
    """What a run learns from and is judged on.

    Args:
        training, validation: of pictures that share no image.
    """

    training: Supply
    validation: Supply


def train(
    recipe: PeopleRecipe,
    images: PeopleImages,
    network: Finder,
    output: Path,
    *,
    workers: int = 1,
    on_progress: Callable[[StepProgress], None] | None = None,
) -> Path:
    """Train a finder, or go on with the run that ``output`` holds.

    A termination signal ends the run after its current step, with the state saved.

    Args:
        recipe: every value of the run; its paths are not read here.
        images: what the recipe's ``data`` names.
        network: with the weights to start from.
        output: folder of the run: ``best.safetensors``, ``state.pt``, ``log.jsonl``.
        workers: processes that share a batch and torch's threads; more than 1 on a CPU alone.
        on_progress: called after every step.

    Returns:
        The path of the best checkpoint.

    Raises:
        DataError: an image that cannot be read.
        UsageError: the folder holds a run of another network, or cannot be written.
        TrtparseError: the loss is not a number; the best checkpoint so far is kept.
    """
    check_output_folder(output)
    run = _FinderRun(recipe, images, network, output, workers)
    try:
        run.loop(on_progress)
    finally:
        run.close()
    return output / BEST_NAME


class _FinderRun(SteppingRun[PeopleRecipe, Finder]):
    fixed = ("network", "input_size", "seed", "task")

    def __init__(self, recipe: PeopleRecipe, images: PeopleImages, network: Finder, output: Path, workers: int) -> None:
        self.images = images
        self.mosaics = validation_mosaics(recipe, images.validation)
        precision = Precision(recipe.precision, training_device())
        super().__init__(recipe, network, output, Backward(recipe.loss, precision), precision, workers)

    def read_recipe(self, values: ReadJson) -> PeopleRecipe:
        return PeopleRecipe.from_dict(values)

    def open_batches(self, first: int) -> PeopleLoader:
        return PeopleLoader(self.images.training, self.recipe, first)

    def validate(self, averaged: Finder) -> tuple[float | None, dict[str, object]]:
        found = detections(averaged, [mosaic.frame for mosaic in self.mosaics], self.precision)
        best = best_threshold(
            found, [mosaic.boxes for mosaic in self.mosaics], [mosaic.doubtful for mosaic in self.mosaics]
        )
        told: dict[str, object] = {
            "f1": rounded(best.f1),
            "recall": rounded(best.recall),
            "precision": rounded(best.precision),
            "threshold": rounded(best.threshold),
        }
        return best.f1, told

    def save_best(self, averaged: Finder) -> None:
        framing = Framing(self.recipe.input_size)
        save_checkpoint(averaged, self.output / BEST_NAME, framing, None, origin=self.recipe.origin)


def validation_mosaics(recipe: PeopleRecipe, supply: Supply) -> list[Mosaic]:
    """The mosaics that a run is measured on: the same in every run of these data."""
    limit = Limit()
    return [
        supply.mosaic(recipe.mosaics, recipe.input_size, limit, np.random.default_rng((_VALIDATION_SEED, number)))
        for number in range(recipe.data.mosaics)
    ]


def detections(
    network: Finder, frames: Sequence[np.ndarray[Any, Any]], precision: Precision, batch: int = 16
) -> list[Detections]:
    """Whom a network finds.

    Args:
        network: in evaluation mode.
        frames: (H, W, 3) uint8, BGR, all of one size.
        precision: of the forward pass.
        batch: frames at once.

    Returns:
        For each frame boxes in its pixels, one of each person, the best first.
    """
    device = next(network.parameters()).device
    found: list[Detections] = []
    for start in range(0, len(frames), batch):
        images = torch.from_numpy(np.stack(frames[start : start + batch])).to(device)
        with torch.inference_mode(), precision.autocast():
            answer = network(normalise(images).contiguous(memory_format=torch.channels_last)).float()
        rows = decode(answer, network.spec.people).cpu().numpy()
        found += [without_doubles(one) for one in rows]
    return found
