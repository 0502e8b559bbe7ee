"""Open a predictor: an engine of a bundle, with what the bundle says of its task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..engines import Bundle, open_bundle, open_engine
from ..engines.bundle import Manifest
from ..engines.raw import RawEngine
from ..errors import UsageError
from .base import Predictor, Task
from .parsing.task import Parsing


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
    if manifest.task != Parsing.name:
        raise UsageError(f"The bundle is for {manifest.task!r}, which this trtparse does not know.", "Update trtparse.")
    return Parsing(manifest.label_set)
