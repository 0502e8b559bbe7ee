"""How a graph does on images that were held out: what sensitivity and the search for a budget go by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import onnx

from ...storage.json_types import JsonObject, ReadJson
from ...tasks.figure import Figure
from ...tasks.open import FIRST

AGREEMENT_UNIT = "points of agreement"
"""Of what a graph loses where the reference's answers stand in for the truth."""


_FIRST = Figure(FIRST.figure.name, FIRST.figure.words)


@dataclass(frozen=True)
class Score:
    """How well a graph does; shares and losses in points of 100.

    Args:
        agreement: ``figure`` with the reference's answers as the truth, over the rows that the reference sees enough of
            (:class:`~trtparse.tasks.scoring.Agreement`).
        share: of pixels or joints that are as the reference has them.
        value: ``figure`` against the labels; None without.
        loss: of ``figure`` against the reference, over the rows that the labels hold; None without labels.
        images: how many were looked at.
        loss_high: upper end of the 95 % interval of ``loss``, from drawing the images anew; None as ``loss``.
        raw_sqnr: power of the reference's raw tensor, such as logits, against that of its error, in decibels; None
            where nobody asked for it.
        left_out: rows that the agreement does not count, as the reference sees too little of them.
        invented: pixels or joints that the graph gives to those and the reference to others; None in a score of an
            earlier version, whose agreement and loss went over other classes.
        invented_in: the rows of these.
        figure: what ``value`` and ``loss`` are; its names alone.
    """

    agreement: float
    share: float
    value: float | None
    loss: float | None
    images: int
    loss_high: float | None = None
    raw_sqnr: float | None = None
    left_out: tuple[str, ...] = ()
    invented: int | None = None
    invented_in: tuple[str, ...] = ()
    figure: Figure = _FIRST

    @property
    def drop(self) -> float:
        """What a budget is held against: the loss of ``figure``.

        Without labels the reference's answers stand in for them, and the loss is what is missing to full agreement.
        """
        return 100 - self.agreement if self.loss is None else self.loss

    @property
    def unit(self) -> str:
        """Of ``drop``."""
        return AGREEMENT_UNIT if self.loss is None else self.figure.unit

    def to_dict(self) -> JsonObject:
        values = {**asdict(self), "figure": {"name": self.figure.name, "words": self.figure.words}}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    @classmethod
    def from_dict(cls, values: ReadJson) -> Score:
        """The inverse of :meth:`to_dict`; what earlier versions called otherwise is read as well."""
        renamed = {_OLDER.get(key, key): value for key, value in values.items()}
        arguments: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in renamed.items()}
        if "figure" in arguments:
            arguments["figure"] = Figure(**arguments["figure"])
        return cls(**arguments)


_OLDER = {
    "pixel_agreement": "share",
    "mean_iou": "value",
    "logits_sqnr": "raw_sqnr",
    "invented_pixels": "invented",
    "invented_classes": "invented_in",
}
"""What fields were called while label maps were all there was."""

EARLIER = "by an earlier version, over other classes"
"""What is said of an agreement and a loss that :func:`is_of_earlier_version`."""


def is_of_earlier_version(figures: ReadJson) -> bool:
    """Whether a score in JSON's types is from before these measures were so.

    Then an agreement counted every class that engine or reference found one pixel of, and each side of a loss the
    classes that it predicted itself: they compare with no figure of today.
    """
    return figures.get("invented", figures.get("invented_pixels")) is None


Judge = Callable[[onnx.ModelProto], Score]
"""Looks at a graph's answers for the same held-out images every time."""
