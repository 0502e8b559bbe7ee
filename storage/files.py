"""Files appear whole: written beside their place, then renamed.

Imports nothing but the errors.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shlex
from collections.abc import Iterator
from pathlib import Path

from ..errors import FileNameError, MachineError, TrtparseError, UsageError

DISK_FULL = "Free some space, or write to another disk."

_LONGEST_NAME = 255
"""Bytes that Linux and macOS take; Windows takes as many letters."""
_NAME_REFUSED = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)


def fitting_name(stem: str, ending: str) -> str:
    """``stem`` and ``ending``; of a stem that is too long the beginning, and a hash of it all: names stay apart."""
    if len(os.fsencode(stem + ending)) <= _LONGEST_NAME:
        return stem + ending
    ending = f"~{hashlib.sha256(os.fsencode(stem)).hexdigest()[:12]}{ending}"
    kept = os.fsencode(stem)[: _LONGEST_NAME - len(os.fsencode(ending))]
    return kept.decode("utf-8", "ignore") + ending


def partial_path(path: Path) -> Path:
    """The hidden temporary name beside ``path``, of the same extension: ``.name.partial.mp4``."""
    return path.with_name(fitting_name(f".{path.stem}", f".partial{path.suffix}"))


def check_output_file(path: Path) -> None:
    """See that ``path`` can be written, before any work is done for it.

    Raises:
        UsageError: its folder is missing or cannot be written to, or ``path`` is a folder.
        FileNameError: there can be no file of its name.
    """
    with write_errors(path):
        is_folder = path.is_dir()
    if is_folder:
        raise UsageError(f"{path} is a folder.", "Give the name of a file.")
    folder = path.parent
    if not folder.is_dir():
        reason = "is not a folder" if folder.exists() else "does not exist"
        hint = "Choose another folder." if folder.exists() else f"mkdir -p {shlex.quote(str(folder))}"
        raise UsageError(f"{folder} {reason}, so {path.name} cannot be written there.", hint)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{folder} cannot be written to.", "Choose another folder, or change its permissions.")


def check_output_folder(folder: Path) -> None:
    """Make ``folder`` if need be, and see that files can be written into it.

    Raises:
        UsageError: it is a file, or cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"{folder} is not a folder.", "Give a folder for the results.") from None
    except OSError as error:
        raise write_failed(folder, error) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{folder} cannot be written to.", "Choose another folder, or change its permissions.")


@contextlib.contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals while writing ``path`` into errors that say what to do."""
    try:
        yield
    except OSError as error:
        raise write_failed(path, error) from error


def write_failed(path: Path | str, error: OSError) -> TrtparseError:
    """What to tell the user about ``error``, met while writing ``path``."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return MachineError(f"No space left for {path}.", DISK_FULL)
    if error.errno in _NAME_REFUSED:
        return FileNameError(f"{path} could not be written: {error.strerror or error}.")
    return UsageError(
        f"{path} could not be written: {error.strerror or error}.", "Choose another folder, or change its permissions."
    )


class Claim:
    """Keeps a second run from writing to the same file, for as long as the first one works on it.

    A hidden file beside ``path`` is locked, which the system undoes where a run is killed. On file systems that lock
    nothing, nobody is kept away.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = path.with_name(fitting_name(f".{path.name}", ".lock"))
        self._held: int | None = None

    def take(self) -> None:
        """Claim the file.

        Raises:
            UsageError: another run has, or the folder cannot be written to.
        """
        while self._held is None:
            with write_errors(self._path):
                opened = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(opened)
                raise UsageError(
                    f"{self._path} is being written by another run.", "Wait for its end, or give another name."
                ) from None
            except OSError:
                pass
            if _is_at(opened, self._lock):
                self._held = opened
            else:  # the run before ended between the two steps, and took its file away
                os.close(opened)

    def release(self) -> None:
        """Let go of it; where it is not held, nothing happens."""
        held, self._held = self._held, None
        if held is not None:
            with contextlib.suppress(OSError):
                self._lock.unlink()
            os.close(held)


def _is_at(opened: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(opened), os.stat(path))
    except FileNotFoundError:
        return False


def replace_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` in one step.

    Raises:
        UsageError: the folder is missing or cannot be written to.
        FileNameError: there can be no file of its name.
        MachineError: the disk is full. Whatever ``path`` held before is still there.
    """
    check_output_file(path)
    _replace(path, partial_path(path), data)


def replace_shared(path: Path, data: bytes) -> None:
    """As :func:`replace_bytes`, of a file that other runs may write at the same time: the last one's stays.

    Each writes under a name of its own, which a run that is killed leaves behind.
    """
    check_output_file(path)
    _replace(path, path.with_name(fitting_name(f".{path.name}.{secrets.token_hex(4)}", ".partial")), data)


def _replace(path: Path, partial: Path, data: bytes) -> None:
    try:
        with write_errors(path):
            partial.write_bytes(data)
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """The hash of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
