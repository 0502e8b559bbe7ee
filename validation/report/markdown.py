"""A validation result as compact Markdown, for a pull request."""

from __future__ import annotations

import re

from ..result import EngineComparison, ValidationResult
from ..verdict import (
    NOTHING,
    engine_labels,
    headline,
    most_lost,
    notes,
    percent,
    reference_label,
    sentence,
    signed,
    verdict_word,
    worst_engine,
)

_ROWS = 5


def markdown(result: ValidationResult) -> str:
    """The verdict, a table of the engines, and the rows that lost most."""
    partial = f" (partial: {result.images} of {result.total} images)" if result.partial else ""
    lines = [f"## Validation: {verdict_word(result)}{partial}", "", f"{_safe(headline(result))}.", ""]
    lines += [*_engines(result), "", *_rows(result)]
    height, width = result.input_size
    if result.labelled:
        unit = result.figure.unit.replace("points", "point", 1) if result.tolerance == 1 else result.figure.unit
        lines.append(f"- Tolerance: {result.tolerance:g} {unit}")
    for label, engine in zip(engine_labels(result), result.engines):
        lines += [f"- {_safe(label)}: {_safe(note)}" for note in notes(result, engine)[-1:]]
    lines += [
        f"- Dataset: {_safe(result.dataset)}",
        f"- {sentence(result.task.spec_words)}: {_safe(str(result.task.spec))}",
        f"- Images: {result.images} compared, {len(result.skipped)} left out",
        f"- Protocol: {_safe(result.method)}; input {height}x{width} (height x width)",
        "",
    ]
    return "\n".join(lines)


def _engines(result: ValidationResult) -> list[str]:
    reference = result.reference_run
    score = percent(None if result.reference is None else result.reference.value)
    speed = NOTHING if reference.latency is None else f"{reference.latency.p50:.1f}"
    lines = [
        f"| | {result.figure.words} | loss (95 % interval) | {result.task.closeness.unit} that agree | agreement "
        "| ms per image (median) | |",
        "|:--|--:|--:|--:|--:|--:|:--|",
        f"| {_safe(reference_label(result))} | {score} | | | | {speed} | reference |",
    ]
    for label, engine in zip(engine_labels(result), result.engines):
        speed = NOTHING if engine.run.latency is None else f"{engine.run.latency.p50:.1f}"
        score = percent(None if engine.scores is None else engine.scores.value)
        agreement = f"{percent(engine.agreement.share)} % | {percent(engine.agreement.value)}"
        word = verdict_word(result, engine)
        lines.append(f"| {_safe(label)} | {score} | {_loss(engine)} | {agreement} | {speed} | **{word}** |")
    return lines


def _loss(engine: EngineComparison) -> str:
    loss = engine.loss
    return NOTHING if loss is None else f"{signed(loss.points)} ({signed(loss.low)} to {signed(loss.high)})"


def _rows(result: ValidationResult) -> list[str]:
    position = worst_engine(result)
    engine, label = result.engines[position], engine_labels(result)[position]
    lost = most_lost(engine, _ROWS)
    if engine.loss is None or engine.scores is None or result.reference is None or not lost:
        return []
    one, several = result.figure.row, result.figure.rows
    heading = f"{sentence(one)} that lost most" if len(lost) == 1 else f"{len(lost)} {several} that lost most"
    lines = [
        f"| {heading} | {_safe(reference_label(result))} | {_safe(label)} | loss (95 % interval) | images |",
        "|:--|--:|--:|--:|--:|",
    ]
    for index in lost:
        loss = engine.loss.rows[index]
        assert loss is not None
        before, after = result.reference.rows[index], engine.scores.rows[index]
        interval = f"{signed(loss.points)} ({signed(loss.low)} to {signed(loss.high)})"
        images = result.reference.image_support[index]
        name = _safe(result.task.rows[index])
        lines.append(f"| {name} | {percent(before)} | {percent(after)} | {interval} | {images} |")
    return [*lines, ""]


def _safe(words: str) -> str:
    """Words from outside, so that nothing in them is Markdown or HTML; they stay on one line."""
    single = " ".join(words.split())
    return re.sub(r"([\\`*_{}\[\]<>|#~&@!])", r"\\\1", single)
