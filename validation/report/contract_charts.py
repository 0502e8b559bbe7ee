"""Charts of the accuracy contract as SVG that stands alone: a file of its own, or a part of a page.

Colours are the report's where the page has them, and letters scale with the chart. Every mark has a title, which
browsers show when a pointer rests on it and screen readers say.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from ...calibration.budget.search import Point, Search, pareto
from ...calibration.budget.sensitivity import Sensitivity
from ..verdict import NOTHING, signed
from .charts import axis

_WIDTH = 880
_ROW = 20

_STYLE = Markup(
    "<style>.contract{font:12px system-ui,sans-serif;max-width:100%;height:auto}"
    ".contract text{fill:var(--text,#1b1f24);font-size:12px}.contract .quiet{fill:var(--muted,#565f6b)}"
    ".contract .title{font-size:15px;font-weight:650}.contract .page{fill:var(--page,#fff)}"
    ".contract .bar,.contract .dot{fill:var(--accent,#1f62c4)}.contract .track{fill:var(--track,#e9edf1)}"
    ".contract .grid{stroke:var(--line,#d8dde3)}.contract .axis{stroke:var(--muted,#565f6b)}"
    ".contract .front{fill:none;stroke:var(--accent,#1f62c4);stroke-width:1.5}"
    ".contract .beaten{fill:var(--page,#fff);stroke:var(--accent,#1f62c4);stroke-width:1.5}"
    ".contract .found{fill:none;stroke:var(--passed,#17703a);stroke-width:2.5}"
    ".contract .budget{stroke:var(--failed,#b3261e);stroke-width:1.5;stroke-dasharray:5 4}</style>"
)


def sensitivity_chart(found: Sensitivity) -> Markup:
    """Layers as rows, the worst first: a bar for what each costs alone, and its three measures."""
    left, right, head = 250, 560, 84
    lost = f"{found.whole.figure.name} lost"
    columns = (("agreement lost", 665), (lost, 755), ("SQNR, dB", 850))
    measured = {"agreement": "agreement lost", "miou": lost, "sqnr": "power of the logits' error"}[found.measure]
    harms = [entry.harm(found.measure) for entry in found.layers]
    reach = max([*harms, 1e-12])
    parts = [
        _text(16, 28, "Each layer alone in INT8", "title"),
        _text(16, 48, f"{found.whole.images} held-out images; bars: {measured}", "quiet"),
        *(_text(x, head - 8, name, "quiet", "end") for name, x in columns),
    ]
    for number, (entry, harm) in enumerate(zip(found.layers, harms)):
        y = head + _ROW * number
        score = entry.score
        values = (
            f"{100 - score.agreement:.2f}",
            NOTHING if score.loss is None else signed(score.loss),
            NOTHING if score.raw_sqnr is None else f"{score.raw_sqnr:.1f}",
        )
        title = f"{entry.layer}, {entry.description}, {100 * entry.multiply_adds:.1f} % of the multiply-adds"
        parts.append(
            Markup(
                '<g><title>{}</title>{}<rect class="track" x="{}" y="{}" width="{}" height="12"/>'
                '<rect class="bar" x="{}" y="{}" width="{:.1f}" height="12"/>{}</g>'
            ).format(
                title,
                _text(left - 10, y + 14, _fitting(entry.layer), "", "end"),
                left,
                y + 4,
                right - left,
                left,
                y + 4,
                max((right - left) * harm / reach, 0.0),
                Markup("").join(_text(x, y + 14, value, "", "end") for (_, x), value in zip(columns, values)),
            )
        )
    return _svg(head + _ROW * len(found.layers) + 16, "Each layer alone in INT8", parts)


def pareto_chart(search: Search, *, saved: bool = False) -> Markup:
    """Every graph of a search: what it loses, against how much of it is in INT8.

    Args:
        saved: across stands the share of the time that INT8 can save instead of that of the multiply-adds.
    """
    left, right, top, bottom = 64, _WIDTH - 24, 72, 352
    points = search.points
    low, high, ticks = axis(min([0.0, *_drops(points)]), max([search.max_drop, *_drops(points)]))

    shares = {point: 100 * (point.saved if saved else point.share) for point in points}
    first, last, percents = axis(min([80.0, *shares.values()]), 100)

    def across(percent: float) -> float:
        return left + (right - left) * (percent - first) / (last - first)

    def down(drop: float) -> float:
        return bottom - (bottom - top) * (drop - low) / (high - low)

    lost = "agreement" if search.score.loss is None else search.score.figure.name
    what = "time that INT8 saves" if saved else "multiply-adds in INT8"
    parts = [
        _text(16, 28, f"Loss of {lost} against the {what}", "title"),
        _text(16, 48, f"{search.score.images} held-out images; line: graphs that no other beats in both", "quiet"),
    ]
    for tick in ticks:
        y = down(tick)
        parts.append(_line("grid", left, y, right, y))
        parts.append(_text(left - 8, y + 4, f"{tick:g}".replace("-", "−"), "quiet", "end"))
    parts += [_text(across(percent), bottom + 18, f"{percent:g} %", "quiet", "middle") for percent in percents]
    parts.append(_line("axis", left, down(0.0), right, down(0.0)))
    y = down(search.max_drop)
    parts.append(_line("budget", left, y, right, y))
    parts.append(_text(left + 6, y - 6, f"budget: {search.max_drop:g} points", "quiet"))
    best = pareto(points)
    line = " ".join(f"{across(shares[point]):.1f},{down(point.score.drop):.1f}" for point in best)
    parts.append(Markup('<polyline class="front" points="{}"/>').format(line))
    found = frozenset(search.int8)
    for point in points:
        x, y = across(shares[point]), down(point.score.drop)
        title = (
            f"{len(point.int8)} layers, {100 * point.share:.1f} % of the multiply-adds in INT8: "
            f"{signed(point.score.drop)} points, agreement {point.score.agreement:.2f}"
        )
        kind = "dot" if point in best else "beaten"
        parts.append(
            Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="4"><title>{}</title></circle>').format(
                kind, x, y, title
            )
        )
        if found == frozenset(point.int8):
            parts.append(Markup('<circle class="found" cx="{:.1f}" cy="{:.1f}" r="8"/>').format(x, y))
    return _svg(bottom + 36, f"Loss of {lost} against the {what}", parts)


def _drops(points: Sequence[Point]) -> list[float]:
    return [point.score.drop for point in points]


def _svg(height: int, title: str, parts: Sequence[Markup]) -> Markup:
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" class="contract" width="{0}" height="{1}" viewBox="0 0 {0} {1}" '
        'role="img" focusable="false"><title>{2}</title>{3}<rect class="page" width="100%" height="100%"/>{4}</svg>'
    ).format(_WIDTH, height, title, _STYLE, Markup("").join(parts))


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(kind, x, y, anchor, words)


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    return Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(kind, x1, y1, x2, y2)


def _fitting(name: str) -> str:
    """A layer's name, its front cut off where it is too long: the end tells layers apart."""
    return name if len(name) <= 36 else f"…{name[-35:]}"
