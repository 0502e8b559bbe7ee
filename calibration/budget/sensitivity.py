"""Which layers INT8 hurts: each alone in INT8, all others in higher precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ...storage.json_types import JsonObject
from .costs import describe, multiply_adds
from .score import Score
from .scored_graphs import JudgedGraphs

Measure = Literal["agreement", "miou", "sqnr"]


@dataclass(frozen=True)
class LayerSensitivity:
    """What one layer costs.

    Args:
        layer: its node's name.
        description: what it is, in a few words.
        multiply_adds: share of all, 0 to 1; 0 of what is no convolution.
        score: of the graph with this layer alone in INT8.
    """

    layer: str
    description: str
    multiply_adds: float
    score: Score

    def harm(self, measure: Measure) -> float:
        """How much this layer hurts; see :func:`harm_of`."""
        return harm_of(self.score, measure)


def harm_of(score: Score, measure: Measure) -> float:
    """How much a graph is hurt, by one measure; larger is worse.

    In points of 100, or for the SQNR as the power of the logits' error against the logits'.
    """
    if measure == "miou":
        return score.drop
    if measure == "sqnr" and score.raw_sqnr is not None:
        return float(10 ** (-score.raw_sqnr / 10))
    return 100 - score.agreement


@dataclass(frozen=True)
class Sensitivity:
    """What each layer costs, the worst first.

    Args:
        layers: ranked by ``measure``.
        measure: that ranks them.
        whole: the score with all of them in INT8.
        none: the score with none.
    """

    layers: tuple[LayerSensitivity, ...]
    measure: Measure
    whole: Score
    none: Score

    def to_dict(self) -> JsonObject:
        return {
            "measure": self.measure,
            "whole": self.whole.to_dict(),
            "none": self.none.to_dict(),
            "layers": [
                {
                    "layer": entry.layer,
                    "description": entry.description,
                    "multiply_adds": entry.multiply_adds,
                    "score": entry.score.to_dict(),
                }
                for entry in self.layers
            ],
        }


def measure_sensitivity(
    graphs: JudgedGraphs, measure: Measure = "agreement", progress: Callable[[int, int], None] | None = None
) -> Sensitivity:
    """Judge every layer alone in INT8; by the scout, where there is one.

    Args:
        graphs: their model and placement name the layers; with a record, layers in it are not judged again.
        measure: that ranks the layers; those that it cannot tell apart stay in the graph's order.
        progress: called with (done, total) graphs.
    """
    layers = graphs.placement.layers
    wanted: list[tuple[str, ...]] = [layers, (), *((layer,) for layer in layers)]
    scores = []
    for done, int8 in enumerate(wanted, 1):
        scores.append(graphs.scouted(int8))
        if progress is not None:
            progress(done, len(wanted))
    counts, words = multiply_adds(graphs.model), describe(graphs.model)
    total = max(sum(counts.values()), 1)
    found = [
        LayerSensitivity(layer, words[layer], counts.get(layer, 0) / total, score)
        for layer, score in zip(layers, scores[2:])
    ]
    found.sort(key=lambda entry: -entry.harm(measure))
    return Sensitivity(tuple(found), measure, scores[0], scores[1])
