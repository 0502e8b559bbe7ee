"""People as the images of a calibration or a validation: one sample a person, with the box and the joints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.dataset import Images, Sample, Subset
from ...specs.skeleton import Skeleton
from .people import People


class PersonImages:
    """One sample a person; an image of several people is in several samples.

    Args:
        people: whom.
        file: COCO's file of them, where AP is measured by all that is in it.
        heads: (N,) pixels, how long each person's head is, where PCKh is measured as well.
        told: what a reader has to know of figures of these people, such as why one is missing.
        unboxed: ids of the images in which a detector found nobody, whose boxes these are; None where boxes were given.

    Attributes:
        skeleton: of the joints.
    """

    def __init__(
        self,
        people: People,
        file: Path | None = None,
        heads: NDArray[np.float64] | None = None,
        told: tuple[str, ...] = (),
        unboxed: tuple[int, ...] | None = None,
    ) -> None:
        self.people, self.file, self.heads, self.told, self.unboxed = people, file, heads, told, unboxed
        self.skeleton: Skeleton = people.skeleton
        seen: Counter[str] = Counter()
        names = []
        for person in people.people:
            name = person.image.name
            seen[name] += 1
            names.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
        self._names = tuple(names)

    @property
    def description(self) -> str:
        return self.people.description

    @property
    def names(self) -> Sequence[str]:
        return self._names

    @property
    def labelled(self) -> bool:
        """Whether anybody has a labelled joint: boxes of a detector have none."""
        return any(bool((person.joints[:, 2] > 0).any()) for person in self.people.people)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Sample:
        """The sample at ``index``.

        Raises:
            DataError: the image cannot be read; the message names the file.
            IndexError: ``index`` is past the end.
        """
        person = self.people[index]
        return Sample(self._names[index], person.read(), person.joints, person.box)


def people_of(dataset: Images) -> PersonImages | None:
    """The people that images are of, also through a choice of some; None of images of something else."""
    if isinstance(dataset, Subset):
        whole = people_of(dataset.dataset)
        if whole is None:
            return None
        chosen = People(dataset.description, whole.skeleton, tuple(whole.people[i] for i in dataset.indices))
        heads = None if whole.heads is None else whole.heads[list(dataset.indices)]
        return PersonImages(chosen, whole.file, heads, whole.told, whole.unboxed)
    if isinstance(dataset, PersonImages):
        return dataset
    kept: Any = getattr(dataset, "people", None)
    return PersonImages(kept) if isinstance(kept, People) else None
