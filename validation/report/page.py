"""The report of a validation: one HTML file that needs nothing else, a Markdown summary, and the values as JSON.

Whatever comes from outside (names of datasets, images, engines) is escaped where it enters the page: the
template escapes by itself, and charts are built of :class:`markupsafe.Markup`. The page has no script and
forbids itself to load anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from ... import __version__
from ...calibration.budget.score import EARLIER, Score, is_of_earlier_version
from ...calibration.budget.search import Search
from ...engines.calibrated import Calibrated
from ...errors import UsageError
from ...specs.origin import Origin
from ...storage.files import check_output_folder, replace_bytes
from ...tasks.scoring import Confusion, figures_of
from ..result import EngineComparison, EngineRun, ValidationResult, WorstImage
from ..verdict import (
    NOTHING,
    engine_labels,
    headline,
    mean_over,
    most_lost,
    notes,
    percent,
    reference_label,
    row_agreement,
    sentence,
    signed,
    verdict_word,
)
from . import charts
from .charts import Interval
from .contract_charts import pareto_chart
from .markdown import markdown
from .pictures import Shown, within_budget

HTML_NAME, MARKDOWN_NAME, JSON_NAME = "report.html", "report.md", "report.json"

_PICTURE_BUDGET = 3_500_000
"""Letters for the pictures of all engines together. The rest of a page with one engine takes about 0.2 MB, and the
whole is to stay below 5 MB, which is what mail and issue trackers let through."""

_NAMED = 20
"""How many left-out images, layers or tensors are named; the JSON file has all of the images."""


def check_report_folder(folder: Path) -> None:
    """Make ``folder`` if need be, and see that a report can be written into it, before any work is done for one.

    Raises:
        UsageError: it is a file, or cannot be made or written to; or a folder has the name of a report's file.
        MachineError: the disk is full.
    """
    check_output_folder(folder)
    for name in (HTML_NAME, MARKDOWN_NAME, JSON_NAME):
        if (folder / name).is_dir():
            raise UsageError(f"{folder / name} is a folder, so no report can be written there.", "Choose another one.")


def write_report(
    result: ValidationResult,
    folder: Path,
    *,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    sensitivity: Mapping[str, float] | None = None,
    calibration: Calibrated | None = None,
    origin: Origin = Origin(),
    command: str = "",
) -> list[Path]:
    """Write ``report.html``, ``report.md`` and ``report.json``, each whole or not at all.

    Args:
        folder: made if need be.
        ranges: tensor to its smallest and largest value over the calibration images.
        sensitivity: layer to the points that are lost when it alone is in INT8.
        calibration: of the bundle's manifest: the methods that were tried, and the search for a budget.
        origin: what the weights come from.
        command: what was typed, for the section that says how to get the same report again.

    Returns:
        The three files.

    Raises:
        UsageError, MachineError: as :func:`check_report_folder`.
    """
    check_report_folder(folder)
    contents = {
        JSON_NAME: json.dumps(result.to_dict(), indent=2) + "\n",
        MARKDOWN_NAME: markdown(result),
        HTML_NAME: html(
            result, ranges=ranges, sensitivity=sensitivity, calibration=calibration, origin=origin, command=command
        ),
    }
    for name, text in contents.items():
        # File names that are no Unicode are shown, not choked on.
        replace_bytes(folder / name, text.encode("utf-8", "backslashreplace"))
    return [folder / name for name in (HTML_NAME, MARKDOWN_NAME, JSON_NAME)]


def html(
    result: ValidationResult,
    *,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    sensitivity: Mapping[str, float] | None = None,
    calibration: Calibrated | None = None,
    origin: Origin = Origin(),
    command: str = "",
) -> str:
    """The page; arguments as :func:`write_report`."""
    labels = engine_labels(result)
    budget = _PICTURE_BUDGET // len(labels)
    scores = (calibration or {}).get("methods", {})
    search = _search(calibration or {})
    sections = [
        _section(result, engine, label, f"engine-{number}", budget)
        for number, (label, engine) in enumerate(zip(labels, result.engines), 1)
    ]
    return _template().render(
        result=result,
        word=verdict_word(result),
        headline=headline(result),
        reference=reference_label(result),
        sections=sections,
        engine_cells=_engine_cells(result, labels),
        ruler=_ruler(result),
        latencies=_latencies(result, labels),
        task=result.task,
        ranges=_ranges(ranges or {}),
        ranges_count=len(ranges or {}),
        sensitivity=[] if not sensitivity else _sensitivity(sensitivity),
        sensitivity_count=len(sensitivity or {}),
        calibration=calibration or {},
        trials=_trials(calibration or {}),
        pareto=None if search is None else pareto_chart(search),
        budget_unit="" if search is None else search.score.unit,
        trials_note=f"Measured {EARLIER}." if any(map(is_of_earlier_version, scores.values())) else "",
        measure=result.figure.measure.format(reference=reference_label(result)),
        origin=origin,
        command=command,
        program_version=__version__,
        named=_NAMED,
    )


def _trials(calibration: Calibrated) -> list[tuple[str, str, str, str]]:
    """(method, agreement, figure, loss) of each calibration that was tried."""
    return [
        (
            name,
            f"{score.agreement:.2f}",
            NOTHING if score.value is None else f"{score.value:.2f}",
            NOTHING if score.loss is None else signed(score.loss),
        )
        for name, told in calibration.get("methods", {}).items()
        for score in (Score.from_dict(told),)
    ]


def _search(calibration: Calibrated) -> Search | None:
    """The search for a budget, where there was one."""
    return Search.from_dict(calibration["search"]) if "search" in calibration else None


@dataclass(frozen=True)
class RowLine:
    """A line of the table of rows; numbers are words already."""

    name: str
    absent: bool
    bars: Markup
    reference: str
    engine: str
    loss: str
    interval: str
    significant: bool
    agreement: str
    images: int
    support: str


@dataclass(frozen=True)
class Confused:
    """A pair of classes that is often confused: share of the pixels of ``truth`` that are ``found``."""

    truth: str
    found: str
    share: float


@dataclass(frozen=True)
class Section:
    """What the page says of one engine."""

    anchor: str
    label: str
    word: str
    comparison: EngineComparison
    mean_over: str
    rows: tuple[RowLine, ...]
    notes: tuple[str, ...]
    loss_chart: Markup | None
    most_lost: str
    matrix: Markup | None
    matrix_shares: tuple[tuple[str, tuple[str, ...]], ...]
    confused: tuple[Confused, ...]
    disagreement_chart: Markup | None
    pictures: tuple[tuple[WorstImage, tuple[Shown, ...]], ...]


@dataclass(frozen=True)
class LatencyRow:
    """Times of one engine; ``bar`` compares medians, ``chart`` is the distribution."""

    label: str
    run: EngineRun
    bar: Markup
    chart: Markup


def _section(result: ValidationResult, engine: EngineComparison, label: str, anchor: str, budget: int) -> Section:
    reference = reference_label(result)
    confusion = engine.agreement_confusion if engine.confusion is None else engine.confusion
    names = result.task.rows
    confused = () if confusion is None else _confused(confusion, names)
    lost = [names[row] for row in most_lost(engine, 3)]
    row = result.figure.row
    down = f"true {row}" if result.labelled else f"{reference}'s {row}"
    return Section(
        anchor=anchor,
        label=label,
        word=verdict_word(result, engine),
        comparison=engine,
        mean_over=mean_over(engine.agreement if engine.scores is None else engine.scores, result.figure),
        rows=tuple(_row_line(result, engine, index) for index in range(len(names))),
        notes=tuple(notes(result, engine)),
        loss_chart=_loss_chart(result, engine, label, reference),
        most_lost=", ".join(lost),
        matrix=None if confusion is None else _matrix_chart(confusion, confused, label, down, names, row),
        matrix_shares=() if confusion is None else _matrix_shares(confusion, names),
        confused=confused,
        disagreement_chart=_disagreement_chart(engine, label, reference),
        pictures=tuple(within_budget(engine.worst, reference, label, budget)),
    )


def _row_line(result: ValidationResult, engine: EngineComparison, index: int) -> RowLine:
    support = result.reference or engine.agreement
    before = None if result.reference is None else result.reference.rows[index]
    after = None if engine.scores is None else engine.scores.rows[index]
    agreement = engine.agreement.rows[index]
    loss = None if engine.loss is None else engine.loss.rows[index]
    return RowLine(
        name=result.task.rows[index],
        absent=before is None and after is None and (result.labelled or agreement is None),
        bars=charts.pair_of_bars(before, after) if result.labelled else charts.bar(agreement or 0.0),
        reference=percent(before),
        engine=percent(after),
        loss=signed(None if loss is None else loss.points),
        interval=NOTHING if loss is None else f"{signed(loss.low)} to {signed(loss.high)}",
        significant=loss is not None and loss.significant,
        agreement=row_agreement(engine.agreement, index),
        images=support.image_support[index],
        support=percent(support.support[index] / max(sum(support.support), 1)),
    )


def _ruler(result: ValidationResult) -> Markup | None:
    """The loss of the only engine on one scale with the tolerance; several engines have a table for that."""
    loss = result.first.loss
    if loss is None or len(result.engines) > 1:
        return None
    row = Interval("", loss.points, loss.low, loss.high)
    interval = f"{signed(loss.low)} to {signed(loss.high)}"
    return charts.intervals(
        [row],
        title=f"Loss of {result.figure.words} against the tolerance, in points",
        description=f"Loss {signed(loss.points)}, 95 % interval {interval}; tolerance {result.tolerance:g}.",
        limit=(f"tolerance {result.tolerance:g}", result.tolerance),
    )


def _engine_cells(result: ValidationResult, labels: Sequence[str]) -> list[Markup]:
    """The losses of several engines on one scale with the tolerance, for the table of engines."""
    rows = [
        Interval(label, None)
        if engine.loss is None
        else Interval(label, engine.loss.points, engine.loss.low, engine.loss.high)
        for label, engine in zip(labels, result.engines)
    ]
    return charts.dots(rows, result.tolerance)


def _loss_chart(result: ValidationResult, engine: EngineComparison, label: str, reference: str) -> Markup | None:
    """Mean and rows, the largest loss first, those without one last."""
    if engine.loss is None:
        return None
    rows = [
        Interval(name, None) if loss is None else Interval(name, loss.points, loss.low, loss.high)
        for name, loss in zip(result.task.rows, engine.loss.rows)
    ]
    rows.sort(key=lambda row: float("inf") if row.value is None else -row.value)
    mean = Interval(sentence(result.figure.words), engine.loss.points, engine.loss.low, engine.loss.high, strong=True)
    sure = [row.label for row in rows if row.significant and row.value is not None and row.value > 0]
    return charts.intervals(
        [mean, *rows],
        title=f"Loss per {result.figure.row}, {reference} minus {label}, in points of {result.figure.of_row}",
        description=(
            f"{sentence(result.figure.rows)} from the largest loss to the largest gain. Beyond noise: "
            f"{', '.join(sure) or 'none'}. The table of {result.figure.rows} has the numbers."
        ),
    )


def _confused(confusion: Confusion, names: Sequence[str], count: int = 5) -> tuple[Confused, ...]:
    """The pairs of classes with the largest share of the true class's pixels."""
    shares = _row_shares(confusion)
    np.fill_diagonal(shares, 0.0)
    order = np.argsort(shares, axis=None)[::-1][:count]
    pairs = [np.unravel_index(int(flat), shares.shape) for flat in order]
    return tuple(
        Confused(names[int(truth)], names[int(found)], float(shares[truth, found]))
        for truth, found in pairs
        if shares[truth, found] > 0
    )


def _row_shares(confusion: Confusion) -> NDArray[np.float64]:
    counts = np.asarray(confusion, np.float64)
    shares: NDArray[np.float64] = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    return shares


def _matrix_chart(
    confusion: Confusion, confused: Sequence[Confused], label: str, down: str, names: Sequence[str], row: str
) -> Markup:
    most = "; ".join(f"{100 * pair.share:.1f} % of {pair.truth} as {pair.found}" for pair in confused)
    return charts.confusion_matrix(
        np.asarray(confusion, np.int64),
        names,
        title=f"Confusion matrix of {label}: {down} down, {row} by {label} across",
        description=f"Shares of each row. Most confused: {most or 'nothing'}. The table below has every number.",
    )


def _matrix_shares(confusion: Confusion, names: Sequence[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The rows of the matrix in words: percent, and n/a for a class that does not occur."""
    totals = np.asarray(confusion).sum(axis=1)
    return tuple(
        (name, tuple(f"{100 * share:.1f}" if total else NOTHING for share in row))
        for name, row, total in zip(names, _row_shares(confusion), totals)
    )


def _disagreement_chart(engine: EngineComparison, label: str, reference: str) -> Markup | None:
    found = engine.disagreement
    if found.boundary_share is None or found.boundary_area is None:
        return None
    return charts.shares(
        [("All pixels", found.boundary_area), ("Differing pixels", found.boundary_share)],
        ("boundary", "interior"),
        title=f"Where {label} differs from {reference}: boundary against interior",
        description=(
            f"Within 2 pixels of a label edge lie {percent(found.boundary_area)} % of all pixels and "
            f"{percent(found.boundary_share)} % of those that differ."
        ),
    )


def _latencies(result: ValidationResult, labels: Sequence[str]) -> list[LatencyRow]:
    runs = [(reference_label(result), result.reference_run)]
    runs += [(label, engine.run) for label, engine in zip(labels, result.engines)]
    slowest = max((run.latency.p50 for _, run in runs if run.latency is not None), default=1.0)
    rows = []
    for number, (label, run) in enumerate(runs):
        times = run.latency
        if times is None:
            continue
        kind = "reference" if number == 0 else "engine"
        percentiles = (("median", times.p50), ("p90", times.p90), ("p99", times.p99))
        chart = charts.histogram(
            times.edges,
            times.counts,
            [(f"{name} {value:.1f} ms", value) for name, value in percentiles],
            title=f"Latency of {label}, in milliseconds per image",
            description=f"{times.calls} calls; "
            + ", ".join(f"{name} {value:.1f}" for name, value in percentiles)
            + f"; {times.beyond} beyond the last bin.",
            kind=kind,
        )
        rows.append(LatencyRow(label, run, charts.bar(times.p50 / max(slowest, 1e-9), kind), chart))
    return rows


def _ranges(ranges: Mapping[str, tuple[float, float]]) -> list[tuple[str, str, str, Markup]]:
    """Name, low, high and bar of the tensors with the widest ranges."""
    widest = sorted(ranges.items(), key=lambda item: -max(abs(item[1][0]), abs(item[1][1])))[:_NAMED]
    cells = charts.spans([limits for _, limits in widest])
    return [(name, _short(low), _short(high), cell) for (name, (low, high)), cell in zip(widest, cells)]


def _sensitivity(sensitivity: Mapping[str, float]) -> list[tuple[str, str, Markup]]:
    """Name, points and bar of the layers that cost most."""
    most = sorted(sensitivity.items(), key=lambda item: -item[1])[:_NAMED]
    longest = max(most[0][1], 1e-9)
    return [(name, signed(points, 3), charts.bar(points / longest)) for name, points in most]


def _short(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, signed=signed, sentence=sentence)
    environment.globals.update(density_key=charts.density_key, figures_of=figures_of)
    return environment.get_template("report.html.jinja")
