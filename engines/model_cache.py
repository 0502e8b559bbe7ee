"""Compiled models of OpenVINO, kept beside the bundle, so that the next process starts without compiling.

A cache, and safe to delete: what is missing, damaged or of another OpenVINO is compiled again.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path

from ..storage.files import check_output_folder, replace_shared
from .document import digest_of

FOLDER = "openvino"
"""Beside the bundle, so that a bundle that is built anew leaves it alone, and all bundles of a folder share it."""

MOST = 16
"""Models that stay; of more, those that were written first go."""

_HASH_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True)
class ModelCache:
    """The compiled models of one graph.

    Args:
        folder: is made where it is missing.
        graph: sha256 of the graph's file.
    """

    folder: Path
    graph: str

    @classmethod
    def beside(cls, bundle: Path, graph: str) -> ModelCache:
        """``build/openvino`` for the bundle ``build/student``."""
        return cls(bundle.resolve().parent / FOLDER, graph)

    def read(self, key: dict[str, str]) -> bytes | None:
        """A compiled model as it was written; None where there is none, or it is not whole.

        Args:
            key: what it depends on besides the graph.
        """
        try:
            content = self._path(key).read_bytes()
        except OSError:
            return None
        told, model = content[:_HASH_BYTES], content[_HASH_BYTES:]
        return model if hashlib.sha256(model).digest() == told else None

    def write(self, key: dict[str, str], model: bytes) -> None:
        """Keep a compiled model.

        Raises:
            TrtparseError: the folder cannot be made or written to, or the disk is full.
        """
        check_output_folder(self.folder)
        # Two processes may compile the same at once.
        replace_shared(self._path(key), hashlib.sha256(model).digest() + model)
        self._forget_the_oldest()

    def _path(self, key: dict[str, str]) -> Path:
        return self.folder / f"{self.graph[:16]}-{digest_of(key)[:16]}.blob"

    def _forget_the_oldest(self) -> None:
        with contextlib.suppress(OSError):  # another process may be tidying up as well
            kept = sorted(self.folder.glob("*.blob"), key=lambda path: path.stat().st_mtime, reverse=True)
            for path in kept[MOST:]:
                path.unlink(missing_ok=True)
