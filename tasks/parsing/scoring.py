"""Label maps scored: every count that a result is made of, image by image and added up.

The marks of an image against the truth are (C, C) int64, true class by found class; against the reference the same by
the reference's class, and four numbers: pixels in the boundary band, outside it, and those of each that differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ...data.dataset import LabelMap
from ...data.reading import Frame
from ...specs.label_set import LabelSet
from .. import scoring
from ..intervals import Loss
from ..scoring import Confusion, Disagreement, Marks
from .intervals import ClassCounts, class_counts, loss_interval
from .metrics import Agreement, ConfusionMatrix, Counts, Scores, count_pixels, mean_iou, mean_true_iou
from .pictures import Picture

BAND = 2
"""Pixels on each side of a label edge that are the boundary: a letterboxed crop's labels are no finer than that."""


@dataclass(frozen=True)
class Prediction:
    """What one engine found in one frame.

    Args:
        labels: (h, w) uint8 at the network's input size.
        logits: (C, h, w) float32 where the protocol resizes them before argmax, else None.
        exponentials: it resizes their exp, as HRNet's evaluation does, so that the class that is surer of itself
            spreads.
    """

    labels: LabelMap
    logits: NDArray[np.float32] | None = None
    exponentials: bool = True

    def at_image_size(self, frame: Frame) -> LabelMap:
        """(H, W) uint8 at the size of the image: the nearest label, or argmax of the resized logits."""
        if self.logits is None:
            return frame.letterbox.restore(self.labels)
        if not self.exponentials:
            return frame.letterbox.restore_scores(self.logits)
        height, width = frame.letterbox.image_size
        # One factor for the whole image moves no argmax, and nothing overflows.
        scores = np.exp(self.logits - self.logits.max()).transpose(1, 2, 0)[frame.inside]
        resized = cv2.resize(np.ascontiguousarray(scores), (width, height), interpolation=cv2.INTER_LINEAR)
        labels: LabelMap = resized.argmax(axis=2).astype(np.uint8)
        return labels


Answer = LabelMap | Prediction
"""A label map at the network's input size, with logits where the protocol resizes those."""


class Scorer(scoring.Scorer[Answer]):
    """Scores label maps.

    Args:
        label_set: everybody's.
    """

    def __init__(self, label_set: LabelSet) -> None:
        self._label_set = label_set

    def against_truth(self, frame: Frame, answer: Answer) -> Marks | None:
        if frame.labels is None:
            return None
        return (count_pixels(frame.labels, _predicted(answer).at_image_size(frame), self._label_set),)

    def against_reference(self, frame: Frame, reference: Answer, answer: Answer) -> Marks:
        expected, found = (np.ascontiguousarray(_predicted(one).labels[frame.inside]) for one in (reference, answer))
        band, differs = boundary_band(expected), expected != found
        in_band, all_differ = int(np.count_nonzero(band)), int(np.count_nonzero(differs))
        band_differs = int(np.count_nonzero(band & differs))
        areas = np.array([in_band, band.size - in_band, band_differs, all_differ - band_differs], np.int64)
        return count_pixels(expected, found, self._label_set), areas

    def disagreement(self, marks: Marks) -> tuple[float, float | None]:
        found = _disagreement(marks[1])
        return found.share, found.boundary_share

    def value(self, marks: Marks) -> float | None:
        """The mean IoU over the classes that the image's labels hold."""
        return mean_true_iou(marks[0])

    def truth_tally(self) -> TruthTally:
        return TruthTally(self._label_set)

    def agreement_tally(self) -> AgreementTally:
        return AgreementTally(self._label_set)

    def picture(self, frame: Frame, reference: Answer, answer: Answer) -> Picture:
        truth = None if frame.labels is None else frame.letterbox.apply_labels(frame.labels)[frame.inside]
        return Picture(
            frame.pixels[frame.inside].copy(),
            None if truth is None else truth.copy(),
            _predicted(reference).labels[frame.inside].copy(),
            _predicted(answer).labels[frame.inside].copy(),
            self._label_set,
            frame.letterbox.image_size,
        )


class TruthTally(scoring.TruthTally):
    """One confusion matrix over all images, and of each image what its IoUs are made of, for the bootstrap."""

    def __init__(self, label_set: LabelSet) -> None:
        self._matrix = ConfusionMatrix(label_set)
        self._classes: list[ClassCounts] = []

    def add(self, marks: Marks) -> None:
        self._matrix.add(marks[0])
        self._classes.append(class_counts(marks[0]))
        self.images = self._matrix.images

    @property
    def value(self) -> float | None:
        return mean_iou(self._matrix.counts)

    def scores(self) -> Scores:
        return self._matrix.scores()

    def loss_of(self, engine: TruthTally) -> Loss:
        return loss_interval(self._classes, engine._classes)

    @property
    def confusion(self) -> Confusion:
        return _confusion(self._matrix.counts)


class AgreementTally(scoring.AgreementTally):
    """One confusion matrix over all images, the reference's class by the engine's, and the areas that differ."""

    def __init__(self, label_set: LabelSet) -> None:
        self._matrix = ConfusionMatrix(label_set)
        self._areas: NDArray[np.int64] = np.zeros(4, np.int64)

    def add(self, marks: Marks) -> None:
        counts, areas = marks
        self._matrix.add(counts)
        self._areas += areas

    def scores(self) -> Agreement:
        return self._matrix.agreement()

    def disagreement(self) -> Disagreement:
        return _disagreement(self._areas)

    @property
    def confusion(self) -> Confusion:
        return _confusion(self._matrix.counts)


def boundary_band(labels: LabelMap) -> NDArray[np.bool_]:
    """Pixels that have a pixel of another label within ``BAND`` rows and columns.

    Args:
        labels: (h, w) uint8.

    Returns:
        (h, w) bool.
    """
    window = np.ones((2 * BAND + 1, 2 * BAND + 1), np.uint8)
    band: NDArray[np.bool_] = cv2.dilate(labels, window) != cv2.erode(labels, window)
    return band


def _predicted(answer: Answer) -> Prediction:
    if isinstance(answer, Prediction):
        return answer
    # Of an engine whose logits go back onto the image the answer is those.
    if answer.ndim == 2:
        return Prediction(answer)
    return Prediction(answer.argmax(0).astype(np.uint8), np.asarray(answer, np.float32), exponentials=False)


def _confusion(counts: Counts) -> Confusion:
    return tuple(tuple(int(pixels) for pixels in row) for row in counts)


def _disagreement(areas: NDArray[np.int64]) -> Disagreement:
    band, interior, band_differs, interior_differs = (int(pixels) for pixels in areas)
    differs = band_differs + interior_differs
    return Disagreement(
        share=differs / (band + interior),
        boundary_area=band / (band + interior),
        boundary_share=band_differs / differs if differs else None,
        boundary_rate=band_differs / band if band else None,
        interior_rate=interior_differs / interior if interior else None,
    )
