"""A validation result as a table on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..labels import CLASS_NAMES
from .metrics import Scores
from .validate import EngineRun, ValidationResult

_NOTHING = "–"
_SKIPPED_SHOWN = 3

_SUMMARY = (
    ("Pixel accuracy", "pixel_accuracy"),
    ("Mean accuracy", "mean_accuracy"),
    ("Mean IoU", "mean_iou"),
    ("Freq. weighted IoU", "frequency_weighted_iou"),
)


def render(result: ValidationResult, console: Console) -> None:
    """Print what was compared, the scores, the IoU of every class, and whether it passed.

    Scores are in percent, losses in points. The table fits 80 columns. The last line begins with PASSED or FAILED.
    """
    _line(console, f"Dataset    {result.dataset}")
    _line(console, f"Reference  {_describe(result.reference_run)}")
    _line(console, f"Engine     {_describe(result.engine_run)}")
    height, width = result.input_size
    _line(console, f"Images     {result.images} at {height}x{width} (height x width), {len(result.skipped)} skipped")
    for name, reason in result.skipped[:_SKIPPED_SHOWN]:
        _line(console, f"  skipped {name}: {reason}", "yellow")
    if len(result.skipped) > _SKIPPED_SHOWN:
        _line(console, f"  and {len(result.skipped) - _SKIPPED_SHOWN} more", "yellow")
    console.print()
    console.print(_scores(result))
    for note in _notes(result):
        console.print(Text(note, style="dim"))
    console.print()
    _line(console, verdict(result), "bold green" if result.passed else "bold red")


def verdict(result: ValidationResult) -> str:
    """PASSED or FAILED, the figure and the tolerance, in one line."""
    agreement = f"{_percent(result.agreement.pixel_accuracy)} % of pixels agree"
    if result.loss is None:
        return f"PASSED: no labels, so no mean IoU to lose; {agreement}"
    word = "PASSED" if result.passed else "FAILED"
    change = f"{abs(result.loss):.2f} points of mean IoU {'lost' if result.loss >= 0 else 'gained'}"
    return f"{word}: {change}, tolerance {result.tolerance:g}; {agreement}"


def _line(console: Console, words: str, style: str = "") -> None:
    """One line, however long: paths stay whole. Names come from files, so nothing in them is markup."""
    console.print(Text(words, style=style), soft_wrap=True)


def _describe(run: EngineRun) -> str:
    return f"{run.name} ({run.target}, {run.precision}), {run.seconds:.1f} s"


def _scores(result: ValidationResult) -> Table:
    support = result.reference or result.agreement
    total = sum(support.support)
    table = _table("", "images", "pixels %", *_headings(result), "loss", "agreement")
    for words, key in _SUMMARY:
        reference, engine = _value(result.reference, key), _value(result.engine, key)
        row = _row(words, "", "", reference, engine, _value(result.agreement, key))
        table.add_row(*row, style="bold" if key == "mean_iou" else "")
    table.add_section()
    table.add_row(Text("IoU by class"))
    for index, name in enumerate(CLASS_NAMES):
        images, pixels = str(support.image_support[index]), f"{100 * support.support[index] / total:.2f}"
        reference = None if result.reference is None else result.reference.class_iou[index]
        engine = None if result.engine is None else result.engine.class_iou[index]
        table.add_row(*_row(f"  {name}", images, pixels, reference, engine, result.agreement.class_iou[index]))
    return table


def _row(
    name: str, images: str, pixels: str, reference: float | None, engine: float | None, agreement: float | None
) -> list[Text]:
    cells = (name, images, pixels, _percent(reference), _percent(engine), _loss(reference, engine), _percent(agreement))
    return [Text(cell) for cell in cells]


def _notes(result: ValidationResult) -> list[str]:
    notes = []
    if not result.labelled:
        notes.append("No labels: images and pixels are counted in the reference's label maps.")
    compared = (("reference", result.reference), ("engine", result.engine), ("agreement", result.agreement))
    scored = [(word, scores) for word, scores in compared if scores is not None]
    for names, words in _grouped([(word, scores.absent) for word, scores in scored]):
        plural = "class does not occur and is" if len(names) == 1 else "classes do not occur and are"
        notes.append(f"{len(names)} {plural} left out of the mean ({words}): {', '.join(names)}.")
    for names, words in _grouped([(word, scores.only_predicted) for word, scores in scored]):
        plural = "class does not occur but is" if len(names) == 1 else "classes do not occur but are"
        notes.append(f"{len(names)} {plural} predicted, which counts as IoU 0 ({words}): {', '.join(names)}.")
    return notes


def _grouped(lists: Sequence[tuple[str, tuple[str, ...]]]) -> list[tuple[tuple[str, ...], str]]:
    """Equal lists of classes once, with the words for whom they hold."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for word, names in lists:
        if names:
            groups.setdefault(names, []).append(word)
    return [(names, ", ".join(words)) for names, words in groups.items()]


def _table(first: str, *rest: str) -> Table:
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold", show_edge=False)
    table.add_column(Text(first), no_wrap=True)
    for heading in rest:
        table.add_column(Text(heading), justify="right", no_wrap=True)
    return table


def _headings(result: ValidationResult) -> tuple[str, str]:
    reference, engine = result.reference_run, result.engine_run
    return (
        f"reference\n{reference.target}\n{reference.precision}",
        f"engine\n{engine.target}\n{engine.precision}",
    )


def _value(scores: Scores | None, key: str) -> float | None:
    return None if scores is None else float(getattr(scores, key))


def _percent(fraction: float | None) -> str:
    return _NOTHING if fraction is None else f"{100 * fraction:.2f}"


def _loss(reference: float | None, engine: float | None) -> str:
    if reference is None or engine is None:
        return _NOTHING
    # Adding 0.0 turns -0.0 into 0.0.
    return f"{round(100 * (reference - engine), 2) + 0.0:+.2f}"
