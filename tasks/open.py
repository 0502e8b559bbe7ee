"""Open a predictor: an engine of a bundle, with what the bundle says of its task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..engines import Bundle, open_bundle, open_engine
from .base import Predictor
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
    engine = open_engine(opened, target, precision, **options)
    return Predictor(engine, Parsing(opened.manifest.label_set), opened.manifest.framing)
