"""Image scores as they come in, and what they amount to.

Besides the sums it keeps 12 bytes for every class, image and engine, for the bootstrap, and the pictures of the few
worst images: memory does not grow with the images' sizes, and hardly with their number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..specs.label_set import LabelSet
from ..tasks.parsing.intervals import ClassCounts, class_counts, loss_interval
from ..tasks.parsing.metrics import ConfusionMatrix, Counts, mean_true_iou
from ..tasks.parsing.scoring import EngineScore, ImageScore, Picture
from .result import WORST_IMAGES, Confusion, Disagreement, EngineComparison, EngineRun, WorstImage


@dataclass
class _Engine:
    """What one engine's images amount to."""

    truth: ConfusionMatrix
    agreement: ConfusionMatrix
    areas: NDArray[np.int64] = field(default_factory=lambda: np.zeros(4, np.int64))
    classes: list[ClassCounts] = field(default_factory=list)
    worst: list[tuple[int, WorstImage]] = field(default_factory=list)


class Tally:
    """Adds up image scores.

    Args:
        engines: how many there are besides the reference.
        label_set: of everybody's label maps.
    """

    def __init__(self, engines: int, label_set: LabelSet) -> None:
        self.reference = ConfusionMatrix(label_set)
        self.images = 0
        self._reference_classes: list[ClassCounts] = []
        self._engines = [_Engine(ConfusionMatrix(label_set), ConfusionMatrix(label_set)) for _ in range(engines)]

    @property
    def labelled(self) -> bool:
        """Whether images with label maps were added."""
        return self.reference.images > 0

    def add(self, score: ImageScore, picture: Callable[[int], Picture | None]) -> None:
        """Add an image.

        Args:
            score: its pixels.
            picture: called with an engine's number where the image is, so far, one of its worst.
        """
        if score.reference is not None:
            self.reference.add(score.reference)
            self._reference_classes.append(class_counts(score.reference))
        for number, (engine, part) in enumerate(zip(self._engines, score.engines)):
            engine.agreement.add(part.agreement)
            engine.areas += part.areas
            if part.truth is not None:
                engine.truth.add(part.truth)
                engine.classes.append(class_counts(part.truth))
            if _rank(score.index, part.disagreement) < self._last_rank(engine):
                entry = replace(_worst_image(score, part), picture=picture(number))
                engine.worst.append((score.index, entry))
                engine.worst.sort(key=lambda kept: _rank(kept[0], kept[1].disagreement))
                del engine.worst[WORST_IMAGES:]
        self.images += 1

    @staticmethod
    def _last_rank(engine: _Engine) -> tuple[float, int]:
        """The rank that an image must be before to be kept; one that does not differ at all never is."""
        if len(engine.worst) < WORST_IMAGES:
            return _rank(0, 0.0)
        index, image = engine.worst[-1]
        return _rank(index, image.disagreement)

    def fill_pictures(self, picture: Callable[[int, int], Picture | None]) -> None:
        """Give worst images the pictures they lack: those that an earlier, killed run looked at.

        Args:
            picture: called with an engine's number and an image's index.
        """
        for number, engine in enumerate(self._engines):
            engine.worst = [
                (index, image if image.picture is not None else replace(image, picture=picture(number, index)))
                for index, image in engine.worst
            ]

    def comparison(self, number: int, run: EngineRun) -> EngineComparison:
        """What the images say of one engine.

        Raises:
            DataError: there are label maps, and no labelled pixel in any of them.
        """
        engine = self._engines[number]
        scores = engine.truth.scores() if self.labelled else None
        return EngineComparison(
            run=run,
            scores=scores,
            confusion=confusion(engine.truth.counts) if self.labelled else None,
            agreement=engine.agreement.agreement(),
            agreement_confusion=confusion(engine.agreement.counts),
            loss=loss_interval(self._reference_classes, engine.classes) if self.labelled else None,
            disagreement=_disagreement(engine.areas),
            worst=tuple(image for _, image in engine.worst),
        )


def confusion(counts: Counts) -> Confusion:
    """A confusion matrix as a result holds it."""
    return tuple(tuple(int(pixels) for pixels in row) for row in counts)


def _rank(index: int, disagreement: float) -> tuple[float, int]:
    """Where an image stands among the worst; of two that differ alike the first comes first."""
    return -disagreement, index


def _worst_image(score: ImageScore, engine: EngineScore) -> WorstImage:
    _, _, band_differs, interior_differs = engine.areas
    differs = band_differs + interior_differs
    return WorstImage(
        name=score.name,
        disagreement=engine.disagreement,
        boundary_share=band_differs / differs if differs else None,
        reference_iou=None if score.reference is None else mean_true_iou(score.reference),
        engine_iou=None if engine.truth is None else mean_true_iou(engine.truth),
    )


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
