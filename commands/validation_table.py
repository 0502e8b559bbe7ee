"""A validation result as tables on a terminal, at most 80 columns wide; below that, in blocks of columns."""

from __future__ import annotations

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..tasks.scoring import figures_of
from ..validation.result import EngineComparison, EngineRun, ValidationResult
from ..validation.verdict import (
    NOTHING,
    engine_labels,
    notes,
    percent,
    reference_label,
    row_agreement,
    signed,
    verdict,
    verdict_word,
    worst_engine,
)
from .tables import print_table

_SKIPPED_SHOWN = 3

_LABEL_WIDTH = 16
"""Of an engine's name in the table of engines; longer ones go on in the next line."""

_HEADING_WIDTH = 9
"""Of an engine's name above its column of the table of classes; longer ones go on in the next line."""

_IOU_WIDTH = len("100.00")

_STYLES = {"PASSED": "green", "FAILED": "red"}


def render(result: ValidationResult, console: Console) -> None:
    """Print what was compared, the scores, those of every row, and whether it passed.

    Of several engines each has a line, and the one that loses most has the table of rows. Scores are in
    percent, losses in points. The last line begins with PASSED or FAILED.
    """
    _header(result, console)
    console.print()
    labels, worst = engine_labels(result), worst_engine(result)
    if len(labels) > 1:
        print_table(console, _engines(result, labels))
        console.print()
        reason = "loses most" if result.labelled else "agrees least"
        _line(console, f"The {result.figure.rows} of {labels[worst]}, which {reason}:")
        console.print()
    engine = result.engines[worst]
    print_table(console, _rows(result, engine, labels[worst]))
    for note in notes(result, engine):
        console.print(Text(note, style="dim"))
    console.print()
    _line(console, verdict(result), "bold green" if result.passed else "bold red")


def _header(result: ValidationResult, console: Console) -> None:
    _line(console, f"Dataset    {result.dataset}")
    _line(console, f"Reference  {_describe(result.reference_run)}")
    for engine in result.engines:
        _line(console, f"Engine     {_describe(engine.run)}")
    height, width = result.input_size
    shapes = f", stretched up to {result.stretch:g} times" if result.stretched else ""
    size = f"{height}x{width} (height x width)"
    _line(console, f"Images     {result.images} at {size}{shapes}, {len(result.skipped)} skipped")
    if result.partial:
        _line(console, f"Partial    interrupted after {result.images} of {result.total} images", "yellow")
    for image in result.skipped[:_SKIPPED_SHOWN]:
        _line(console, f"  skipped {image.name}: {image.reason}", "yellow")
    if len(result.skipped) > _SKIPPED_SHOWN:
        _line(console, f"  and {len(result.skipped) - _SKIPPED_SHOWN} more", "yellow")
    if not result.usual or result.protocol.augmented:
        console.print(Text(f"Protocol   {result.method}"))


def _line(console: Console, words: str, style: str = "") -> None:
    """One line, however long: paths stay whole. Names come from files, so nothing in them is markup."""
    console.print(Text(words, style=style), soft_wrap=True)


def _describe(run: EngineRun) -> str:
    return f"{run.name} ({run.target}, {run.precision}), {run.seconds:.1f} s"


def _engines(result: ValidationResult, labels: tuple[str, ...]) -> Table:
    table = _table()
    table.add_column("", max_width=_LABEL_WIDTH, overflow="fold")
    headings = [f"{result.task.closeness.unit}\nequal", "agree", "ms per\nimage"]
    if result.labelled:
        headings = [result.figure.words.replace(" ", "\n"), "loss", "95 %\ninterval", *headings, "verdict"]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    cells = ["", "", _milliseconds(result.reference_run)]
    if result.reference is not None:
        cells = [percent(result.reference.value), "", "", *cells, "reference"]
    table.add_row(Text(reference_label(result)), *cells)
    for label, engine in zip(labels, result.engines):
        agreement = engine.agreement
        cells = [percent(agreement.share), percent(agreement.value), _milliseconds(engine.run)]
        if engine.loss is not None and engine.scores is not None:
            word = verdict_word(result, engine)
            score, loss = percent(engine.scores.value), engine.loss
            interval = _interval(loss.low, loss.high)
            table.add_row(Text(label), score, _points(loss.points), interval, *cells, Text(word, _STYLES[word]))
        else:
            table.add_row(Text(label), *cells)
    return table


def _milliseconds(run: EngineRun) -> str:
    return NOTHING if run.latency is None else f"{run.latency.p50:.1f}"


def _rows(result: ValidationResult, engine: EngineComparison, label: str) -> Table:
    support = result.reference or engine.agreement
    total = max(sum(support.support), 1)
    table = _table()
    table.add_column("", no_wrap=True)
    table.add_column("images", justify="right", no_wrap=True)
    table.add_column(f"{result.figure.unit_of_support}\n%", justify="right", no_wrap=True)
    if result.labelled:
        for name in (reference_label(result), label):
            # "INT8 (cpu)" in two lines.
            heading = Text(name.replace(" (", "\n").replace(")", ""))
            table.add_column(heading, justify="right", min_width=_IOU_WIDTH, max_width=_HEADING_WIDTH, overflow="fold")
        table.add_column("loss", justify="right", no_wrap=True)
        table.add_column("95 %\ninterval", justify="right", no_wrap=True)
    table.add_column("agree", justify="right", no_wrap=True)
    for words, (before, after, agreement) in figures_of(engine.agreement, result.reference, engine.scores):
        primary = words.lower() == result.figure.words.lower()
        scores = _summary_cells(engine, before, after, primary) if result.labelled else []
        table.add_row(words, "", "", *scores, percent(agreement), style="bold" if primary else "")
    table.add_section()
    table.add_row(f"{result.figure.of_row} by {result.figure.row}")
    for index, name in enumerate(result.task.rows):
        shown = row_agreement(engine.agreement, index)
        cells = _row_cells(result, engine, index) if result.labelled else []
        pixels = f"{100 * support.support[index] / total:.2f}"
        style = "dim" if support.support[index] == 0 else ""
        images = str(support.image_support[index])
        table.add_row(f"  {name}", images, pixels, *cells, shown, style=style)
    return table


def _table() -> Table:
    return Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold", show_edge=False)


def _summary_cells(engine: EngineComparison, before: float | None, after: float | None, primary: bool) -> list[str]:
    """A score of reference and engine and the loss, with its interval where it is known."""
    if primary and engine.loss is not None:
        loss = engine.loss
        return [percent(before), percent(after), _points(loss.points), _interval(loss.low, loss.high)]
    lost = None if before is None or after is None else 100 * (before - after)
    return [percent(before), percent(after), _points(lost), ""]


def _row_cells(result: ValidationResult, engine: EngineComparison, index: int) -> list[str | Text]:
    """A row's figure of reference and engine, the loss (in bold beyond noise) and its interval."""
    before = None if result.reference is None else result.reference.rows[index]
    after = None if engine.scores is None else engine.scores.rows[index]
    loss = None if engine.loss is None else engine.loss.rows[index]
    if loss is None:
        return [percent(before), percent(after), NOTHING, NOTHING]
    points = Text(_points(loss.points), style="bold" if loss.significant else "")
    return [percent(before), percent(after), points, _interval(loss.low, loss.high)]


def _interval(low: float, high: float) -> str:
    # Where whole classes are lost, the second digit behind the point would take the table past 80 columns.
    digits = 1 if max(abs(low), abs(high)) >= 100 else 2
    return f"{_points(low, digits)}..{_points(high, digits)}"


def _points(value: float | None, digits: int = 2) -> str:
    """Signed, with the minus that every terminal has."""
    return signed(value, digits).replace("−", "-")
