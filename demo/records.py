"""What a run found, frame by frame, for other programs: a file each, as label maps in PNGs, and a line of JSON each.

Both are observers of the pipeline: called with each frame, in order.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from io import FileIO
from pathlib import Path
from types import TracebackType

from ..errors import TrtparseError
from ..storage.files import Claim, check_output_file, check_output_folder, partial_path, replace_bytes, write_errors
from ..storage.interrupts import uninterrupted
from .parsed_frame import ParsedFrame

SCHEMA_VERSION = 1

_NAME = re.compile(r"frame-(\d{6,})(\.\w+)")


class AnswerRecorder:
    """Writes each frame's answer, as the task keeps it: a label map as ``frame-000000.png``.

    Frames of an earlier run in the same folder are replaced; those of its that are left over, as it was longer, are
    removed where the block ends, so that a folder never holds frames of two runs.

    Args:
        folder: made where it is missing.

    Entering, calling and leaving raise:
        UsageError: the folder cannot be made or written to, or went away.
        MachineError: the disk is full.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.frames, self._endings = 0, frozenset[str]()

    def __enter__(self) -> AnswerRecorder:
        check_output_folder(self.folder)
        self.frames = 0
        return self

    def __call__(self, frame: ParsedFrame) -> None:
        """Write a frame's answers, of each task one."""
        for sight in frame.sights:
            replace_bytes(self.folder / f"frame-{frame.number:06d}{sight.ending}", sight.file())
        self.frames, self._endings = frame.number + 1, frozenset(sight.ending for sight in frame.sights)

    @uninterrupted()
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.frames:
            return
        try:
            with write_errors(self.folder):
                names = os.listdir(self.folder)
        except TrtparseError:
            if kind is None:  # else the exception under way says more
                raise
            return
        for name in names:
            found = _NAME.fullmatch(name)
            if found and found[2] in self._endings and int(found[1]) >= self.frames:
                with contextlib.suppress(OSError):
                    os.unlink(self.folder / name)


class JsonlRecorder:
    """Writes a line of JSON per frame::

        {"schema_version": 1, "frame": 0, "seconds": 0.0,
         "people": [{"id": 1, "box": [12.0, 8.5, 80.0, 200.0], "score": 0.87}],
         "pixels": {"Background": 90000, "Hair": 812, ...}}

    ``box`` is left, top, right, bottom in pixels of the frame; what follows is the task's, of parsing the pixels of the
    classes that are there. The file appears under its name where the block ends, by an exception too, with the frames
    so far; an older one stays where there were none.

    Args:
        path: where to.

    Entering and calling raise:
        UsageError: it cannot be written, or another run is writing it.
        MachineError: the disk is full.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.frames = 0
        self._partial = partial_path(self.path)
        self._claim = Claim(self.path)
        self._file: FileIO | None = None
        self._whole = 0  # bytes, up to the end of the last whole line

    def __enter__(self) -> JsonlRecorder:
        check_output_file(self.path)
        self.frames = self._whole = 0
        self._claim.take()
        try:
            with write_errors(self.path):
                self._file = FileIO(self._partial, "w")
        except TrtparseError:
            self._claim.release()
            raise
        return self

    def __call__(self, frame: ParsedFrame) -> None:
        """Write a frame's line."""
        if self._file is None:
            raise ValueError("the record is not open")
        line = json.dumps(line_of(frame), separators=(",", ":")).encode("ascii") + b"\n"
        written = 0
        with write_errors(self.path):
            while written < len(line):  # a full disk takes the beginning of a line, and refuses the rest
                written += self._file.write(line[written:])
        self.frames += 1
        self._whole += len(line)

    @uninterrupted()
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._finish()
        except TrtparseError:
            if kind is None:  # else the exception under way says more
                raise

    def _finish(self) -> None:
        file, self._file = self._file, None
        try:
            with write_errors(self.path):
                if file is not None:
                    with file:
                        file.truncate(self._whole)
                if self.frames:
                    os.replace(self._partial, self.path)
        finally:
            with contextlib.suppress(OSError):
                self._partial.unlink(missing_ok=True)
            self._claim.release()


def line_of(frame: ParsedFrame) -> dict[str, object]:
    """What a frame's line says, as JSON takes it."""
    told = {key: value for sight in frame.sights for key, value in sight.told().items()}
    people = [
        {"id": one.id, "box": [round(float(side), 1) for side in one.box], "score": round(float(one.score), 3)}
        for one in frame.people
    ]
    return {
        "schema_version": SCHEMA_VERSION,
        "frame": frame.number,
        "seconds": round(frame.seconds, 6),
        "people": people,
        **told,
    }
