"""How far an image's shape may be changed to fill a network's input.

Apart from the letterbox, as whoever builds engines reads manifests, and has no memory to spare for OpenCV.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..errors import UsageError

STRETCH_KEY = "stretch"
"""Of the ``preprocessing`` that a graph's metadata and a bundle's manifest tell."""

MOST_STRETCH = 100.0
"""Fills any input with any photograph; a number, as JSON has no infinity."""


def scales(image_size: tuple[int, int], input_size: tuple[int, int], stretch: float) -> tuple[float, float]:
    """How many times as high and as wide an image becomes; see :meth:`~trtparse.data.letterbox.Letterbox.fit`."""
    down, across = input_size[0] / image_size[0], input_size[1] / image_size[1]
    return min(down, stretch * across), min(across, stretch * down)


def stretch_told(preprocessing: Mapping[str, Any] | str) -> float:
    """The stretch that is told by a checkpoint's header or a bundle's manifest; 1 where they tell none.

    Args:
        preprocessing: or JSON of it, as a graph's metadata has it; empty where it has none.

    Raises:
        UsageError: not a number from 1 to ``MOST_STRETCH``, or not JSON.
    """
    if isinstance(preprocessing, str):
        try:
            preprocessing = dict(json.loads(preprocessing or "{}"))
        except (ValueError, TypeError) as error:
            raise UsageError(f"The graph's preprocessing is no JSON object: {error}.", "Export it again.") from error
    stretch = preprocessing.get(STRETCH_KEY, 1.0)
    if not isinstance(stretch, (int, float)) or not 1 <= stretch <= MOST_STRETCH:
        raise UsageError(f"A stretch of {stretch!r} makes no sense.", f"1 keeps shapes, {MOST_STRETCH:g} is the most.")
    return float(stretch)
