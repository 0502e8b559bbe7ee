"""Parsing as a task: label maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...data.dataset import LabelMap
from ...data.letterbox import Letterbox
from ...specs.label_set import LabelSet
from ..base import Arrays, Figure, Task


@dataclass(frozen=True)
class Parsing(Task[LabelMap]):
    """The class of every pixel.

    Args:
        label_set: the classes.
    """

    label_set: LabelSet
    name: ClassVar[str] = "parsing"
    figure: ClassVar[Figure] = Figure("mIoU", "mean IoU")

    @property
    def spec(self) -> LabelSet:
        return self.label_set

    def unpack(self, arrays: Arrays) -> list[LabelMap]:
        """(H, W) uint8 of each frame, of the ``labels`` (N, H, W) uint8 that an engine gives."""
        (labels,) = arrays
        return list(labels)

    def restore(self, answer: LabelMap, letterbox: Letterbox) -> LabelMap:
        """(H, W) uint8 at the image's size; the nearest label, so that no class appears that was not predicted."""
        return letterbox.restore(answer)
