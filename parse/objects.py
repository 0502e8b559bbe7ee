"""Where images are read from and results are written to: this machine's disks, or a file system of PyArrow's.

Results appear whole, whoever is killed while writing them.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import posixpath
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from ..data.images import read_bytes, read_failed
from ..engines.machine.dependencies import require
from ..errors import DataError, UsageError
from ..storage.files import partial_path, replace_bytes, write_errors, write_failed

if TYPE_CHECKING:
    from collections.abc import Sequence

_OBJECT_STORES = ("s3", "gcs", "abfs")
"""PyArrow's names for those without folders, where a file is there when its last byte has arrived."""


class Storage(Protocol):
    """Files by their path, as a person or a listing named it."""

    def read(self, path: str) -> bytes:
        """A whole file.

        Raises:
            DataError: it is missing or cannot be read.
        """
        ...

    def size(self, path: str) -> int:
        """Of a file, in bytes; 0 where there is none."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """Write a file in one step; its folder is made where it is missing.

        Raises:
            UsageError: it cannot be written.
            MachineError: the disk is full.
        """
        ...

    def remove(self, path: str) -> None:
        """Remove a file, where there is one."""
        ...


class LocalStorage:
    """This machine's disks."""

    def __init__(self) -> None:
        self._folders: set[str] = set()

    def read(self, path: str) -> bytes:
        return read_bytes(path)

    def size(self, path: str) -> int:
        try:
            return os.stat(path).st_size
        except OSError:
            return 0

    def write(self, path: str, data: bytes) -> None:
        folder = os.path.dirname(path)
        if folder not in self._folders:
            with write_errors(Path(folder)):
                os.makedirs(folder or ".", exist_ok=True)
            self._folders.add(folder)
        replace_bytes(Path(path), data)

    def remove(self, path: str) -> None:
        with write_errors(Path(path)), contextlib.suppress(FileNotFoundError):
            os.unlink(path)


@dataclass
class ArrowStorage:
    """A file system of PyArrow's; it travels to Ray's workers.

    Args:
        filesystem: a ``pyarrow.fs.FileSystem``.
        prefix: what paths begin with that the file system does not know, as ``s3://``.
        root: the folder that relative paths are meant from; empty for URIs.
    """

    filesystem: Any
    prefix: str = ""
    root: str = ""

    def __post_init__(self) -> None:
        self._folders: set[str] = set()

    def at(self, path: str) -> str:
        """The path as the file system knows it."""
        return posixpath.join(self.root, path) if self.root else path.removeprefix(self.prefix)

    def read(self, path: str) -> bytes:
        try:
            # without the argument a name that ends in .gz would be unpacked
            with self.filesystem.open_input_stream(self.at(path), compression=None) as stream:
                return bytes(stream.read())
        except OSError as error:
            raise read_failed(path, error) from error

    def size(self, path: str) -> int:
        try:
            return int(self.filesystem.get_file_info(self.at(path)).size or 0)
        except OSError:
            return 0

    def write(self, path: str, data: bytes) -> None:
        place = self.at(path)
        in_place = self.filesystem.type_name in _OBJECT_STORES
        written = place if in_place else str(partial_path(Path(place)))
        try:
            self._make_folder(posixpath.dirname(place), in_place)
            with self.filesystem.open_output_stream(written, compression=None) as stream:
                stream.write(data)
            if not in_place:
                self.filesystem.move(written, place)
        except OSError as error:
            if not in_place:
                with contextlib.suppress(OSError):
                    self.filesystem.delete_file(written)
            raise write_failed(path, error) from error

    def remove(self, path: str) -> None:
        try:
            self.filesystem.delete_file(self.at(path))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise write_failed(path, error) from error

    def _make_folder(self, folder: str, object_store: bool) -> None:
        if not object_store and folder not in self._folders:
            self.filesystem.create_dir(folder, recursive=True)
            self._folders.add(folder)


def _arrow() -> ModuleType:
    require("pyarrow")
    return importlib.import_module("pyarrow.fs")


def is_uri(path: str) -> bool:
    """Whether a path is a URI such as ``s3://bucket/photos``."""
    return "://" in path


def plain(path: str) -> str:
    """A path without what a URI says about how to reach it, as ``?region=eu-west-1``."""
    return path.split("?")[0].rstrip("/") if is_uri(path) else path


def open_storage(path: str) -> ArrowStorage:
    """PyArrow's file system for a URI, or for a path on this machine.

    Raises:
        UsageError: PyArrow knows no such kind of URI.
    """
    arrow = _arrow()
    if not is_uri(path):
        return ArrowStorage(arrow.LocalFileSystem(), root=os.getcwd())
    try:
        filesystem, base = arrow.FileSystem.from_uri(path)
    except (ValueError, OSError) as error:  # pyarrow.ArrowInvalid is a ValueError
        raise UsageError(
            f"{path} cannot be opened: {error}.", "PyArrow reads file://, s3://, gs:// and hdfs://."
        ) from error
    uri = plain(path)
    prefix = uri.removesuffix(base) if uri.endswith(base) else uri.split("://")[0] + "://"
    return ArrowStorage(filesystem, prefix)


def list_uri(uri: str, storage: ArrowStorage, *, recursive: bool) -> tuple[str, Sequence[str] | None]:
    """What a URI names.

    Returns:
        Its path for ``storage``, and the files in it, relative to it; None where it is a file itself.

    Raises:
        DataError: there is nothing, or it cannot be listed.
    """
    arrow = _arrow()
    base = storage.at(plain(uri))
    path = storage.prefix + base
    try:
        kind = storage.filesystem.get_file_info(base).type
        if kind == arrow.FileType.NotFound:
            raise DataError(f"There is no file {uri}.", "Check the URI for typing mistakes.")
        if kind == arrow.FileType.File:
            return path, None
        found = storage.filesystem.get_file_info(arrow.FileSelector(base, recursive=recursive))
    except OSError as error:
        raise DataError(f"{uri} cannot be listed: {error}.", "Check the URI and your access to it.") from error
    return path, [posixpath.relpath(item.path, base) for item in found if item.type == arrow.FileType.File]
