"""What a pose network is asked for: one Gaussian a joint, on the heatmap's cells.

Coordinates are pixels of the network's input, pixel centres at whole numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .grid import Grid

MSPN_FINER = (2.6 / 1.1, 2.0 / 1.1, 1.7 / 1.1, 1.4 / 1.1, 1.0)
"""Sigmas of MSPN's five targets over the finest's: what blurs with kernels of 15, 11, 9, 7 and 5 cells amount to."""


def gaussians(points: Tensor, masses: Tensor, grid: Grid, sigma: float) -> Tensor:
    """Gaussians with their peaks at 1, at sub-pixel centres, as DARK encodes joints (Zhang et al., CVPR 2020).

    Args:
        points: (N, K, G, 2) float, x and y in input pixels: G places a joint may be at.
        masses: (N, K, G) float: how much each place counts; 0 leaves it out.
        grid: of the heatmap.
        sigma: cells.

    Returns:
        (N, K, h, w) float32: for each joint the sum of mass times Gaussian.
    """
    cells = grid.cells(points.float())
    columns = _bell(cells[..., 0], grid.size[1], sigma)
    rows = _bell(cells[..., 1], grid.size[0], sigma) * masses.float()[..., None]
    return torch.einsum("nkgy,nkgx->nkyx", rows, columns)


def distributions(points: Tensor, masses: Tensor, grid: Grid, sigma: float) -> Tensor:
    """The same Gaussians, each joint's summing to 1 over the cells; all 0 for a joint whose masses are.

    Args:
        points, masses, grid, sigma: as of :func:`gaussians`.

    Returns:
        (N, K, h, w) float32.
    """
    maps = gaussians(points, masses, grid, sigma)
    # A place far outside the grid has no cell with any weight; inside() keeps those out.
    return maps / maps.sum((2, 3), keepdim=True).clamp(min=1e-6)


def inside(points: Tensor, grid: Grid) -> Tensor:
    """(...) bool: which points (..., 2), input pixels, lie on a cell."""
    cells = grid.cells(points.float())
    height, width = grid.size
    limits = torch.tensor([width - 0.5, height - 0.5], device=points.device)
    return ((cells >= -0.5) & (cells < limits)).all(-1)


def _bell(centres: Tensor, cells: int, sigma: float) -> Tensor:
    """(..., cells) float32: exp(-d^2 / 2 sigma^2) of each cell's distance to each centre."""
    at = torch.arange(cells, device=centres.device, dtype=torch.float32)
    return torch.exp(-((at - centres[..., None]) ** 2) / (2 * sigma**2))
