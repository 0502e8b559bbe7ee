"""The contract between whoever has images and whoever needs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..specs.label_set import LabelSet

Image = NDArray[np.uint8]
"""(H, W, 3) uint8, BGR, as OpenCV reads it."""

LabelMap = NDArray[np.uint8]
"""(H, W) uint8, ids of a label set; :data:`IGNORE_LABEL` counts nowhere."""

Box = tuple[float, float, float, float]
"""Left, top, width and height in pixels of the image."""

IGNORE_LABEL = 255
"""Pixels with this label count nowhere, neither in a loss nor in a metric, whatever their label set."""


@dataclass(frozen=True)
class Sample:
    """One image and what is known of it.

    Args:
        name: of the sample, unique in its dataset; an image of several people may be in several samples.
        image: (H, W, 3) uint8, BGR.
        labels: a task's own array, in the image's pixels, such as a label map (H, W) or joints (K, 3); None where
            nobody labelled it.
        box: around the person whom the sample is about, for networks that see one at a time; None for the whole image.
    """

    name: str
    image: Image
    labels: NDArray[Any] | None
    box: Box | None = None


class Images(Protocol):
    """Images by index, read when asked for: nothing is kept in memory.

    ``description`` says in one line what the images are ("LIP val, 50 images, lip/").
    ``names`` are unique and in a fixed order. ``labelled`` tells whether every sample has labels.
    """

    @property
    def description(self) -> str: ...

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def labelled(self) -> bool: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample:
        """The sample at ``index``.

        Raises:
            DataError: the image or its labels cannot be read; the message names the file.
            IndexError: ``index`` is past the end.
        """
        ...


class Dataset(Images, Protocol):
    """Images with label maps, or without. ``label_set`` is what the ids in them mean; without them it says nothing."""

    @property
    def label_set(self) -> LabelSet: ...

    def labels(self, index: int) -> LabelMap:
        """The label map at ``index`` alone, without decoding the image.

        Raises:
            DataError: there is no label map, or it cannot be read.
        """
        ...


@dataclass(frozen=True)
class Subset:
    """Some images of a dataset, in the order of ``indices``."""

    dataset: Images
    indices: tuple[int, ...]

    @property
    def description(self) -> str:
        some = "" if len(self.indices) == len(self.dataset) else f", {len(self.indices)} of them"
        return f"{self.dataset.description}{some}"

    @property
    def names(self) -> Sequence[str]:
        return [self.dataset.names[index] for index in self.indices]

    @property
    def labelled(self) -> bool:
        return self.dataset.labelled

    @property
    def label_set(self) -> LabelSet:
        found: LabelSet = self._known("label_set")
        return found

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.dataset[self.indices[index]]

    def labels(self, index: int) -> LabelMap:
        found: LabelMap = self._known("labels")(self.indices[index])
        return found

    def _known(self, name: str) -> Any:
        """What datasets of label maps know; of others it is an AttributeError, as there."""
        return getattr(self.dataset, name)


def label_set_of(dataset: Images) -> LabelSet | None:
    """What the label maps of images mean; None of images without labels, or with other labels than label maps."""
    return getattr(dataset, "label_set", None) if dataset.labelled else None


@dataclass(frozen=True)
class WithoutLabels:
    """The images of a dataset alone, where its label maps are of another set than the one that is asked for."""

    dataset: Dataset
    label_set: LabelSet

    @property
    def description(self) -> str:
        return f"{self.dataset.description}, without their labels"

    @property
    def names(self) -> Sequence[str]:
        return self.dataset.names

    @property
    def labelled(self) -> bool:
        return False

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        return replace(self.dataset[index], labels=None)

    def labels(self, index: int) -> LabelMap:
        """Never there.

        Raises:
            DataError: always.
        """
        raise DataError(
            f"The label maps of {self.dataset.description} are {self.dataset.label_set.name}'s, "
            f"and {self.label_set.name}'s are wanted.",
            "Give --data images with label maps of that set: docs/adding-a-label-set.md.",
        )
