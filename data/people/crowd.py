"""Several people in one scene, near and far, with the boxes of what is seen of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..dataset import Image, LabelMap
from ..synthetic import random_light, random_view
from .person import random_posed_person
from .renderer import Light, View, sampled
from .scenery import ground_shadow, paste, photograph, random_background
from .surface import Floats, Patch

SIZE = (288, 480)
"""Height and width of a scene in pixels."""

MOST_PEOPLE = 7

_LEAST_SEEN = 0.4
"""Part of somebody that has to be seen for their box to be asked for."""

_HARDLY_SEEN = 0.05
"""Below it they are not there at all."""

_MOST_SAMPLES = 40_000


@dataclass(frozen=True)
class CrowdScene:
    """A scene with people.

    Args:
        image: (H, W, 3) uint8, BGR.
        boxes: (n, 4) float64: left, top, right, bottom around what is seen of each, in pixels.
        hidden: (m, 4) float64: of those of whom little is seen.
    """

    image: Image
    boxes: NDArray[np.float64]
    hidden: NDArray[np.float64]


@dataclass
class Stage:
    """A picture that people are put into, the farthest first.

    Args:
        image: what is behind them, (H, W, 3) uint8, BGR.

    Attributes:
        labels: (H, W) uint8, LIP's classes.
        owners: (H, W) uint8: the number of whom each pixel shows, from 1; 0 for nobody.
        whole: of each of them how many pixels there would be if nothing stood before them or cut them.
    """

    image: Image
    labels: LabelMap = field(init=False)
    owners: NDArray[np.uint8] = field(init=False)
    whole: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.labels = np.zeros(self.image.shape[:2], np.uint8)
        self.owners = np.zeros(self.image.shape[:2], np.uint8)

    def add(
        self,
        patches: Sequence[Patch],
        lowest: float,
        turn: Floats,
        scale: float,
        feet: tuple[float, float],
        light: Light,
        most: int = _MOST_SAMPLES,
    ) -> None:
        """Put somebody before everybody who is there.

        Args:
            patches: of the person.
            lowest: metres of their lowest point above their origin.
            turn: (3, 3) float32, the camera's rotation.
            scale: pixels a metre.
            feet: (x, y) in pixels.
            light: on them.
            most: samples that are rendered of them.
        """
        view = View(turn, scale, (feet[0], feet[1] + lowest * scale))
        flat = view.project(np.concatenate([patch.points.reshape(-1, 3) for patch in patches]))[:, :2]
        left, top = (int(value) - 2 for value in flat.min(0))
        right, bottom = (int(value) + 3 for value in flat.max(0))
        moved = View(turn, scale, (view.origin[0] - left, view.origin[1] - top))
        size = (bottom - top, right - left)
        colours, opacity, labels = sampled(patches, moved, size, light, min(4 * size[0] * size[1], most))
        self.whole.append(int((labels > 0).sum()))
        self.image = ground_shadow(self.image, feet, 0.28 * scale, 0.4)
        height, width = self.image.shape[:2]
        y0, y1, x0, x1 = max(top, 0), min(bottom, height), max(left, 0), min(right, width)
        if y0 >= y1 or x0 >= x1:
            return
        seen, part = (slice(y0, y1), slice(x0, x1)), (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
        pasted = paste(self.image[seen], self.labels[seen], colours[part], opacity[part], labels[part])
        self.image[seen], self.labels[seen] = pasted
        self.owners[seen][labels[part] > 0] = len(self.whole)

    def boxes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(n, 4) around what is seen of people, and (m, 4) around those of whom little is."""
        seen: list[list[float]] = []
        hidden: list[list[float]] = []
        for number, whole in enumerate(self.whole, 1):
            mask = self.owners == number
            share = mask.sum() / max(whole, 1)
            if share < _HARDLY_SEEN:
                continue
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            box = [float(value) for value in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)]
            (seen if share >= _LEAST_SEEN else hidden).append(box)
        return np.array(seen, np.float64).reshape(-1, 4), np.array(hidden, np.float64).reshape(-1, 4)


def draw_crowd(rng: np.random.Generator, size: tuple[int, int] = SIZE) -> CrowdScene:
    """A street, a room or a meadow with nobody to seven people on one ground.

    Args:
        rng: all of it comes from here.
        size: (height, width).
    """
    height, width = size
    horizon = float(rng.uniform(0.1, 0.55)) * height
    stage = Stage(random_background(rng, size, round(horizon + 0.06 * height)))
    light = random_light(rng)
    count = int(rng.integers(0, MOST_PEOPLE + 1))
    # A camera at the height of a person's chest, or above: feet farther down are nearer.
    camera = float(rng.uniform(1.2, 3.0))
    tall = np.exp(rng.uniform(np.log(0.09), np.log(0.95), count)) * height
    for pixels in np.sort(tall):
        person, pose = random_posed_person(rng)
        skeleton, patches = person.patches(pose)
        scale = float(pixels) / 1.7
        feet = (float(rng.uniform(-0.03, 1.03)) * width, min(horizon + camera * scale, 1.35 * height))
        stage.add(patches, skeleton.lowest(), random_view(rng), scale, feet, light)
    boxes, hidden = stage.boxes()
    return CrowdScene(photograph(rng, stage.image), boxes, hidden)
