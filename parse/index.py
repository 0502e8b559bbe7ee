"""The index: one row per photograph, with how much there is of each row. A CSV or a Parquet file.

Rows come in the order of the listing and hold nothing that differs from run to run, so neither do the bytes. The
file is written beside its place, row by row, and takes it when the last row is written.
"""

from __future__ import annotations

import contextlib
import csv
import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from ..engines.machine.dependencies import require
from ..errors import UsageError
from ..storage.files import check_output_file, partial_path, write_errors
from ..tasks.base import Task
from .parser import ImageResult, answer_name

_TEXTS = ("image", "labels", "skipped")
FORMATS = (".csv", ".parquet")
_ROWS_AT_ONCE = 10_000

Value = str | int | None


class Index(Protocol):
    """Takes rows, one by one."""

    def add(self, result: ImageResult) -> None: ...


def index_place(path: str, shard: tuple[int, int] | None) -> Path:
    """Where the index goes; each shard has its own, ``index.2-of-8.csv``.

    Raises:
        UsageError: it is neither a CSV nor a Parquet file.
        MachineError: Parquet without PyArrow.
    """
    place = Path(path)
    if place.suffix.lower() not in FORMATS:
        raise UsageError(f"{path} ends in neither {' nor '.join(FORMATS)}.", "Name the index so: --index index.csv")
    if place.suffix.lower() == ".parquet":
        require("pyarrow")
    return place if shard is None else place.with_name(f"{place.stem}.{shard[0]}-of-{shard[1]}{place.suffix}")


def columns(task: Task[Any]) -> tuple[str, ...]:
    """The first row.

    ``labels`` is the answer's file, relative to the output folder; the task's rows hold how much there is of each, of
    classes pixels; ``skipped`` says why an image was not read.
    """
    return ("image", "labels", "height", "width", *task.rows, "skipped")


@contextlib.contextmanager
def writing_index(place: Path | None, task: Task[Any]) -> Iterator[Index]:
    """An index that takes its place when the block ends well, and leaves nothing when it does not.

    Args:
        place: from :func:`index_place`; rows are dropped where None.
        task: whose rows have columns.

    Raises:
        UsageError: it cannot be written.
        MachineError: the disk is full.
    """
    if place is None:
        yield _NoIndex()
        return
    check_output_file(place)
    partial = partial_path(place)
    kind = _ParquetIndex if place.suffix.lower() == ".parquet" else _CsvIndex
    try:
        index = kind(partial, place, columns(task), task.ending)
        try:
            yield index
        finally:
            index.close()
        with write_errors(place):
            os.replace(partial, place)
    finally:
        partial.unlink(missing_ok=True)


def _row(result: ImageResult, columns: int, ending: str) -> list[Value]:
    height, width = result.size or (None, None)
    pixels = result.pixels or (None,) * (columns - 5)
    labels = answer_name(result.name, ending) if result.size else None
    return [result.path, labels, height, width, *pixels, result.skipped or None]


class _NoIndex:
    def add(self, result: ImageResult) -> None:
        """Nobody asked for it."""


class _CsvIndex:
    def __init__(self, partial: Path, place: Path, columns: tuple[str, ...], ending: str) -> None:
        self._place, self._columns, self._ending = place, len(columns), ending
        with write_errors(place):
            # by whole lines; a file name that is no text is written as the bytes that it is
            self._file = partial.open("w", 1, encoding="utf-8", errors="surrogateescape", newline="")
        self._rows = csv.writer(self._file, lineterminator="\n")
        self._write(list(columns))

    def add(self, result: ImageResult) -> None:
        self._write(_row(result, self._columns, self._ending))

    def _write(self, row: list[Value]) -> None:
        with write_errors(self._place):
            self._rows.writerow(row)

    def close(self) -> None:
        with write_errors(self._place):
            self._file.close()


class _ParquetIndex:
    def __init__(self, partial: Path, place: Path, columns: tuple[str, ...], ending: str) -> None:
        self._place, self._columns, self._ending = place, len(columns), ending
        self._arrow = require("pyarrow")
        parquet = importlib.import_module("pyarrow.parquet")
        text, number = self._arrow.string(), self._arrow.int32()
        self._schema = self._arrow.schema([(name, text if name in _TEXTS else number) for name in columns])
        self._rows: list[list[Value]] = []
        with write_errors(place):
            self._writer: Any = parquet.ParquetWriter(str(partial), self._schema)

    def add(self, result: ImageResult) -> None:
        row = _row(result, self._columns, self._ending)
        # Parquet's texts are UTF-8, which a file name need not be
        self._rows.append([_text(value) if isinstance(value, str) else value for value in row])
        if len(self._rows) == _ROWS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        columns = list(zip(*self._rows)) or [()] * self._columns
        arrays = [self._arrow.array(column, field.type) for column, field in zip(columns, self._schema)]
        with write_errors(self._place):
            self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))
        self._rows.clear()

    def close(self) -> None:
        try:
            if self._rows:
                self._flush()
        finally:
            with write_errors(self._place):
                self._writer.close()


def _text(value: str) -> str:
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
