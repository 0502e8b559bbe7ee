"""LIP's scores from one confusion matrix.

The formulas are those of LIP's own evaluation script (``Engineering-Course/LIP_SSL``, ``test_human.py``), with
``n[t, p]`` the number of pixels of class ``t`` that were predicted as ``p``, over all images together:

- pixel accuracy: ``sum_c n[c, c] / sum n``
- mean accuracy: mean over c of ``n[c, c] / sum_p n[c, p]``
- IoU of a class: ``n[c, c] / (sum_p n[c, p] + sum_t n[t, c] - n[c, c])``; mean IoU: their mean
- frequency weighted IoU: ``sum_c IoU_c * sum_p n[c, p] / sum n``

Background is a class like the others, and pixels whose true label is no class (255) are dropped. Means leave
out classes whose fraction is 0/0, as the script's ``nanmean`` does. So a class that is neither there nor
predicted has no IoU; one that is predicted but nowhere there has IoU 0, which counts in the mean IoU, and no
accuracy, so it does not count in the mean accuracy. On the whole of LIP's val split every class occurs, and
this is the same as the ``max(1, denominator)`` of CE2P's family.

What gives another number, and is not LIP's: the mean of the images' own mean IoUs (0.473 instead of 0.325 from the
same label maps, ``Yukun-Huang/Single-Human-Parsing-LIP`` issue 10), and labels that were resized to the network's
input (50.7 against 55.8, ``HRNet-Semantic-Segmentation`` issues 6 and 198).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.dataset import LabelMap
from ...errors import DataError, UsageError
from ...labels import CLASS_NAMES, NUM_CLASSES

Counts = NDArray[np.int64]
"""(20, 20) int64: pixels, true class by predicted class."""

_COUNTED_AT_ONCE = 1 << 20  # NumPy counts in 8 bytes per pixel


def pixels_of_classes(labels: LabelMap) -> tuple[int, ...]:
    """Pixels of each class.

    Args:
        labels: (H, W) uint8.
    """
    counts = np.zeros(256, np.int64)
    rows = max(1, _COUNTED_AT_ONCE // labels.shape[1])
    for top in range(0, labels.shape[0], rows):
        counts += np.bincount(labels[top : top + rows].ravel(), minlength=256)
    return tuple(int(count) for count in counts[:NUM_CLASSES])


def count_pixels(truth: LabelMap, prediction: LabelMap) -> Counts:
    """The confusion matrix of one image.

    Args:
        truth: (H, W) uint8; pixels outside 0..19 are dropped.
        prediction: (H, W) uint8 of the same size, all in 0..19.

    Returns:
        (20, 20) int64, true class by predicted class.

    Raises:
        UsageError: ``prediction`` holds something that is no class.
        ValueError: the arrays differ in shape, or are not uint8.
    """
    if truth.shape != prediction.shape or truth.dtype != np.uint8 or prediction.dtype != np.uint8:
        raise ValueError(
            f"expected two uint8 maps of one shape, got {truth.shape} {truth.dtype} "
            f"and {prediction.shape} {prediction.dtype}"
        )
    if truth.size and int(prediction.max()) >= NUM_CLASSES:
        raise UsageError(
            f"A predicted label map holds the value {int(prediction.max())}; LIP-20 ends at {NUM_CLASSES - 1}.",
            "Use a network with LIP's 20 classes.",
        )
    # Row 20 collects everything that is dropped: cheaper than picking the valid pixels out.
    rows = np.minimum(truth, np.uint8(NUM_CLASSES)).astype(np.uint16)
    keys = (rows * np.uint16(NUM_CLASSES) + prediction).ravel()
    counts = np.bincount(keys, minlength=(NUM_CLASSES + 1) * NUM_CLASSES)
    return counts[: NUM_CLASSES * NUM_CLASSES].reshape(NUM_CLASSES, NUM_CLASSES)


def iou_of_classes(
    hits: NDArray[np.number[Any]], truth: NDArray[np.number[Any]], predicted: NDArray[np.number[Any]]
) -> NDArray[np.float64]:
    """Intersection over union.

    Args:
        hits: (..., 20) pixels of every class that were predicted as it.
        truth: (..., 20) pixels of every class.
        predicted: (..., 20) pixels predicted as every class.

    Returns:
        (..., 20) float64; NaN where a class neither occurs nor is predicted.
    """
    union = truth.astype(np.float64) + predicted - hits
    iou: NDArray[np.float64] = np.divide(hits, union, out=np.full(union.shape, np.nan), where=union > 0)
    return iou


def mean_iou(counts: Counts) -> float | None:
    """The mean IoU of a confusion matrix over the classes that have one; None of an empty matrix."""
    iou = iou_of_classes(np.diag(counts), counts.sum(axis=1), counts.sum(axis=0))
    return float(np.nanmean(iou)) if counts.any() else None


@dataclass(frozen=True)
class Scores:
    """How well label maps match others. Everything is a fraction of 1; a table multiplies by 100.

    Args:
        pixel_accuracy: share of the pixels that are right.
        mean_accuracy: mean over the classes that occur of the share of their pixels that are right.
        mean_iou: mean over ``class_iou`` without the Nones.
        frequency_weighted_iou: the IoUs weighted with the share of pixels of their class.
        class_iou: intersection over union of every class; None where it neither occurs nor is predicted.
        support: true pixels of every class.
        image_support: number of images in which every class occurs.
        images: number of images.
    """

    pixel_accuracy: float
    mean_accuracy: float
    mean_iou: float
    frequency_weighted_iou: float
    class_iou: tuple[float | None, ...]
    support: tuple[int, ...]
    image_support: tuple[int, ...]
    images: int

    @property
    def classes(self) -> int:
        """Over how many classes the mean IoU goes."""
        return sum(iou is not None for iou in self.class_iou)

    @property
    def absent(self) -> tuple[str, ...]:
        """Names of the classes that neither occur nor are predicted: they are in no mean."""
        return tuple(name for name, iou in zip(CLASS_NAMES, self.class_iou) if iou is None)

    @property
    def only_predicted(self) -> tuple[str, ...]:
        """Names of the classes that do not occur but are predicted: they count as IoU 0 in the mean."""
        return tuple(
            name
            for name, iou, pixels in zip(CLASS_NAMES, self.class_iou, self.support)
            if iou is not None and pixels == 0
        )

    def to_dict(self) -> dict[str, Any]:
        """The values as JSON knows them; ``classes`` is there for readers of the JSON."""
        values = {**asdict(self), "classes": self.classes}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Scores:
        """The inverse of :meth:`to_dict`."""
        known = {key: value for key, value in values.items() if key != "classes"}
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in known.items()}
        return cls(**fields)


def score(counts: Counts, image_support: NDArray[np.int64], images: int) -> Scores:
    """LIP's scores of a confusion matrix.

    Args:
        counts: (20, 20) pixels of all images together.
        image_support: (20,) images in which every class occurs.
        images: how many there are.

    Raises:
        DataError: no pixel was counted.
    """
    hits, truth, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    total = int(counts.sum())
    if total == 0:
        raise DataError("There is no labelled pixel to score.", "Check the label maps: all of it is ignored (255).")
    iou = iou_of_classes(hits, truth, predicted)
    occurs, counted = truth > 0, ~np.isnan(iou)
    return Scores(
        pixel_accuracy=float(hits.sum() / total),
        mean_accuracy=float(np.mean(hits[occurs] / truth[occurs])),
        mean_iou=float(np.mean(iou[counted])),
        frequency_weighted_iou=float(np.sum(iou[counted] * truth[counted]) / total),
        class_iou=tuple(None if np.isnan(value) else float(value) for value in iou),
        support=tuple(int(pixels) for pixels in truth),
        image_support=tuple(int(number) for number in image_support),
        images=images,
    )


class ConfusionMatrix:
    """Counts pixels by true and predicted class, image by image."""

    def __init__(self) -> None:
        self._counts: Counts = np.zeros((NUM_CLASSES, NUM_CLASSES), np.int64)
        self._image_support: NDArray[np.int64] = np.zeros(NUM_CLASSES, np.int64)
        self._images = 0

    @property
    def counts(self) -> Counts:
        """(20, 20) int64, true class by predicted class; a copy."""
        return np.array(self._counts, np.int64)

    @property
    def images(self) -> int:
        """How many images were counted."""
        return self._images

    def update(self, truth: LabelMap, prediction: LabelMap) -> None:
        """Count one image; arguments and errors as :func:`count_pixels`."""
        self.add(count_pixels(truth, prediction))

    def add(self, counts: Counts) -> None:
        """Count one image whose own confusion matrix is known."""
        self._counts += counts
        self._image_support += counts.sum(axis=1) > 0
        self._images += 1

    def merge(self, part: ConfusionMatrix) -> None:
        """Count the images of another part of the same dataset. The order of parts makes no difference."""
        self._counts += part._counts
        self._image_support += part._image_support
        self._images += part._images

    def scores(self) -> Scores:
        """The scores of everything counted so far.

        Raises:
            DataError: no pixel was counted.
        """
        return score(self._counts, self._image_support, self._images)
