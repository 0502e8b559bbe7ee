"""Tables on a terminal of any width: numbers stay whole, and no line ends in blanks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.measure import Measurement
from rich.segment import Segment, SegmentLines
from rich.table import Column, Table

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions

_WORDS_WIDTH = 16
"""A column of words is folded to this width, at most, before columns go below the others."""


def print_table(console: Console, table: Table) -> None:
    """Print a table; where the terminal is too narrow for all columns, in blocks that each repeat the first one.

    Columns with ``no_wrap`` are never folded; the others down to their ``min_width``, or 16 characters without one.
    """
    for position, columns in enumerate(_blocks(console, table)):
        if position:
            console.print()
        lines = console.render_lines(_with_columns(table, columns), pad=False)
        console.print(SegmentLines(map(_without_blanks, lines), new_lines=True), end="", soft_wrap=True)


def _blocks(console: Console, table: Table) -> Iterator[list[Column]]:
    """The columns that stand side by side: the first, and as many others as fit."""
    first, *others = table.columns
    block = [first]
    for column in others:
        if len(block) > 1 and _narrowest(console, table, [*block, column]) > console.width:
            yield block
            block = [first]
        block.append(column)
    yield block


def _narrowest(console: Console, table: Table, columns: Sequence[Column]) -> int:
    """Characters that the columns take side by side with all words folded."""
    unlimited = console.options.update(max_width=10_000)
    widest = Measurement.get(console, unlimited, _with_columns(table, columns)).maximum
    return widest - sum(_foldable(console, unlimited, column) for column in columns if not column.no_wrap)


def _foldable(console: Console, unlimited: ConsoleOptions, column: Column) -> int:
    """Characters that folding saves."""
    cells = [Measurement.get(console, unlimited, cell).maximum for cell in (column.header, *column.cells)]
    width = max(cells) if column.max_width is None else min(column.max_width, max(cells))
    return max(0, width - (column.min_width or _WORDS_WIDTH))


def _with_columns(table: Table, columns: Sequence[Column]) -> Table:
    block = Table(
        box=table.box,
        padding=table.padding,
        collapse_padding=table.collapse_padding,
        pad_edge=table.pad_edge,
        show_header=table.show_header,
        show_edge=table.show_edge,
        header_style=table.header_style,
    )
    for column in columns:
        block.add_column(
            column.header,
            style=column.style,
            justify=column.justify,
            overflow=column.overflow,
            min_width=column.min_width,
            max_width=column.max_width,
            no_wrap=column.no_wrap,
        )
    for row, cells in zip(table.rows, zip(*(column.cells for column in columns))):
        block.add_row(*cells, style=row.style, end_section=row.end_section)
    return block


def _without_blanks(line: list[Segment]) -> list[Segment]:
    while line and not line[-1].text.rstrip():
        line = line[:-1]
    return [*line[:-1], Segment(line[-1].text.rstrip(), line[-1].style)] if line else line
