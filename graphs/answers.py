"""What graphs with our outputs answer with, one value a task: to check one, nobody asks which task it is of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx
from onnx import TensorProto

_NUMPY: dict[int, str] = {TensorProto.UINT8: "uint8", TensorProto.FLOAT: "float32"}

Shape = Sequence[int | None]
"""Lengths; None where the exporter left one open."""


@dataclass(frozen=True)
class Answers:
    """The outputs of a graph.

    Args:
        task: whose answers they are.
        name: of the first output, the answers.
        kind: of its elements, by ONNX's number.
        shape: of it; N, H and W are the frames' own, other letters any length.
        raw: name of the tensor that may follow: what the answers were read from.
        raw_shape: of it.
    """

    task: str
    name: str
    kind: int
    shape: tuple[str | int, ...]
    raw: str
    raw_shape: tuple[str | int, ...]

    @property
    def dtype(self) -> str:
        """Of the answers, as NumPy calls it."""
        return _NUMPY[self.kind]

    def __str__(self) -> str:
        raw = f"{self.raw} {_told(self.raw_shape)}"
        return f"{self.name} {_told(self.shape)} {self.dtype}, after which {raw} may follow"

    def problem(self, found: Shape, raw: Shape | None, frames: Shape) -> str | None:
        """What speaks against a graph's outputs; None where they are as they should be.

        Args:
            found: shape of the answers.
            raw: of the raw tensor, None where there is none.
            frames: (N, H, W, 3) of the input.
        """
        for name, shape, wanted in ((self.name, found, self.shape), (self.raw, raw, self.raw_shape)):
            known = [{"H": frames[1], "W": frames[2]}.get(str(length), length) for length in wanted]
            if shape is not None and not _fits(shape, [frames[0] if length == "N" else length for length in known]):
                return f"{name} must be {_told(known)}"
        return None


LABELS = Answers("parsing", "labels", TensorProto.UINT8, ("N", "H", "W"), "logits", ("N", "classes", "H", "W"))
"""Of parsing."""

KEYPOINTS = Answers("pose", "keypoints", TensorProto.FLOAT, ("N", "K", 3), "heatmaps", ("N", "K", "h", "w"))
"""Of pose."""

BOXES = Answers("people", "boxes", TensorProto.FLOAT, ("N", "M", 5), "cells", ("N", 5, "h", "w"))
"""Of finding people."""

EVERY = (LABELS, KEYPOINTS, BOXES)


def answers_of(model: onnx.ModelProto) -> Answers | None:
    """What a graph answers with; None where it has none of these outputs."""
    outputs = {output.name for output in model.graph.output}
    return next((answers for answers in EVERY if answers.name in outputs), None)


def _told(lengths: Sequence[object]) -> str:
    return f"({', '.join(map(str, lengths))})"


def _fits(shape: Shape, wanted: Sequence[object]) -> bool:
    """Whether a shape is the wanted one; a length that is open, or has a letter, may be any."""
    return len(shape) == len(wanted) and all(
        have is None or isinstance(want, str) or have == want for have, want in zip(shape, wanted)
    )
