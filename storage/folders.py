"""Folders appear whole: written beside their place, then renamed.

Imports nothing but the errors and its neighbours.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import UsageError
from .files import write_errors


@contextlib.contextmanager
def writing(path: Path, check: Callable[[Path], None]) -> Iterator[Path]:
    """A folder to write into; it takes the place of what is at ``path`` when the block ends well.

    On any error, Ctrl-C included, what was there stays and the new files are removed; those of a run that was killed,
    by the next one.

    Args:
        path: need not be there.
        check: called with what is there, where that is no empty folder; raises where it is not to be replaced.

    Raises:
        UsageError: the place cannot be written.
        MachineError: the disk is full.
    """
    place = path.resolve()
    if Path.cwd().is_relative_to(place):
        raise UsageError(f"{path} is the folder you are in, or holds it.", "Choose another --output.")
    recover(place)
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        check(path)
    _remove_leftovers(place)
    partial = place.parent / f".{place.name}.{secrets.token_hex(4)}.partial"
    with contextlib.ExitStack() as stack, write_errors(path):
        stack.callback(shutil.rmtree, partial, ignore_errors=True)
        partial.mkdir(parents=True)
        stack.enter_context(_owned(partial))
        yield partial
        _replace(partial, place)


def recover(path: Path) -> None:
    """Put the old folder back where a run was killed between its two renames."""
    previous = previous_path(path)
    if previous.is_dir() and not path.exists():
        previous.rename(path.resolve())


def previous_path(path: Path) -> Path:
    """Where a folder lies while another one takes its place."""
    place = path.resolve()
    return place.parent / f".{place.name}.previous"


def _replace(new: Path, place: Path) -> None:
    previous = previous_path(place)
    shutil.rmtree(previous, ignore_errors=True)
    try:
        if place.exists():
            place.rename(previous)
        new.rename(place)
    finally:
        recover(place)
        shutil.rmtree(previous, ignore_errors=True)


@contextlib.contextmanager
def _owned(folder: Path) -> Iterator[bool]:
    """Hold a folder's lock, which goes when the block or the process ends; False where somebody else holds it.

    A lock and not a process id: ids are taken again, and in containers that share a disk they mean nothing.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            owned = True
        except OSError:
            # Some network disks know no locks; there, nothing is ever removed for being ownerless.
            owned = False
        yield owned
    finally:
        os.close(handle)


def _remove_leftovers(place: Path) -> None:
    """Remove what killed runs left beside a folder; one that still runs owns its own."""
    with contextlib.suppress(OSError):
        for entry in place.parent.iterdir():
            if entry.name.startswith(f".{place.name}.") and entry.name.endswith(".partial"):
                with _owned(entry) as ownerless:
                    if ownerless:
                        shutil.rmtree(entry, ignore_errors=True)
