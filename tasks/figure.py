"""What a task is measured by: the one figure of its answers, and how close graphs have to come to their network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Closeness:
    """How close a graph or an engine has to come to the network that it was made from.

    Args:
        figure: what manifests call the share that agrees ("pixel_agreement").
        unit: what it is a share of ("pixels").
        least: of each graph, by its name in a bundle, from 0 to 1: below it the graph is broken, not merely less
            accurate.
        tolerance: floats that differ by no more than that agree.
    """

    figure: str
    unit: str
    least: Mapping[str, float]
    tolerance: float = 0.0


@dataclass(frozen=True)
class Figure:
    """The one figure that budgets, tolerances, intervals and plots go by.

    Args:
        name: as columns and axes have it ("mIoU").
        words: as sentences have it ("mean IoU").
        of_row: what one row has ("IoU"); the figure is its mean over rows.
        row, rows: what it is the mean over ("class", "classes").
        unit_of_support: what a row's truth is counted in ("pixels").
        measure: how it is taken, in a sentence or two for a report; ``{reference}`` stands for the reference's name.
    """

    name: str
    words: str
    of_row: str = ""
    row: str = "row"
    rows: str = "rows"
    unit_of_support: str = ""
    measure: str = ""

    @property
    def unit(self) -> str:
        """Of a loss of it, 100 of which are all there is to lose."""
        return f"points of {self.words}"
