"""The record of a run: what lets one that was killed after hours go on where it was.

A journal beside the report: what the run is about, and an entry for every batch that was scored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from ..storage.journal import Journal, entries_of
from ..tasks.parsing.metrics import Counts
from ..tasks.parsing.scoring import EngineScore, ImageScore
from .result import SkippedImage
from .runner import Call

SCHEMA_VERSION = 2
"""Since 2 a confusion matrix tells of how many classes it is, which were LIP's 20."""

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

    def to_dict(self) -> dict[str, Any]:
        return {
            "scores": [_score_values(score) for score in self.scores],
            "skipped": [[index, image.name, image.reason] for index, image in self.skipped],
            "calls": [[[call.seconds, call.frames] for call in calls] for calls in self.calls],
            "wall": self.wall,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> BatchRecord:
        return cls(
            tuple(_score_from(score) for score in values["scores"]),
            tuple((index, SkippedImage(name, reason)) for index, name, reason in values["skipped"]),
            tuple(tuple(Call(seconds, frames) for seconds, frames in calls) for calls in values["calls"]),
            values["wall"],
        )


def open_record(path: Path, key: Mapping[str, Any], *, resume: bool) -> Journal[BatchRecord]:
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
    """A confusion matrix: its classes' number, and the places and values of what is not 0; most is, in one image."""
    if counts is None:
        return None
    flat = counts.ravel()
    places = np.flatnonzero(flat)
    return [[len(counts)], places.tolist(), flat[places].tolist()]


def _counts(cells: list[list[int]] | None) -> Counts | None:
    return None if cells is None else _all_counts(cells)


def _all_counts(cells: list[list[int]]) -> Counts:
    (classes,), places, pixels = cells
    counts = np.zeros(classes * classes, np.int64)
    counts[places] = pixels
    return counts.reshape(classes, classes)
