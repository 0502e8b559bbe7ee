"""What a person sees while waiting and afterwards. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import io
import json
import shlex
import sys
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

from ..data.image_files import left_out
from .tables import print_table

if TYPE_CHECKING:
    from ..demo.result import DemoResult
    from ..engines import Bundle
    from ..engines.bundle import Manifest
    from ..parse.images import ParseResult
    from ..trt_builder.calibration_cache import CalibrationCache
    from ..validation.result import ValidationResult


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

    def result(self, values: dict[str, Any]) -> None:
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


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for position, column in enumerate(columns):
        words = position == 0
        table.add_column(column, justify="left" if words else "right", no_wrap=not words, overflow="fold")
    return table


def show_build(
    terminal: Terminal, bundle: Bundle, engines: list[dict[str, Any]], cache: CalibrationCache | None = None
) -> None:
    """What a build made, and what to type next."""
    manifest = bundle.manifest
    if terminal.as_json:
        document = {"bundle": str(bundle.path), "manifest": json.loads(manifest.to_json()), "engines": engines}
        if cache is not None:
            document["calibration_cache"] = str(cache.cache)
        terminal.result(document)
        return
    from ..engines.bundle import GRAPHS

    table = _table("graph", "size", "pixels as in PyTorch")
    for name, parity in manifest.parity.items():
        size = (bundle.path / GRAPHS[name]).stat().st_size / 1e6
        simulated = " (simulated)" if name == "int8" else ""
        table.add_row(GRAPHS[name], f"{size:.1f} MB", f"{100 * parity['pixel_agreement']:.2f} %{simulated}")
    for engine in engines:
        agreement = engine["parity"].get("pixel_agreement")
        seen = "not run here" if agreement is None else f"{100 * agreement:.2f} %"
        table.add_row(engine["engine"], f"{engine['bytes'] / 1e6:.1f} MB", seen)
    print_table(terminal.out, table)
    for engine in engines:
        for note in engine["settings"].get("notes", ()):
            terminal.out.print(f"Note:       {note}", markup=False)
        for reason in engine.get("unverified", ()):
            terminal.out.print(f"Unverified: {reason}", markup=False)
        if "trtexec" in engine["settings"]:
            terminal.out.print(f"With trtexec: {engine['settings']['trtexec']}", markup=False)
    terminal.out.print()
    if manifest.calibration:
        _show_calibration(terminal, manifest.calibration)
        _show_accuracy(terminal, manifest)
    if cache is not None:
        _show_cache(terminal, cache)
    path = shlex.quote(str(bundle.path)) + ("" if bundle.weights.is_file() else " --reference fp32")
    terminal.out.print(f"Bundle:     {bundle.path}\nNext:       trtparse validate {path}", markup=False)


def _show_cache(terminal: Terminal, cache: CalibrationCache) -> None:
    terminal.out.print(f"Cache:      {cache.cache}", markup=False)
    graph, calibration = shlex.quote(str(cache.graph)), shlex.quote(str(cache.cache))
    terminal.out.print(f"Use it:     trtexec --onnx={graph} --int8 --fp16 --calib={calibration}", markup=False)
    if cache.in_float:
        terminal.out.print(
            f"Note:       a cache cannot keep layers in FP16, as the budget does {len(cache.in_float)} of them: "
            "measure what TensorRT makes of it.",
            markup=False,
        )


def _show_calibration(terminal: Terminal, calibration: dict[str, Any]) -> None:
    from ..calibration.budget.score import EARLIER, is_of_earlier_version

    skipped = f", {calibration['skipped']} unreadable ones skipped" if calibration["skipped"] else ""
    terminal.out.print(
        f"Calibrated: by {calibration['method']}, on {calibration['images']} images "
        f"({calibration['dataset']}{skipped})",
        markup=False,
    )
    # Bundles of earlier versions know neither methods nor warnings, nor whether anybody measured them.
    methods = calibration.get("methods", {})
    if len(methods) > 1:
        tried = ", ".join(f"{name} {score['agreement']:.2f}" for name, score in methods.items())
        earlier = f" ({EARLIER})" if any(map(is_of_earlier_version, methods.values())) else ""
        terminal.out.print(f"Tried:      agreement mIoU of {tried}{earlier}", markup=False)
    returned = calibration.get("search", {}).get("given_back", [])
    budget = f", {len(returned)} of them for the budget" if returned else ""
    terminal.out.print(
        f"In INT8:    {calibration['quantised_weights']} convolutions, "
        f"{len(calibration['higher_precision'])} in higher precision{budget}",
        markup=False,
    )
    for warning in calibration.get("warnings", ()):
        terminal.out.print(f"Warning:    {warning}", markup=False)


def _show_accuracy(terminal: Terminal, manifest: Manifest) -> None:
    """Loss and agreement on the held-out images; or that nobody measured them."""
    if not manifest.calibration.get("validated", True):
        terminal.out.print("Measured:   nothing (--no-validate); trtparse validate does it")
        return
    from ..calibration.budget.score import EARLIER, is_of_earlier_version, told_invented

    for name, figures in manifest.accuracy.items():
        target = name.removesuffix("-int8")
        loss = (
            "no label maps"
            if figures["loss"] is None
            else "loses {:+.2f} mIoU ({:+.2f} to {:+.2f})".format(*figures["loss"])
        )
        earlier = f", {EARLIER}" if is_of_earlier_version(figures) else ""
        terminal.out.print(
            f"Measured:   INT8 ({target}) {loss}, {100 * figures['agreement']:.2f} % of the pixels as in "
            f"{figures['reference'].partition(',')[0]}; {figures['images']} held-out images{earlier}",
            markup=False,
        )
        if figures.get("invented_pixels"):
            told = told_invented(figures["invented_pixels"], figures["invented_classes"])
            terminal.out.print(f"            It {told}", markup=False)


def show_validation(terminal: Terminal, result: ValidationResult) -> None:
    if terminal.as_json:
        terminal.result(result.to_dict())
        return
    from .validation_table import render

    render(result, Console(highlight=False))


def show_demo(terminal: Terminal, result: DemoResult) -> None:
    """Frames, end-to-end FPS and where the time went."""
    if terminal.as_json:
        terminal.result(result.to_dict())
        return
    from dataclasses import asdict

    table = _table("ms", *asdict(result.stages))
    table.add_row("per frame", *(f"{value:.1f}" for value in asdict(result.stages).values()))
    terminal.out.print(
        f"{result.frames} frames in {result.seconds:.1f} s: {result.fps:.1f} FPS end to end, {result.engine}"
    )
    print_table(terminal.out, table)
    terminal.out.print("the stages overlap", style="dim")
    if result.people is not None:
        terminal.out.print(f"People: {result.people}")
    if result.flicker is not None:
        terminal.out.print(
            f"Flicker: {100 * result.flicker.after:.2f} % of the pixels of people who stand still, "
            f"{100 * result.flicker.before:.2f} % without --smooth"
        )
    if result.frames_dropped:
        terminal.out.print(f"{result.frames_dropped} frames were left out to keep up with the source.")
    if result.frames_missing:
        terminal.out.print(
            f"{result.frames_missing} frames that should be there could not be decoded: is the source whole?"
        )
    if result.output is not None:
        terminal.out.print(f"Video: {result.output}", markup=False)


def show_parse(terminal: Terminal, result: ParseResult) -> None:
    """What was made, what was there, and what was left out."""
    if terminal.as_json:
        terminal.result(result.to_dict())
        return
    made = len(result.parsed) - result.found
    images = "1 image" if made == 1 else f"{made} images"
    found = f", {result.found} there already" if result.found else ""
    terminal.out.print(f"{images} parsed into {result.output}{found}", markup=False)
    if result.index is not None:
        terminal.out.print(f"Index: {result.index}", markup=False)
    others = left_out(result.left_out)
    for note in [others + "."] * bool(others) + [note for _, note in result.notes[:5]]:
        terminal.note(note)
    if result.noted_images > 5:
        terminal.note(f"and {result.noted_images - 5} more such overlays")
    skipped = [(str(path), reason) for path, reason in result.skipped]
    show_skipped(terminal, skipped, result.skipped_images)


def show_skipped(terminal: Terminal, skipped: list[tuple[str, str]], count: int | None = None) -> None:
    """Name what was left out; the first few in full.

    Args:
        count: how many there are, where ``skipped`` does not hold all.
    """
    count = len(skipped) if count is None else count
    if skipped:
        terminal.note(f"{count} skipped because unreadable (--strict refuses them):")
        for name, reason in skipped[:5]:
            terminal.note(f"  {reason if name in reason else f'{name}: {reason}'}")
        if count > 5:
            terminal.note(f"  and {count - 5} more")
