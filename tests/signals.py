"""Signals handled as a command handles them, whatever the tests were started from."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

from trtparse.storage.interrupts import SIGNALS, Interrupts, interrupts


@contextlib.contextmanager
def handled() -> Iterator[Interrupts]:
    """While the block runs the first of the signals raises KeyboardInterrupt; a background job ignores some of them."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    try:
        with interrupts(own_process=False) as ours:
            yield ours
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
