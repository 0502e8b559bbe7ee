"""Which task is meant: the one place that knows them all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..engines import Bundle, open_bundle, open_engine
from ..engines.bundle import Manifest
from ..engines.raw import RawEngine
from ..errors import UsageError
from ..specs.label_set import LabelSet
from .base import Predictor, Spec, Task
from .parsing.task import Parsing

FIRST: type[Task[Any]] = Parsing
"""What files are of that were written before they told a task."""


def open_predictor(
    bundle: Bundle | Path | str, target: str = "auto", precision: str | None = None, **options: Any
) -> Predictor[Any]:
    """An engine of a bundle that says what it means.

    Args:
        bundle: an opened bundle, or its folder.
        target, precision, options: as :func:`~trtparse.engines.open_engine`, whose errors it has.
    """
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(Path(bundle))
    task, framing = task_of(opened.manifest), opened.manifest.framing
    engine = open_engine(opened, target, precision, **options)
    return Predictor(RawEngine(engine) if framing.returns == "logits" else engine, task, framing)


def task_of(manifest: Manifest) -> Task[Any]:
    """What the arrays of a bundle's engines mean.

    Raises:
        UsageError: a task that this version does not know.
    """
    return task_named(manifest.task, manifest.label_set)


def task_named(name: str, spec: Spec) -> Task[Any]:
    """A task by its name, and what its answers speak of.

    Raises:
        UsageError: a task that this version does not know, or that speaks of something else.
    """
    if name == Parsing.name and isinstance(spec, LabelSet):
        return Parsing(spec)
    raise UsageError(f"The task {name!r} of {spec} is none that this trtparse knows.", "Update trtparse.")


def task_told(name: str, told: Mapping[str, Any]) -> Task[Any]:
    """The same from a spec in JSON's types.

    Raises:
        UsageError: as :func:`task_named`, or it is no such spec.
    """
    return task_named(name, LabelSet.from_dict(told))
