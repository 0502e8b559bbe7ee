"""From heatmaps to points and scores, on arrays: the reference that a graph's decoding is compared with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .grid import Grid


def refined_peaks(logits: NDArray[np.float32], grid: Grid) -> NDArray[np.float32]:
    """The highest cell of each heatmap, moved by one Newton step on the logits.

    DARK (Zhang et al., CVPR 2020) takes the logarithm of a heatmap that was trained to be a Gaussian; logits of a
    spatial cross-entropy are that logarithm already. The step is at most one cell, and none at the border or where
    the peak is no maximum of a parabola.

    Args:
        logits: (N, K, h, w) float.
        grid: of the heatmaps.

    Returns:
        (N, K, 3) float32: x and y in input pixels, and the softmax's share of the 3 x 3 cells around the peak.
    """
    count, joints, height, width = logits.shape
    flat = logits.reshape(count, joints, -1).astype(np.float32)
    best = flat.argmax(2)
    rows, columns = best // width, best % width
    padded = np.pad(logits.astype(np.float32), ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    people, channels = np.arange(count)[:, None], np.arange(joints)[None]

    def at(down: int, right: int) -> NDArray[np.float32]:
        return np.asarray(padded[people, channels, rows + 1 + down, columns + 1 + right])

    centre = at(0, 0)
    window = np.stack([at(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)])
    peak = flat.max(2)
    total = np.exp(flat - peak[..., None]).sum(2)
    score = np.exp(window - peak).sum(0) / total
    inner = (rows > 0) & (rows < height - 1) & (columns > 0) & (columns < width - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        dx, dy = (at(0, 1) - at(0, -1)) / 2, (at(1, 0) - at(-1, 0)) / 2
        dxx, dyy = at(0, 1) - 2 * centre + at(0, -1), at(1, 0) - 2 * centre + at(-1, 0)
        dxy = (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1)) / 4
        determinant = dxx * dyy - dxy**2
        right = -(dyy * dx - dxy * dy) / determinant
        down = -(dxx * dy - dxy * dx) / determinant
    usable = inner & (determinant > 0) & (dxx < 0)
    right, down = (np.where(usable, np.clip(step, -1, 1), 0) for step in (right, down))
    x, y = (columns + right) * grid.stride + grid.offset, (rows + down) * grid.stride + grid.offset
    return np.stack([x, y, score], 2).astype(np.float32)
