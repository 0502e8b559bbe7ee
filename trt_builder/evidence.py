"""What is left of an engine that was refused: the engine, what its inspector told, and all that TensorRT said.

It lies in ``engines/failed`` of the bundle, unlisted, so that the bundle stays whole; each build replaces what the one
before it left.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..engines.manifest import FOLDER
from ..errors import TrtparseError, UsageError
from ..storage.files import replace_bytes, write_errors
from .build_process import ENGINE_LEFT, LOG_LEFT

FAILED = f"{FOLDER}/failed"
"""Of a bundle."""

_KINDS = (".engine", ".inspector.json", ".log")


@dataclass
class Evidence:
    """What a build has come to so far.

    Args:
        left: folder in which :func:`~trtparse.trt_builder.build_process.build_in_process` leaves things.
        engine: as built; where it is None, that of ``left``.
        inspector: what TensorRT's inspector told of it.
    """

    left: Path
    engine: bytes | None = None
    inspector: str | None = None

    def keep(self, bundle: Path, stem: str) -> str:
        """Write ``<stem>.engine``, ``.inspector.json`` and ``.log``, those that there are; a sentence that says where.

        What cannot be written is told in that sentence: it must not hide what went wrong.
        """
        folder = bundle / FAILED
        contents = dict(zip(_KINDS, (self.engine, None, None)))
        try:
            for kind, name in ((".engine", ENGINE_LEFT), (".log", LOG_LEFT)):
                if contents[kind] is None and (self.left / name).is_file():
                    contents[kind] = (self.left / name).read_bytes()
            if self.inspector is not None:
                contents[".inspector.json"] = self.inspector.encode()
            there = {kind: content for kind, content in contents.items() if content}
            if not there:
                return ""
            forget(bundle, stem)
            folder.mkdir(parents=True, exist_ok=True)
            for kind, content in there.items():
                replace_bytes(folder / f"{stem}{kind}", content)
        except (OSError, TrtparseError) as error:
            reason = error.message if isinstance(error, TrtparseError) else str(error)
            return f"What is left of it could not be kept in {folder}: {reason.rstrip('.')}."
        names = {".engine": "engine", ".inspector.json": "layers", ".log": "log"}
        told = ", ".join(names[kind] for kind in there)
        return f"What is left of it ({told}) is in {folder}."


@contextlib.contextmanager
def evidence(bundle: Path, stem: str, log: Path | None = None) -> Iterator[Evidence]:
    """Keep what a build leaves where the block ends in a refusal, and have the error say where.

    Args:
        bundle: its folder.
        stem: of the engine's name.
        log: file that TensorRT's words are appended to, however the build ends.

    Raises:
        TrtparseError: as the block; a request that cannot be met (UsageError) leaves nothing.
    """
    with tempfile.TemporaryDirectory(prefix="trtparse-evidence-") as name:
        kept = Evidence(Path(name))
        try:
            yield kept
        except UsageError:
            raise
        except TrtparseError as error:
            message = " ".join(filter(None, (error.message, kept.keep(bundle, stem))))
            raise type(error)(message, error.hint) from error
        finally:
            said = kept.left / LOG_LEFT
            if log is not None and said.is_file():
                with write_errors(log), log.open("ab") as file, said.open("rb") as source:
                    shutil.copyfileobj(source, file)


def forget(bundle: Path, *stems: str) -> None:
    """Remove what earlier builds of these left."""
    for stem in stems:
        for kind in _KINDS:
            with contextlib.suppress(OSError):
                (bundle / FAILED / f"{stem}{kind}").unlink()
    with contextlib.suppress(OSError):
        (bundle / FAILED).rmdir()
