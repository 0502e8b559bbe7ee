"""What answers speak of, whatever they are: classes or joints. One place tells the two apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..storage.json_types import JsonObject
from .label_set import LabelSet, told_label_set
from .skeleton import Skeleton

Spec = LabelSet | Skeleton


def names_of(spec: Spec) -> tuple[str, ...]:
    """The names of the classes or joints, by their numbers."""
    return spec.joints if isinstance(spec, Skeleton) else spec.classes


def spec_entry(spec: Spec) -> dict[str, JsonObject]:
    """The entry of a document that says what its answers speak of, in JSON's types."""
    return {"skeleton" if isinstance(spec, Skeleton) else "label_set": spec.to_dict()}


def pop_spec(values: dict[str, Any], source: str) -> Spec:
    """Take that entry out of a document.

    Args:
        values: read from JSON; ``labels`` is what the entry was called before label sets.
        source: of the document, for messages.

    Raises:
        UsageError: it is no label set or skeleton.
        KeyError: the document has none.
    """
    if "skeleton" in values:
        return Skeleton.from_dict(values.pop("skeleton"))
    return told_label_set(values.pop("label_set", None) or values.pop("labels"), source)


def classes_meant(meant: Spec | None, path: Path) -> LabelSet | None:
    """What ``--labels`` says of a network that tells classes apart.

    Raises:
        UsageError: it names joints.
    """
    if isinstance(meant, Skeleton):
        raise UsageError(
            f"{path} tells classes apart, and {meant.name} has joints.", "Give --labels a label set, such as lip."
        )
    return meant


def joints_meant(meant: Spec | None, path: Path) -> Skeleton | None:
    """What ``--labels`` says of a network that finds joints.

    Raises:
        UsageError: it names classes.
    """
    if isinstance(meant, LabelSet):
        raise UsageError(f"{path} finds joints, and {meant} has classes.", "Give --labels a skeleton, such as coco17.")
    return meant


def nothing_meant(meant: Spec | None, path: Path) -> None:
    """See that ``--labels`` says nothing of a network that finds people.

    Raises:
        UsageError: it does.
    """
    if meant is not None:
        raise UsageError(f"{path} finds people, and --labels names {meant.name}.", "Leave --labels out.")
