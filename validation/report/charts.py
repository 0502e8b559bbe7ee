"""Charts as inline SVG, from values alone.

Lengths across are percentages, lengths down and letters are pixels: a chart fills whatever width its page has,
and its letters stay as large on a phone as on a desk. Labels stand outside the plot, in margins that the style
sheet leaves (``overflow: visible``). Colours are classes of the style sheet, so that a dark page has dark charts.
Every chart says in a title and a description what it shows; what stands beside it in numbers already is hidden
from screen readers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from ..verdict import NOTHING, signed

_ROW = 22
_LETTERS = 17  # of 12 px, in the 112 px that the style sheet leaves
_HEAD = 20
"""Pixels that a row and the axis above the rows take."""


@dataclass(frozen=True)
class Interval:
    """One row of :func:`intervals`: a value and where it may lie.

    Args:
        label: what stands to the left.
        value: None where there is none; the row then says "n/a" and is grey.
        low, high: the ends of the interval; None where there is none.
        strong: it is about all the others.
    """

    label: str
    value: float | None
    low: float | None = None
    high: float | None = None
    strong: bool = False

    @property
    def significant(self) -> bool:
        """Whether the whole interval lies on one side of zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def pair_of_bars(reference: float | None, engine: float | None) -> Markup:
    """Two thin bars, one above the other, for a cell of a table that has the numbers beside them.

    Args:
        reference, engine: 0 to 1; None draws nothing.
    """
    bars = [
        Markup('<rect class="{}" y="{}" height="5" width="{}%"/>').format(kind, top, _number(100 * value))
        for kind, top, value in (("reference", 1, reference), ("engine", 8, engine))
        if value is not None
    ]
    return Markup(
        '<svg class="bars" height="14" aria-hidden="true" focusable="false">'
        '<rect class="track" y="1" height="12" width="100%"/>{}</svg>'
    ).format(Markup("").join(bars))


def bar(share: float, kind: str = "engine") -> Markup:
    """One bar for a cell of a table that has the number beside it.

    Args:
        share: 0 to 1.
        kind: a colour of the style sheet.
    """
    return Markup(
        '<svg class="bars" height="10" aria-hidden="true" focusable="false">'
        '<rect class="track" y="1" height="8" width="100%"/>'
        '<rect class="{}" y="1" height="8" width="{}%"/></svg>'
    ).format(kind, _number(100 * min(max(share, 0.0), 1.0)))


def spans(ranges: Sequence[tuple[float, float]]) -> list[Markup]:
    """Bars from a low to a high value, for the cells of a table that has the numbers beside them.

    Activations differ by powers of ten, so the common scale is linear between -1 and 1 only, and logarithmic
    beyond; zero is in the middle.
    """
    bent = [(_bent(low), _bent(high)) for low, high in ranges]
    reach = max([1.0, *(abs(end) for ends in bent for end in ends)])
    cells = []
    for low, high in bent:
        start, end = _across(low, -reach, reach), _across(high, -reach, reach)
        cells.append(
            Markup(
                '<svg class="bars" height="14" aria-hidden="true" focusable="false">'
                '<line class="zero" x1="50%" x2="50%" y1="0" y2="14"/>'
                '<rect class="engine" x="{}%" y="3" width="{}%" height="8"/></svg>'
            ).format(_number(start), _number(max(end - start, 0.3)))
        )
    return cells


def dots(rows: Sequence[Interval], limit: float) -> list[Markup]:
    """Dots with intervals on a common scale, for the cells of a table that has the numbers beside them.

    Args:
        limit: where a line stands to stay to the left of.
    """
    low, high, _ = axis(*_reach(rows, limit))
    return [
        Markup(
            '<svg class="bars" height="16" aria-hidden="true" focusable="false">'
            '<line class="zero" x1="{zero}%" x2="{zero}%" y1="0" y2="16"/>'
            '<line class="limit" x1="{limit}%" x2="{limit}%" y1="0" y2="16"/>{dot}</svg>'
        ).format(
            zero=_number(_across(0.0, low, high)),
            limit=_number(_across(limit, low, high)),
            dot=_dot(row, 8, low, high),
        )
        for row in rows
    ]


def intervals(
    rows: Sequence[Interval], *, title: str, description: str, limit: tuple[str, float] | None = None
) -> Markup:
    """Dots with intervals in points, one row each, zero marked; a dot is filled where its interval leaves zero out.

    Args:
        rows: from top to bottom.
        limit: a line to stay to the left of: what stands below it, and where it is.
    """
    low, high, ticks = axis(*_reach(rows, 0.0 if limit is None else limit[1]))
    bottom = _HEAD + _ROW * len(rows)
    parts = []
    for tick in ticks:
        x = _across(tick, low, high)
        parts.append(_vertical("zero" if tick == 0 else "grid", x, bottom))
        parts.append(_tick_label(x, _HEAD - 8, f"{tick:g}".replace("-", "−")))
    if limit is not None:
        x = _across(limit[1], low, high)
        parts.append(_vertical("limit", x, bottom + 4))
        parts.append(
            Markup('<text class="note" x="{}%" y="{}" text-anchor="{}">{}</text>').format(
                _number(x), bottom + 18, "end" if x > 60 else "start", limit[0]
            )
        )
    parts += [_interval_row(row, _HEAD + _ROW * (number + 0.5), low, high) for number, row in enumerate(rows)]
    return _chart("intervals", bottom + (2 if limit is None else 24), title, description, parts)


def confusion_matrix(counts: NDArray[np.int64], names: Sequence[str], *, title: str, description: str) -> Markup:
    """A heat map of true class by predicted class, every row as shares of its pixels.

    One colour, denser where there is more, so that it reads without colour vision. The density goes with the
    square root: what a class loses to another is a few percent, and would be white beside the diagonal.

    Args:
        counts: (C, C), true by predicted.
        names: C of them.
    """
    size, cell = len(names), 20
    head = 96
    totals = counts.sum(axis=1)
    parts: list[Markup] = []
    step = 100 / size
    for column, name in enumerate(names):
        parts.append(
            Markup(
                '<svg x="{}%" y="{}" class="overflow"><text class="column" transform="rotate(-90)">{}</text></svg>'
            ).format(_number(step * (column + 0.5)), head - 6, _fitting(name))
        )
    for row, name in enumerate(names):
        top = head + cell * row
        absent = totals[row] == 0
        parts.append(_label(name, top + cell / 2, "absent" if absent else "", f" {NOTHING}" if absent else ""))
        for column, other in enumerate(names):
            if absent:
                continue
            share = float(counts[row, column] / totals[row])
            parts.append(_cell(row, column, step, top, cell, share, f"{name} as {other}: {100 * share:.2f} %"))
    frame = Markup('<rect class="frame" x="0" y="{}" width="100%" height="{}"/>').format(head, cell * size)
    return _chart("matrix", head + cell * size + 1, title, description, [*parts, frame])


def density(share: float) -> float:
    """How densely the confusion matrix draws a share."""
    return math.sqrt(min(max(share, 0.0), 1.0))


def density_key() -> Markup:
    """What the densities of :func:`confusion_matrix` mean."""
    swatches = [
        Markup(
            '<li><svg class="swatch" width="14" height="14" aria-hidden="true" focusable="false">'
            '<rect class="cell" width="14" height="14" fill-opacity="{}"/></svg> {} %</li>'
        ).format(_number(density(percent / 100)), percent)
        for percent in (0, 1, 5, 25, 50, 100)
    ]
    return Markup('<ul class="key">{}</ul>').format(Markup("").join(swatches))


def shares(rows: Sequence[tuple[str, float]], parts: tuple[str, str], *, title: str, description: str) -> Markup:
    """Bars of one length that are split in two.

    Args:
        rows: label, and the share of the first part, 0 to 1.
        parts: names of the two parts.
    """
    drawn = []
    for number, (label, share) in enumerate(rows):
        top, split = 30 * number, 100 * min(max(share, 0.0), 1.0)
        drawn.append(
            Markup(
                "<g><title>{label}: {told}</title>{label_text}"
                '<rect class="engine" x="0" y="{y}" width="{split}%" height="16"/>'
                '<rect class="reference" x="{split}%" y="{y}" width="{rest}%" height="16"/>{value}</g>'
            ).format(
                label=label,
                told=f"{split:.1f} % {parts[0]}, {100 - split:.1f} % {parts[1]}",
                label_text=_label(label, top + 14),
                y=top + 6,
                split=_number(split),
                rest=_number(100 - split),
                value=_value(f"{split:.1f} %", top + 14),
            )
        )
    return _chart("shares", 30 * len(rows), title, description, drawn)


def histogram(
    edges: Sequence[float],
    counts: Sequence[int],
    marks: Sequence[tuple[str, float]],
    *,
    title: str,
    description: str,
    kind: str = "engine",
) -> Markup:
    """How often values fall between edges, with lines at marked values.

    Args:
        edges: ascending, one more than ``counts``.
        marks: what stands beside a line, and where it is.
        kind: a colour of the style sheet.
    """
    low, high, ticks = axis(min(edges[0], *(at for _, at in marks)), max(edges[-1], *(at for _, at in marks)))
    head, plot = 16 * len(marks) + 8, 120
    bottom, tallest = head + plot, max(max(counts), 1)
    parts = []
    for first, last, count in zip(edges, edges[1:], counts):
        if count:
            start, end = _across(first, low, high), _across(last, low, high)
            height = plot * count / tallest
            parts.append(
                Markup('<rect class="{}" x="{}%" y="{}" width="{}%" height="{}"><title>{}</title></rect>').format(
                    kind,
                    _number(start),
                    _number(bottom - height),
                    _number(max(end - start - 0.15, 0.2)),
                    _number(height),
                    f"{first:.3g} to {last:.3g}: {count}",
                )
            )
    for number, (name, at) in enumerate(marks):
        x, y = _across(at, low, high), 16 * number + 12
        anchor, shift = ("end", -5) if x > 60 else ("start", 5)
        parts.append(
            Markup(
                '<line class="mark" x1="{x}%" x2="{x}%" y1="{y}" y2="{bottom}"/>'
                '<text class="note" x="{x}%" dx="{shift}" y="{text}" text-anchor="{anchor}">{name}</text>'
            ).format(x=_number(x), y=y - 8, bottom=bottom, shift=shift, text=y, anchor=anchor, name=name)
        )
    parts.append(Markup('<line class="zero" x1="0" x2="100%" y1="{0}" y2="{0}"/>').format(bottom))
    for tick in ticks:
        parts.append(_tick_label(_across(tick, low, high), bottom + 16, f"{tick:g}"))
    return _chart("histogram", bottom + 22, title, description, parts)


def axis(low: float, high: float, wanted: int = 5) -> tuple[float, float, list[float]]:
    """Round ends and ticks for values from ``low`` to ``high``.

    Returns:
        The ends, and the ticks from one to the other; there are 2 at least, and about ``wanted``.
    """
    if high - low < 1e-9 * max(1.0, abs(low), abs(high)):
        high = low + 1.0  # one value; ticks closer than this could not be told apart
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    # Rounding takes the last bits of 3 * 0.1 away.
    ticks = [round(number * step, 12) + 0.0 for number in range(first, last + 1)]
    return ticks[0], ticks[-1], ticks


def _chart(kind: str, height: float, title: str, description: str, parts: Sequence[Markup]) -> Markup:
    return Markup(
        '<svg class="chart {}" height="{}" role="img" focusable="false"><title>{}</title><desc>{}</desc>{}</svg>'
    ).format(kind, _number(height), title, description, Markup("").join(parts))


def _vertical(kind: str, x: float, bottom: float) -> Markup:
    return Markup('<line class="{0}" x1="{1}%" x2="{1}%" y1="{2}" y2="{3}"/>').format(
        kind, _number(x), _HEAD - 2, _number(bottom)
    )


def _tick_label(x: float, y: float, words: str) -> Markup:
    return Markup('<text class="tick" x="{}%" y="{}">{}</text>').format(_number(x), _number(y), words)


def _label(words: str, middle: float, kind: str = "", behind: str = "") -> Markup:
    shown = _fitting(words, behind)
    return Markup('<text class="label {}" x="-8" y="{}">{}</text>').format(kind, _number(middle + 4), shown)


def _fitting(words: str, behind: str = "") -> str:
    """As much of a name as there is room for beside a chart, or above it; a name that is cut may be of wide letters."""
    return words + behind if len(words + behind) <= _LETTERS else f"{words[: _LETTERS - 3 - len(behind)]}…{behind}"


def _value(words: str, middle: float, kind: str = "") -> Markup:
    return Markup('<text class="value {}" x="100%" dx="8" y="{}">{}</text>').format(kind, _number(middle + 4), words)


def _reach(rows: Sequence[Interval], limit: float) -> tuple[float, float]:
    """Smallest and largest value to show, zero included."""
    ends = [end for row in rows for end in (row.value, row.low, row.high) if end is not None]
    return min([0.0, *ends]), max([0.0, limit, *ends])


def _interval_row(row: Interval, middle: float, low: float, high: float) -> Markup:
    if row.value is None:
        return Markup("<g>{}{}</g>").format(_label(row.label, middle, "absent"), _value(NOTHING, middle, "absent"))
    told, weight = signed(row.value), "strong" if row.strong else ""
    around = "" if row.low is None else f", 95 % interval {signed(row.low)} to {signed(row.high)}"
    return Markup(
        '<g><title>{}: {} points{}</title><rect class="hit" x="0" y="{}" width="100%" height="{}"/>{}{}{}</g>'
    ).format(
        row.label,
        told,
        around,
        _number(middle - _ROW / 2),
        _ROW,
        _label(row.label, middle, weight),
        _dot(row, middle, low, high),
        _value(told, middle, weight),
    )


def _dot(row: Interval, middle: float, low: float, high: float) -> Markup:
    """A value as a dot, and its interval as a line."""
    if row.value is None:
        return Markup("")
    line = Markup("")
    if row.low is not None and row.high is not None:
        line = Markup('<line class="interval" x1="{}%" x2="{}%" y1="{y}" y2="{y}"/>').format(
            _number(_across(row.low, low, high)), _number(_across(row.high, low, high)), y=_number(middle)
        )
    return Markup('{}<circle class="{}" cx="{}%" cy="{}" r="4"/>').format(
        line, "sure" if row.significant else "unsure", _number(_across(row.value, low, high)), _number(middle)
    )


def _cell(row: int, column: int, step: float, top: float, height: float, share: float, words: str) -> Markup:
    kind = "cell diagonal" if row == column else "cell"
    return Markup(
        '<rect class="{}" x="{}%" y="{}" width="{}%" height="{}" fill-opacity="{}"><title>{}</title></rect>'
    ).format(kind, _number(step * column), _number(top), _number(step), height, _number(density(share)), words)


def _across(value: float, low: float, high: float) -> float:
    """Where a value stands, in percent of the width; values outside at the edge."""
    return 100 * min(max((value - low) / (high - low), 0.0), 1.0)


def _bent(value: float) -> float:
    """Linear from -1 to 1, decades beyond: 10 is at 2, 100 at 3."""
    return value if abs(value) <= 1 else math.copysign(1 + math.log10(abs(value)), value)


def _number(value: float) -> str:
    """Two digits behind the point are a hundredth of a pixel or percent; without the zeros at the end."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
