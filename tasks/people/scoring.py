"""People scored: COCO's AP, recall and precision against boxes, the panoptic quality against a reference's answers.

Answers are (n, 5) float32 in the frame's pixels. The marks of an image against the truth are (d, 5) what was found,
(g, 4) who is there and (m, 4) where nothing is asked, float64 pixels of the image; against the reference the counts of
:class:`~trtparse.tasks.people.matching.Alike`, (4,) int64, and the overlaps in sum, (1,) float64.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...data.crops import Placement
from ...data.reading import Frame
from ...errors import DataError
from .. import scoring
from ..intervals import Loss, loss_over_images
from ..scoring import Disagreement, Marks
from .average_precision import Matched, average_precision, matched, precision_of
from .boxes import Boxes, Detections
from .matching import LEAST_OVERLAP, Alike, alike, at_threshold
from .pictures import Picture
from .rows import Rows, detections

LEAST_HEIGHT = 12
"""Pixels in the network's frame: who is smaller is not asked about."""


@dataclass(frozen=True)
class Scores(scoring.Scores):
    """How well boxes match labels. Everything is a fraction of 1.

    Args:
        ap50, ap: COCO's average precision, at an intersection over union of 0.5 and over 0.5 to 0.95.
        recall, precision: of the boxes with a score of ``threshold`` or more, at 0.5.
        threshold: what is somebody.
        told: what a reader has to know of them.
        support: people.
        image_support: images with people.
        images: all.
    """

    ap50: float
    ap: float
    recall: float
    precision: float
    threshold: float
    told: tuple[str, ...]
    support: tuple[int, ...]
    image_support: tuple[int, ...]
    images: int

    @property
    def value(self) -> float:
        return self.ap50

    @property
    def rows(self) -> tuple[float | None, ...]:
        return (self.ap50,)

    @property
    def summary(self) -> tuple[tuple[str, float], ...]:
        return (
            ("AP50", self.ap50),
            ("AP", self.ap),
            (f"Recall at {self.threshold:g}", self.recall),
            (f"Precision at {self.threshold:g}", self.precision),
        )


@dataclass(frozen=True)
class Agreement(scoring.Agreement):
    """How well boxes match those of a reference.

    Args:
        quality: panoptic quality.
        alike: share of the boxes that are nearly the same, of all that either is sure of.
        support: whom the reference has.
        image_support: images in which somebody is.
        images: all.
    """

    quality: float
    alike: float
    support: tuple[int, ...]
    image_support: tuple[int, ...]
    images: int

    @property
    def value(self) -> float:
        return self.quality

    @property
    def rows(self) -> tuple[float | None, ...]:
        return (self.quality,)

    @property
    def share(self) -> float:
        return self.alike

    @property
    def summary(self) -> tuple[tuple[str, float], ...]:
        return (("Panoptic quality", self.quality), ("Boxes alike", self.alike))


class Scorer(scoring.Scorer[Rows]):
    """Scores boxes on images.

    Args:
        restore: brings an answer back onto its image.
        sure: the score from which a box is somebody.
    """

    def __init__(self, restore: Callable[[Rows, Placement], Rows], sure: float) -> None:
        self._restore, self._sure = restore, sure

    def against_truth(self, frame: Frame, answer: Rows) -> Marks | None:
        if frame.labels is None:
            return None
        labels = np.asarray(frame.labels, np.float64)
        least = LEAST_HEIGHT / _scale(frame.placement)
        counts = (labels[:, 4] > 0) & (labels[:, 3] - labels[:, 1] >= least)
        found = self._restore(answer, frame.placement).astype(np.float64)
        high = found[:, 3] - found[:, 1] >= least
        return found[high], labels[counts, :4], labels[~counts, :4]

    def against_reference(self, frame: Frame, reference: Rows, answer: Rows) -> Marks:
        found = alike(detections(reference), detections(answer), self._sure)
        counts = np.array([found.pairs, found.near, found.missing, found.invented], np.int64)
        return counts, np.array([found.overlap])

    def disagreement(self, marks: Marks) -> tuple[float, float | None]:
        return 1 - _alike(marks).quality, None

    def value(self, marks: Marks) -> float | None:
        tally = TruthTally(self._sure)
        tally.add(marks)
        return tally.value

    def truth_tally(self) -> TruthTally:
        return TruthTally(self._sure)

    def agreement_tally(self) -> AgreementTally:
        return AgreementTally()

    def picture(self, frame: Frame, reference: Rows, answer: Rows) -> Picture:
        there: Boxes | None = None
        if frame.labels is not None:
            labels = np.asarray(frame.labels, np.float64)
            corners = frame.placement.to_frame(labels[labels[:, 4] > 0, :4].reshape(-1, 2) - 0.5) + 0.5
            there = corners.reshape(-1, 4).astype(np.float64)
        return Picture(frame.pixels.copy(), there, reference.copy(), answer.copy(), self._sure)


class TruthTally(scoring.TruthTally):
    """What was found in each image, and who was there.

    Args:
        sure: the score from which a box is somebody.
    """

    def __init__(self, sure: float) -> None:
        self._sure = sure
        self._found: list[Detections] = []
        self._there: list[Boxes] = []
        self._doubtful: list[Boxes] = []
        self._matched: list[Matched] = []

    def add(self, marks: Marks) -> None:
        rows, there, doubtful = marks
        self._found.append(detections(rows))
        self._there.append(there)
        self._doubtful.append(doubtful)
        self._matched.append(matched(self._found[-1], there, doubtful, LEAST_OVERLAP))
        self.images = len(self._found)

    @property
    def value(self) -> float | None:
        if not any(len(there) for there in self._there):
            return None
        return float(precision_of(self._matched, np.ones((1, self.images), np.int64))[0])

    def scores(self) -> Scores:
        people = sum(len(there) for there in self._there)
        if not people:
            raise DataError(
                "AP cannot be measured: nobody is in these images.", "Give images of people with their boxes."
            )
        shares = at_threshold(self._found, self._there, self._doubtful, self._sure)
        told: tuple[str, ...] = ()
        if importlib.util.find_spec("faster_coco_eval") is not None:
            measured = average_precision(self._found, self._there, self._doubtful)
            ap50, ap = measured.ap50, measured.ap
        else:
            ap50, ap = self.value or 0.0, self._mean()
            told = ("AP was counted here, as faster-coco-eval is not installed: pip install 'trtparse[pose]'",)
        with_people = sum(len(there) > 0 for there in self._there)
        return Scores(
            ap50, ap, shares.recall, shares.precision, self._sure, told, (people,), (with_people,), self.images
        )

    def _mean(self) -> float:
        """AP over intersections over union of 0.5 to 0.95."""
        once = np.ones((1, self.images), np.int64)
        images = list(zip(self._found, self._there, self._doubtful))
        return float(np.mean([precision_of([matched(*one, share) for one in images], once)[0] for share in OVERLAPS]))

    def loss_of(self, engine: TruthTally) -> Loss:
        def losses(weights: np.ndarray[Any, np.dtype[np.int64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
            points = 100 * (precision_of(self._matched, weights) - precision_of(engine._matched, weights))
            return np.stack([points, points], axis=1)  # of the one row, and of all of them

        return loss_over_images(losses, self.images)


OVERLAPS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""COCO's, over which AP is the mean."""


class AgreementTally(scoring.AgreementTally):
    """Whom both have, and whom one has alone."""

    def __init__(self) -> None:
        self._counts = np.zeros(4, np.int64)
        self._overlap = 0.0
        self._images = self._with_people = 0

    def add(self, marks: Marks) -> None:
        self._counts += marks[0]
        self._overlap += float(marks[1][0])
        self._images += 1
        self._with_people += bool(marks[0].any())

    @property
    def _all(self) -> Alike:
        return _alike((self._counts, np.array([self._overlap])))

    def scores(self) -> Agreement:
        if not self._with_people:
            raise DataError(
                "There is nothing to agree on: nobody is found in these images.",
                "Give images of people, or a network that was trained.",
            )
        found = self._all
        support = (found.pairs + found.missing,)
        return Agreement(found.quality, found.share, support, (self._with_people,), self._images)

    def disagreement(self) -> Disagreement:
        return Disagreement(1 - self._all.share)


def _alike(marks: Marks) -> Alike:
    pairs, near, missing, invented = (int(count) for count in marks[0])
    return Alike(pairs, near, missing, invented, float(marks[1][0]))


def _scale(placement: Placement) -> float:
    """Pixels of the frame for one of the image, from top to bottom."""
    ends = placement.to_frame(np.array([[0.0, 0.0], [0.0, 1000.0]]))
    return float(ends[1, 1] - ends[0, 1]) / 1000
