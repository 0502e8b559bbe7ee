"""What a person sees while waiting and afterwards. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import json
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from pathlib import Path

    from .demo.parse_images import ParseResult
    from .demo.pipeline import DemoResult
    from .engines import Bundle
    from .validation.validate import ValidationResult


class Terminal:
    """Progress on stderr, one result on stdout: a table, or with ``--json`` one document.

    A context manager; the progress line is removed when it ends, so that an error stands alone.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.out = Console(highlight=False, soft_wrap=True)
        self._errors = Console(stderr=True, highlight=False)
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=self._errors,
            transient=True,
            disable=as_json or not self._errors.is_terminal,
        )
        self._task = self._bar.add_task("", total=None, note="", visible=False)

    def __enter__(self) -> Terminal:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def note(self, text: str) -> None:
        """Say something on stderr, above the progress line."""
        if not self.as_json:
            self._errors.print(text, markup=False)

    def stage(self, text: str) -> None:
        """Start a new piece of work; without a terminal to draw on, a line per stage."""
        if self._errors.is_terminal:
            self._bar.reset(self._task, description=text, total=None, visible=True, note="")
        else:
            self.note(f"{text} …")

    def progress(self, done: int, total: int | None, note: str = "") -> None:
        self._bar.update(self._task, completed=done, total=total, note=note)

    def result(self, values: dict[str, Any]) -> None:
        """The document of ``--json``."""
        print(json.dumps(values, indent=2))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for position, column in enumerate(columns):
        table.add_column(column, justify="left" if position == 0 else "right", no_wrap=True)
    return table


def show_build(terminal: Terminal, bundle: Bundle, engines: list[dict[str, Any]]) -> None:
    """What a build made, and what to type next."""
    manifest = bundle.manifest
    if terminal.as_json:
        terminal.result({"bundle": str(bundle.path), "manifest": json.loads(manifest.to_json()), "engines": engines})
        return
    from .engines.bundle import GRAPHS

    table = _table("graph", "size", "pixels as in PyTorch")
    for name, parity in manifest.parity.items():
        size = (bundle.path / GRAPHS[name]).stat().st_size / 1e6
        simulated = " (simulated)" if name == "int8" else ""
        table.add_row(GRAPHS[name], f"{size:.1f} MB", f"{100 * parity['pixel_agreement']:.2f} %{simulated}")
    for engine in engines:
        table.add_row(engine["engine"], f"{engine['bytes'] / 1e6:.1f} MB", "not run here")
    terminal.out.print(table)
    calibration = manifest.calibration
    if calibration:
        skipped = f", {calibration['skipped']} unreadable ones skipped" if calibration["skipped"] else ""
        terminal.out.print(
            f"\nCalibrated on {calibration['images']} images ({calibration['dataset']}{skipped}): "
            f"{calibration['quantised_weights']} convolutions in INT8, "
            f"{len(calibration['higher_precision'])} in higher precision.",
            markup=False,
        )
    terminal.out.print(f"Bundle: {bundle.path}\nNext: trtparse validate {bundle.path}", markup=False)


def show_validation(terminal: Terminal, result: ValidationResult) -> None:
    if terminal.as_json:
        terminal.result(result.to_dict())
        return
    from .validation.table import render

    render(result, Console(highlight=False))


def show_demo(terminal: Terminal, result: DemoResult) -> None:
    """Frames, end-to-end FPS and where the time went."""
    if terminal.as_json:
        terminal.result(result.to_dict())
        return
    from dataclasses import asdict

    table = _table(*asdict(result.stages))
    table.add_row(*(f"{value:.1f} ms" for value in asdict(result.stages).values()))
    terminal.out.print(f"{result.frames} frames in {result.seconds:.1f} s: {result.fps:.1f} FPS end to end")
    terminal.out.print(table)
    terminal.out.print("per frame; the stages overlap", style="dim")
    if result.frames_missing:
        terminal.out.print(
            f"{result.frames_missing} frames that the file's header lists could not be decoded: is it whole?"
        )
    if result.output is not None:
        terminal.out.print(f"Video: {result.output}", markup=False)


def show_parse(terminal: Terminal, result: ParseResult, output: Path) -> None:
    if terminal.as_json:
        terminal.result(result.to_dict())
        return
    terminal.out.print(f"{len(result.parsed)} images parsed into {output}", markup=False)
    show_skipped(terminal, [(str(path), reason) for path, reason in result.skipped])


def show_skipped(terminal: Terminal, skipped: list[tuple[str, str]]) -> None:
    """Name what was left out; the first few in full."""
    if skipped:
        terminal.note(f"{len(skipped)} skipped because unreadable (--strict refuses them):")
        for name, reason in skipped[:5]:
            terminal.note(f"  {reason if name in reason else f'{name}: {reason}'}")
        if len(skipped) > 5:
            terminal.note(f"  and {len(skipped) - 5} more")
