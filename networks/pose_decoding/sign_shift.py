"""HRNet's decoding: the highest cell, a quarter of one towards the higher of its neighbours."""

from __future__ import annotations

import torch
from torch import Tensor

from .cells import Decoder, highest, window


class SignShift(Decoder):
    """The score is the highest value; a joint without a value above 0 is in the first cell."""

    def cells(self, heatmaps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows, columns, peak = highest(heatmaps)
        near = window(heatmaps, rows, columns, 1)
        inner = (columns > 1) & (columns < self.width - 1) & (rows > 1) & (rows < self.height - 1)
        quarter = 0.25 * inner.float()
        x = columns.float() + quarter * torch.sign(near[..., 5] - near[..., 3])
        y = rows.float() + quarter * torch.sign(near[..., 7] - near[..., 1])
        there = (peak > 0).float()
        return x * there, y * there, peak
