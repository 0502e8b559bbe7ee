"""A film of a person who walks along a street, drawn by the computer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..dataset import Image, LabelMap
from .person import Person, random_person
from .poses import gait
from .renderer import Light, View, sampled
from .scenery import ground_shadow, paste, photograph_film, street_background
from .skeleton import pose_body
from .surface import Floats, floats, rotation, unit

CYCLE_SECONDS = 1.08  # two steps at an easy pace
_SAMPLES_PER_CYCLE = 48
DAYLIGHT = Light(unit(floats([0.4, 0.8, 0.7])), floats([0.66, 0.7, 0.74]), floats([0.62, 0.58, 0.56]))


class WalkingFigure:
    """A person who walks along a street, and a camera that keeps beside them.

    The person fills the frame as in LIP's crops. The foot on the ground does not slide: the hips advance as far
    as the standing leg swings back, and the street passes by as much.

    Args:
        frames: number of frames.
        size: (height, width) in pixels.
        fps: frames per second.
        seed: chooses person, street and light.

    Example:
        >>> film = WalkingFigure(frames=2, size=(108, 80))
        >>> [image.shape for image, labels in film]
        [(108, 80, 3), (108, 80, 3)]
    """

    def __init__(self, frames: int = 96, size: tuple[int, int] = (512, 384), fps: float = 24.0, seed: int = 0) -> None:
        if frames < 1 or min(size) < 32 or fps <= 0:
            raise ValueError(f"expected frames >= 1, sides >= 32 and fps > 0, got {frames}, {size} and {fps}")
        self.frames, self.size, self.fps, self.seed = frames, size, fps, seed
        rng = np.random.default_rng((seed, 77))
        self._person = grown_person(rng)
        self._scale = 0.84 * size[0] / self._person.body.height
        self._ground = 0.94 * size[0]
        self._phase = float(rng.random())
        self._turn = float(rng.uniform(0.2, 0.5))
        self._stride = Stride(self._person)
        # The whole street that the camera passes.
        width = size[1] + int(np.ceil(self._way(frames - 1))) + 1
        self._street = street_background(rng, (size[0], width), round(size[0] * 0.7))

    def __len__(self) -> int:
        return self.frames

    def __iter__(self) -> Iterator[tuple[Image, LabelMap]]:
        """(H, W, 3) uint8 BGR and (H, W) uint8 of each frame, in order."""
        return (self._frame(number) for number in range(self.frames))

    def _way(self, number: int) -> float:
        """Pixels that the hips have moved to the right by a frame."""
        start, now = (self._stride.metres(self._cycles(at)) for at in (0, number))
        return (now - start) * float(np.cos(self._turn)) * self._scale

    def _cycles(self, number: int) -> float:
        return self._phase + number / self.fps / CYCLE_SECONDS

    def _frame(self, number: int) -> tuple[Image, LabelMap]:
        way = self._way(number)
        left = int(way)
        image = self._street[:, left : left + self.size[1]].copy()
        x = self.size[1] / 2 + way - left
        image = ground_shadow(image, (x, self._ground), 0.4 * self._scale, 0.45)
        skeleton, patches = self._person.patches(gait(self._cycles(number) % 1.0))
        rotated = np.asarray(rotation("x", 0.04) @ rotation("y", np.pi / 2 - self._turn), np.float32)
        view = View(rotated, self._scale, (x, self._ground + skeleton.lowest() * self._scale), 8.0)
        layer = sampled(patches, view, self.size, DAYLIGHT, most=260_000)
        image, labels = paste(image, np.zeros(self.size, np.uint8), *layer)
        return photograph_film(np.random.default_rng((self.seed, number)), image), labels


def grown_person(rng: np.random.Generator) -> Person:
    """Anybody who is no child, whose stride the gait does not fit."""
    person = random_person(rng)
    while person.body.age_scale > 1.1:
        person = random_person(rng)
    return person


class Stride:
    """How far somebody comes, so that the foot on the ground does not slide."""

    def __init__(self, person: Person) -> None:
        self._travel = _travel(person)

    def metres(self, cycles: float) -> float:
        """Metres walked after ``cycles`` of the gait, counted from phase 0."""
        whole, rest = divmod(cycles, 1.0)
        within = float(np.interp(rest * _SAMPLES_PER_CYCLE, np.arange(len(self._travel)), self._travel))
        return whole * float(self._travel[-1]) + within


def _travel(person: Person) -> Floats:
    """(_SAMPLES_PER_CYCLE + 1,) metres that the hips advance over one cycle of the gait."""
    ankles = np.stack(
        [
            [leg.joints[2] for leg in pose_body(person.body, gait(k / _SAMPLES_PER_CYCLE)).legs]
            for k in range(_SAMPLES_PER_CYCLE + 1)
        ]
    )
    standing = ankles[:-1, :, 1].argmin(axis=1)
    back = -np.diff(ankles[..., 2], axis=0)[np.arange(_SAMPLES_PER_CYCLE), standing]
    return np.concatenate([[0.0], np.cumsum(np.maximum(back, 0))]).astype(np.float32)
