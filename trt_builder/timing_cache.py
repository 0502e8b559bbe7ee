"""The timing cache: which kernels were fastest, kept from build to build, for one TensorRT on one kind of GPU.

One build at a time holds it: two at once would lose what one of them measured, and disturb each other's timings.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from ..storage.files import check_output_folder, replace_bytes, write_errors

FOLDER = "timing"
"""Beside the bundle, so that a bundle that is built anew keeps it, and all bundles of a folder share it."""


def default_path(bundle: Path, target: str, version: str, compute_capability: str) -> Path:
    """``build/timing/tensorrt-10.3.0-sm87.cache`` for the bundle ``build/student``."""
    return bundle.resolve().parent / FOLDER / f"{target}-{version}-sm{compute_capability.replace('.', '')}.cache"


def read(path: Path) -> bytes | None:
    """What earlier builds left; None where there is nothing."""
    try:
        return path.read_bytes() or None
    except FileNotFoundError:
        return None


def write(path: Path, content: bytes) -> None:
    """Replace the cache in one step: a build that is killed leaves the old one.

    Raises:
        TrtparseError: it cannot be written.
    """
    replace_bytes(path, content)


@contextlib.contextmanager
def locked(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a cache alone, until the block or the process ends.

    Args:
        path: of the cache; its folder is made where it is missing.
        waiting: called once where another build holds it.

    Raises:
        TrtparseError: its folder cannot be written to.
    """
    check_output_folder(path.parent)
    lock = path.with_name(f".{path.name}.lock")
    with write_errors(lock):
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            # Some network disks know no locks; there, the last build to end wins.
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP):
                raise
        yield
    finally:
        os.close(handle)
