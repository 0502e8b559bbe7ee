"""Where a heatmap's cells lie in a network's input. Imports no torch: engines decode without it.

A cell of stride s has its centre at s * i + offset pixels; ``offset`` is (s - 1) / 2 where cells are counted by their
centres, and 0 where HRNet's are meant, which counts them by their upper left pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """Where a heatmap's cells lie in the input.

    Args:
        size: (height, width) in cells.
        stride: input pixels a cell.
        offset: input pixels from the first pixel's centre to the first cell's.
    """

    size: tuple[int, int]
    stride: int = 4
    offset: float = 1.5

    def cells(self, points: Tensor) -> Tensor:
        """Input pixels to cells, both x before y."""
        return (points - self.offset) / self.stride
