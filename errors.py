"""What can go wrong, and what the person at the keyboard can do about it.

Every error that a user can cause or cure is a :class:`TrtparseError` with a message that says what
happened and a hint that says what to do. The command line prints both, without a traceback, and exits
with the error's code; anything else is a bug of ours and keeps its traceback.
"""

from __future__ import annotations


class TrtparseError(Exception):
    """Base of all errors that a user can cause or cure.

    Args:
        message: what happened, naming the file, argument or value.
        hint: what to do about it.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(TrtparseError):
    """The request cannot be met as it was put: a missing file, a wrong option, unreadable data."""

    exit_code = 2


class DataError(UsageError):
    """A dataset, image, mask or video is missing or cannot be read."""


class MachineError(TrtparseError):
    """This machine lacks something: a package, a device, a display, disk space."""

    exit_code = 3


class AccuracyError(TrtparseError):
    """An engine loses more accuracy than the tolerance allows."""

    exit_code = 4


class BuildError(TrtparseError):
    """A graph or an engine could not be built, or is not what was asked for."""

    exit_code = 5
