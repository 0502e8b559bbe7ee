"""What a bundle's manifest tells of its INT8, in JSON's types."""

from __future__ import annotations

from typing import TypedDict

from ..storage.json_types import JsonObject


class Searched(TypedDict):
    """Of the search for a budget; :class:`~trtparse.calibration.budget.search.Search` reads and writes it."""

    max_drop: float
    score: JsonObject
    int8: list[str]
    given_back: list[str]
    points: list[JsonObject]


class Timed(TypedDict):
    """What INT8 saves on a GPU: milliseconds of the graph in INT8, in FP16, and without the layers that it slows."""

    int8: float
    fp16: float
    gpu: str
    slower: list[str]
    without_slower: float | None
    saved: dict[str, float]
    untimed: list[str]


class Calibrated(TypedDict, total=False):
    """How INT8 was calibrated; empty in a bundle without it, and bundles of earlier versions lack some of it.

    ``methods`` has the score of each that was tried, ``higher_precision`` the reason of each convolution that is not in
    INT8, and ``validated`` is False where nobody measured.
    """

    method: str
    images: int
    skipped: int
    dataset: str
    seed: int
    key: dict[str, str]
    warnings: list[str]
    weights: str
    corrections: list[str]
    quantised_activations: int
    quantised_weights: int
    higher_precision: dict[str, str]
    validated: bool
    methods: dict[str, JsonObject]
    search: Searched
    timed: Timed
