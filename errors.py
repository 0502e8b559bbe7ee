"""What can go wrong, and what the person at the keyboard can do about it.

Every error that a user can cause or cure is a :class:`TrtparseError` with a message that says what
happened and a hint that says what to do. The command line prints both, without a traceback, and exits
with the error's code. Anything else is a fault of ours; it exits with 1, and with ``--debug`` as a traceback.
"""

from __future__ import annotations

FAULT_OF_OURS = "This looks like a fault of trtparse. Run it again with --debug and report what that shows."


class TrtparseError(Exception):
    """Base of all errors that a user can cause or cure.

    Args:
        message: what happened, naming the file, argument or value.
        hint: what to do about it; where it is left empty, ``usual_hint`` of the kind of error.
    """

    exit_code = 1
    usual_hint = FAULT_OF_OURS

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.usual_hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}"


class UsageError(TrtparseError):
    """The request cannot be met as it was put: a missing file, a wrong option, unreadable data."""

    exit_code = 2
    usual_hint = "Change the request; trtparse COMMAND -h lists what can be asked for."


class DataError(UsageError):
    """A dataset, image, mask or video is missing or cannot be read."""


class FileNameError(UsageError):
    """A place takes files, but none of this name: it is too long, or has letters that the file system lacks."""

    usual_hint = "Give it another name, or choose an output folder on another disk."


class MachineError(TrtparseError):
    """This machine lacks something: a package, a device, a display, disk space."""

    exit_code = 3
    usual_hint = "Change it on this machine, or use another one."


class AccuracyError(TrtparseError):
    """An engine loses more accuracy than the tolerance allows."""

    exit_code = 4
    usual_hint = "Calibrate on images like those that the engine will see, or allow more with --tolerance."


class BuildError(TrtparseError):
    """A graph or an engine could not be built, or is not what was asked for."""

    exit_code = 5
