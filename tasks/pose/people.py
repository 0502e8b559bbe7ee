"""People with their joints: the values that readers give and training takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...data.dataset import Box, Image
from ...data.images import read_image
from ...specs.skeleton import Skeleton


@dataclass(frozen=True, eq=False)
class Person:
    """One person in one image.

    Args:
        image: the file.
        image_id: as the annotations number it.
        number: of the annotation; -1 for a detection.
        box: around the person.
        joints: (K, 3) float32: x and y in pixels of the image, and COCO's visibility: 0 not labelled, 1 hidden, 2 seen.
            A detection has none labelled.
        scores: (K,) float32, 0 to 1: how sure who placed the joints was; 1 where the file does not say.
        area: of the person in square pixels, as COCO's metric needs it; 0 where the file does not say.
        score: of the box.
        agreement: share of the joints that another annotator placed alike, where the file says.
        draw: makes the image where it is no file.
    """

    image: Path
    image_id: int
    number: int
    box: Box
    joints: NDArray[np.float32]
    scores: NDArray[np.float32]
    area: float = 0.0
    score: float = 1.0
    agreement: float | None = None
    draw: Callable[[], Image] | None = None

    def read(self) -> Image:
        """The image, (H, W, 3) uint8, BGR.

        Raises:
            DataError: the file is missing or cannot be read.
        """
        return read_image(self.image) if self.draw is None else self.draw()


@dataclass(frozen=True, eq=False)
class People:
    """People of one skeleton.

    Args:
        description: one line for reports.
        skeleton: of their joints.
        people: in the order of the file.
    """

    description: str
    skeleton: Skeleton
    people: tuple[Person, ...]

    def __len__(self) -> int:
        return len(self.people)

    def __getitem__(self, index: int) -> Person:
        return self.people[index]

    def joints(self) -> NDArray[np.float32]:
        """(N, K, 3) float32 of all people."""
        return stacked(self.people, len(self.skeleton))


def stacked(people: Sequence[Person], joints: int) -> NDArray[np.float32]:
    """(N, K, 3) float32, also for nobody."""
    return np.stack([person.joints for person in people]) if people else np.zeros((0, joints, 3), np.float32)
