"""The record of a run: what lets one that was killed after hours go on where it was.

A journal beside the report: what the run is about, and an entry for every batch that was scored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..storage.journal import Journal, entries_of
from ..storage.json_types import JsonObject, ReadJson
from ..tasks.scoring import EngineMarks, ImageMarks, Marks
from .result import SkippedImage
from .runner import Call

SCHEMA_VERSION = 3
"""Since 3 an image's entry holds the marks of any task."""

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

    scores: tuple[ImageMarks, ...]
    skipped: tuple[tuple[int, SkippedImage], ...]
    calls: tuple[tuple[Call, ...], ...]
    wall: float

    def to_dict(self) -> JsonObject:
        return {
            "scores": [_score_values(score) for score in self.scores],
            "skipped": [[index, image.name, image.reason] for index, image in self.skipped],
            "calls": [[[call.seconds, call.frames] for call in calls] for calls in self.calls],
            "wall": self.wall,
        }

    @classmethod
    def from_dict(cls, values: ReadJson) -> BatchRecord:
        return cls(
            tuple(_score_from(score) for score in values["scores"]),
            tuple((index, SkippedImage(name, reason)) for index, name, reason in values["skipped"]),
            tuple(tuple(Call(seconds, frames) for seconds, frames in calls) for calls in values["calls"]),
            values["wall"],
        )


def open_record(path: Path, key: JsonObject, *, resume: bool) -> Journal[BatchRecord]:
    """A record to write batches into.

    Args:
        path: the file.
        key: what the run is about, field by field.
        resume: go on with the record that is there; else it starts anew.

    Raises:
        DataError: ``resume``, and there is no record, or it is damaged or of another run; the message names the field.
        UsageError: the file cannot be written.
    """
    if resume and not path.exists():
        raise DataError(f"There is no run to go on with: {path} does not exist.", "Leave --resume out.")
    return Journal(
        path,
        {"schema": SCHEMA_VERSION, **key},
        BatchRecord.to_dict,
        BatchRecord.from_dict,
        resume=resume,
        hint=_START_AGAIN,
    )


def images_recorded(path: Path) -> int:
    """How many images a record left by an earlier run holds; 0 where there is none."""
    return sum(len(batch.scores) for batch in entries_of(path, BatchRecord.from_dict))


def _score_values(score: ImageMarks) -> list[Any]:
    engines = [[_cells(engine.truth), _cells(engine.agreement)] for engine in score.engines]
    return [score.index, score.name, _cells(score.reference), engines]


def _score_from(values: list[Any]) -> ImageMarks:
    index, name, reference, engines = values
    marks = tuple(EngineMarks(_marks(truth), _marks(agreement) or ()) for truth, agreement in engines)
    return ImageMarks(index, name, _marks(reference), marks)


def _cells(marks: Marks | None) -> list[list[Any]] | None:
    """Of each array its type, its shape, and the places and values of what is not 0; most is, in one image."""
    if marks is None:
        return None
    cells = []
    for array in marks:
        flat = array.ravel()
        places = np.flatnonzero(flat)
        cells.append([str(array.dtype), list(array.shape), places.tolist(), flat[places].tolist()])
    return cells


def _marks(cells: list[list[Any]] | None) -> Marks | None:
    return None if cells is None else tuple(_array(*cell) for cell in cells)


def _array(dtype: str, shape: list[int], places: list[int], values: list[float]) -> NDArray[Any]:
    flat = np.zeros(math.prod(shape), np.dtype(dtype))
    flat[places] = values
    return flat.reshape(shape)
