"""A validation result in words: what terminal, report and Markdown say alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath

from ..calibration.budget.score import told_invented
from ..specs.label_set import LabelSet
from ..tasks.base import Figure
from ..tasks.parsing.metrics import COUNTED_SHARE, Agreement, Scores
from .result import EngineComparison, EngineRun, ValidationResult

NOTHING = "n/a"


def run_label(run: EngineRun) -> str:
    """A short name for a column: "PyTorch", "INT8 (cpu)"."""
    return "PyTorch" if run.target == "pytorch" else f"{run.precision.upper()} ({run.target})"


def reference_label(result: ValidationResult) -> str:
    """A short name of the reference that no engine has."""
    label = run_label(result.reference_run)
    return f"{label} reference" if label in engine_labels(result) else label


def engine_labels(result: ValidationResult) -> tuple[str, ...]:
    """Short names of the engines, no two alike: with the bundle's folder, or a number, only where it takes that."""
    labels = [run_label(engine.run) for engine in result.engines]
    bundles = [PurePath(engine.run.bundle).name for engine in result.engines]
    twice = Counter(labels)
    labels = [f"{label} {bundle}".strip() if twice[label] > 1 else label for label, bundle in zip(labels, bundles)]
    twice, seen = Counter(labels), Counter[str]()
    for position, label in enumerate(labels):
        seen[label] += 1
        if twice[label] > 1:
            labels[position] = f"{label} #{seen[label]}"
    return tuple(labels)


def worst_engine(result: ValidationResult) -> int:
    """Position of the engine that loses most; without labels, of the one that agrees least."""
    return max(
        range(len(result.engines)),
        key=lambda position: (
            -result.engines[position].agreement.pixel_accuracy
            if (loss := result.engines[position].loss) is None
            else loss.points
        ),
    )


def verdict_word(result: ValidationResult, engine: EngineComparison | None = None) -> str:
    """PASSED, FAILED or AGREEMENT ONLY, of one engine or of all."""
    if not result.labelled:
        return "AGREEMENT ONLY"
    return "PASSED" if (result.passed if engine is None else engine.passes(result.tolerance)) else "FAILED"


def change(points: float, figure: Figure) -> str:
    """A loss in words: "loses 0.42 points of mean IoU"."""
    rounded = f"{abs(points):.2f}"
    if float(rounded) == 0:
        return f"loses nothing of {figure.words}"
    return f"{'loses' if points > 0 else 'gains'} {rounded} {figure.unit}"


def headline(result: ValidationResult) -> str:
    """The finding in one sentence, without the verdict's word."""
    labels, worst = engine_labels(result), worst_engine(result)
    engine = result.engines[worst]
    if engine.loss is None:
        least = "" if len(labels) == 1 else "at worst "
        share = percent(engine.agreement.pixel_accuracy)
        return f"{least}{labels[worst]} agrees with {reference_label(result)} on {share} % of the pixels"
    if len(labels) == 1:
        return f"{labels[0]} {change(engine.loss.points, result.figure)}"
    failed = sum(not each.passes(result.tolerance) for each in result.engines)
    count = f"{failed} of {len(labels)} engines {'loses' if failed == 1 else 'lose'} too much"
    within = f"{len(labels)} engines within the tolerance"
    return f"{count if failed else within}; at worst {labels[worst]} {change(engine.loss.points, result.figure)}"


def verdict(result: ValidationResult) -> str:
    """One line that begins with PASSED or FAILED: the figure, the tolerance, the agreement."""
    worst = result.engines[worst_engine(result)]
    agreement = told_agreement(worst.agreement, result.label_set)
    partial = f" (partial: {result.images} of {result.total} images)" if result.partial else ""
    if worst.loss is None:
        return f"PASSED{partial}: no labels, so no {result.figure.words} to lose; {agreement}"
    several = f"{headline(result)}, " if len(result.engines) > 1 else ""
    points = worst.loss.points
    told = several or f"{abs(points):.2f} {result.figure.unit} {'lost' if round(points, 2) >= 0 else 'gained'}, "
    return f"{verdict_word(result)}{partial}: {told}tolerance {result.tolerance:g}; {agreement}"


def mean_over(scores: Scores) -> str:
    """Over how many classes a mean goes: "mean over 17 of 20 classes"."""
    return f"mean over {scores.classes} of {len(scores.class_iou)} classes"


def told_agreement(found: Agreement, label_set: LabelSet) -> str:
    """Pixels, the mean over classes, and what is invented where something is."""
    words = f"{percent(found.pixel_accuracy)} % of pixels agree, agreement {percent(found.mean_iou)}"
    return f"{words}; {invention(found, label_set)}" if found.invented_pixels else words


def invention(found: Agreement, label_set: LabelSet) -> str:
    """What an engine invents: "invents 34 pixels of Scarf, Skirt"."""
    return told_invented(found.invented_pixels, label_set.names(found.invented_classes))


def class_agreement(found: Agreement, index: int) -> str:
    """The agreement on one class; in brackets where no mean counts it."""
    words = percent(found.class_iou[index])
    return words if words == NOTHING or found.counted[index] else f"({words})"


def notes(result: ValidationResult, engine: EngineComparison) -> list[str]:
    """What a reader of the class table must know: classes without an IoU, those that are only predicted, inventions."""
    lines = []
    if not result.labelled:
        lines.append("No labels: images and pixels are counted in the reference's label maps.")
    every = len(result.label_set)
    compared = (("reference", result.reference), ("engine", engine.scores))
    scored = [(word, scores) for word, scores in compared if scores is not None]
    for ids, words in _grouped([(word, scores.absent) for word, scores in scored]):
        names = result.label_set.names(ids)
        plural = "class does not occur and is" if len(names) == 1 else "classes do not occur and are"
        lines.append(
            f"{len(names)} {plural} left out of the mean ({words}), which goes over {every - len(names)} of {every} "
            f"classes: {', '.join(names)}."
        )
    for ids, words in _grouped([(word, scores.only_predicted) for word, scores in scored]):
        names = result.label_set.names(ids)
        plural = "class does not occur but is" if len(names) == 1 else "classes do not occur but are"
        told = f"which counts as IoU 0 in the {result.figure.words} ({words}) and in no loss"
        lines.append(f"{len(names)} {plural} predicted, {told}: {', '.join(names)}.")
    return [*lines, agreement_note(result, engine)]


def agreement_note(result: ValidationResult, engine: EngineComparison) -> str:
    """Over which classes the agreement goes, and what the engine finds of the others."""
    found, reference = engine.agreement, reference_label(result)
    over = f"The agreement is the mean over the {found.classes} classes with at least {100 * COUNTED_SHARE:g} % of"
    if not found.left_out:
        return f"{over} {reference}'s pixels: all."
    return (
        f"{over} {reference}'s pixels, without {', '.join(result.label_set.names(found.left_out))}. "
        f"The engine {invention(found, result.label_set)}."
    )


def most_lost(engine: EngineComparison, count: int) -> list[int]:
    """Ids of the classes that lost most, the largest loss first; gains are no losses."""
    if engine.loss is None:
        return []
    lost = [(loss.points, index) for index, loss in enumerate(engine.loss.classes) if loss is not None]
    ordered = sorted(lost, key=lambda pair: (-pair[0], pair[1]))
    return [index for points, index in ordered if points > 0][:count]


def percent(fraction: float | None) -> str:
    """Two digits behind the point; n/a for None."""
    return NOTHING if fraction is None else f"{100 * fraction:.2f}"


def signed(value: float | None, digits: int = 2) -> str:
    """A number with its sign and a true minus; 0 has none; n/a for None."""
    if value is None:
        return NOTHING
    rounded = round(value, digits)
    return f"{rounded:+.{digits}f}".replace("-", "−") if rounded else f"{0:.{digits}f}"


def _grouped(lists: Sequence[tuple[str, tuple[int, ...]]]) -> list[tuple[tuple[int, ...], str]]:
    """Equal lists of classes once, with the words for whom they hold."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for word, ids in lists:
        if ids:
            groups.setdefault(ids, []).append(word)
    return [(ids, ", ".join(words)) for ids, words in groups.items()]
