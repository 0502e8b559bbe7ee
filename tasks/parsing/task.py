"""Parsing as a task: label maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ...data.dataset import LabelMap
from ...data.letterbox import Letterbox
from ...engines.base import Arrays
from ...errors import UsageError
from ...specs.label_set import LabelSet
from ..base import Closeness, Figure, Task

LabelMaps = NDArray[np.uint8]
"""(N, H, W) uint8."""

Logits = NDArray[np.float32]
"""(N, classes, H, W) float32, before argmax: the raw tensor."""


@dataclass(frozen=True)
class Parsing(Task[LabelMap]):
    """The class of every pixel.

    Args:
        label_set: the classes.
    """

    label_set: LabelSet
    name: ClassVar[str] = "parsing"
    figure: ClassVar[Figure] = Figure("mIoU", "mean IoU")
    closeness: ClassVar[Closeness] = Closeness(
        "pixel_agreement", "pixels", {"fp32": 0.9995, "fp16": 0.98, "int8": 0.80, "int8-cpu": 0.80}
    )

    @property
    def spec(self) -> LabelSet:
        return self.label_set

    def unpack(self, arrays: Arrays) -> list[LabelMap]:
        """(H, W) uint8 of each frame, of the ``labels`` (N, H, W) uint8 that an engine gives.

        Of an engine that gives its logits (N, C, H, W) float32 in their place, each frame's: such answers become labels
        on the image alone (:meth:`restore`).

        Raises:
            UsageError: arrays of another kind, or an id that is no class.
        """
        if len(arrays) == 1 and _are_scores(arrays[0], len(self.label_set)):
            return list(arrays[0])
        if len(arrays) != 1 or getattr(arrays[0], "dtype", None) != np.uint8 or arrays[0].ndim != 3:
            raise UsageError(
                f"returned {' and '.join(map(_described, arrays)) or 'nothing'} instead of (N, H, W) uint8 label maps.",
                "Use a graph that trtparse build wrote.",
            )
        labels = arrays[0]
        # 5 to 10 µs for a map of 256x192 (measured on one core); the network before it takes some 5,000.
        highest = int(np.max(labels, initial=0))
        if highest >= len(self.label_set):
            raise UsageError(
                f"labels pixels {highest}; {self.label_set.name} ends at {len(self.label_set) - 1}.",
                f"Use a network with the {len(self.label_set)} classes of {self.label_set.name}.",
            )
        return list(labels)

    def restore(self, answer: LabelMap, letterbox: Letterbox) -> LabelMap:
        """(H, W) uint8 at the image's size.

        Of labels the nearest, so that no class appears that was not predicted; of logits the highest, once they are at
        the image's size.
        """
        return (
            letterbox.restore(answer) if answer.ndim == 2 else letterbox.restore_scores(np.asarray(answer, np.float32))
        )


def _are_scores(found: object, classes: int) -> bool:
    return isinstance(found, np.ndarray) and found.ndim == 4 and found.dtype == np.float32 and found.shape[1] == classes


def _described(found: object) -> str:
    return f"{found.shape} {found.dtype}" if isinstance(found, np.ndarray) else type(found).__name__
