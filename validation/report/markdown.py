"""A validation result as compact Markdown, for a pull request."""

from __future__ import annotations

import re

from ..result import EngineComparison, ValidationResult
from ..verdict import (
    NOTHING,
    agreement_note,
    engine_labels,
    headline,
    most_lost,
    percent,
    reference_label,
    signed,
    verdict_word,
    worst_engine,
)

_CLASSES = 5


def markdown(result: ValidationResult) -> str:
    """The verdict, a table of the engines, and the classes that lost most."""
    partial = f" (partial: {result.images} of {result.total} images)" if result.partial else ""
    lines = [f"## Validation: {verdict_word(result)}{partial}", "", f"{_safe(headline(result))}.", ""]
    lines += [*_engines(result), "", *_classes(result)]
    height, width = result.input_size
    if result.labelled:
        unit = result.figure.unit.replace("points", "point", 1) if result.tolerance == 1 else result.figure.unit
        lines.append(f"- Tolerance: {result.tolerance:g} {unit}")
    for label, engine in zip(engine_labels(result), result.engines):
        lines.append(f"- {_safe(label)}: {_safe(agreement_note(result, engine))}")
    lines += [
        f"- Dataset: {_safe(result.dataset)}",
        f"- Label set: {_safe(str(result.label_set))}",
        f"- Images: {result.images} compared, {len(result.skipped)} left out",
        f"- Protocol: {_safe(result.method)}; input {height}x{width} (height x width)",
        "",
    ]
    return "\n".join(lines)


def _engines(result: ValidationResult) -> list[str]:
    reference = result.reference_run
    score = percent(None if result.reference is None else result.reference.mean_iou)
    speed = NOTHING if reference.latency is None else f"{reference.latency.p50:.1f}"
    lines = [
        f"| | {result.figure.words} | loss (95 % interval) | pixels that agree | agreement | ms per image (median) | |",
        "|:--|--:|--:|--:|--:|--:|:--|",
        f"| {_safe(reference_label(result))} | {score} | | | | {speed} | reference |",
    ]
    for label, engine in zip(engine_labels(result), result.engines):
        speed = NOTHING if engine.run.latency is None else f"{engine.run.latency.p50:.1f}"
        score = percent(None if engine.scores is None else engine.scores.mean_iou)
        agreement = f"{percent(engine.agreement.pixel_accuracy)} % | {percent(engine.agreement.mean_iou)}"
        word = verdict_word(result, engine)
        lines.append(f"| {_safe(label)} | {score} | {_loss(engine)} | {agreement} | {speed} | **{word}** |")
    return lines


def _loss(engine: EngineComparison) -> str:
    loss = engine.loss
    return NOTHING if loss is None else f"{signed(loss.points)} ({signed(loss.low)} to {signed(loss.high)})"


def _classes(result: ValidationResult) -> list[str]:
    position = worst_engine(result)
    engine, label = result.engines[position], engine_labels(result)[position]
    lost = most_lost(engine, _CLASSES)
    if engine.loss is None or engine.scores is None or result.reference is None or not lost:
        return []
    heading = "Class that lost most" if len(lost) == 1 else f"{len(lost)} classes that lost most"
    lines = [
        f"| {heading} | {_safe(reference_label(result))} | {_safe(label)} | loss (95 % interval) | images |",
        "|:--|--:|--:|--:|--:|",
    ]
    for index in lost:
        loss = engine.loss.classes[index]
        assert loss is not None
        before, after = result.reference.class_iou[index], engine.scores.class_iou[index]
        interval = f"{signed(loss.points)} ({signed(loss.low)} to {signed(loss.high)})"
        images = result.reference.image_support[index]
        name = _safe(result.label_set.classes[index])
        lines.append(f"| {name} | {percent(before)} | {percent(after)} | {interval} | {images} |")
    return [*lines, ""]


def _safe(words: str) -> str:
    """Words from outside, so that nothing in them is Markdown or HTML; they stay on one line."""
    single = " ".join(words.split())
    return re.sub(r"([\\`*_{}\[\]<>|#~&@!])", r"\\\1", single)
