"""MSPN's decoding: of the blurred map the highest cell, a quarter of one towards the second-highest."""

from __future__ import annotations

import torch
from torch import Tensor

from ...specs.decoding import Decoding
from .cells import Blur, Decoder


class SecondHighest(Decoder):
    """The score is the heatmap's value at the point."""

    def __init__(self, decoding: Decoding, joints: int, size: tuple[int, int]) -> None:
        super().__init__(decoding, joints, size)
        self.border = decoding.blur // 2
        self.blur = Blur(decoding.blur, size, self.border)

    def cells(self, heatmaps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        blurred = self.blur(heatmaps)
        wide = blurred.shape[3]
        both = blurred.flatten(2).topk(2, 2).indices
        rows = torch.div(both, wide, rounding_mode="floor")
        columns = (both - rows * wide).float()
        right, down = columns[..., 1] - columns[..., 0], (rows[..., 1] - rows[..., 0]).float()
        # Two cells are never the same, so there is a direction.
        quarter = 0.25 / torch.sqrt(right * right + down * down)
        x = (columns[..., 0] - self.border + right * quarter).clamp(0, self.width - 1)
        y = (rows[..., 0].float() - self.border + down * quarter).clamp(0, self.height - 1)
        nearest = torch.floor(y + 0.5).long() * self.width + torch.floor(x + 0.5).long()
        return x, y, heatmaps.flatten(2).gather(2, nearest.unsqueeze(2)).squeeze(2)
