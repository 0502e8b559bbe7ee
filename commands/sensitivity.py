"""``trtparse sensitivity``: which layers INT8 hurts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from ..errors import DataError, TrtparseError
from ..storage.json_types import JsonObject
from .comparison import SENSITIVITY_NAME
from .options import DEFAULT_BUNDLE, check_task, common_options, labels_option, task_option

if TYPE_CHECKING:
    from ..calibration.budget.sensitivity import Measure, Sensitivity
    from ..calibration.ranges import Ranges
    from ..data.dataset import Images
    from ..engines import Bundle
    from .terminal import Terminal

SHOWN = 20
"""Layers in the table; --json and --plot have all."""


@click.command()
@click.argument("bundle", required=False, type=click.Path(path_type=Path), default=DEFAULT_BUNDLE)
@click.option("--data", help="LIP's layout, or a folder of images for the agreement alone.  [default: synthetic]")
@click.option("--split", type=click.Choice(["train", "val", "test"]), help="Of --data.  [default: val, test]")
@click.option("--images", type=click.IntRange(1), default=64, show_default=True, help="To judge on.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the choice of images.")
@click.option(
    "--by",
    "measure",
    type=click.Choice(["agreement", "miou", "sqnr"]),
    default="agreement",
    show_default=True,
    help="Rank by loss of agreement or mIoU, or by the SQNR of the logits.",
)
@click.option("--top", type=click.IntRange(1), default=SHOWN, show_default=True, help="Layers in the table.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE", help="Draw all layers, as SVG.")
@click.option(
    "--record", type=click.Path(path_type=Path), metavar="FILE", help="Keep every score there, and go on with it."
)
@labels_option
@task_option
@common_options
def sensitivity(
    bundle: Path,
    data: str | None,
    split: str | None,
    images: int,
    seed: int,
    measure: str,
    top: int,
    plot: Path | None,
    record: Path | None,
    labels: str | None,
    threads: int,
    as_json: bool,
    debug: bool,
) -> None:
    """Put each layer of BUNDLE alone into INT8, and rank the layers by what they lose.

    The reference is the FP32 graph, which agrees with PyTorch. Images that calibrated the bundle are left out. The next
    report of the bundle shows the ranking.
    """
    from ..engines import open_bundle
    from ..storage.files import check_output_file, replace_bytes
    from ..tasks.open import task_of
    from .terminal import Terminal

    for file in (plot, record):
        if file is not None:
            check_output_file(file)
    with Terminal(as_json=as_json) as terminal:
        opened = open_bundle(bundle)
        check_task(opened)
        ranges = _calibration(opened)
        task = task_of(opened.manifest)
        dataset = task.open_data(data, split, "validation", labels)
        indices = _held_out(dataset, ranges, images, seed)
        found = _measure(terminal, opened, ranges, dataset, indices, cast("Measure", measure), record, threads)
        if plot is not None:
            from ..validation.report.contract_charts import sensitivity_chart

            replace_bytes(plot, f"{sensitivity_chart(found)}\n".encode())
        document = {"bundle": str(opened.path), "dataset": dataset.description, **found.to_dict()}
        _keep(terminal, opened, document)
        if as_json:
            terminal.result(document)
            return
    _show(found, top, task.figure.unit_of_support)
    if plot is not None:
        terminal.note(f"Plot: {plot}")


def _keep(terminal: Terminal, bundle: Bundle, document: JsonObject) -> None:
    """Leave it in the bundle, for the next report; a bundle that cannot be written to is no reason to fail."""
    from ..engines.bundle import GRAPHS
    from ..storage.files import replace_bytes

    values = {"graph_sha256": bundle.manifest.files[GRAPHS["fp32"]], **document}
    try:
        replace_bytes(bundle.path / SENSITIVITY_NAME, (json.dumps(values, indent=1) + "\n").encode())
    except TrtparseError as error:
        terminal.note(f"Not kept for the report: {error.message}")


def _calibration(bundle: Bundle) -> Ranges:
    from ..calibration.ranges import read_ranges
    from ..engines.bundle import CALIBRATION_NAME

    bundle.graph("int8")  # Refuses a bundle without INT8, and says how to build one.
    return read_ranges(bundle.path / CALIBRATION_NAME)


def _held_out(dataset: Images, ranges: Ranges, count: int, seed: int) -> list[int]:
    """Images to judge on, none of which calibrated: a seeded choice in the dataset's order."""
    import numpy as np

    taken = frozenset(ranges.images)
    rest = [index for index, name in enumerate(dataset.names) if name not in taken]
    if not rest:
        raise DataError(
            f"All images of {dataset.description} calibrated the bundle, and the set that judges must be another.",
            "Give --data other images, or --split another split.",
        )
    chosen = np.random.default_rng((seed, 11)).permutation(len(rest))[:count]
    return [rest[int(place)] for place in np.sort(chosen)]


def _measure(
    terminal: Terminal,
    bundle: Bundle,
    ranges: Ranges,
    dataset: Images,
    indices: list[int],
    measure: Measure,
    record: Path | None,
    threads: int,
) -> Sensitivity:
    import onnx

    from ..calibration.budget.judge import GraphJudge, open_graph
    from ..calibration.budget.scored_graphs import JudgedGraphs
    from ..calibration.budget.sensitivity import measure_sensitivity
    from ..calibration.quantise.placement import place
    from ..tasks.open import task_of
    from ..tasks.predictor import Predictor

    model = onnx.load(bundle.graph("fp32"))
    terminal.stage("Asking the reference about the held-out images")
    graph = open_graph(model, threads=threads, raw=True)
    with Predictor(graph, task_of(bundle.manifest), bundle.manifest.framing) as reference:
        judge = GraphJudge(dataset, indices, reference, threads=threads, raw=True, progress=terminal.progress)
    from .terminal import show_skipped

    if not terminal.as_json:
        show_skipped(terminal, judge.skipped)
    terminal.stage("Judging each layer alone in INT8")
    about = {"task": judge.task.name, "spec": judge.task.spec.digest, "images": judge.key}
    with JudgedGraphs(model, place(model), ranges, judge, record=record, about=about) as graphs:
        return measure_sensitivity(graphs, measure, terminal.progress)


def _show(found: Sensitivity, top: int, unit: str) -> None:
    from rich.console import Console
    from rich.table import Table

    from ..calibration.budget.score import Score
    from ..tasks.scoring import told_invented
    from ..validation.verdict import NOTHING, signed
    from .tables import print_table

    console = Console(highlight=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in (
        "layer",
        "what it is",
        "multiply-\nadds",
        "agreement\nlost",
        f"{found.whole.figure.name}\nlost",
        "SQNR,\ndB",
    ):
        words = column in ("layer", "what it is")
        table.add_column(column, justify="left" if words else "right", no_wrap=not words, overflow="fold")

    def values(score: Score) -> tuple[str, str, str]:
        return (
            f"{100 - score.agreement:.2f}",
            NOTHING if score.loss is None else signed(score.loss),
            NOTHING if score.raw_sqnr is None else f"{score.raw_sqnr:.1f}",
        )

    for entry in found.layers[:top]:
        table.add_row(entry.layer, entry.description, f"{100 * entry.multiply_adds:.1f} %", *values(entry.score))
    if len(found.layers) > top:
        table.add_row(f"and {len(found.layers) - top} more", "", "", "", "", "")
    table.add_section()
    table.add_row("all of them", "", "", *values(found.whole))
    print_table(console, table)
    console.print(
        f"Each layer alone in INT8, on {found.whole.images} held-out images; losses in points of 100", style="dim"
    )
    if found.whole.left_out:
        told = told_invented(found.whole.invented, found.whole.invented_in, unit)
        console.print(f"Agreement without {', '.join(found.whole.left_out)}; all of them in INT8: {told}", style="dim")
