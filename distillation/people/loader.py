"""Batches of mosaics for training, put together ahead on one thread.

Every choice is a function of (seed, position), so a run that was killed and resumed sees the mosaics it would have
seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ...data.dataset import Image
from ...data.reading import called_ahead
from .mosaics import Mosaic, Mosaics, Seen, empty_part
from .pictures import Limit, Picture
from .recipe import PeopleRecipe
from .targets import make_targets


@dataclass(frozen=True, eq=False)
class Batch:
    """What one step learns from.

    Args:
        names: of the mosaics, for messages.
        frames: (N, H, W, 3) uint8, BGR.
        heat, boxes, weights, counts: (N, h, w), (N, 4, h, w), (N, h, w) and (N, h, w) float32, as of
            :class:`~trtparse.distillation.people.targets.Targets`.
    """

    names: tuple[str, ...]
    frames: NDArray[np.uint8]
    heat: NDArray[np.float32]
    boxes: NDArray[np.float32]
    weights: NDArray[np.float32]
    counts: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Supply:
    """Where mosaics take their pictures from.

    Args:
        pictures: with people.
        often: (n,) float64: how often each comes against the others.
        scenery: images without anybody; beside them, parts of pictures that show nobody.
    """

    pictures: Sequence[Picture]
    often: NDArray[np.float64]
    scenery: Sequence[Image]

    def mosaic(self, make: Mosaics, size: tuple[int, int], limit: Limit, rng: np.random.Generator) -> Mosaic:
        """A scene of (height, width).

        Raises:
            DataError: a picture cannot be read; the message names the file.
        """
        ends = np.cumsum(self.often)

        def people(rng: np.random.Generator) -> Seen:
            index = int(np.searchsorted(ends, rng.random() * ends[-1], side="right"))
            picture = self.pictures[min(index, len(self.pictures) - 1)]
            return Seen(picture.image(limit), picture.boxes, picture.scores)

        def scenes(rng: np.random.Generator) -> Seen:
            part = empty_part(people(rng)) if rng.random() < 0.75 else None
            if part is not None:
                return part
            image = self.scenery[int(rng.integers(len(self.scenery)))]
            return Seen(image, np.zeros((0, 4)), np.zeros(0))

        return make(size, people, scenes, rng)


class PeopleLoader:
    """Batches in order.

    Args:
        supply: what is shown.
        recipe: batch, input size, mosaics, seed.
        first: step to begin with.
    """

    ahead = 4

    def __init__(self, supply: Supply, recipe: PeopleRecipe, first: int) -> None:
        self._supply, self._recipe, self._limit = supply, recipe, Limit()
        # One thread here and torch's own in the step: OpenCV's pool on top of both only gets in their way.
        cv2.setNumThreads(1)
        self._batches = called_ahead(self._prepare, range(first, recipe.steps), self.ahead, readers=1)

    def next(self) -> Batch:
        """The next step's batch.

        Raises:
            DataError: an image cannot be read; the message names the file.
        """
        return next(self._batches)

    def _prepare(self, step: int) -> Batch:
        recipe = self._recipe
        mosaics = []
        for position in range(step * recipe.batch, (step + 1) * recipe.batch):
            rng = np.random.default_rng((recipe.seed, position))
            mosaics.append(self._supply.mosaic(recipe.mosaics, recipe.input_size, self._limit, rng))
        targets = [make_targets(one.boxes, one.doubtful, recipe.input_size) for one in mosaics]
        return Batch(
            tuple(f"mosaic {step * recipe.batch + number}" for number in range(len(mosaics))),
            np.stack([one.frame for one in mosaics]),
            np.stack([one.heat for one in targets]),
            np.stack([one.boxes for one in targets]),
            np.stack([one.weights for one in targets]),
            np.stack([one.counts for one in targets]),
        )

    def close(self) -> None:
        self._batches.close()
