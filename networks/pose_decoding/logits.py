"""The decoding of networks that were trained by a cross-entropy over the cells: a Newton step on the logits."""

from __future__ import annotations

import torch
from torch import Tensor

from ...specs.decoding import Decoding
from .cells import Decoder, Newton, highest, window


class Logits(Decoder):
    """The score is the softmax's share of the 3 x 3 cells around the peak."""

    def __init__(self, decoding: Decoding, joints: int, size: tuple[int, int]) -> None:
        super().__init__(decoding, joints, size)
        self.newton = Newton(1)

    def cells(self, heatmaps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows, columns, peak = highest(heatmaps)
        near = window(heatmaps, rows, columns, 1) - peak.unsqueeze(2)
        total = torch.exp(heatmaps.flatten(2) - peak.unsqueeze(2)).sum(2)
        score = torch.exp(near).sum(2) / total
        right, down, determinant, curvature = self.newton(near)
        inner = (columns > 0) & (columns < self.width - 1) & (rows > 0) & (rows < self.height - 1)
        usable = inner & (determinant > 0) & (curvature < 0)
        nothing = torch.zeros_like(right)
        x = columns.float() + torch.where(usable, right.clamp(-1, 1), nothing)
        y = rows.float() + torch.where(usable, down.clamp(-1, 1), nothing)
        return x, y, score
