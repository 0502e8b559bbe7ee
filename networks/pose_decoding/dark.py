"""DARK's decoding: a Newton step on the logarithm of the blurred heatmap (Zhang et al., CVPR 2020)."""

from __future__ import annotations

import torch
from torch import Tensor

from ...specs.decoding import Decoding
from .cells import Blur, Decoder, Newton, highest, window

LEAST = 1e-10
"""What counts as nothing before the logarithm. In FP16 it is 0, and its logarithm infinite."""


class Dark(Decoder):
    """The score is the heatmap's highest value; the outermost two cells stay as they are."""

    def __init__(self, decoding: Decoding, joints: int, size: tuple[int, int]) -> None:
        super().__init__(decoding, joints, size)
        self.blur, self.newton = Blur(decoding.blur, size), Newton(2)

    def cells(self, heatmaps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows, columns, peak = highest(heatmaps)
        there = peak > 0
        rows, columns = rows * there, columns * there
        blurred = self.blur(heatmaps)
        # As high as it was before; else what is nothing would depend on how sharp the peak is.
        scale = peak / blurred.flatten(2).amax(2)
        near = torch.log((window(blurred, rows, columns, 2) * scale.unsqueeze(2)).clamp(min=LEAST))
        right, down, determinant, _ = self.newton(near)
        inner = (columns > 1) & (columns < self.width - 2) & (rows > 1) & (rows < self.height - 2)
        usable = inner & there & (determinant != 0)
        nothing = torch.zeros_like(right)
        x = columns.float() + torch.where(usable, right, nothing)
        y = rows.float() + torch.where(usable, down, nothing)
        return x, y, peak
