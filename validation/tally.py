"""Marks of images as they come in, and what they amount to.

Besides the task's own tallies it keeps the pictures of the few worst images: memory does not grow with the images'
sizes, and hardly with their number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from ..tasks.scoring import AgreementTally, EngineMarks, ImageMarks, Picture, Scorer, TruthTally
from .result import WORST_IMAGES, EngineComparison, EngineRun, WorstImage


@dataclass
class _Engine:
    """What one engine's images amount to."""

    truth: TruthTally
    agreement: AgreementTally
    worst: list[tuple[int, WorstImage]] = field(default_factory=list)


class Tally:
    """Adds up the marks of images.

    Args:
        engines: how many there are besides the reference.
        scorer: of everybody's answers.

    Attributes:
        reference: the reference against the truth.
        images: how many were added.
    """

    def __init__(self, engines: int, scorer: Scorer[Any]) -> None:
        self.reference = scorer.truth_tally()
        self.images = 0
        self._scorer = scorer
        self._engines = [_Engine(scorer.truth_tally(), scorer.agreement_tally()) for _ in range(engines)]

    @property
    def labelled(self) -> bool:
        """Whether images with labels were added."""
        return self.reference.images > 0

    def add(self, marks: ImageMarks, picture: Callable[[int], Picture | None]) -> None:
        """Add an image.

        Args:
            marks: of it.
            picture: called with an engine's number where the image is, so far, one of its worst.
        """
        if marks.reference is not None:
            self.reference.add(marks.reference)
        for number, (engine, part) in enumerate(zip(self._engines, marks.engines)):
            engine.agreement.add(part.agreement)
            if part.truth is not None:
                engine.truth.add(part.truth)
            differs, at_edge = self._scorer.disagreement(part.agreement)
            if _rank(marks.index, differs) < self._last_rank(engine):
                entry = self._worst_image(marks, part, differs, at_edge)
                engine.worst.append((marks.index, replace(entry, picture=picture(number))))
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
            DataError: there are labels, and nothing in any of them that counts.
        """
        engine = self._engines[number]
        return EngineComparison(
            run=run,
            scores=engine.truth.scores() if self.labelled else None,
            confusion=engine.truth.confusion if self.labelled else None,
            agreement=engine.agreement.scores(),
            agreement_confusion=engine.agreement.confusion,
            loss=self.reference.loss_of(engine.truth) if self.labelled else None,
            disagreement=engine.agreement.disagreement(),
            worst=tuple(image for _, image in engine.worst),
        )

    def _worst_image(self, marks: ImageMarks, part: EngineMarks, differs: float, at_edge: float | None) -> WorstImage:
        reference, engine = (None if one is None else self._scorer.value(one) for one in (marks.reference, part.truth))
        return WorstImage(marks.name, differs, at_edge, reference, engine)


def _rank(index: int, disagreement: float) -> tuple[float, int]:
    """Where an image stands among the worst; of two that differ alike the first comes first."""
    return -disagreement, index
