"""Images with people's boxes, as a calibration or a validation takes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...data.dataset import Images, Sample, Subset
from ...data.people.crowd import draw_crowd
from .boxes import Boxes
from .found import Found

LEAST_SCORE = 0.5
"""Of a detector's boxes: what is less certain is not asked about."""

Labels = NDArray[np.float64]
"""(n, 5): left, top, right, bottom in pixels of the image, and 1 for somebody, 0 for where nothing is asked."""


def labels_of(there: Boxes, doubtful: Boxes) -> Labels:
    """Both in one array."""
    counts = np.repeat([1.0, 0.0], [len(there), len(doubtful)])
    return np.column_stack([np.concatenate([there, doubtful]), counts])


class BoxImages:
    """Images whose people a file has.

    Args:
        found: of each image.
        description: one line for reports.
    """

    labelled = True

    def __init__(self, found: Sequence[Found], description: str) -> None:
        self._found, self.description = found, description
        names = tuple(one.image.name for one in found)
        self._names = names if len(set(names)) == len(names) else tuple(str(one.image) for one in found)

    @property
    def names(self) -> Sequence[str]:
        return self._names

    def __len__(self) -> int:
        return len(self._found)

    def __getitem__(self, index: int) -> Sample:
        """The sample at ``index``.

        Raises:
            DataError: the image cannot be read, or has another size than the file says.
            IndexError: ``index`` is past the end.
        """
        one = self._found[index]
        sure = one.people.scores >= LEAST_SCORE
        doubtful = np.concatenate([one.people.boxes[~sure], one.groups])
        return Sample(self._names[index], one.read(), labels_of(one.people.boxes[sure], doubtful))


class RenderedCrowds:
    """Scenes of several people each, drawn by the computer, with their exact boxes.

    Sample ``i`` depends on the seed and ``i`` alone.

    Args:
        count: scenes.
        seed: not negative; different seeds share nobody.
    """

    labelled = True

    def __init__(self, count: int, seed: int) -> None:
        self.seed = seed
        self._names = tuple(f"scene_{seed}_{number:06d}" for number in range(count))

    @property
    def description(self) -> str:
        return f"{len(self)} rendered scenes with people, seed {self.seed}"

    @property
    def names(self) -> Sequence[str]:
        return self._names

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Sample:
        """The sample at ``index``.

        Raises:
            IndexError: ``index`` is past the end.
        """
        number = range(len(self))[index]
        scene = draw_crowd(np.random.default_rng((self.seed, number, 2)))
        return Sample(self._names[number], scene.image, labels_of(scene.boxes, scene.hidden))


class Unlabelled:
    """The images of a folder, of which nobody says where people are."""

    labelled = False

    def __init__(self, images: Images) -> None:
        self._images = images

    @property
    def description(self) -> str:
        return self._images.description.replace("without label maps", "without boxes").replace(
            "without label map", "without boxes"
        )

    @property
    def names(self) -> Sequence[str]:
        return self._images.names

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Sample:
        return self._images[index]


def boxes_of(dataset: Images) -> BoxImages | RenderedCrowds | None:
    """The images with boxes that these are, also through a choice of some; None of images of something else."""
    if isinstance(dataset, Subset):
        return boxes_of(dataset.dataset)
    return dataset if isinstance(dataset, (BoxImages, RenderedCrowds)) else None
