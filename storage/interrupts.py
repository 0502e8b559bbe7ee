"""Signals that ask a process to end: Ctrl-C, ``kill`` and ``docker stop``, a terminal that closes. All are Ctrl-C.

Imports nothing of ours.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ONE_INTERRUPT_SECONDS = 2.0
"""Between two signals that count as two. Tidying up takes less; somebody who waited longer means it."""
_SHOW_CURSOR = b"\x1b[?25h"


class Interrupts:
    """Handler of the signals: the first one raises KeyboardInterrupt, a second one ends the process at once.

    Those in quick succession count as one, as the second would cut short the tidying up after the first.

    Args:
        own_process: the process is ours to end; where it is not, a second signal raises KeyboardInterrupt again.
    """

    def __init__(self, own_process: bool = False) -> None:
        self.first: signal.Signals | None = None
        self._own_process = own_process
        self._last = 0.0
        self._holds = 0
        self._held_back = False
        self._terminals = [number for number in (0, 1, 2) if os.isatty(number)]

    @property
    def held_back(self) -> bool:
        """Whether a signal came that waits for the holds' release."""
        return self._held_back

    @property
    def exit_code(self) -> int:
        """The shell's code for a command that the first signal ended."""
        return 128 + (self.first or signal.SIGINT)

    def __call__(self, number: int, frame: object) -> None:
        now = time.monotonic()
        same = self.first is not None and now - self._last < ONE_INTERRUPT_SECONDS
        self._last = now
        if same:
            return
        if self.first is not None and self._own_process:
            self._end_at_once(number)
        self.first = self.first or signal.Signals(number)
        if number == signal.SIGHUP:
            self._leave_terminals()
        if self._holds:
            self._held_back = True
        else:
            raise KeyboardInterrupt

    def hold(self) -> None:
        """Raise nothing until :meth:`release`."""
        self._holds += 1

    def release(self) -> None:
        """Raise what was held back, once every hold is released."""
        self._holds -= 1
        if self._held_back and not self._holds:
            self._held_back = False
            raise KeyboardInterrupt

    def _leave_terminals(self) -> None:
        """Write into nothing what would go to a terminal that is gone, rather than fail at it."""
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in self._terminals:
            if not os.isatty(number):
                os.dup2(nowhere, number)
        os.close(nowhere)

    def _end_at_once(self, number: int) -> None:
        with contextlib.suppress(OSError):
            if os.isatty(2):
                os.write(2, _SHOW_CURSOR)
        # Not by the signal's own action: the first process of a container has none.
        os._exit(128 + number)


_in_charge: Interrupts | None = None


@contextlib.contextmanager
def interrupts(own_process: bool) -> Iterator[Interrupts]:
    """Handle the signals while the block runs, but for those that somebody ignores (nohup) or handles already.

    Args:
        own_process: the process ends with the block, and is not to be interrupted while it does.
    """
    global _in_charge
    ours, before = Interrupts(own_process), _in_charge
    if threading.current_thread() is not threading.main_thread():
        yield ours
        return
    replaced = {number: signal.getsignal(number) for number in SIGNALS}
    replaced = {n: was for n, was in replaced.items() if was in (signal.SIG_DFL, signal.default_int_handler)}
    _in_charge = ours
    for number in replaced:
        signal.signal(number, ours)
        if own_process:
            # While Python ends it gives signals back their own action, which would change the exit code.
            atexit.register(signal.signal, number, signal.SIG_IGN)
    try:
        yield ours
    finally:
        if own_process:
            ours.hold()
        else:
            _in_charge = before
            for number, was in replaced.items():
                signal.signal(number, was)


@contextlib.contextmanager
def uninterrupted() -> Iterator[Callable[[], bool]]:
    """Hold the signals back while the block runs: what it finishes must not be lost to one that comes late.

    The first one takes effect where the block ends, a second one at once. What the block is given tells whether one has
    come: a block of many steps asks between them, and ends by itself.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
    elif _in_charge is not None:
        charge = _in_charge
        charge.hold()
        try:
            yield lambda: charge.held_back
        finally:
            charge.release()
    else:
        try:
            with interrupts(own_process=False) as ours:
                ours.hold()
                yield lambda: ours.held_back
        finally:
            if ours.first is not None:
                signal.raise_signal(ours.first)


@contextlib.contextmanager
def kept_handlers() -> Iterator[None]:
    """Put the handlers back that a library sets while the block runs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


def exit_code() -> int:
    """The shell's code for a command that was interrupted."""
    return 128 + signal.SIGINT if _in_charge is None else _in_charge.exit_code
