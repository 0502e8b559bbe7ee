"""``trtparse demo``: draw the parsing over a video."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import DEFAULT_BUNDLE, common_options, engine_options, rebuild

if TYPE_CHECKING:
    from ..terminal import Terminal


@click.command()
@click.argument("video", required=False, type=click.Path(path_type=Path))
@click.option("--bundle", type=click.Path(path_type=Path), default=DEFAULT_BUNDLE, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), help="The annotated video.  [default: <VIDEO>-parsed.mp4]")
@click.option("--show", is_flag=True, help="Show it in a window (q ends); written only with --output then.")
@engine_options
@common_options
def demo(
    video: Path | None,
    bundle: Path,
    output: Path | None,
    show: bool,
    target: str,
    precision: str | None,
    auto_rebuild: bool,
    threads: int,
    as_json: bool,
    debug: bool,
) -> None:
    """Draw the parsing over VIDEO. Without it, over a walking figure."""
    from ..demo.pipeline import run_demo
    from ..demo.sinks import VideoSink, WindowSink
    from ..demo.sources import ArraySource, VideoSource
    from ..engines import open_engine
    from ..terminal import Terminal, show_demo

    with contextlib.ExitStack() as stack:
        terminal = stack.enter_context(Terminal(as_json=as_json))
        engine = stack.enter_context(
            open_engine(bundle, target, precision, threads=threads, rebuild=rebuild(auto_rebuild, terminal.stage))
        )
        if video is None:
            from ..data.synthetic import WalkingFigure

            figure = WalkingFigure()
            frames = (image for image, _ in figure)
            source: Any = ArraySource(frames, figure.size, figure.fps, len(figure), "a walking figure")
        else:
            source = stack.enter_context(VideoSource(video))
        sinks: list[Any] = []
        if show:
            sinks.append(stack.enter_context(WindowSink("trtparse", source.size)))
        if output is not None or not show:
            stem = "walking-figure" if video is None else video.stem
            output = output or Path(f"{stem}-parsed.mp4")
            sinks.append(stack.enter_context(VideoSink(output, source.fps, source.size)))
        terminal.stage(f"{source.name}, {engine.name}")
        result = run_demo(source, engine, sinks, progress=_with_fps(terminal), hud=show)
    show_demo(terminal, result)


def _with_fps(terminal: Terminal) -> Callable[[int, int | None], None]:
    started = time.monotonic()

    def report(done: int, total: int | None) -> None:
        terminal.progress(done, total, f"{done / max(time.monotonic() - started, 1e-3):.1f} FPS")

    return report
