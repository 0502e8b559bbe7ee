"""What every command shares: how errors, interrupts and exit codes reach the terminal."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from ..errors import FAULT_OF_OURS, TrtparseError
from ..storage.interrupts import interrupts

Command = TypeVar("Command", bound=Callable[..., Any])


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
    with interrupts(own_process) as interrupted:
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
            by = "" if interrupted.first in (None, signal.SIGINT) else f" by {interrupted.first.name}"
            hint = "What was finished is whole; what was not has left nothing behind."
            _fail(f"Interrupted{by}.", hint, interrupted.exit_code, as_json)
        except Exception as error:
            if debug:
                raise
            _fail(f"Unexpected {type(error).__name__}: {error}", FAULT_OF_OURS, 1, as_json)
    if isinstance(code, int) and code != 0:
        sys.exit(code)


def _fail(message: str, hint: str, code: int, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"error": message, "hint": hint, "exit_code": code}, indent=2))
    else:
        click.echo(click.style("Error: ", fg="red", bold=True) + message, err=True)
        if hint:
            click.echo(hint, err=True)
    sys.exit(code)
