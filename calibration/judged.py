"""Graphs of one network with different layers in INT8, and the score of each: judged once, and kept.

Sensitivity and the search for a budget both ask for the scores of many such graphs. The record is a text file, log
and resume point in one: its first line says what the scores belong to, and every further one holds a graph. A line
that a kill cut off is dropped, and its graph is judged again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import onnx

from ..errors import DataError
from ..files import check_output_file, replace_bytes, write_errors
from .placement import Placement, restrict
from .qdq import quantise as quantise_plainly
from .ranges import Ranges
from .score import Judge, Score

SCHEMA = 1

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

    def to_line(self) -> str:
        values = {
            "int8": list(self.int8),
            "score": self.score.to_dict(),
            "seconds": round(self.seconds, 3),
            "scouted": self.scouted,
        }
        return json.dumps(values, separators=(",", ":")) + "\n"

    @classmethod
    def from_line(cls, line: str) -> JudgedGraph:
        values = json.loads(line)
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
        self._file: TextIO | None = None
        if record is not None:
            self._open(record, {"schema": SCHEMA, **_key(model, placement, ranges), **(about or {})})

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
            if self._file is not None:
                with write_errors(Path(self._file.name)):
                    self._file.write(judged.to_line())
                    self._file.flush()
            self._known[int8, scouted] = judged
        return self._known[int8, scouted].score

    def __enter__(self) -> JudgedGraphs:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()

    def _open(self, path: Path, key: dict[str, Any]) -> None:
        check_output_file(path)
        for judged in _read(path, key) if path.exists() else ():
            self._known[judged.int8, judged.scouted] = judged
        # What a kill cut off goes: the file is written anew up to there.
        lines = [json.dumps(key) + "\n", *(judged.to_line() for judged in self._known.values())]
        replace_bytes(path, "".join(lines).encode())
        with write_errors(path):
            self._file = path.open("a", encoding="utf-8")


def _key(model: onnx.ModelProto, placement: Placement, ranges: Ranges) -> dict[str, str]:
    """What every score of a record depends on."""
    placed = {
        "activations": {tensor: list(sites) for tensor, sites in placement.activations.items()},
        "weights": [[site.tensor, site.axis, site.layers] for site in placement.weights],
        "shared": sorted(sorted(group) for group in placement.shared),
    }
    return {
        "model": hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest(),
        "placement": _digest(placed),
        "ranges": _digest(ranges.limits),
    }


def _digest(values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _read(path: Path, key: Mapping[str, Any]) -> list[JudgedGraph]:
    try:
        with path.open(encoding="utf-8") as file:
            found = json.loads(next(file, ""))
            if not isinstance(found, dict):
                raise ValueError("its first line is no object")
            _check_key(path, found, key)
            return list(_whole(file))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} is no record of judged graphs: {error}.", "Name another file, or remove it."
        ) from error


def _check_key(path: Path, found: Mapping[str, Any], key: Mapping[str, Any]) -> None:
    for field in [*key, *(name for name in found if name not in key)]:
        if found.get(field) != key.get(field):
            raise DataError(
                f"{path} is a record of something else: its {field} is {_short(found.get(field))}, now it is "
                f"{_short(key.get(field))}.",
                "Name another file, remove it, or repeat the run as it was.",
            )


def _short(value: object) -> str:
    words = str(value)
    return words if len(words) < hashlib.sha256().digest_size * 2 else f"{words[:12]}…"


def _whole(lines: Iterable[str]) -> Iterator[JudgedGraph]:
    """Graphs up to the first line that was cut off."""
    for line in lines:
        try:
            judged = JudgedGraph.from_line(line) if line.endswith("\n") else None
        except (ValueError, KeyError, TypeError):
            judged = None
        if judged is None:
            return
        yield judged
