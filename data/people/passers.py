"""A film of several people on a street, drawn by the computer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..dataset import Image
from .crowd import Stage
from .poses import gait
from .scenery import street_background
from .skeleton import Skeleton
from .surface import Patch, rotation
from .walking import CYCLE_SECONDS, DAYLIGHT, Stride, grown_person

_HORIZON = 0.3  # of the picture's height
_FARTHEST, _NEAREST = 0.4, 0.66  # of it, how high people of 1.70 m are in the middle of the film
_LENS = 4.0  # of it, how many pixels a metre in a metre's distance is: a long lens
_CAMERA = 1.5  # metres above the ground
_CLOSEST = 2.0  # metres: who is nearer has passed, and would be a picture of their own many times over
_SAMPLES = 160_000  # of a person


class Passers:
    """Several people who come towards a camera that stands still, and pass by; whoever is nearer hides the others.

    The street is the same pixels in every frame, so that a film of few colours is a small file.

    Args:
        frames: number of frames.
        size: (height, width) in pixels.
        fps: frames per second.
        people: how many.
        seed: chooses people and street.
    """

    def __init__(
        self, frames: int = 60, size: tuple[int, int] = (360, 640), fps: float = 12.5, people: int = 5, seed: int = 0
    ) -> None:
        if frames < 1 or min(size) < 32 or fps <= 0:
            raise ValueError(f"expected frames >= 1, sides >= 32 and fps > 0, got {frames}, {size} and {fps}")
        self.frames, self.size, self.fps = frames, size, fps
        rng = np.random.default_rng((seed, 78))
        height, width = size
        self._horizon = _HORIZON * height
        self._street = street_background(rng, size, round(self._horizon + 0.06 * height))
        # In the middle of the film everybody has a place of their own across the picture.
        distances = _LENS * 1.7 / np.linspace(_FARTHEST, _NEAREST, people)
        places = rng.permutation(np.linspace(-0.36, 0.36, people)) * width / height / _LENS * distances
        self._walkers = [_Walker(rng, *place, frames / fps / 2) for place in zip(distances, places)]

    def __len__(self) -> int:
        return self.frames

    def __iter__(self) -> Iterator[Image]:
        """(H, W, 3) uint8 BGR of each frame, in order."""
        return (self._frame(number) for number in range(self.frames))

    def _frame(self, number: int) -> Image:
        stage = Stage(self._street.copy())
        height, width = self.size
        there = [(walker, *walker.place(number / self.fps)) for walker in self._walkers]
        for walker, distance, place in sorted(there, key=lambda one: -one[1]):
            if distance < _CLOSEST:
                break
            scale = _LENS * height / distance
            skeleton, patches = walker.patches(number / self.fps)
            feet = (width / 2 + place * scale, self._horizon + _CAMERA * scale)
            stage.add(patches, skeleton.lowest(), walker.turn, scale, feet, DAYLIGHT, most=_SAMPLES)
        return stage.image


class _Walker:
    """One of several people: how they walk, and where.

    Args:
        rng: chooses everything else.
        distance, place: metres from the camera, and to the right of its middle, at ``seconds``.
        seconds: see there.
    """

    def __init__(self, rng: np.random.Generator, distance: float, place: float, seconds: float) -> None:
        self._person = grown_person(rng)
        self._stride = Stride(self._person)
        self._phase, self._rate = float(rng.random()), 1 / (CYCLE_SECONDS * float(rng.uniform(1.0, 1.3)))
        # Somewhat outwards, so that nobody walks into anybody.
        turn = float(np.sign(place) * rng.uniform(0.1, 0.5))
        self._ahead, self._aside = float(np.cos(turn)), float(np.sin(turn))
        self.turn = np.asarray(rotation("x", 0.04) @ rotation("y", turn), np.float32)
        self._distance, self._place, self._seconds = distance, place, seconds

    def _cycles(self, seconds: float) -> float:
        return self._phase + seconds * self._rate

    def place(self, seconds: float) -> tuple[float, float]:
        """Metres from the camera, and to the right of its middle."""
        walked = self._stride.metres(self._cycles(seconds)) - self._stride.metres(self._cycles(self._seconds))
        return self._distance - walked * self._ahead, self._place + walked * self._aside

    def patches(self, seconds: float) -> tuple[Skeleton, list[Patch]]:
        """Joints and surfaces."""
        return self._person.patches(gait(self._cycles(seconds) % 1.0))
