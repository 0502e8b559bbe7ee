"""A film of people who walk along a street, drawn by the computer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ...errors import UsageError
from ...files import check_output_file, partial_path
from ..dataset import Image, LabelMap
from .person import Person, random_person
from .poses import gait
from .renderer import Light, View, sampled
from .scenery import ground_shadow, paste, photograph_film, street_background
from .skeleton import pose_body
from .surface import Floats, floats, rotation, unit

_CYCLE_SECONDS = 1.08  # two steps at an easy pace
_SAMPLES_PER_CYCLE = 48


@dataclass(frozen=True)
class _Walker:
    """Somebody on their way.

    Args:
        person: who.
        direction: +1 to the image's right, -1 to its left.
        scale: pixels per metre.
        ground: row of the soles.
        start: column of the hips in the first frame.
        phase: of the gait in the first frame.
        travel: (_SAMPLES_PER_CYCLE + 1,) metres walked since the cycle began.
        turn: radians by which the face is turned to the camera.
    """

    person: Person
    direction: int
    scale: float
    ground: float
    start: float
    phase: float
    travel: Floats
    turn: float

    def walked(self, cycles: float) -> float:
        """Metres walked after ``cycles`` of the gait, counted from phase 0."""
        whole, rest = divmod(cycles, 1.0)
        within = float(np.interp(rest * _SAMPLES_PER_CYCLE, np.arange(len(self.travel)), self.travel))
        return whole * float(self.travel[-1]) + within


class WalkingFigure:
    """A walking person, and a second one further away, before a street.

    The foot on the ground does not slide: the hips advance as far as the standing leg swings back. Both
    people are labelled.

    Args:
        frames: number of frames.
        size: (height, width) in pixels.
        fps: frames per second.
        seed: chooses people, street and light.

    Example:
        >>> film = WalkingFigure(frames=2, size=(108, 192))
        >>> [image.shape for image, labels in film]
        [(108, 192, 3), (108, 192, 3)]
    """

    def __init__(self, frames: int = 96, size: tuple[int, int] = (432, 768), fps: float = 24.0, seed: int = 0) -> None:
        if frames < 1 or min(size) < 32 or fps <= 0:
            raise ValueError(f"expected frames >= 1, sides >= 32 and fps > 0, got {frames}, {size} and {fps}")
        self.frames, self.size, self.fps, self.seed = frames, size, fps, seed
        rng = np.random.default_rng((seed, 77))
        self._background = street_background(rng, size, round(size[0] * 0.7))
        self._light = Light(unit(floats([0.4, 0.8, 0.7])), floats([0.66, 0.7, 0.74]), floats([0.62, 0.58, 0.56]))
        self._walkers = (self._walker(rng, 0.62, 0.76, -1), self._walker(rng, 0.80, 0.95, 1))

    def __len__(self) -> int:
        return self.frames

    def __iter__(self) -> Iterator[tuple[Image, LabelMap]]:
        """(H, W, 3) uint8 BGR and (H, W) uint8 of each frame, in order."""
        return (self._frame(number) for number in range(self.frames))

    def _walker(self, rng: np.random.Generator, tall: float, ground: float, direction: int) -> _Walker:
        """A person whose body is ``tall`` image heights and who is mid-image in the middle of the film."""
        person = random_person(rng)
        while person.body.age_scale > 1.1:
            person = random_person(rng)
        scale = tall * self.size[0] / person.body.height
        travel = _travel(person)
        phase = float(rng.random())
        middle = 0.5 * self.frames / self.fps / _CYCLE_SECONDS
        walker = _Walker(
            person, direction, scale, ground * self.size[0], 0.0, phase, travel, float(rng.uniform(0, 0.4))
        )
        way = walker.walked(phase + middle) * scale
        start = self.size[1] * float(rng.uniform(0.42, 0.58)) - direction * way
        return _Walker(person, direction, scale, walker.ground, start, phase, travel, walker.turn)

    def _frame(self, number: int) -> tuple[Image, LabelMap]:
        image, labels = self._background.copy(), np.zeros(self.size, np.uint8)
        for walker in self._walkers:
            image, labels = self._draw(walker, number, image, labels)
        return photograph_film(np.random.default_rng((self.seed, number)), image), labels

    def _draw(self, walker: _Walker, number: int, image: Image, labels: LabelMap) -> tuple[Image, LabelMap]:
        cycles = walker.phase + number / self.fps / _CYCLE_SECONDS
        x = walker.start + walker.direction * walker.walked(cycles) * walker.scale
        skeleton, patches = walker.person.patches(gait(cycles % 1.0))
        reach = 0.75 * walker.person.body.height * walker.scale
        left, right = max(round(x - reach), 0), min(round(x + reach), self.size[1])
        if right - left < 2:
            return image, labels
        image = ground_shadow(image, (x, walker.ground), 0.4 * walker.scale, 0.45)
        turn = walker.direction * (np.pi / 2 - walker.turn)
        rotated = np.asarray(rotation("x", 0.04) @ rotation("y", turn), np.float32)
        view = View(rotated, walker.scale, (x - left, walker.ground + skeleton.lowest() * walker.scale), 8.0)
        size = (self.size[0], right - left)
        window = (slice(None), slice(left, right))
        layer = sampled(patches, view, size, self._light, most=260_000)
        image[window], labels[window] = paste(image[window], labels[window], *layer)
        return image, labels

    def write_video(self, path: Path) -> None:
        """Write the frames as an MP4 file (MPEG-4 Part 2), beside ``path`` first and then renamed.

        Raises:
            UsageError: OpenCV cannot write such a file there.
        """
        check_output_file(path)
        partial = partial_path(path)
        fourcc = cv2.VideoWriter.fourcc(*"mp4v")
        writer = cv2.VideoWriter(str(partial), fourcc, self.fps, self.size[::-1])
        try:
            if not writer.isOpened():
                raise UsageError(
                    f"cannot write a video to {path}",
                    "Choose a folder that can be written; if it can, this OpenCV was built without an MPEG-4 encoder.",
                )
            for image, _ in self:
                writer.write(image)
            writer.release()
            os.replace(partial, path)
        finally:
            writer.release()
            partial.unlink(missing_ok=True)


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
