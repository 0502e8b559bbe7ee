"""What follows a network in its graph: from the raw tensor to the answers. It stays float in every precision."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from ..graphs.answers import LABELS, Answers


class Tail(nn.Module):
    """Turns a raw tensor into answers.

    Args:
        shape: of one frame's answers.
    """

    answers: ClassVar[Answers]

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape


class LabelTail(Tail):
    """The class of every pixel.

    Labels pass through float on their way from int64 to uint8, because TensorRT converts only floats to uint8.
    """

    answers = LABELS

    def forward(self, logits: Tensor) -> Tensor:
        """(N, C, H, W) float to (N, H, W) uint8."""
        return logits.argmax(1).float().to(torch.uint8)
