"""Batches of people for training, prepared ahead on one thread.

Every choice is a function of (seed, position), so a run that was killed and resumed sees the people it would have
seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ...data.dataset import Image
from ...data.reading import called_ahead
from ...specs.framing import CropRule
from ...specs.skeleton import Skeleton
from ...tasks.pose.augmentation import PoseAugmentation
from ...tasks.pose.examples import Example
from ...tasks.pose.people import Person
from ..loader import Order
from .recipe import PoseRecipe


@dataclass(frozen=True, eq=False)
class Batch:
    """What one step learns from.

    Args:
        names: of the images, for messages.
        frames: (N, H, W, 3) uint8, BGR.
        places: (N, K, G, 2) float32 pixels of the frames.
        masses: (N, K, G) float32.
        weights: (N, K) float32.
    """

    names: tuple[str, ...]
    frames: NDArray[np.uint8]
    places: NDArray[np.float32]
    masses: NDArray[np.float32]
    weights: NDArray[np.float32]


class Album:
    """Images as a training run reads them: decoded once, then kept in memory, up to a limit.

    Args:
        limit: bytes; what comes after it is decoded every time.
    """

    def __init__(self, limit: int = 3 << 30) -> None:
        self._kept: dict[Path, Image] = {}
        self._left = limit

    def reader(self, person: Person) -> Callable[[], Image]:
        """What reads a person's image."""
        return lambda: self.read(person)

    def read(self, person: Person) -> Image:
        """A person's image; not to be changed."""
        kept = self._kept.get(person.image)
        if kept is not None:
            return kept
        image = person.read()
        if image.nbytes <= self._left:
            self._left -= image.nbytes
            self._kept[person.image] = image
        return image


class PoseLoader:
    """Batches in order.

    Args:
        examples: people to learn from.
        often: (n,) float64: how often each comes against the others.
        recipe: phases, augmentation, seed.
        skeleton: of the examples.
        rule: the crop that inference takes.
        first: step to begin with.
    """

    ahead = 4

    def __init__(
        self,
        examples: Sequence[Example],
        often: NDArray[np.float64],
        recipe: PoseRecipe,
        skeleton: Skeleton,
        rule: CropRule,
        first: int,
    ) -> None:
        self._examples, self._recipe, self._skeleton, self._rule = examples, recipe, skeleton, rule
        self._augment: PoseAugmentation = recipe.augmentation
        self._order = Order(often, recipe.seed)
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
        phase, shown = self._recipe.at(step)
        names, samples = [], []
        for position in range(shown, shown + phase.batch):
            example = self._examples[self._order[position]]
            rng = np.random.default_rng((self._recipe.seed, position))
            samples.append(self._augment(example, self._skeleton, phase.input_size, self._rule, rng))
            names.append(example.name)
        return Batch(
            tuple(names),
            np.stack([sample.frame for sample in samples]),
            np.stack([sample.places for sample in samples]),
            np.stack([sample.masses for sample in samples]),
            np.stack([sample.weights for sample in samples]),
        )

    def close(self) -> None:
        self._batches.close()
