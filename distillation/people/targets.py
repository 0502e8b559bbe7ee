"""What a finder is to answer: a heatmap of middles, and the distances to the four sides around each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...networks.finder import STRIDE
from ...tasks.people.boxes import Boxes

Floats = NDArray[np.float32]

_SPREAD, _LEAST_SPREAD = 0.11, 0.6
"""Standard deviation of a Gaussian, in parts of the box's side, and at least in cells."""

_SHARE = 0.45
"""Cells of which the Gaussian is larger answer with the box as well."""


@dataclass(frozen=True, eq=False)
class Targets:
    """For one frame of h x w cells.

    Args:
        heat: (h, w) float32: 1 in the cell of somebody's middle, a Gaussian around it.
        boxes: (4, h, w) float32 pixels: left, top, right, bottom, where ``weights`` are above 0.
        weights: (h, w) float32: how much the box of a cell counts.
        counts: (h, w) float32: 0 where nothing is asked for.
    """

    heat: Floats
    boxes: Floats
    weights: Floats
    counts: Floats


def make_targets(boxes: Boxes, doubtful: Boxes, size: tuple[int, int]) -> Targets:
    """The targets of a frame.

    Args:
        boxes: (n, 4) pixels, of those who are to be found; where two share cells, the smaller has them.
        doubtful: (m, 4) pixels, of those whom nothing is asked about.
        size: (height, width) of the frame.
    """
    rows, columns = size[0] // STRIDE, size[1] // STRIDE
    heat, weights = np.zeros((rows, columns), np.float32), np.zeros((rows, columns), np.float32)
    sides = np.zeros((4, rows, columns), np.float32)
    counts = np.ones((rows, columns), np.float32)
    for left, top, right, bottom in doubtful / STRIDE:
        wide, high = 0.2 * (right - left), 0.2 * (bottom - top)  # where their middle may be
        counts[
            max(int(top + high), 0) : max(int(np.ceil(bottom - high)), 0),
            max(int(left + wide), 0) : max(int(np.ceil(right - wide)), 0),
        ] = 0
    y, x = np.arange(rows) + 0.5, np.arange(columns) + 0.5
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    for box in boxes[np.argsort(-areas, kind="stable")]:
        middle, extent = (box[:2] + box[2:]) / 2 / STRIDE, (box[2:] - box[:2]) / STRIDE
        spread = np.maximum(_SPREAD * extent, _LEAST_SPREAD)
        column, row = np.clip(middle.astype(int), 0, (columns - 1, rows - 1))
        # Around the middle's cell, so that its own value is 1; a cell's middle must lie inside the box.
        hill = np.outer(
            np.exp(-0.5 * ((y - row - 0.5) / spread[1]) ** 2), np.exp(-0.5 * ((x - column - 0.5) / spread[0]) ** 2)
        ).astype(np.float32)
        inside = np.outer((y * STRIDE > box[1]) & (y * STRIDE < box[3]), (x * STRIDE > box[0]) & (x * STRIDE < box[2]))
        hill[hill < 0.01] = 0
        heat = np.maximum(heat, hill)
        own = (hill >= _SHARE) & inside
        own[row, column] = True
        counts[row, column] = 1
        weights[own], sides[:, own] = hill[own], box[:, None]
    return Targets(heat, sides, weights, counts)
