"""What the decodings have in common: finding the highest cell, looking around it, and blurring.

All compute in float32, whatever comes in. Cells are found and read without indexing by a mask, whose size a static
graph could not know: ArgMax and GatherElements are what runs.
"""

from __future__ import annotations

import cv2
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...graphs.answers import KEYPOINTS
from ...specs.decoding import Decoding
from ..tail import Tail

OUTSIDE = -1e30
"""Of cells beyond a heatmap: its exponential is 0, and unlike an infinity it makes no NaN of a difference."""


class Decoder(Tail):
    """Turns heatmaps into points.

    Args:
        decoding: which one, and where the cells lie.
        joints: how many heatmaps there are.
        size: (height, width) of the heatmaps.
    """

    answers = KEYPOINTS

    def __init__(self, decoding: Decoding, joints: int, size: tuple[int, int]) -> None:
        super().__init__((joints, 3))
        self.decoding, self.height, self.width = decoding, size[0], size[1]

    def forward(self, heatmaps: Tensor) -> Tensor:
        """
        Args:
            heatmaps: (N, K, h, w) float.

        Returns:
            (N, K, 3) float32: x and y in input pixels, score.
        """
        x, y, score = self.cells(heatmaps.float())
        stride, offset = self.decoding.stride, self.decoding.offset
        return torch.stack([x * stride + offset, y * stride + offset, score], 2)

    def cells(self, heatmaps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Column, row and score, (N, K) float32 each."""
        raise NotImplementedError


def highest(maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Row and column, (N, K) int64 each, and value of the highest cell of (N, K, h, w)."""
    flat = maps.flatten(2)
    best = flat.argmax(2)
    rows = torch.div(best, maps.shape[3], rounding_mode="floor")
    return rows, best - rows * maps.shape[3], flat.amax(2)


def window(maps: Tensor, rows: Tensor, columns: Tensor, reach: int) -> Tensor:
    """Values around a cell, row by row: (N, K, side * side); ``OUTSIDE`` beyond the heatmap."""
    side = 2 * reach + 1
    padded = F.pad(maps, (reach,) * 4, value=OUTSIDE)
    wide = padded.shape[3]
    first = (rows * wide + columns).unsqueeze(2)
    steps = torch.tensor([down * wide + right for down in range(side) for right in range(side)], device=maps.device)
    return padded.flatten(2).gather(2, first + steps)


class Newton(nn.Module):
    """One step to where a parabola through the values around a cell has its extreme.

    Differences are sums of products, not a matrix product, for which a GPU may round to TF32.

    Args:
        reach: over how many cells second derivatives are taken; first ones are over one.
    """

    stencils: Tensor

    def __init__(self, reach: int) -> None:
        super().__init__()
        self.side = 2 * reach + 1
        second, edge = 1 / reach**2, reach
        table = (
            {(0, 1): 0.5, (0, -1): -0.5},
            {(1, 0): 0.5, (-1, 0): -0.5},
            {(0, edge): second, (0, 0): -2 * second, (0, -edge): second},
            {(edge, 0): second, (0, 0): -2 * second, (-edge, 0): second},
            {(1, 1): 0.25, (1, -1): -0.25, (-1, 1): -0.25, (-1, -1): 0.25},
        )
        stencils = torch.zeros(5, self.side, self.side)
        for stencil, weights in zip(stencils, table):
            for (down, right), weight in weights.items():
                stencil[reach + down, reach + right] = weight
        self.register_buffer("stencils", stencils.flatten(1))

    def forward(self, near: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """
        Args:
            near: of :func:`window`.

        Returns:
            (N, K) each: steps right and down, the Hessian's determinant, and its entry for x.
        """
        dx, dy, dxx, dyy, dxy = (near.unsqueeze(2) * self.stencils).sum(3).unbind(2)
        determinant = dxx * dyy - dxy * dxy
        return -(dyy * dx - dxy * dy) / determinant, -(dxx * dy - dxy * dx) / determinant, determinant, dxx


class Blur(nn.Module):
    """OpenCV's Gaussian of a width, nothing around the map: two matrix products, one for rows and one for columns.

    No convolution, so that whatever looks for a network's convolutions does not take it for one.

    Args:
        width: of the Gaussian in cells, odd.
        size: (height, width) of the maps.
        border: cells more on every side of the result.
    """

    down: Tensor
    across: Tensor

    def __init__(self, width: int, size: tuple[int, int], border: int = 0) -> None:
        super().__init__()
        kernel = torch.from_numpy(cv2.getGaussianKernel(width, 0)[:, 0]).float()
        self.register_buffer("down", _banded(kernel, size[0], border))
        self.register_buffer("across", _banded(kernel, size[1], border).T.contiguous())

    def forward(self, maps: Tensor) -> Tensor:
        return self.down @ maps @ self.across


def _banded(kernel: Tensor, length: int, border: int) -> Tensor:
    """(length + 2 border, length): each row a shifted kernel."""
    reach = len(kernel) // 2
    result = torch.zeros(length + 2 * border, length)
    for row in range(len(result)):
        for step, value in enumerate(kernel, -reach):
            if 0 <= row - border + step < length:
                result[row, row - border + step] = value
    return result
