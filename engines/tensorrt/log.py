"""What TensorRT says: kept for our errors, counted, and written down where that is asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

_ERROR, _WARNING, _VERBOSE, _LETTERS = 1, 2, 4, "FEWIV"
"""TensorRT's ILogger.Severity."""

_MOST_ERRORS = 20


@functools.cache
def library_logger(trt: Any) -> Any:
    """The logger of a TensorRT: one per process and library, as TensorRT itself keeps the first that it is given.

    It keeps the complaints for an error of ours instead of printing them. ``log_to`` has it write all down besides.
    """

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self._write: Callable[[str], None] | None = None
            self._verbose = False
            self.forget()

        def forget(self) -> None:
            """Begin anew: what comes now belongs to another piece of work."""
            self._errors: list[str] = []
            self._left_out = self._warnings = 0

        def log_to(self, write: Callable[[str], None], *, verbose: bool) -> None:
            """Hand each message to ``write`` as a line; every kernel that is tried as well where it is ``verbose``."""
            self._write, self._verbose = write, verbose

        def log(self, severity: Any, message: str) -> None:
            level, text = int(severity), message.strip()
            if level <= _ERROR:
                # The first ones name the node, and what follows from them comes after.
                if len(self._errors) < _MOST_ERRORS:
                    self._errors.append(text)
                else:
                    self._left_out += 1
            elif level == _WARNING:
                self._warnings += 1
            if self._write is not None and (self._verbose or level < _VERBOSE):
                self._write(f"[{_LETTERS[min(level, _VERBOSE)]}] {text}")

        def told(self) -> str:
            """What it complained of since it was last asked, the first complaint first."""
            told = "; ".join(self._errors) or "it gave no reason"
            more = f"{self._left_out} more errors" if self._left_out else ""
            warnings = f"{self._warnings} warnings" if self._warnings else ""
            counted = " and ".join(filter(None, (more, warnings)))
            self.forget()
            return f"{told} ({counted})" if counted else told

    return Logger()
