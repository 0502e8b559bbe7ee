"""Which images calibrate: a seeded choice that covers the classes where labels exist."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..data.dataset import Dataset
from ..errors import DataError
from ..labels import NUM_CLASSES

PER_CLASS = 8
"""Images that each class is looked for in; fewer only where the dataset has no more."""

LOOKED_AT = 4
"""Label maps read, as a multiple of the images wanted: LIP's 30,462 need not all be opened."""


@dataclass(frozen=True)
class Selection:
    """The chosen images.

    Args:
        indices: into the dataset, in the order of use.
        classes: class id to the number of chosen images it occurs in; empty without labels.
        seed: of the choice.
    """

    indices: tuple[int, ...]
    classes: dict[int, int]
    seed: int


def select(
    dataset: Dataset, count: int, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> Selection:
    """Choose ``count`` images, or all where there are fewer.

    With labels, images of classes that are still short come first: every class once, rarest class first, then
    every class twice, and so on; the rest is random.
    A label map that cannot be read gives no classes; reading the image is where it is reported.
    """
    order = [int(index) for index in np.random.default_rng((seed, 7)).permutation(len(dataset))]
    if not dataset.labelled:
        return Selection(tuple(order[:count]), {}, seed)
    pool = order[: max(count * LOOKED_AT, 400)]
    present: dict[int, frozenset[int]] = {}
    for done, index in enumerate(pool, 1):
        present[index] = _classes(dataset, index)
        if progress is not None:
            progress(done, len(pool))
    frequency = Counter(label for labels in present.values() for label in labels)
    chosen: dict[int, None] = {}
    covered: Counter[int] = Counter()
    rarest_first = sorted(frequency, key=lambda label: (frequency[label], label))
    for wanted, label in itertools.product(range(1, PER_CLASS + 1), rarest_first):
        for index in pool:
            if covered[label] >= wanted or len(chosen) >= count:
                break
            if label in present[index] and index not in chosen:
                chosen[index] = None
                covered.update(present[index])
    for index in pool:
        if len(chosen) >= count:
            break
        if index not in chosen:
            chosen[index] = None
            covered.update(present[index])
    return Selection(tuple(chosen), {label: covered[label] for label in sorted(covered)}, seed)


def _classes(dataset: Dataset, index: int) -> frozenset[int]:
    try:
        values = np.unique(dataset.labels(index))
    except DataError:
        return frozenset()
    return frozenset(int(value) for value in values if value < NUM_CLASSES)
