"""Graphs of one network with different layers in INT8, and the score of each: judged once, and kept.

Sensitivity and the search for a budget both ask for the scores of many such graphs. The record is a journal with an
entry for every graph.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from ...storage.journal import Journal
from ...storage.json_types import JsonObject, ReadJson
from ..quantise.placement import Placement, restrict
from ..quantise.qdq import quantise as quantise_plainly
from ..ranges import Ranges
from .score import Judge, Score

SCHEMA = 2
"""Since 2 a loss goes over the classes that the labels hold, and the agreement over those that the reference sees."""

Quantise = Callable[[onnx.ModelProto, Placement, Ranges], onnx.ModelProto]
"""Makes the graph that is judged. With an empty placement, that of no INT8 at all."""


@dataclass(frozen=True)
class JudgedGraph:
    """A graph that was judged.

    Args:
        int8: its layers in INT8, in the placement's order.
        score: on the held-out images.
        seconds: that it took.
        scouted: by the judge that looks at fewer images.
    """

    int8: tuple[str, ...]
    score: Score
    seconds: float
    scouted: bool = False

    def to_dict(self) -> JsonObject:
        return {
            "int8": list(self.int8),
            "score": self.score.to_dict(),
            "seconds": round(self.seconds, 3),
            "scouted": self.scouted,
        }

    @classmethod
    def from_dict(cls, values: ReadJson) -> JudgedGraph:
        score = Score.from_dict(values["score"])
        return cls(tuple(values["int8"]), score, float(values["seconds"]), bool(values["scouted"]))


class JudgedGraphs:
    """The scores of the graphs that have some layers in INT8; a context manager.

    Args:
        model: FP32.
        placement: of all layers that may be in INT8.
        ranges: collected on ``model``.
        judge: of the graphs.
        scout: judges on fewer images what only has to be ranked; by default ``judge``.
        quantise: makes them.
        record: file to keep the scores in, and to go on with where it is there already.
        about: what scores depend on besides graph, placement and ranges, such as the judges' images and the
            corrections of ``quantise``; a record that differs in any field is refused.

    Raises:
        DataError: the record is of something else; the message names the field.
        UsageError: it cannot be written.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        placement: Placement,
        ranges: Ranges,
        judge: Judge,
        *,
        scout: Judge | None = None,
        quantise: Quantise = quantise_plainly,
        record: Path | None = None,
        about: Mapping[str, str] | None = None,
    ) -> None:
        self.model, self.placement, self.ranges = model, placement, ranges
        self._judge, self._scout, self._quantise = judge, scout, quantise
        self._known: dict[tuple[tuple[str, ...], bool], JudgedGraph] = {}
        self._journal: Journal[JudgedGraph] | None = None
        if record is not None:
            self._journal = Journal(
                record,
                {"schema": SCHEMA, **_key(model, placement, ranges), **(about or {})},
                JudgedGraph.to_dict,
                JudgedGraph.from_dict,
                resume=True,
                hint="Name another file, remove it, or repeat the run as it was.",
            )
            self._known = {(judged.int8, judged.scouted): judged for judged in self._journal.entries}

    def score(self, layers: Collection[str]) -> Score:
        """The score of the graph with these layers in INT8, and all others in higher precision."""
        return self._score(layers, self._judge, scouted=False)

    def scouted(self, layers: Collection[str]) -> Score:
        """The same by the scout: to rank graphs by, and never to hold against a budget."""
        if self._scout is None:
            return self.score(layers)
        return self._score(layers, self._scout, scouted=True)

    def _score(self, layers: Collection[str], judge: Judge, *, scouted: bool) -> Score:
        wanted = frozenset(layers)
        int8 = tuple(layer for layer in self.placement.layers if layer in wanted)
        if (int8, scouted) not in self._known:
            started = time.monotonic()
            graph = self._quantise(self.model, restrict(self.placement, int8), self.ranges)
            judged = JudgedGraph(int8, judge(graph), time.monotonic() - started, scouted)
            if self._journal is not None:
                self._journal.append(judged)
            self._known[int8, scouted] = judged
        return self._known[int8, scouted].score

    def __enter__(self) -> JudgedGraphs:
        return self

    def __exit__(self, *error: object) -> None:
        if self._journal is not None:
            self._journal.__exit__(*error)


def _key(model: onnx.ModelProto, placement: Placement, ranges: Ranges) -> dict[str, str]:
    """What every score of a record depends on."""
    return {
        "model": hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest(),
        "placement": placement.digest,
        "ranges": _digest(ranges.limits),
    }


def _digest(values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
