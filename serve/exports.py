"""Folders that are written for others: each says in itself what wrote it, so that nobody else's is replaced."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from ..errors import UsageError
from ..storage import folders
from ..storage.files import replace_bytes, sha256

RECORD = "trtparse-export.json"
"""In each such folder: its kind, and the hash of every file."""


def writing_export(path: Path, kind: str) -> AbstractContextManager[Path]:
    """A folder to write an export into; see :func:`~trtparse.storage.folders.writing`.

    Args:
        path: of it.
        kind: of the export; one of another kind is not replaced.

    Raises:
        UsageError: what is there is somebody else's, or was changed since it was written.
    """
    return folders.writing(path, partial(_check_own, kind))


def finish(folder: Path, kind: str) -> None:
    """Write what an export is, last."""
    record = {"kind": kind, "files": _files(folder)}
    replace_bytes(folder / RECORD, (json.dumps(record, indent=2) + "\n").encode())


def _files(folder: Path) -> dict[str, str]:
    return {
        file.relative_to(folder).as_posix(): sha256(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file != folder / RECORD
    }


def _check_own(kind: str, place: Path) -> None:
    hint = "Choose another --output, or remove it."
    try:
        record = json.loads((place / RECORD).read_text("utf-8"))
        known = dict(record["files"]) if record["kind"] == kind else None
    except (OSError, ValueError, TypeError, KeyError):
        known = None
    if known is None:
        raise UsageError(f"{place} exists and is no {kind} of trtparse; nothing was written.", hint)
    there = _files(place)
    for name in sorted(there.keys() | known.keys()):
        if there.get(name) != known.get(name):
            what = "is not trtparse's" if name not in known else "was changed since trtparse wrote it"
            raise UsageError(f"{place / name} {what}; nothing was written.", hint)
