"""The training loop of pose networks: people in, the best checkpoint by validation PCK out.

``state.pt`` holds all that a resumed run needs; ``best.safetensors`` is the product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...data.crops import RULES
from ...networks.checkpoint_file import save_checkpoint
from ...networks.pose import PoseNetwork
from ...specs.framing import Framing
from ...specs.skeleton import Skeleton
from ...storage.files import check_output_folder
from ...storage.json_types import ReadJson
from ...tasks.pose.examples import Example
from ...tasks.pose.metrics import Pck, pck
from ...tasks.pose.people import People
from ..optimising import Precision, training_device
from ..stepping import BEST_NAME, SteppingRun, StepProgress, rounded
from .criterion import Backward
from .inference import answers
from .loader import Album, PoseLoader
from .recipe import PoseRecipe


@dataclass(frozen=True, eq=False)
class PoseImages:
    """What a run learns from and is judged on.

    Args:
        examples: people to learn from.
        often: (n,) float64: how often each comes against the others.
        validation: labelled people; the checkpoint that is best on them is kept.
    """

    examples: Sequence[Example]
    often: NDArray[np.float64]
    validation: People


def train(
    recipe: PoseRecipe,
    images: PoseImages,
    network: PoseNetwork,
    output: Path,
    *,
    skeleton: Skeleton,
    teachers: Sequence[PoseNetwork] = (),
    workers: int = 1,
    on_progress: Callable[[StepProgress], None] | None = None,
) -> Path:
    """Train a network, or go on with the run that ``output`` holds.

    A termination signal ends the run after its current step, with the state saved.

    Args:
        recipe: every value of the run; its paths are not read here.
        images: what the recipe's ``data`` names.
        network: with the weights to start from.
        output: folder of the run: ``best.safetensors``, ``state.pt``, ``log.jsonl``.
        skeleton: of the network's joints.
        teachers: what ``recipe.distillation.teachers`` names.
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
    run = _PoseRun(recipe, images, network, output, skeleton, teachers, workers)
    try:
        run.loop(on_progress)
    finally:
        run.close()
    return output / BEST_NAME


class _PoseRun(SteppingRun[PoseRecipe, PoseNetwork]):
    fixed = ("network", "skeleton", "crop", "seed", "task")

    def __init__(
        self,
        recipe: PoseRecipe,
        images: PoseImages,
        network: PoseNetwork,
        output: Path,
        skeleton: Skeleton,
        teachers: Sequence[PoseNetwork],
        workers: int,
    ) -> None:
        self.images, self.skeleton, self.album = images, skeleton, Album()
        precision = Precision(recipe.precision, training_device())
        taught = [teacher.to(precision.device).eval() for teacher in teachers]
        super().__init__(recipe, network, output, Backward(recipe, taught, precision), precision, workers)

    def read_recipe(self, values: ReadJson) -> PoseRecipe:
        return PoseRecipe.from_dict(values)

    def open_batches(self, first: int) -> PoseLoader:
        images, recipe = self.images, self.recipe
        return PoseLoader(images.examples, images.often, recipe, self.skeleton, RULES[recipe.crop], first)

    def validate(self, averaged: PoseNetwork) -> tuple[float | None, dict[str, object]]:
        phase, _ = self.recipe.at(self.step - 1)
        decoding, people, framing = self.recipe.decoding, self.images.validation, self._framing()
        plain, flipped = (
            self._score(answers(averaged, people, self.album, framing, decoding, self.precision, flip=flip))
            for flip in (None, self.skeleton)
        )
        told: dict[str, object] = {
            "input_size": list(phase.input_size),
            "pck": rounded(plain.value),
            "pck_flip": rounded(flipped.value),
            "joints": {name: rounded(value) for name, value in flipped.joints.items()},
        }
        return plain.value, told

    def _framing(self) -> Framing:
        phase, _ = self.recipe.at(self.step - 1)
        return Framing(phase.input_size, crop=RULES[self.recipe.crop])

    def save_best(self, averaged: PoseNetwork) -> None:
        save_checkpoint(
            averaged,
            self.output / BEST_NAME,
            self._framing(),
            self.skeleton,
            decoding=self.recipe.decoding,
            origin=self.recipe.origin,
        )

    def _score(self, found: NDArray[np.float32]) -> Pck:
        people = self.images.validation
        return pck(people.joints(), found, people.skeleton, self.skeleton)
