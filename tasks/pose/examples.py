"""What training knows of a person: where each joint may be, and how much that counts.

Labels and a teacher's answers become one thing here, so that the loss does not ask where they came from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...data.dataset import Box, Image
from ...specs.skeleton import Skeleton
from .metrics import diagonals, has_diagonals
from .people import People, Person

PLACES = 2
"""Per joint: the label's, and the teacher's where the two disagree."""


Reader = Callable[[Person], Callable[[], Image]]
"""Gives what reads a person's image."""


@dataclass(frozen=True, eq=False)
class Example:
    """One person to learn from.

    Args:
        name: for messages.
        read: gives the image, (H, W, 3) uint8, BGR.
        box: around the person.
        places: (K, G, 2) float32 pixels of the image.
        masses: (K, G) float32, in sum 1 for a joint that counts.
        weights: (K,) float32, 0 to 1: how much a joint counts.
    """

    name: str
    read: Callable[[], Image]
    box: Box
    places: NDArray[np.float32]
    masses: NDArray[np.float32]
    weights: NDArray[np.float32]


@dataclass(frozen=True)
class Trust:
    """How labels and a teacher's coordinates are weighed.

    Args:
        score: the teacher's scores between which a joint's weight rises from 0 to 1.
        agreement: shares of joints that a label and the teacher place alike, between which the teacher's say on an
            image's other joints rises from 0 to 1: who misplaces the elbows of a headstand misplaces its ears.
        near: parts of the shoulder-hip diagonal within which the two agree about a joint.
        taught: weight of a joint that the teacher alone places.
        disputed: weight of a joint that both place differently; the target then has a peak at either, the teacher's of
            at most half of the mass.
    """

    score: tuple[float, float] = (0.15, 0.5)
    agreement: tuple[float, float] = (0.25, 0.75)
    near: float = 0.3
    taught: float = 0.8
    disputed: float = 0.7


def labelled_examples(people: People, skeleton: Skeleton, read: Reader) -> list[Example]:
    """Examples of labels alone; joints are matched by name, those the labels lack do not count."""
    return [_example(person, fuse(person, people.skeleton, None, skeleton), read(person)) for person in people.people]


def taught_examples(
    people: Sequence[tuple[Person | None, Person]],
    labels: Skeleton | None,
    skeleton: Skeleton,
    read: Reader,
    trust: Trust = Trust(),
) -> list[Example]:
    """Examples of a teacher's coordinates: label distillation, with labels beside them where there are.

    Args:
        people: each person as labelled, where it is, and as the teacher sees it, with the joints of ``skeleton``.
        labels: skeleton of the labels.
        skeleton: of the examples.
        read: gives the reader of a person's image.
        trust: how the two are weighed.
    """
    return [
        _example(taught, fuse(labelled, labels, taught, skeleton, trust), read(taught)) for labelled, taught in people
    ]


Fused = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


def fuse(
    labelled: Person | None,
    labels: Skeleton | None,
    taught: Person | None,
    skeleton: Skeleton,
    trust: Trust = Trust(),
) -> Fused:
    """Places (K, G, 2), masses (K, G) and weights (K,) of one person.

    Args:
        labelled, labels: joints by hand, and their skeleton.
        taught: joints by a teacher, of ``skeleton``.
        skeleton: of the result.
        trust: how the two are weighed.
    """
    count = len(skeleton)
    places, masses = np.zeros((count, PLACES, 2), np.float32), np.zeros((count, PLACES), np.float32)
    weights = np.zeros(count, np.float32)
    say = np.zeros(count, np.float32)
    if taught is not None:
        share = 1.0 if labelled is None or labelled.agreement is None else _ramp(labelled.agreement, *trust.agreement)
        say = np.where(taught.joints[:, 2] > 0, _ramp(taught.scores, *trust.score) * share, 0).astype(np.float32)
        places[:, 1] = taught.joints[:, :2]
        masses[:, 1] = say > 0
        weights[:] = trust.taught * say
    if labelled is None or labels is None:
        return places, masses, weights
    far = trust.near * _diagonal(labelled, labels)
    for index, joint in enumerate(skeleton.joints):
        if joint not in labels.joints or labelled.joints[labels.joints.index(joint), 2] == 0:
            continue
        places[index, 0] = labelled.joints[labels.joints.index(joint), :2]
        masses[index], weights[index] = (1, 0), 1
        if say[index] > 0 and np.linalg.norm(places[index, 0] - places[index, 1]) > far:
            masses[index] = (1 - 0.5 * say[index], 0.5 * say[index])
            weights[index] = trust.disputed
    return places, masses, weights


def _diagonal(person: Person, skeleton: Skeleton) -> float:
    """The shoulder-hip diagonal; where it is not labelled, a third of the box's longer side, which it usually is."""
    length = float(diagonals(person.joints[None], skeleton)[0]) if has_diagonals(skeleton) else np.nan
    return length if np.isfinite(length) else max(person.box[2:]) / 3


def _example(person: Person, fused: Fused, read: Callable[[], Image]) -> Example:
    return Example(str(person.image), read, person.box, *fused)


def _ramp(value: NDArray[np.float32] | float, low: float, high: float) -> NDArray[np.float32]:
    return np.asarray(np.clip((np.asarray(value, np.float32) - low) / (high - low), 0, 1), np.float32)
