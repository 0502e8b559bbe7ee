"""People drawn by the computer, with their joints: data that comes along and needs no download.

Every person is made from a seed and a number. The joints are the renderer's own, so they are exact; they are COCO's 17.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from ...data.dataset import Image
from ...data.synthetic import JOINTS, random_scene
from ...specs.skeleton import load_skeleton
from .oks import AREA_OF_BOX
from .people import People, Person

TRAINING_SEED, VALIDATION_SEED = 0, 1
"""Of the two halves, which share nobody."""


def rendered_people(count: int, seed: int = VALIDATION_SEED) -> People:
    """Drawn people; their images are drawn when they are read.

    A joint beyond the image is not labelled. One that something stands before is labelled as if it were seen: the
    renderer knows where it is.

    Args:
        count: people, 1 or more.
        seed: not negative; different seeds share nobody.
    """
    skeleton = load_skeleton("coco17")
    assert skeleton.joints == JOINTS
    people = tuple(_person(seed, number) for number in range(count))
    return People(f"{count} rendered people, seed {seed}", skeleton, people)


def _person(seed: int, number: int) -> Person:
    scene = random_scene(np.random.default_rng((seed, number)))
    height, width = scene.framing.size
    points = scene.joints()
    inside = ((points > -0.5) & (points < (width - 0.5, height - 0.5))).all(1)
    joints = np.zeros((len(points), 3), np.float32)
    joints[inside, :2], joints[inside, 2] = points[inside], 2
    box = scene.box()
    scores = np.ones(len(points), np.float32)
    # The name is for messages and for results; there is no such file.
    name = Path(f"rendered_{seed}_{number:06d}.png")
    area = AREA_OF_BOX * box[2] * box[3]
    return Person(name, number, number, box, joints, scores, area, draw=partial(_draw, seed, number))


def _draw(seed: int, number: int) -> Image:
    rng = np.random.default_rng((seed, number))
    return random_scene(rng).draw(rng)[0]
