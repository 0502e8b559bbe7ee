"""``trtparse train``: train a student."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import common_options, parse_size


@click.command()
@click.option("--data", multiple=True, required=True, help="Labelled images in LIP's layout; may be repeated.")
@click.option("--validation", help="Where the val split is.  [default: the first --data]")
@click.option("--output", type=click.Path(path_type=Path), default=Path("runs/student"), show_default=True)
@click.option("--initial", type=click.Path(path_type=Path), help="Checkpoint to start from.")
@click.option("--steps", type=click.IntRange(1), default=4000, show_default=True)
@click.option("--batch", type=click.IntRange(1), default=16, show_default=True)
@click.option("--input-size", type=parse_size, metavar="HxW", default="256x192", show_default=True)
@click.option(
    "--learning-rate", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=1.2e-3, show_default=True
)
@click.option(
    "--validate-every", type=click.IntRange(1), default=200, show_default=True, help="Steps; the state is saved then."
)
@click.option("--seed", type=int, default=0, show_default=True)
@common_options
def train(
    data: tuple[str, ...],
    validation: str | None,
    output: Path,
    initial: Path | None,
    threads: int,
    as_json: bool,
    debug: bool,
    **options: Any,
) -> None:
    """Train a student on labelled images; the same command again goes on where it was killed."""
    from ..engines.dependencies import require

    torch = require("torch")
    from ..data.lip import LipDataset
    from ..distillation.training import Progress, TrainingSpec
    from ..distillation.training import train as run_training
    from ..terminal import Terminal

    if threads:
        torch.set_num_threads(threads)
    last: list[Progress] = []

    def report(now: Progress) -> None:
        last[:] = [now]
        score = "" if now.best is None else f", best mIoU {100 * now.best:.1f}"
        terminal.progress(now.step, now.steps, f"loss {now.loss:.3f}, {now.images_per_second:.1f} images/s{score}")

    with Terminal(as_json=as_json) as terminal:
        spec = TrainingSpec(**options)
        training = [LipDataset(folder, "train") for folder in data]
        held_out = LipDataset(validation or data[0], "val")
        terminal.stage(f"Training in {output}")
        best = run_training(training, held_out, output, spec, initial=initial, on_progress=report)
    score = None if not last else last[0].best
    if as_json:
        terminal.result({"checkpoint": str(best), "mean_iou": score})
    else:
        told = "" if score is None else f"  mIoU {100 * score:.2f} on {held_out.description}"
        terminal.out.print(f"Checkpoint: {best}{told}\nNext: trtparse build {best} --int8 --data {data[0]}")
