"""From heatmaps to points and scores, on arrays: the reference that a graph's decoding is compared with.

Each function takes (N, K, h, w) float heatmaps and gives (N, K, 3) float32: x and y in input pixels, and a score.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ...specs.decoding import Decoding
from .grid import Grid

_LEAST = 1e-10
"""What DARK takes for nothing before the logarithm."""

Maps = NDArray[np.float32]


def decode(heatmaps: Maps, decoding: Decoding) -> NDArray[np.float32]:
    """Points by the decoding that a network's weights ask for."""
    grid = Grid((heatmaps.shape[2], heatmaps.shape[3]), decoding.stride, decoding.offset)
    if decoding.kind == "logits":
        return refined_peaks(heatmaps, grid)
    if decoding.kind == "sign-shift":
        return sign_shifted(heatmaps, grid)
    return (dark if decoding.kind == "dark" else second_highest)(heatmaps, grid, decoding.blur)


def sign_shifted(heatmaps: Maps, grid: Grid) -> NDArray[np.float32]:
    """HRNet's: the highest cell, a quarter of one towards the higher of its neighbours in each direction.

    Not in the outermost two rows and columns; a joint without any value above 0 is in the first cell.

    Returns:
        The score is the highest value.
    """
    rows, columns, peak = _highest(heatmaps)
    height, width = heatmaps.shape[2:]
    at = _Around(heatmaps, rows, columns, 1)
    inner = (columns > 1) & (columns < width - 1) & (rows > 1) & (rows < height - 1)
    right = np.where(inner, 0.25 * np.sign(at(0, 1) - at(0, -1)), 0)
    down = np.where(inner, 0.25 * np.sign(at(1, 0) - at(-1, 0)), 0)
    there = peak > 0
    return _points(np.where(there, columns + right, 0), np.where(there, rows + down, 0), peak, grid)


def second_highest(heatmaps: Maps, grid: Grid, blur: int = 5) -> NDArray[np.float32]:
    """MSPN's: the highest cell of the blurred map, a quarter of one towards its second-highest.

    Args:
        heatmaps: (N, K, h, w) float.
        grid: of the heatmaps.
        blur: width of the Gaussian in cells.

    Returns:
        The score is the heatmap's value at the point.
    """
    height, width = heatmaps.shape[2:]
    border = blur // 2
    blurred = _blurred(heatmaps, blur, border)
    rows, columns, _ = _highest(blurred)
    people, joints = np.indices(rows.shape)
    blurred[people, joints, rows, columns] = 0
    next_rows, next_columns, _ = _highest(blurred)
    right, down = (next_columns - columns).astype(np.float32), (next_rows - rows).astype(np.float32)
    length = np.hypot(right, down)
    with np.errstate(invalid="ignore", divide="ignore"):
        right, down = (np.where(length > 0, 0.25 * step / length, 0) for step in (right, down))
    x, y = np.clip(columns - border + right, 0, width - 1), np.clip(rows - border + down, 0, height - 1)
    score = heatmaps[people, joints, np.floor(y + 0.5).astype(int), np.floor(x + 0.5).astype(int)]
    return _points(x, y, score, grid)


def dark(heatmaps: Maps, grid: Grid, blur: int = 11) -> NDArray[np.float32]:
    """DARK (Zhang et al., CVPR 2020): one Newton step on the logarithm of the blurred heatmap, from the highest cell.

    Second derivatives are over two cells in either direction, so the outermost two cells stay as they are.

    Args:
        heatmaps: (N, K, h, w) float; Gaussians of a peak of 1.
        grid: of the heatmaps.
        blur: width of the Gaussian in cells.

    Returns:
        The score is the heatmap's highest value.
    """
    rows, columns, peak = _highest(heatmaps)
    there = peak > 0
    rows, columns = np.where(there, rows, 0), np.where(there, columns, 0)
    height, width = heatmaps.shape[2:]
    blurred = _blurred(heatmaps, blur, 0)
    most = blurred.max((2, 3), keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        blurred = blurred * (heatmaps.max((2, 3), keepdims=True) / most)
        at = _Around(np.log(np.maximum(blurred, _LEAST)), rows, columns, 2)
        dx, dy = (at(0, 1) - at(0, -1)) / 2, (at(1, 0) - at(-1, 0)) / 2
        dxx, dyy = (at(0, 2) - 2 * at(0, 0) + at(0, -2)) / 4, (at(2, 0) - 2 * at(0, 0) + at(-2, 0)) / 4
        dxy = (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1)) / 4
        determinant = dxx * dyy - dxy**2
        right, down = -(dyy * dx - dxy * dy) / determinant, -(dxx * dy - dxy * dx) / determinant
    usable = (columns > 1) & (columns < width - 2) & (rows > 1) & (rows < height - 2) & (determinant != 0) & there
    return _points(columns + np.where(usable, right, 0), rows + np.where(usable, down, 0), peak, grid)


def refined_peaks(logits: Maps, grid: Grid) -> NDArray[np.float32]:
    """The highest cell of each heatmap, moved by one Newton step on the logits.

    DARK takes the logarithm of a heatmap that was trained to be a Gaussian; logits of a spatial cross-entropy are that
    logarithm already. The step is at most one cell, and none at the border or where the peak is no maximum of a
    parabola.

    Returns:
        The score is the softmax's share of the 3 x 3 cells around the peak.
    """
    rows, columns, peak = _highest(logits)
    height, width = logits.shape[2:]
    at = _Around(logits, rows, columns, 1)
    window = np.stack([at(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)])
    total = np.exp(logits.astype(np.float32) - peak[..., None, None]).sum((2, 3))
    score = np.exp(window - peak).sum(0) / total
    inner = (rows > 0) & (rows < height - 1) & (columns > 0) & (columns < width - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        dx, dy = (at(0, 1) - at(0, -1)) / 2, (at(1, 0) - at(-1, 0)) / 2
        dxx, dyy = at(0, 1) - 2 * at(0, 0) + at(0, -1), at(1, 0) - 2 * at(0, 0) + at(-1, 0)
        dxy = (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1)) / 4
        determinant = dxx * dyy - dxy**2
        right = -(dyy * dx - dxy * dy) / determinant
        down = -(dxx * dy - dxy * dx) / determinant
    usable = inner & (determinant > 0) & (dxx < 0)
    right, down = (np.where(usable, np.clip(step, -1, 1), 0) for step in (right, down))
    return _points(columns + right, rows + down, score, grid)


class _Around:
    """Values a few cells from a chosen one of each heatmap; -inf outside."""

    def __init__(self, maps: Maps, rows: NDArray[np.intp], columns: NDArray[np.intp], reach: int) -> None:
        padding = ((0, 0), (0, 0), (reach, reach), (reach, reach))
        self._padded = np.pad(maps.astype(np.float32), padding, constant_values=-np.inf)
        self._rows, self._columns = rows + reach, columns + reach
        self._people, self._joints = np.indices(rows.shape)

    def __call__(self, down: int, right: int) -> NDArray[np.float32]:
        return np.asarray(self._padded[self._people, self._joints, self._rows + down, self._columns + right])


def _highest(maps: Maps) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Row, column and value, (N, K) each, of the highest cell."""
    flat = maps.reshape(*maps.shape[:2], -1)
    best = flat.argmax(2)
    return best // maps.shape[3], best % maps.shape[3], flat.max(2).astype(np.float32)


def _blurred(maps: Maps, width: int, border: int) -> NDArray[np.float32]:
    """Under OpenCV's Gaussian of a width, nothing around it; with so many more cells on every side."""
    reach = width // 2
    padded = np.pad(maps.astype(np.float32), ((0, 0), (0, 0), (2 * reach,) * 2, (2 * reach,) * 2))
    blurred = np.stack([[cv2.GaussianBlur(one, (width, width), 0) for one in person] for person in padded])
    inner = slice(2 * reach - border, border - 2 * reach or None)
    return np.ascontiguousarray(blurred[:, :, inner, inner])


def _points(x: NDArray[Any], y: NDArray[Any], score: Maps, grid: Grid) -> NDArray[np.float32]:
    return np.stack([x * grid.stride + grid.offset, y * grid.stride + grid.offset, score], 2).astype(np.float32)
