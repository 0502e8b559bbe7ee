"""A validation result in words: what terminal, report and Markdown say alike."""

from __future__ import annotations

from collections import Counter
from pathlib import PurePath

from ..tasks.figure import Figure
from ..tasks.scoring import Agreement, Scores
from .result import EngineComparison, EngineRun, ValidationResult

NOTHING = "n/a"


def run_label(run: EngineRun) -> str:
    """A short name for a column: "PyTorch", "INT8 (cpu)"."""
    between = f", {run.between} between" if run.between else ""
    return "PyTorch" if run.target == "pytorch" else f"{run.precision.upper()} ({run.target}{between})"


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
            -result.engines[position].agreement.share
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
        share = percent(engine.agreement.share)
        unit = result.task.closeness.unit
        return f"{least}{labels[worst]} agrees with {reference_label(result)} on {share} % of the {unit}"
    if len(labels) == 1:
        return f"{labels[0]} {change(engine.loss.points, result.figure)}"
    failed = sum(not each.passes(result.tolerance) for each in result.engines)
    count = f"{failed} of {len(labels)} engines {'loses' if failed == 1 else 'lose'} too much"
    within = f"{len(labels)} engines within the tolerance"
    return f"{count if failed else within}; at worst {labels[worst]} {change(engine.loss.points, result.figure)}"


def verdict(result: ValidationResult) -> str:
    """One line that begins with PASSED or FAILED: the figure, the tolerance, the agreement."""
    worst = result.engines[worst_engine(result)]
    agreement = result.task.told(worst.agreement)
    partial = f" (partial: {result.images} of {result.total} images)" if result.partial else ""
    if worst.loss is None:
        return f"PASSED{partial}: no labels, so no {result.figure.words} to lose; {agreement}"
    several = f"{headline(result)}, " if len(result.engines) > 1 else ""
    points = worst.loss.points
    told = several or f"{abs(points):.2f} {result.figure.unit} {'lost' if round(points, 2) >= 0 else 'gained'}, "
    return f"{verdict_word(result)}{partial}: {told}tolerance {result.tolerance:g}; {agreement}"


def mean_over(scores: Scores, figure: Figure) -> str:
    """Over how many rows a mean goes: "mean over 17 of 20 classes"."""
    return f"mean over {scores.counted_rows} of {len(scores.rows)} {figure.rows}"


def row_agreement(found: Agreement, index: int) -> str:
    """The agreement on one row; in brackets where no mean counts it."""
    words = percent(found.rows[index])
    return words if words == NOTHING or found.counted[index] else f"({words})"


def notes(result: ValidationResult, engine: EngineComparison) -> list[str]:
    """What a reader of the table of rows must know."""
    lines = []
    if not result.labelled:
        counted = f"images and {result.figure.unit_of_support}"
        lines.append(f"No labels: {counted} are counted in the reference's answers.")
    told = result.task.notes(result.reference, engine.scores, engine.agreement, reference_label(result))
    return [*lines, *told]


def most_lost(engine: EngineComparison, count: int) -> list[int]:
    """Numbers of the rows that lost most, the largest loss first; gains are no losses."""
    if engine.loss is None:
        return []
    lost = [(loss.points, index) for index, loss in enumerate(engine.loss.rows) if loss is not None]
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


def sentence(words: str) -> str:
    """Words that begin a sentence, or stand alone."""
    return words[:1].upper() + words[1:]
