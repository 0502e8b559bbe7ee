"""What a person is told of label maps' scores beside the figures."""

from __future__ import annotations

from collections.abc import Sequence

from ...specs.label_set import LabelSet
from .. import scoring
from .metrics import COUNTED_SHARE, Agreement, Scores


def invention(found: scoring.Agreement, label_set: LabelSet) -> str:
    """What an engine invents: "invents 34 pixels of Scarf, Skirt"."""
    return scoring.told_invented(found.invented_total, label_set.names(found.invented_rows), "pixels")


def class_notes(reference: Scores | None, scores: Scores | None, label_set: LabelSet, figure: str) -> list[str]:
    """Classes without an IoU, and those that are only predicted.

    Args:
        reference, scores: against the truth.
        label_set: of the classes.
        figure: in words.
    """
    lines = []
    every = len(label_set)
    compared = (("reference", reference), ("engine", scores))
    scored = [(word, scores) for word, scores in compared if scores is not None]
    for ids, words in _grouped([(word, scores.absent) for word, scores in scored]):
        names = label_set.names(ids)
        plural = "class does not occur and is" if len(names) == 1 else "classes do not occur and are"
        lines.append(
            f"{len(names)} {plural} left out of the mean ({words}), which goes over {every - len(names)} of {every} "
            f"classes: {', '.join(names)}."
        )
    for ids, words in _grouped([(word, scores.only_predicted) for word, scores in scored]):
        names = label_set.names(ids)
        plural = "class does not occur but is" if len(names) == 1 else "classes do not occur but are"
        told = f"which counts as IoU 0 in the {figure} ({words}) and in no loss"
        lines.append(f"{len(names)} {plural} predicted, {told}: {', '.join(names)}.")
    return lines


def agreement_note(found: Agreement, label_set: LabelSet, whose: str) -> str:
    """Over which classes the agreement goes, and what the engine finds of the others; ``whose`` is the reference."""
    over = f"The agreement is the mean over the {found.classes} classes with at least {100 * COUNTED_SHARE:g} % of"
    if not found.left_out:
        return f"{over} {whose}'s pixels: all."
    return (
        f"{over} {whose}'s pixels, without {', '.join(label_set.names(found.left_out))}. "
        f"The engine {invention(found, label_set)}."
    )


def _grouped(lists: Sequence[tuple[str, tuple[int, ...]]]) -> list[tuple[tuple[int, ...], str]]:
    """Equal lists of classes once, with the words for whom they hold."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for word, ids in lists:
        if ids:
            groups.setdefault(ids, []).append(word)
    return [(ids, ", ".join(words)) for ids, words in groups.items()]
