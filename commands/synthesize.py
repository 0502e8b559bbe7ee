"""``trtparse synthesize``: render people with label maps."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import UsageError
from .options import common_options, labels_option


@click.command()
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--train", type=click.IntRange(0), default=200, show_default=True, help="Images.")
@click.option("--val", type=click.IntRange(0), default=50, show_default=True, help="Images.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--video", type=click.Path(path_type=Path), help="Also write the walking figure there (.mp4).")
@labels_option
@common_options
def synthesize(
    output: Path,
    train: int,
    val: int,
    seed: int,
    video: Path | None,
    labels: str | None,
    threads: int,
    as_json: bool,
    debug: bool,
) -> None:
    """Render people with label maps into OUTPUT, in LIP's layout.

    With --labels, their classes are those that the set's table [from_lip] makes of LIP's.
    """
    from ..data.synthetic import WalkingFigure, write_lip_layout
    from ..demo.sinks import VideoSink
    from ..specs.relabelling import relabelling
    from .terminal import Terminal

    if train + val == 0 and video is None:
        raise UsageError("There is nothing to render: --train and --val are 0.", "Give one of them a number.")
    becomes = relabelling(labels or "lip")
    with Terminal(as_json=as_json) as terminal:
        if becomes.missing:
            terminal.note(f"No rendered person shows {', '.join(becomes.missing)}.")
        if video is not None:
            terminal.stage("Rendering the walking figure")
            figure = WalkingFigure(seed=seed)
            with VideoSink(video, figure.fps, figure.size) as sink:
                for done, (image, _) in enumerate(figure, 1):
                    sink.write(image)
                    terminal.progress(done, len(figure))
        terminal.stage("Rendering people")
        write_lip_layout(output, train, val, seed, terminal.progress, becomes)
    if as_json:
        terminal.result({"folder": str(output), "train": train, "val": val, "video": video and str(video)})
    else:
        terminal.out.print(f"{train} train and {val} val images in {output}, {becomes.target}", markup=False)
