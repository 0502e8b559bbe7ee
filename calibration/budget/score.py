"""How a graph does on images that were held out: what sensitivity and the search for a budget go by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import onnx

from ...tasks.base import Figure
from ...tasks.parsing.task import Parsing

AGREEMENT_UNIT = "points of agreement"
"""Of what a graph loses where the reference's label maps stand in for the truth."""


@dataclass(frozen=True)
class Score:
    """How well a graph does; shares and losses in points of 100.

    Args:
        agreement: mean IoU with the reference's label maps as the truth, over the classes that the reference sees
            enough of (:class:`~trtparse.tasks.parsing.metrics.Agreement`).
        pixel_agreement: share of the pixels that have the reference's label.
        mean_iou: by LIP's protocol; None without label maps.
        loss: of mean IoU against the reference, over the classes that the label maps hold; None without label maps.
        images: how many were looked at.
        loss_high: upper end of the 95 % interval of ``loss``, from drawing the images anew; None as ``loss``.
        logits_sqnr: power of the reference's logits against that of their error, in decibels; None where nobody
            asked for it.
        left_out: classes that the agreement does not count, as the reference sees too little of them.
        invented_pixels: that the graph gives to those and the reference to others; None in a score of an earlier
            version, whose agreement and loss went over other classes.
        invented_classes: of these pixels.
    """

    figure: ClassVar[Figure] = Parsing.figure
    """What a loss is of; ``agreement`` is the same against the reference's label maps."""

    agreement: float
    pixel_agreement: float
    mean_iou: float | None
    loss: float | None
    images: int
    loss_high: float | None = None
    logits_sqnr: float | None = None
    left_out: tuple[str, ...] = ()
    invented_pixels: int | None = None
    invented_classes: tuple[str, ...] = ()

    @property
    def drop(self) -> float:
        """What a budget is held against: the loss of ``figure``.

        Without label maps the reference's stand in for them, and the loss is what is missing to full agreement.
        """
        return 100 - self.agreement if self.loss is None else self.loss

    @property
    def unit(self) -> str:
        """Of ``drop``."""
        return AGREEMENT_UNIT if self.loss is None else self.figure.unit

    def to_dict(self) -> dict[str, Any]:
        values = asdict(self)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Score:
        """The inverse of :meth:`to_dict`."""
        arguments: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**arguments)


EARLIER = "by an earlier version, over other classes"
"""What is said of an agreement and a loss that :func:`is_of_earlier_version`."""


def is_of_earlier_version(figures: Mapping[str, Any]) -> bool:
    """Whether figures in JSON's types, of a score or of a bundle's accuracy, are from before these measures were so.

    Then an agreement counted every class that engine or reference found one pixel of, and each side of a loss the
    classes that it predicted itself: they compare with no figure of today.
    """
    return figures.get("invented_pixels") is None


def told_invented(pixels: int | None, classes: Sequence[str]) -> str:
    """What is invented, in words: "invents 34 pixels of Scarf, Skirt", or nothing."""
    if not pixels:
        return "invents nothing"
    return f"invents {pixels:,} {'pixel' if pixels == 1 else 'pixels'} of {', '.join(classes)}"


Judge = Callable[[onnx.ModelProto], Score]
"""Looks at a graph's label maps of the same held-out images every time."""
