"""How a graph does on images that were held out: what sensitivity and the search for a budget go by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import onnx


@dataclass(frozen=True)
class Score:
    """How well a graph does; everything but ``images`` and ``logits_sqnr`` in points of 100.

    Args:
        agreement: mean IoU with the reference's label maps as the truth.
        pixel_agreement: share of the pixels that have the reference's label.
        mean_iou: by LIP's protocol; None without label maps.
        loss: the reference's mean IoU less this one; None without label maps.
        images: how many were looked at.
        loss_high: upper end of the 95 % interval of ``loss``, from drawing the images anew; None as ``loss``.
        logits_sqnr: power of the reference's logits against that of their error, in decibels; None where nobody
            asked for it.
    """

    agreement: float
    pixel_agreement: float
    mean_iou: float | None
    loss: float | None
    images: int
    loss_high: float | None = None
    logits_sqnr: float | None = None

    @property
    def drop(self) -> float:
        """What a budget is held against: the loss of mean IoU.

        Without label maps the reference's stand in for them, and the loss is what is missing to full agreement.
        """
        return 100 - self.agreement if self.loss is None else self.loss

    @property
    def unit(self) -> str:
        """Of ``drop``."""
        return "points of agreement" if self.loss is None else "points of mean IoU"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Score:
        """The inverse of :meth:`to_dict`."""
        return cls(**values)


Judge = Callable[[onnx.ModelProto], Score]
"""Looks at a graph's label maps of the same held-out images every time."""
