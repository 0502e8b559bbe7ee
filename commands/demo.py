"""``trtparse demo``: draw parts and joints of people over a video, a camera or a stream."""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from ..networks.weights import BUNDLES
from .options import (
    Given,
    check_predictor,
    check_takes_people,
    chosen_task,
    common_options,
    engine_options,
    labels_option,
    parse_size,
    rebuild,
    task_option,
)

if TYPE_CHECKING:
    from ..demo.live import LivePage
    from ..demo.open_source import OpenedSource
    from ..demo.people.finder import PeopleFinder
    from ..demo.pipeline import Observer
    from ..demo.result import DemoResult
    from ..demo.sinks import FrameSink
    from ..demo.sources import FrameSource
    from ..tasks.predictor import Predictor
    from .terminal import Terminal


STREAMS = 2
"""Frames that a CPU works on side by side: a tenth more of them per second than one after the other (two cores)."""

DETECT_EVERY = 5
"""Finding people takes a part of what parsing one of them does; they have not gone far by the fifth frame."""

DETECT_AT_LATEST = 0.4
"""Seconds, in which they have where fewer than 12.5 frames a second are shown."""


def parse_within(value: str | tuple[int, int]) -> str | tuple[int, int]:
    """``HEIGHTxWIDTH``, or the word ``network``."""
    return value if value == "network" else parse_size(value)


@click.command()
@click.argument("source", required=False)
@click.option(
    "--bundle",
    "bundles",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Give it twice, of two tasks, to draw both.  [default: build/student]",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="The annotated video.  [default: <SOURCE>-parsed.mp4, or -parsed-2.mp4, where nothing else is asked for]",
)
@click.option("--show", is_flag=True, help="Show it in a window; q ends.")
@click.option(
    "--serve",
    metavar="[HOST:]PORT",
    help="Show it on a web page, for a machine without a screen; on this machine alone unless HOST says otherwise.",
)
@click.option(
    "--token",
    metavar="SECRET",
    envvar="TRTPARSE_TOKEN",
    help="What viewers have to know; needed where others reach the page. TRTPARSE_TOKEN says it without a trace in ps.",
)
@click.option(
    "--answers",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write each frame's answer there: of parsing its label map, as PNG.",
)
@click.option(
    "--jsonl",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a line per frame: time, people, and the answer; of parsing the pixels per class.",
)
@click.option(
    "--fps",
    type=click.FloatRange(0, 1000, min_open=True),
    metavar="RATE",
    help="Frames per second, of images.  [default: 25 where they are numbered, 2 where not]",
)
@click.option(
    "--policy",
    type=click.Choice(["all", "latest"]),
    help="Every frame, or the newest one.  [default: latest for cameras and streams, all for files]",
)
@click.option(
    "--people",
    type=click.Choice(["auto", "full"]),
    help="People are found and each is parsed, or the frame is one person.  [default: auto; full for the walking "
    "figure]",
)
@click.option(
    "--detector",
    type=click.Path(path_type=Path),
    metavar="MODEL.onnx",
    help="Find people by a YOLOX, an RT-DETR or a finder of yours.",
)
@click.option(
    "--detect-every",
    type=click.IntRange(1),
    metavar="K",
    help="Look for people in each K-th frame, and follow them between.  [default: 5, and after 0.4 s]",
)
@click.option(
    "--within",
    type=parse_within,
    metavar="HxW|network",
    help="Scale larger pictures down to lie within this as they come in; in hardware on a Jetson. network: its input.",
)
@click.option("--smooth", is_flag=True, help="Keep labels where the picture stands still.")
@task_option
@labels_option
@engine_options
@common_options
def demo(
    source: str | None,
    bundles: tuple[Path, ...],
    target: str,
    precision: str | None,
    auto_rebuild: bool,
    threads: int,
    as_json: bool,
    debug: bool,
    **options: Any,
) -> None:
    """Draw parts or joints of people over SOURCE. Without it, over a walking figure.

    SOURCE is a video, an image, a folder of images, a pattern ('run/*.png'), camera:0, csi:0 (Jetson), rtsp://... or
    http://... (MJPEG). Behind camera:0 and csi:0 may stand @1280x720 or @1280x720@30. Ctrl-C ends it, and what was
    written is whole.
    """
    from ..demo.layers import drawn_together
    from ..demo.pipeline import run_demo
    from ..demo.sinks import differences
    from ..engines import open_bundle
    from ..tasks.open import open_predictor, spec_named
    from .terminal import Terminal

    if options["people"] is None:
        looks = source is not None or options["detector"] is not None or options["detect_every"] is not None
        options["people"] = "auto" if looks else "full"
    _check(options, sourced=source is not None)
    labels = None if options["labels"] is None else spec_named(options["labels"])
    with Terminal(as_json=as_json) as terminal, ExitStack() as stack:
        whole = [open_bundle(bundle) for bundle in bundles or (BUNDLES[chosen_task() or "parsing"],)]
        # A label set is not said of joints that are drawn beside.
        fits = any(type(bundle.manifest.spec) is type(labels) for bundle in whole)
        opened = []
        for bundle in whole:
            predictor = open_predictor(
                bundle,
                target,
                precision,
                None if fits and type(bundle.manifest.spec) is not type(labels) else labels,
                threads=threads,
                streams=STREAMS,
                slots=options["slots"],
                cuda_graph=options["cuda_graph"],
                rebuild=rebuild(auto_rebuild, terminal.stage),
            )
            opened.append(stack.enter_context(predictor))
            check_predictor(predictor, bundle.path)
        predictors = drawn_together(opened)
        if _finds_people(opened, bundles, options):
            options["people"] = "full"
        notices = _Notices(terminal)
        if options["within"] == "network":
            sizes = [predictor.engine.input_size for predictor in predictors]
            options["within"] = (max(height for height, _ in sizes), max(width for _, width in sizes))
        frames = _open(stack, source, options, notices)
        finder = _finder(stack, options, frames, threads)
        sinks = _sinks(stack, source, frames, options, notices)
        page = notices.page = _page(stack, frames, predictors, options)
        observers = _observers(stack, page, options)
        if any(sink.path is not None for sink in sinks):
            for sentence in differences(frames):
                terminal.note(sentence)
        terminal.stage(f"{frames.name}, {', '.join(dict.fromkeys(one.name for one in predictors))}")
        if page is not None:
            terminal.note(f"Watch it: {page.url}")
        result = run_demo(
            frames,
            predictors,
            sinks,
            observers=observers,
            people=finder,
            smooth=options["smooth"],
            settings=None if page is None else page.settings,
            progress=_with_fps(terminal),
            hud=options["show"] or page is not None,
        )
    _show(terminal, result, {one.task.name: one.task.flicker_words for one in predictors})


class _Notices:
    """What a source has to say, on the terminal and, once there is one, on the page."""

    def __init__(self, terminal: Terminal) -> None:
        self.page: LivePage | None = None
        self._terminal = terminal

    def __call__(self, sentence: str) -> None:
        self._terminal.note(sentence)
        if self.page is not None:
            self.page.say(sentence)


def _check(options: Given, *, sourced: bool) -> None:
    """Refuse what does not go together before anything is opened."""
    if options["people"] == "full":
        for name in ("detector", "detect_every"):
            if options[name] is not None:
                option = f"--{name.replace('_', '-')}"
                raise UsageError(f"{option} is for finding people.", "Leave --people full out.")
    if options["fps"] is not None and not sourced:
        raise UsageError("--fps is for images; the walking figure has a rate of its own.", "Name a folder of images.")
    if options["within"] is not None and not sourced:
        raise UsageError("--within is for pictures; the walking figure has a size of its own.", "Name a video.")
    if options["token"] is not None and options["serve"] is None and "TRTPARSE_TOKEN" not in os.environ:
        raise UsageError("--token is for the page of --serve.", "Add --serve HOST:PORT, or leave it out.")


def _finds_people(opened: Sequence[Predictor[Any]], bundles: Sequence[Path], options: Given) -> bool:
    """Whether a finder is asked for its boxes: it sees whole frames, and is nothing beside a parser or a detector."""
    finders = [number for number, predictor in enumerate(opened) if predictor.task.finds_people]
    if not finders:
        return False
    if len(opened) > 1 or options["detector"] is not None:
        place = bundles[finders[0]] if bundles else BUNDLES["people"]
        check_takes_people(opened[finders[0]].task, place)
    return True


def _open(stack: ExitStack, source: str | None, options: Given, notify: Callable[[str], None]) -> OpenedSource:
    if source is not None:
        from ..demo.open_source import open_source

        return stack.enter_context(
            open_source(source, options["policy"], notify, fps=options["fps"], most=options["within"])
        )
    from ..data.synthetic import WalkingFigure
    from ..demo.sources import ArraySource

    figure = WalkingFigure()
    # Whoever watches decides when it is enough.
    watched = options["show"] or options["serve"] is not None
    rounds = itertools.count() if watched else range(1)
    return stack.enter_context(
        ArraySource(
            (image for _ in rounds for image, _ in figure),
            figure.size,
            figure.fps,
            None if watched else len(figure),
            "a walking figure",
            options["policy"] or ("latest" if watched else "all"),
        )
    )


def _finder(stack: ExitStack, options: Given, frames: FrameSource, threads: int) -> PeopleFinder | None:
    if options["people"] == "full":
        return None
    from ..demo.image_sources import ImageSource
    from ..demo.people.finder import PeopleFinder
    from ..tasks.people.detector import open_detector

    # The processor's other threads parse meanwhile: one keeps up with them.
    detector = open_detector(options["detector"], threads=threads or 1)
    stack.callback(detector.close)
    # The photographs of a folder show other people each; numbered ones are a film.
    track = not isinstance(frames, ImageSource) or frames.numbered
    every = options["detect_every"]
    if every is not None:
        return PeopleFinder(detector, every=every, track=track)
    return PeopleFinder(detector, every=DETECT_EVERY, at_latest=DETECT_AT_LATEST, track=track)


def _sinks(
    stack: ExitStack,
    source: str | None,
    frames: FrameSource,
    options: Given,
    notify: Callable[[str], None],
) -> list[FrameSink]:
    from ..demo.sinks import VideoSink, WindowSink

    sinks: list[FrameSink] = []
    if options["show"]:
        sinks.append(stack.enter_context(WindowSink("trtparse", frames.size)))
    output = options["output"]
    if output is None and not any(options[name] for name in ("show", "serve", "answers", "jsonl")):
        output = _free(f"{_stem(source, frames)}-parsed", notify) if source else Path("walking-figure-parsed.mp4")
    if output is not None:
        sinks.append(stack.enter_context(VideoSink(output, frames.fps, frames.size)))
    return sinks


def _free(stem: str, notify: Callable[[str], None]) -> Path:
    """A name that nobody chose replaces no video, which may be another folder's."""
    output, number = Path(f"{stem}.mp4"), 1
    while output.exists():
        number += 1
        output = Path(f"{stem}-{number}.mp4")
    if number > 1:
        notify(f"{stem}.mp4 is there already; this video becomes {output} (--output {stem}.mp4 replaces it).")
    return output


def _stem(source: str, frames: FrameSource) -> str:
    """What to call a video by its source. A source's name holds no password; an address may."""
    if frames.path is not None:
        return frames.path.stem
    return re.sub(r"[^A-Za-z0-9]+", "-", Path(frames.name).stem if Path(source).exists() else frames.name).strip("-")


def _page(
    stack: ExitStack, frames: FrameSource, predictors: Sequence[Predictor[Any]], options: Given
) -> LivePage | None:
    if options["serve"] is None:
        return None
    from ..demo.layers import all_parts, layers_of
    from ..demo.live import LivePage, LiveSettings

    page = LivePage(
        options["serve"],
        options["token"] or "",
        settings=LiveSettings(all_parts(layers_of(one.task for one in predictors)), policy=frames.policy),
        title=frames.name,
        details=", ".join(dict.fromkeys(one.name for one in predictors)),
        frames_dropped=lambda: frames.frames_dropped,
    )
    return stack.enter_context(page)


def _observers(stack: ExitStack, page: LivePage | None, options: Given) -> list[Observer]:
    from ..demo.records import AnswerRecorder, JsonlRecorder

    observers: list[Observer] = []
    if options["answers"] is not None:
        observers.append(stack.enter_context(AnswerRecorder(options["answers"])))
    if options["jsonl"] is not None:
        observers.append(stack.enter_context(JsonlRecorder(options["jsonl"])))
    if page is not None:
        observers.append(page)
    return observers


def _with_fps(terminal: Terminal) -> Callable[[int, int | None], None]:
    started = time.monotonic()

    def report(done: int, total: int | None) -> None:
        terminal.progress(done, total, f"{done / max(time.monotonic() - started, 1e-3):.1f} FPS")

    return report


def _show(terminal: Terminal, result: DemoResult, flickering: Mapping[str, str]) -> None:
    """Frames, end-to-end FPS and where the time went."""
    if terminal.as_json:
        terminal.result(result.to_dict())
        return
    from dataclasses import asdict

    from ..tasks.people.detector import MOST_PEOPLE
    from .tables import print_table
    from .terminal import plain_table

    table = plain_table("ms", *asdict(result.stages))
    table.add_row("per frame", *(f"{value:.1f}" for value in asdict(result.stages).values()))
    terminal.out.print(
        f"{result.frames} frames in {result.seconds:.1f} s: {result.fps:.1f} FPS end to end, {result.engine}"
    )
    print_table(terminal.out, table)
    terminal.out.print("the stages overlap", style="dim")
    if result.people is not None:
        terminal.out.print(f"People: {result.people}")
        if not result.people:
            terminal.note(
                "Nobody was found, so nothing is parsed. With --people full each frame is taken as one person."
            )
    if result.crowded:
        terminal.note(f"In {result.crowded} frames there are {MOST_PEOPLE} people or more; no more are parsed.")
    for task, flicker in result.flicker.items():
        terminal.out.print(
            f"Flicker: {100 * flicker.after:.2f} % {flickering[task]}, {100 * flicker.before:.2f} % without --smooth"
        )
    if result.frames_dropped:
        terminal.out.print(f"{result.frames_dropped} frames were left out to keep up with the source.")
    if result.frames_missing:
        terminal.out.print(
            f"{result.frames_missing} frames that should be there could not be decoded: is the source whole?"
        )
    if result.output is not None:
        terminal.out.print(f"Video: {result.output}", markup=False)
