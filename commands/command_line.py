"""What every command shares: how errors, Ctrl-C and exit codes reach the terminal, reach the terminal."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click

from ..errors import FAULT_OF_OURS, TrtparseError

Command = TypeVar("Command", bound=Callable[..., Any])

INTERRUPTED = 130
"""The shell's code for a command that Ctrl-C ended."""
ONE_INTERRUPT_SECONDS = 2.0
"""Between two presses of Ctrl-C that count as two. Tidying up takes less; somebody who waited longer means it."""


def run(group: click.Group, arguments: list[str] | None = None) -> None:
    """Run a command line; an error is one message, one hint and an exit code.

    Args:
        group: its commands.
        arguments: those of the process where None, which then ends with this call.

    Raises:
        SystemExit: the exit code is not 0.
    """
    own_process = arguments is None
    arguments = sys.argv[1:] if arguments is None else arguments
    debug, as_json = "--debug" in arguments, "--json" in arguments
    with _patient_interrupts(own_process):
        try:
            code = group.main(arguments or ["-h"], prog_name="trtparse", standalone_mode=False)
        except TrtparseError as error:
            if debug:
                raise
            _fail(error.message, error.hint, error.exit_code, as_json)
        except click.ClickException as error:
            context = getattr(error, "ctx", None)
            hint = f"See {'trtparse' if context is None else context.command_path} -h"
            _fail(error.format_message(), hint, 2, as_json)
        except (KeyboardInterrupt, click.Abort):
            hint = "What was finished is whole; what was not has left nothing behind."
            _fail("Interrupted.", hint, INTERRUPTED, as_json)
        except Exception as error:
            if debug:
                raise
            _fail(f"Unexpected {type(error).__name__}: {error}", FAULT_OF_OURS, 1, as_json)
    if isinstance(code, int) and code != 0:
        sys.exit(code)


@contextlib.contextmanager
def _patient_interrupts(last_of_process: bool) -> Iterator[None]:
    """Take presses of Ctrl-C in quick succession for one: the second would cut short the tidying up after the first.

    Args:
        last_of_process: the process ends with this block, and is not to be interrupted while it does.
    """
    in_charge = threading.current_thread() is threading.main_thread()
    if not in_charge or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    last: float | None = None

    def interrupt(number: int, frame: object) -> None:
        nonlocal last
        now = time.monotonic()
        again = last is not None and now - last < ONE_INTERRUPT_SECONDS
        last = now
        if not again:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN if last_of_process else signal.default_int_handler)


def _fail(message: str, hint: str, code: int, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"error": message, "hint": hint, "exit_code": code}, indent=2))
    else:
        click.echo(click.style("Error: ", fg="red", bold=True) + message, err=True)
        if hint:
            click.echo(hint, err=True)
    sys.exit(code)
