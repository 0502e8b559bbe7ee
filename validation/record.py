"""The record of a run: what lets one that was killed after hours go on where it was.

A text file beside the report. Its first line says what the run is about, and every further line holds a batch:
JSON, appended and flushed when the batch was scored. A line that a kill cut off is dropped, and its images are
looked at again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from ..errors import DataError
from ..files import write_errors
from ..labels import NUM_CLASSES
from .metrics import Counts
from .result import SkippedImage
from .runner import Call
from .scoring import EngineScore, ImageScore

SCHEMA_VERSION = 1

_START_AGAIN = "Leave --resume out to start again, or repeat the run as it was."


@dataclass(frozen=True)
class BatchRecord:
    """What a run learned from one batch.

    Args:
        scores: of its images.
        skipped: index and story of the images met on the way that could not be read.
        calls: of every engine, the reference first; empty where no image could be read.
        wall: seconds since the batch before.
    """

    scores: tuple[ImageScore, ...]
    skipped: tuple[tuple[int, SkippedImage], ...]
    calls: tuple[tuple[Call, ...], ...]
    wall: float

    def to_line(self) -> str:
        values = {
            "scores": [_score_values(score) for score in self.scores],
            "skipped": [[index, image.name, image.reason] for index, image in self.skipped],
            "calls": [[[call.seconds, call.frames] for call in calls] for calls in self.calls],
            "wall": self.wall,
        }
        return json.dumps(values, separators=(",", ":")) + "\n"

    @classmethod
    def from_line(cls, line: str) -> BatchRecord:
        values = json.loads(line)
        return cls(
            tuple(_score_from(score) for score in values["scores"]),
            tuple((index, SkippedImage(name, reason)) for index, name, reason in values["skipped"]),
            tuple(tuple(Call(seconds, frames) for seconds, frames in calls) for calls in values["calls"]),
            values["wall"],
        )


class RunRecord:
    """A record that is being written; a context manager.

    Args:
        path: the file.
        key: what the run is about, field by field; a record with another key is of another run.
        resume: read what is there already, and append. Without it the file starts anew.

    Attributes:
        batches: what was there.

    Raises:
        DataError: ``resume``, and there is no record, or it is damaged or of another run; the message names the field.
        UsageError: the file cannot be written.
    """

    def __init__(self, path: Path, key: Mapping[str, Any], *, resume: bool) -> None:
        self.path = path
        head = json.dumps({"schema": SCHEMA_VERSION, **key}) + "\n"
        lines = [head]
        self.batches: list[BatchRecord] = []
        if resume:
            whole, self.batches = _read(path, json.loads(head))
            lines += whole
        self._file: TextIO
        with write_errors(path):
            # What a kill cut off goes: the file is written anew up to there.
            self._file = path.open("w", encoding="utf-8")
            self._file.writelines(lines)
            self._file.flush()

    def append(self, batch: BatchRecord) -> None:
        """Add a batch; it survives the end of this process."""
        with write_errors(self.path):
            self._file.write(batch.to_line())
            self._file.flush()

    def __enter__(self) -> RunRecord:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


def images_recorded(path: Path) -> int:
    """How many images a record left by an earlier run holds; 0 where there is none."""
    try:
        with path.open(encoding="utf-8") as file:
            next(file, "")
            return sum(len(batch.scores) for _, batch in _whole(file))
    except (OSError, UnicodeDecodeError):
        return 0


def _read(path: Path, key: dict[str, Any]) -> tuple[list[str], list[BatchRecord]]:
    """The lines of a record that are whole, and what they say."""
    try:
        with path.open(encoding="utf-8") as file:
            found = json.loads(next(file, ""))
            if not isinstance(found, dict):
                raise ValueError("its first line is no object")
            _check_key(path, found, key)
            whole = list(_whole(file))
    except FileNotFoundError:
        raise DataError(f"There is no run to go on with: {path} does not exist.", "Leave --resume out.") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no record of a run: {error}.", "Leave --resume out to start again.") from error
    return [line for line, _ in whole], [batch for _, batch in whole]


def _check_key(path: Path, found: dict[str, Any], key: dict[str, Any]) -> None:
    for field in [*key, *(name for name in found if name not in key)]:
        if found.get(field) != key.get(field):
            raise DataError(
                f"{path} is of another run: its {field} is {_short(found.get(field))}, now it is "
                f"{_short(key.get(field))}.",
                _START_AGAIN,
            )


def _short(value: Any) -> str:
    words = json.dumps(value)
    return words if len(words) <= 200 else f"{words[:200]}…"


def _whole(lines: Iterable[str]) -> Iterable[tuple[str, BatchRecord]]:
    """Batches up to the first line that was cut off."""
    for line in lines:
        try:
            batch = BatchRecord.from_line(line) if line.endswith("\n") else None
        except (ValueError, KeyError, TypeError, IndexError):
            batch = None
        if batch is None:
            return
        yield line, batch


def _score_values(score: ImageScore) -> list[Any]:
    engines = [[_cells(engine.truth), _cells(engine.agreement), engine.areas] for engine in score.engines]
    return [score.index, score.name, _cells(score.reference), engines]


def _score_from(values: list[Any]) -> ImageScore:
    index, name, reference, engines = values
    return ImageScore(
        index,
        name,
        _counts(reference),
        tuple(EngineScore(_counts(truth), _all_counts(agreement), tuple(areas)) for truth, agreement, areas in engines),
    )


def _cells(counts: Counts | None) -> list[list[int]] | None:
    """The cells of a confusion matrix that are not 0, as positions and values: most are, in one image."""
    if counts is None:
        return None
    flat = counts.ravel()
    places = np.flatnonzero(flat)
    return [places.tolist(), flat[places].tolist()]


def _counts(cells: list[list[int]] | None) -> Counts | None:
    return None if cells is None else _all_counts(cells)


def _all_counts(cells: list[list[int]]) -> Counts:
    counts = np.zeros(NUM_CLASSES * NUM_CLASSES, np.int64)
    counts[cells[0]] = cells[1]
    return counts.reshape(NUM_CLASSES, NUM_CLASSES)
