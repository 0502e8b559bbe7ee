"""LIP's scores from one confusion matrix, and two measures of an engine against its reference.

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

That mean is no good to compare two networks by, as each one's goes over classes of its own: one stray pixel of a class
that is nowhere in the truth is an IoU of 0 for one of them and nothing for the other. So a *loss* is taken over the
classes that the truth holds, for both alike (:func:`iou_of_true_classes`), and the *agreement* with a reference over
the classes of which the reference sees enough to tell (:class:`Agreement`).

What gives another number, and is not LIP's: the mean of the images' own mean IoUs (0.473 instead of 0.325 from the
same label maps, ``Yukun-Huang/Single-Human-Parsing-LIP`` issue 10), and labels that were resized to the network's
input (50.7 against 55.8, ``HRNet-Semantic-Segmentation`` issues 6 and 198).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.dataset import LabelMap
from ...errors import DataError, UsageError
from ...specs.label_set import LabelSet
from ...storage.json_types import JsonObject
from .. import scoring

Counts = NDArray[np.int64]
"""(C, C) int64 for the C classes of a label set: pixels, true class by predicted class."""

_COUNTED_AT_ONCE = 1 << 20  # NumPy counts in 8 bytes per pixel


def pixels_of_classes(labels: LabelMap, label_set: LabelSet, told: str = "The label map") -> tuple[int, ...]:
    """Pixels of each class; every pixel is counted.

    Args:
        labels: (H, W) uint8.
        label_set: what the ids mean.
        told: what they are, for messages.

    Raises:
        UsageError: an id that is no class, in what an older run or something else has left.
    """
    counts = np.zeros(256, np.int64)
    rows = max(1, _COUNTED_AT_ONCE // labels.shape[1])
    for top in range(0, labels.shape[0], rows):
        counts += np.bincount(labels[top : top + rows].ravel(), minlength=256)
    if counts[len(label_set) :].any():
        raise UsageError(
            f"{told} holds the id {int(np.flatnonzero(counts)[-1])}; {label_set.name} ends at {len(label_set) - 1}.",
            f"Make the label maps again with --overwrite, by a network with the classes of {label_set.name}.",
        )
    return tuple(int(count) for count in counts[: len(label_set)])


def count_pixels(truth: LabelMap, prediction: LabelMap, label_set: LabelSet) -> Counts:
    """The confusion matrix of one image.

    Args:
        truth: (H, W) uint8; pixels of no class are dropped.
        prediction: (H, W) uint8 of the same size, all of them classes.
        label_set: what the ids of both mean.

    Returns:
        (C, C) int64, true class by predicted class.

    Raises:
        UsageError: ``prediction`` holds something that is no class.
        ValueError: the arrays differ in shape, or are not uint8.
    """
    if truth.shape != prediction.shape or truth.dtype != np.uint8 or prediction.dtype != np.uint8:
        raise ValueError(
            f"expected two uint8 maps of one shape, got {truth.shape} {truth.dtype} "
            f"and {prediction.shape} {prediction.dtype}"
        )
    classes = len(label_set)
    if truth.size and int(prediction.max()) >= classes:
        raise UsageError(
            f"A predicted label map holds the value {int(prediction.max())}; {label_set.name} ends at {classes - 1}.",
            f"Use a network with the classes of {label_set.name}.",
        )
    # A last row collects everything that is dropped: cheaper than picking the valid pixels out.
    rows = np.minimum(truth, np.uint8(classes)).astype(np.uint16)
    keys = (rows * np.uint16(classes) + prediction).ravel()
    counts = np.bincount(keys, minlength=(classes + 1) * classes)
    return counts[: classes * classes].reshape(classes, classes)


def no_pixels(label_set: LabelSet) -> Counts:
    """The confusion matrix of nothing, to add others to."""
    return np.zeros((len(label_set), len(label_set)), np.int64)


def iou_of_classes(
    hits: NDArray[np.number[Any]], truth: NDArray[np.number[Any]], predicted: NDArray[np.number[Any]]
) -> NDArray[np.float64]:
    """Intersection over union.

    Args:
        hits: (..., C) pixels of every class that were predicted as it.
        truth: (..., C) pixels of every class.
        predicted: (..., C) pixels predicted as every class.

    Returns:
        (..., C) float64; NaN where a class neither occurs nor is predicted.
    """
    union = truth.astype(np.float64) + predicted - hits
    iou: NDArray[np.float64] = np.divide(hits, union, out=np.full(union.shape, np.nan), where=union > 0)
    return iou


def iou_of_true_classes(
    hits: NDArray[np.number[Any]], truth: NDArray[np.number[Any]], predicted: NDArray[np.number[Any]]
) -> NDArray[np.float64]:
    """Intersection over union of the classes that a loss is taken over: those that the truth holds.

    Args:
        hits, truth, predicted: as of :func:`iou_of_classes`.

    Returns:
        (..., C) float64; NaN where a class does not occur, predicted or not.
    """
    return np.where(truth > 0, iou_of_classes(hits, truth, predicted), np.nan)


def mean_iou(counts: Counts) -> float | None:
    """LIP's mean IoU of a confusion matrix, over the classes that have an IoU; None of an empty matrix."""
    return _mean(iou_of_classes(*_parts(counts)))


def mean_true_iou(counts: Counts) -> float | None:
    """The mean over the classes that the truth holds, to compare two networks by; None of an empty matrix."""
    return _mean(iou_of_true_classes(*_parts(counts)))


def _parts(counts: Counts) -> tuple[Counts, Counts, Counts]:
    return np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)


def _mean(iou: NDArray[np.float64]) -> float | None:
    known = iou[~np.isnan(iou)]
    return float(known.mean()) if known.size else None


@dataclass(frozen=True)
class Scores(scoring.Scores):
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
    def value(self) -> float:
        """The mean IoU."""
        return self.mean_iou

    @property
    def rows(self) -> tuple[float | None, ...]:
        """The IoU of every class."""
        return self.class_iou

    @property
    def summary(self) -> tuple[tuple[str, float], ...]:
        return (
            ("Pixel accuracy", self.pixel_accuracy),
            ("Mean accuracy", self.mean_accuracy),
            ("Mean IoU", self.mean_iou),
            ("Freq. weighted", self.frequency_weighted_iou),
        )

    @property
    def classes(self) -> int:
        """Over how many classes the mean IoU goes."""
        return self.counted_rows

    @property
    def absent(self) -> tuple[int, ...]:
        """Ids of the classes that neither occur nor are predicted: they are in no mean."""
        return tuple(number for number, iou in enumerate(self.class_iou) if iou is None)

    @property
    def only_predicted(self) -> tuple[int, ...]:
        """Ids of the classes that do not occur but are predicted: they count as IoU 0 in the mean."""
        found = enumerate(zip(self.class_iou, self.support))
        return tuple(number for number, (iou, pixels) in found if iou is not None and pixels == 0)

    def to_dict(self) -> JsonObject:
        """The values as JSON knows them; ``classes`` is there for readers of the JSON."""
        return {**super().to_dict(), "classes": self.classes}


COUNTED_SHARE = 0.0002
"""Of the reference's pixels over all images, that a class must have to count in the agreement: 0.02 %.

Of ten pixels in four hundred images the IoU is 0 as soon as an engine finds others, and that was a twentieth of the
mean: 96.9 and 91.9 for two runtimes of one graph, with 99.28 % of the pixels alike in both. It hangs on the reference
alone, so the classes are the same for every engine.
"""


@dataclass(frozen=True)
class Agreement(Scores, scoring.Agreement):
    """How far an engine's label maps are those of its reference, which stand in for the truth.

    ``mean_iou`` and ``mean_accuracy`` go over the classes that have at least ``COUNTED_SHARE`` of the reference's
    pixels. Pixels that the engine gives to another class are misses of their own class there.

    Args:
        invented: by class id, pixels that the engine gives to a class that is left out of the means and the reference
            to another one; 0 for the classes that count.
    """

    invented: tuple[int, ...]

    @property
    def share(self) -> float:
        """Of the pixels that are alike."""
        return self.pixel_accuracy

    @property
    def counted(self) -> tuple[bool, ...]:
        """By class id, whether it is in the means."""
        return tuple(bool(counts) for counts in _counts_in_agreement(np.asarray(self.support)))

    @property
    def invented_total(self) -> int:
        """Pixels of all classes together."""
        return sum(self.invented)

    @property
    def invented_rows(self) -> tuple[int, ...]:
        """Ids of the classes with invented pixels."""
        return tuple(number for number, pixels in enumerate(self.invented) if pixels)


def _counts_in_agreement(support: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which classes have enough of the reference's pixels; at least one of 255 always has."""
    enough: NDArray[np.bool_] = support / support.sum() >= COUNTED_SHARE
    return enough


def agreement(counts: Counts, image_support: NDArray[np.int64], images: int) -> Agreement:
    """The agreement of a confusion matrix, the reference's class by the engine's.

    Args:
        counts, image_support, images: as of :func:`score`.

    Raises:
        DataError: no pixel was counted.
    """
    scores = score(counts, image_support, images)
    hits, seen, found = _parts(counts)
    counted = _counts_in_agreement(seen)
    return Agreement(
        pixel_accuracy=scores.pixel_accuracy,
        mean_accuracy=float(np.mean(hits[counted] / seen[counted])),
        mean_iou=float(np.mean(iou_of_classes(hits, seen, found)[counted])),
        frequency_weighted_iou=scores.frequency_weighted_iou,
        class_iou=scores.class_iou,
        support=scores.support,
        image_support=scores.image_support,
        images=scores.images,
        invented=tuple(int(pixels) for pixels in np.where(counted, 0, found - hits)),
    )


def score(counts: Counts, image_support: NDArray[np.int64], images: int) -> Scores:
    """LIP's scores of a confusion matrix.

    Args:
        counts: (C, C) pixels of all images together.
        image_support: (C,) images in which every class occurs.
        images: how many there are.

    Raises:
        DataError: no pixel was counted.
    """
    hits, truth, predicted = _parts(counts)
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
    """Counts pixels by true and predicted class, image by image.

    Args:
        label_set: what the ids mean.
    """

    def __init__(self, label_set: LabelSet) -> None:
        self._label_set = label_set
        self._counts = no_pixels(label_set)
        self._image_support: NDArray[np.int64] = np.zeros(len(label_set), np.int64)
        self._images = 0

    @property
    def counts(self) -> Counts:
        """(C, C) int64, true class by predicted class; a copy."""
        return np.array(self._counts, np.int64)

    @property
    def images(self) -> int:
        """How many images were counted."""
        return self._images

    def update(self, truth: LabelMap, prediction: LabelMap) -> None:
        """Count one image; arguments and errors as :func:`count_pixels`."""
        self.add(count_pixels(truth, prediction, self._label_set))

    def add(self, counts: Counts) -> None:
        """Count one image whose own confusion matrix is known."""
        self._counts += counts
        self._image_support += counts.sum(axis=1) > 0
        self._images += 1

    def scores(self) -> Scores:
        """The scores of everything counted so far.

        Raises:
            DataError: no pixel was counted.
        """
        return score(self._counts, self._image_support, self._images)

    def agreement(self) -> Agreement:
        """The agreement of everything counted so far, where the truth is a reference's label maps.

        Raises:
            DataError: no pixel was counted.
        """
        return agreement(self._counts, self._image_support, self._images)
