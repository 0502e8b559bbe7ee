"""A journal: the log of long work and its resume point in one text file.

Its first line says what the work is about, and every further line holds an entry, in JSON, flushed once it is known.
A line that a kill cut off is dropped, and what it told is worked out again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Generic, TextIO, TypeVar

from ..errors import DataError
from .files import check_output_file, replace_bytes, write_errors
from .json_types import JsonObject

Entry = TypeVar("Entry")

_LONGEST = 60
"""Characters of a key's value in a message."""


class Journal(Generic[Entry]):
    """A journal that is being kept; a context manager.

    Args:
        path: the file.
        key: what the entries depend on, field by field; a journal with another key is of other work.
        write: an entry as JSON's types.
        read: an entry of what ``write`` gave; ValueError, KeyError, TypeError or IndexError where it is none.
        resume: go on with what is there, if anything is. Without it the journal starts anew.
        hint: what to do about a journal that cannot be gone on with.

    Attributes:
        entries: that were there.

    Raises:
        DataError: what is there is no journal, or of other work; the message names the field that differs.
        UsageError: the file cannot be written.
    """

    def __init__(
        self,
        path: Path,
        key: JsonObject,
        write: Callable[[Entry], Any],
        read: Callable[[Any], Entry],
        *,
        resume: bool,
        hint: str,
    ) -> None:
        check_output_file(path)
        self.path = path
        self._write = write
        head = _line(key)
        self.entries: list[Entry] = []
        if resume and path.exists():
            self.entries = _read(path, json.loads(head), read, hint)
        # What a kill cut off goes: the file is written anew up to there.
        replace_bytes(path, "".join([head, *(_line(write(entry)) for entry in self.entries)]).encode())
        with write_errors(path):
            self._file: TextIO = path.open("a", encoding="utf-8")

    def append(self, entry: Entry) -> None:
        """Add an entry; it survives the end of this process."""
        with write_errors(self.path):
            self._file.write(_line(self._write(entry)))
            self._file.flush()

    def __enter__(self) -> Journal[Entry]:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


def entries_of(path: Path, read: Callable[[Any], Entry]) -> Iterator[Entry]:
    """The entries of a journal, whatever its key; none where there is no journal."""
    try:
        with path.open(encoding="utf-8") as file:
            next(file, "")
            yield from _whole(file, read)
    except (OSError, UnicodeDecodeError):
        return


def _line(values: Any) -> str:
    return json.dumps(values, separators=(",", ":")) + "\n"


def _read(path: Path, key: JsonObject, read: Callable[[Any], Entry], hint: str) -> list[Entry]:
    try:
        with path.open(encoding="utf-8") as file:
            found = json.loads(next(file, ""))
            if not isinstance(found, dict):
                raise ValueError("its first line is no object")
            entries = list(_whole(file, read))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no record of this work: {error}.", hint) from error
    for field in [*key, *(name for name in found if name not in key)]:
        if found.get(field) != key.get(field):
            other = "another version of trtparse" if field == "schema" else "something else"
            raise DataError(
                f"{path} is a record of {other}: its {field} is {_short(found.get(field))}, now it is "
                f"{_short(key.get(field))}.",
                hint,
            )
    return entries


def _short(value: Any) -> str:
    words = value if isinstance(value, str) else json.dumps(value)
    return words if len(words) <= _LONGEST else f"{words[:12]}…"


def _whole(lines: Iterable[str], read: Callable[[Any], Entry]) -> Iterator[Entry]:
    """Entries up to the first line that was cut off."""
    for line in lines:
        try:
            if not line.endswith("\n"):
                return
            entry = read(json.loads(line))
        except (ValueError, KeyError, TypeError, IndexError):
            return
        yield entry
