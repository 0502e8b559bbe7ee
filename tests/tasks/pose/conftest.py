from __future__ import annotations

import numpy as np
import pytest

from trtparse.specs.skeleton import Skeleton
from trtparse.tasks.pose.people import People, Person
from trtparse.tasks.pose.rendered import rendered_people


@pytest.fixture(scope="session")
def drawn() -> People:
    """Four rendered people whose images are drawn once, at a third of the size."""
    people = rendered_people(4, seed=5)
    return People(people.description, people.skeleton, tuple(_small(person) for person in people.people))


def _small(person: Person) -> Person:
    image = np.ascontiguousarray(person.read()[1::3, 1::3])
    joints = person.joints.copy()
    joints[:, :2] = (joints[:, :2] - 1) / 3
    left, top, width, height = (value / 3 for value in person.box)
    box = (left, top, width, height)
    return Person(person.image, person.image_id, person.number, box, joints, person.scores, draw=lambda: image)


@pytest.fixture
def stick() -> Skeleton:
    """Three joints: a head between two hands."""
    colours = ((255, 255, 255), (255, 0, 0), (0, 0, 255))
    limbs = (("head", "left_hand"), ("head", "right_hand"))
    return Skeleton(
        "stick", ("head", "left_hand", "right_hand"), (("left_hand", "right_hand"),), limbs, colours, (0.1, 0.05, 0.05)
    )
