"""``trtparse calibration-set``: choose the images that calibrate, and show them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import DataError
from .options import common_options, labels_option

if TYPE_CHECKING:
    from ..calibration.selection import Predictions, Selection
    from ..data.dataset import Image, Images
    from ..demo.contact_sheet import Bars
    from ..specs.spec import Spec
    from ..tasks.base import Task
    from ..tasks.predictor import Predictor
    from .terminal import Terminal

DEFAULT_OUTPUT = Path("build/calibration-set")
FILE_NAME = "calibration-set.json"
SHEET_NAME = "contact-sheet.png"

_BAR = 24

_ROWS = 7
"""Of a column of classes or joints on the contact sheet, at least: about as many as a spread has intervals."""


@click.command(name="calibration-set")
@click.argument("data")
@click.option("--size", type=click.IntRange(1), default=512, show_default=True, help="Images.")
@click.option("--split", type=click.Choice(["train", "val", "test"]), help="Of DATA.  [default: train, test, val]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=DEFAULT_OUTPUT, show_default=True, help="A folder.")
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    help="Of parsing or pose: its predictions tell the classes or joints where DATA has no label maps.  "
    "[default: the weights that come along]",
)
@click.option("--strict", is_flag=True, help="Refuse unreadable images instead of passing them over.")
@labels_option
@common_options
def calibration_set(
    data: str,
    size: int,
    split: str | None,
    seed: int,
    output: Path,
    bundle: Path | None,
    strict: bool,
    labels: str | None,
    threads: int,
    as_json: bool,
    debug: bool,
) -> None:
    """Choose the images of DATA that INT8 is to be calibrated on.

    DATA is LIP in any of its layouts, a folder of images, or 'synthetic'. The choice covers the classes, or the joints
    of a bundle for pose; it spreads over size, aspect and brightness, and takes no image twice. calibration-set.json
    names the images; contact-sheet.png shows them.
    """
    from ..calibration.selection import select, write_selection
    from ..data.images import write_png
    from ..storage.files import check_output_folder
    from ..tasks.open import spec_named
    from .terminal import Terminal

    meant = None if labels is None else spec_named(labels)
    task = _task(bundle, meant)
    dataset = task.open_data(data, split, "calibration", meant)
    check_output_folder(output)
    with Terminal(as_json=as_json) as terminal:
        with _predictor(terminal, dataset, bundle, threads) as predict:
            terminal.stage("Choosing images")
            selection = select(dataset, size, seed, terminal.progress, predict=predict, strict=strict)
        if len(selection.unreadable) == selection.looked_at:
            raise DataError(f"No image of {dataset.description} can be read.", selection.unreadable[0][1])
        terminal.stage("Drawing the contact sheet")
        write_png(output / SHEET_NAME, _sheet(terminal, selection, dataset, task))
        document = write_selection(output / FILE_NAME, selection, dataset)
    files = {"file": str(output / FILE_NAME), "contact_sheet": str(output / SHEET_NAME)}
    if as_json:
        terminal.result({**files, **document})
    else:
        _show(terminal, selection, dataset, files, task)


def _task(bundle: Path | None, meant: Spec | None) -> Task[Any]:
    """Whose data and rows these are: a bundle's task, else parsing's."""
    from ..engines import open_bundle
    from ..specs.label_set import label_set
    from ..tasks.open import FIRST, task_named, task_of

    if bundle is not None:
        manifest = open_bundle(bundle).manifest
        if manifest.task != FIRST.name:
            return task_of(manifest)
    # On a disk nothing says what label maps mean, and those of LIP are the usual ones.
    return task_named(FIRST.name, meant or label_set("lip"))


@contextlib.contextmanager
def _predictor(terminal: Terminal, dataset: Images, bundle: Path | None, threads: int) -> Iterator[Predictions | None]:
    """What tells the classes or joints of an image; None where label maps do."""
    from ..calibration.selection import predictions_of
    from ..data.dataset import label_set_of

    if label_set_of(dataset) is not None:
        yield None
        return

    terminal.stage("Opening the network")
    with _open(bundle, threads) as predictor:
        yield predictions_of(predictor)


def _open(bundle: Path | None, threads: int) -> Predictor[Any]:
    from ..engines.machine.dependencies import require
    from ..tasks.open import open_predictor

    if bundle is not None:
        return open_predictor(bundle, threads=threads)
    require("torch")
    from ..engines.reference import PyTorchEngine
    from ..networks.checkpoint import load_checkpoint
    from ..networks.weights import DEFAULT_WEIGHTS
    from ..tasks.parsing.task import Parsing
    from ..tasks.predictor import Predictor

    checkpoint = load_checkpoint(DEFAULT_WEIGHTS)
    engine = PyTorchEngine(checkpoint.network, checkpoint.input_size, threads=threads)
    return Predictor(engine, Parsing(checkpoint.spec), checkpoint.framing)


def _sheet(terminal: Terminal, selection: Selection, dataset: Images, task: Task[Any]) -> Image:
    from ..demo.contact_sheet import MOST, contact_sheet

    unreadable = {name for name, _ in selection.unreadable}
    indices = [index for index in selection.indices if dataset.names[index] not in unreadable]

    def images() -> Iterator[Image]:
        for done, index in enumerate(indices[:MOST], 1):
            yield dataset[index].image
            terminal.progress(done, min(len(indices), MOST))

    shown = f", the first {MOST:,} shown" if len(indices) > MOST else ""
    lines = [
        dataset.description,
        f"{len(indices):,} chosen of {selection.looked_at:,} looked at, seed {selection.seed}{shown}",
    ]
    return contact_sheet("Calibration set", lines, _columns(selection, task), images(), len(indices))


def _columns(selection: Selection, task: Task[Any]) -> list[Bars]:
    """The classes or joints in up to three columns, and one for each spread."""
    from ..calibration.selection import SPREADS
    from ..demo.contact_sheet import Bars

    columns = []
    if selection.spec is not None:
        named = zip(selection.rows, selection.spec.colours)
        rows = [(name, selection.classes.get(row, 0), colour[::-1]) for row, (name, colour) in enumerate(named)]
        most = max(_ROWS, math.ceil(len(rows) / 3))
        title = f"{task.figure.rows}, from {selection.classes_from}"
        for start in range(0, len(rows), most):
            columns.append(Bars("" if start else title, tuple(rows[start : start + most])))
    for spread in SPREADS:
        counts = selection.spread[spread.name]
        columns.append(Bars(spread.title, tuple((name, counts.get(name, 0), None) for name in spread.intervals)))
    return columns


def _show(terminal: Terminal, selection: Selection, dataset: Images, files: dict[str, str], task: Task[Any]) -> None:
    """The table: classes or joints first, then each spread; what was left out; where the files are."""
    from rich.table import Table

    from ..calibration.selection import SPREADS
    from .tables import print_table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(selection.classes_from and f"{task.figure.row}, from {selection.classes_from}", no_wrap=True)
    table.add_column("images", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    images = selection.names(dataset)
    total = len(images)
    for row, name in enumerate(selection.rows):
        _add_row(table, name, selection.classes.get(row, 0), total)
    for spread in SPREADS:
        table.add_row(f"[bold]{spread.title}[/bold]", "", "")
        for name in spread.intervals:
            _add_row(table, name, selection.spread[spread.name].get(name, 0), total)
    print_table(terminal.out, table)
    terminal.out.print()
    from .terminal import show_skipped

    chosen = set(images)
    duplicates = [name for name, _ in selection.near_duplicates]
    repeated = sum(name in chosen for name in duplicates)
    lines = [f"Chosen:    {total:,} images of {selection.looked_at:,} looked at ({dataset.description})"]
    lines.append(f"Left out:  {len(duplicates) - repeated:,} near-duplicates of these")
    if repeated:
        lines.append(f"Taken:     {repeated:,} near-duplicates, as nothing else is left")
    lines += [f"Written:   {files['file']}", f"           {files['contact_sheet']}"]
    terminal.out.print("\n".join(lines), markup=False)
    show_skipped(terminal, list(selection.unreadable))


def _add_row(table: Any, name: str, count: int, total: int) -> None:
    style = "" if count else "dim"
    table.add_row(name, f"{count:,}", "█" * round(_BAR * count / total) or ("▏" if count else ""), style=style)
