"""What a person sees while waiting and afterwards. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import io
import json
import sys
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

from ..storage.json_types import JsonObject

SECONDS_BETWEEN_LINES = 60.0
"""Of progress, where there is no terminal to draw a bar on."""

_RATE_SECONDS = 10.0
"""That a rate is of: images that were there already pass faster."""


class Terminal:
    """Progress on stderr, one result on stdout: a table, or with ``--json`` one document.

    On a terminal, every stage that is done leaves a line with its time; the one at work has a progress bar. Into a
    file or a pipe goes a line for each stage, and one a minute of how far it is. A context manager; the bar is removed
    when it ends, so that an error stands alone.
    """

    def __init__(self, *, as_json: bool) -> None:
        for stream in (sys.stdout, sys.stderr):
            # A locale without dashes, or a file name that is no text, must not end a command that has done its work.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        self.as_json = as_json
        self.out = Console(highlight=False, soft_wrap=True)
        self._errors = Console(stderr=True, highlight=False, soft_wrap=True)
        self._drawn = self._errors.is_terminal and not as_json
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn(
                "{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)
            ),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}", markup=False, table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[note]}", markup=False, table_column=Column(no_wrap=True)),
            TimeRemainingColumn(compact=True),
            console=self._errors,
            transient=True,
            expand=True,
            disable=not self._drawn,
        )
        self._task: TaskID | None = None
        self._stage, self._since, self._told = "", 0.0, 0.0
        self._first: tuple[float, int] | None = None

    def __enter__(self) -> Terminal:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._tick()
        self._bar.stop()

    def note(self, text: str) -> None:
        """Say something on stderr, above the progress line."""
        if not self.as_json:
            self._errors.print(text, markup=False)

    def stage(self, text: str) -> None:
        """Start a new piece of work; without a terminal to draw on, a line per stage."""
        self._tick()
        self._stage = text
        self._since = self._told = time.monotonic()
        self._first = None
        if not self._drawn:
            self.note(f"{text} …")
            return
        self._task = self._bar.add_task(text, total=None, count="", note="")

    def _tick(self) -> None:
        """Tick the stage off that was at work."""
        if self._drawn and self._stage:
            line = Text.assemble(("✓ ", "green"), self._stage, (f"  {time.monotonic() - self._since:.1f} s", "dim"))
            self._errors.print(line)
            self._stage = ""
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None

    def progress(self, done: int, total: int | None, note: str = "") -> None:
        count = str(done) if total is None else f"{done}/{total}"
        if self._task is not None:
            self._bar.update(self._task, completed=done, total=total, count=count, note=note)
            return
        now = time.monotonic()
        # Work that goes on where it was killed has not done all of it since the stage began.
        self._first = since, before = self._first or (now, done)
        if now - self._told >= SECONDS_BETWEEN_LINES:
            self._told = now
            left = _left((now - since) / (done - before) * (total - done)) if total and done > before else ""
            self.note(", ".join(filter(None, (f"{self._stage}: {count}", note, left))))

    def result(self, values: JsonObject) -> None:
        """The document of ``--json``."""
        print(json.dumps(values, indent=2))


def with_rate(terminal: Terminal, *, resumed: bool = False) -> Callable[[int, int], None]:
    """Progress with images per second, of the last seconds.

    Args:
        terminal: entered.
        resumed: what the first call tells was done by an earlier run, and does not count.
    """
    seen = deque([] if resumed else [(time.monotonic(), 0)])

    def report(done: int, total: int) -> None:
        now = time.monotonic()
        if not seen or now - seen[-1][0] > _RATE_SECONDS / 100:
            seen.append((now, done))
        while len(seen) > 2 and now - seen[0][0] > _RATE_SECONDS:
            seen.popleft()
        since, before = seen[0]
        rate = (done - before) / max(now - since, 1e-3)
        terminal.progress(done, total, f"{rate:.1f} images/s" if rate else "")

    return report


def _left(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours:
        return f"about {hours} h {minutes:02} min left"
    return f"about {minutes} min left" if minutes else "less than a minute left"


def plain_table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for position, column in enumerate(columns):
        words = position == 0
        table.add_column(column, justify="left" if words else "right", no_wrap=not words, overflow="fold")
    return table


def show_skipped(terminal: Terminal, skipped: list[tuple[str, str]], count: int | None = None) -> None:
    """Name what was left out; the first few in full.

    Args:
        count: how many there are, where ``skipped`` does not hold all.
    """
    count = len(skipped) if count is None else count
    if skipped:
        terminal.note(f"{count} skipped (--strict refuses them):")
        for name, reason in skipped[:5]:
            terminal.note(f"  {reason if name in reason else f'{name}: {reason}'}")
        if count > 5:
            terminal.note(f"  and {count - 5} more")
