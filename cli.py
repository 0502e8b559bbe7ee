"""The words a person types. Each command parses, calls one function, shows what came back, sets the exit code."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import __version__
from .command_line import common_options, engine_options, parse_batch, parse_size, run
from .errors import AccuracyError, UsageError

if TYPE_CHECKING:
    from .data.dataset import Dataset
    from .data.lip import Purpose, Split
    from .engines import Bundle
    from .terminal import Terminal

DEFAULT_BUNDLE = Path("build/student")
SYNTHETIC = "synthetic"
SYNTHETIC_IMAGES = {"calibration": 256, "validation": 64}

# As in trt_builder.tensorrt_rtx, which takes long to import; a test holds them together.
COMPUTE_CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")


def _dataset(data: str | None, split: str | None, purpose: Purpose) -> Dataset:
    if data is None or data == SYNTHETIC:
        if split is not None:
            raise UsageError("--split goes with --data.", "Synthetic people have no splits.")
        from .data.synthetic import SyntheticPeople

        # Calibration and validation never share a person.
        return SyntheticPeople(SYNTHETIC_IMAGES[purpose], seed=0 if purpose == "calibration" else 1)
    from typing import cast

    from .data.lip import open_dataset

    return open_dataset(data, cast("Split | None", split), purpose=purpose)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="%(prog)s %(version)s")
def cli() -> None:
    """From a human-parsing network in PyTorch to a proven INT8 engine.

    \b
    trtparse build --int8            export, calibrate, quantise, compare with PyTorch
    trtparse validate                mIoU against PyTorch, class by class
    trtparse demo video.mp4          an annotated video

    Without further arguments each works on the weights and the synthetic people that come with it.
    """


@cli.command()
@click.argument("source", required=False, type=click.Path(path_type=Path))
@click.option("--int8", "precision", flag_value="int8", help="FP32, FP16 and INT8 graphs; needs calibration images.")
@click.option("--fp16", "precision", flag_value="fp16", help="FP32 and FP16 graphs (the default).")
@click.option("--fp32", "precision", flag_value="fp32", help="The FP32 graph alone.")
@click.option("--output", type=click.Path(path_type=Path), help=f"The bundle's folder.  [default: {DEFAULT_BUNDLE}]")
@click.option("--data", help="Calibration images: LIP's layout, a folder of images, or 'synthetic'.")
@click.option("--split", type=click.Choice(["train", "val", "test"]), help="Of --data.  [default: train, test, val]")
@click.option("--calibration-images", type=click.IntRange(1), default=256, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the choice of calibration images.")
@click.option(
    "--input-size", type=parse_size, metavar="HxW", help="Height x width, e.g. 473x473.  [default: the checkpoint's]"
)
@click.option(
    "--batch",
    type=parse_batch,
    metavar="N|dynamic",
    default="1",
    show_default=True,
    help="Frames per call.",
)
@click.option("--logits", is_flag=True, help="Give the graphs the logits as a second output.")
@click.option(
    "--target",
    type=click.Choice(["auto", "cpu", "tensorrt-rtx"]),
    default="auto",
    help="tensorrt-rtx also compiles engines; no GPU needed.  [default: auto, the graphs for the CPU]",
)
@click.option(
    "--compute-capability",
    "capabilities",
    type=click.Choice(COMPUTE_CAPABILITIES),
    multiple=True,
    help="GPU generation to compile for; may be repeated.  [default: 8.6]",
)
@click.option("--strict", is_flag=True, help="Refuse unreadable images instead of skipping them.")
@common_options
@click.pass_context
def build(
    context: click.Context,
    /,
    source: Path | None,
    precision: str | None,
    output: Path | None,
    data: str | None,
    split: str | None,
    target: str,
    capabilities: tuple[str, ...],
    as_json: bool,
    debug: bool,
    **options: Any,
) -> None:
    """Build a bundle from a checkpoint, or engines from a bundle.

    SOURCE is a checkpoint (.safetensors, .pth), or a bundle to compile engines from, which needs no
    PyTorch. Without it, the weights that come with trtparse.
    """
    from .engines import open_bundle
    from .engines.bundle import recover
    from .engines.dependencies import require
    from .terminal import Terminal, show_build, show_skipped

    # What can be refused is refused before any work is done.
    if target == "tensorrt-rtx":
        require("tensorrt_rtx_bindings")
    elif capabilities:
        raise UsageError("--compute-capability goes with --target tensorrt-rtx.", "Give both, or neither.")
    if source is not None:
        recover(source)
    if source is not None and not source.exists():
        raise UsageError(f"There is no file {source}.", "SOURCE is a checkpoint (.safetensors, .pth) or a bundle.")
    precision = precision or "fp16"
    with Terminal(as_json=as_json) as terminal:
        if source is not None and (source.is_dir() or source.name == "bundle.json"):
            _refuse_checkpoint_options(context)
            bundle = open_bundle(source)
            bundle.graph(precision)
        else:
            if source is not None and data is None and precision == "int8":
                raise UsageError(
                    "INT8 for a checkpoint of your own needs calibration images.",
                    "Give --data a folder in LIP's layout or of images; --data synthetic takes the rendered people.",
                )
            bundle, skipped = _build_bundle(terminal, source, precision, output, data, split, options)
            show_skipped(terminal, skipped)
        engines: list[dict[str, Any]] = []
        if target == "tensorrt-rtx":
            from .trt_builder.build import Listener, build_engines

            bundle, engines = build_engines(
                bundle, precision, capabilities or ("8.6",), Listener(terminal.stage, terminal.progress)
            )
    show_build(terminal, bundle, engines)


def _refuse_checkpoint_options(context: click.Context) -> None:
    about_engines = {"precision", "target", "capabilities", "threads", "as_json", "debug"}
    given = [
        option.opts[0]
        for option in context.command.params
        if isinstance(option, click.Option)
        and option.name not in about_engines
        and context.get_parameter_source(str(option.name)) is click.core.ParameterSource.COMMANDLINE
    ]
    if given:
        raise UsageError(
            f"A bundle's graphs are built already: {', '.join(given)} cannot change them.",
            "Leave that out, or build from the checkpoint again.",
        )


def _build_bundle(
    terminal: Terminal,
    source: Path | None,
    precision: str,
    output: Path | None,
    data: str | None,
    split: str | None,
    options: dict[str, Any],
) -> tuple[Bundle, list[tuple[str, str]]]:
    from .engines.dependencies import require

    terminal.stage("Loading PyTorch")
    require("torch")
    from .engines.bundle import CALIBRATION_NAME
    from .networks.weights import DEFAULT_WEIGHTS
    from .trt_builder.build import BuildSpec, Listener, build_bundle

    dataset = _dataset(data, split, "calibration")
    spec = BuildSpec(checkpoint=source or DEFAULT_WEIGHTS, precision=precision, **options)
    bundle = build_bundle(spec, dataset, output or DEFAULT_BUNDLE, Listener(terminal.stage, terminal.progress))
    calibration = bundle.path / CALIBRATION_NAME
    skipped = json.loads(calibration.read_text())["skipped"] if calibration.is_file() else []
    return bundle, [(name, reason) for name, reason in skipped]


@cli.command(short_help="Compare an engine of BUNDLE with PyTorch, class by class.")
@click.argument("bundle", required=False, type=click.Path(path_type=Path), default=DEFAULT_BUNDLE)
@click.option("--data", help="LIP's layout, or a folder of images for the agreement alone.  [default: synthetic]")
@click.option("--split", type=click.Choice(["train", "val", "test"]), help="Of --data.  [default: val, test]")
@click.option("--tolerance", type=float, default=1.0, show_default=True, help="Largest loss of mIoU, in points.")
@click.option(
    "--reference",
    type=click.Choice(["pytorch", "fp32"]),
    default="pytorch",
    show_default=True,
    help="fp32: the FP32 graph, where PyTorch is not installed.",
)
@click.option("--limit", type=click.IntRange(1), help="The first so many images only.")
@click.option("--strict", is_flag=True, help="Refuse unreadable images instead of skipping them.")
@engine_options
@common_options
@click.pass_context
def validate(
    context: click.Context,
    bundle: Path,
    data: str | None,
    split: str | None,
    tolerance: float,
    reference: str,
    limit: int | None,
    strict: bool,
    target: str,
    precision: str | None,
    threads: int,
    as_json: bool,
    debug: bool,
) -> None:
    """Compare an engine of BUNDLE with PyTorch: mIoU by LIP's protocol, class by class.

    Exits with 4 when the engine loses more than the tolerance.
    """
    from .engines import open_bundle, open_engine
    from .terminal import Terminal, show_validation
    from .validation.validate import validate as compare

    with Terminal(as_json=as_json) as terminal:
        opened = open_bundle(bundle)
        dataset = _dataset(data, split, "validation")
        name, kind = ("pytorch", None) if reference == "pytorch" else ("cpu", "fp32")
        with (
            open_engine(opened, name, kind, threads=threads) as expected,
            open_engine(opened, target, precision, threads=threads) as engine,
        ):
            terminal.stage(f"Validating {engine.name}")
            result = compare(
                expected,
                engine,
                dataset,
                tolerance=tolerance,
                strict=strict,
                limit=limit,
                progress=terminal.progress,
            )
    show_validation(terminal, result)
    if not result.passed:
        context.exit(AccuracyError.exit_code)


@cli.command()
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
    threads: int,
    as_json: bool,
    debug: bool,
) -> None:
    """Draw the parsing over VIDEO. Without it, over a walking figure."""
    from .demo.pipeline import run_demo
    from .demo.sinks import VideoSink, WindowSink
    from .demo.sources import ArraySource, VideoSource
    from .engines import open_engine
    from .terminal import Terminal, show_demo

    with contextlib.ExitStack() as stack:
        terminal = stack.enter_context(Terminal(as_json=as_json))
        engine = stack.enter_context(open_engine(bundle, target, precision, threads=threads))
        if video is None:
            from .data.synthetic import WalkingFigure

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


@cli.command(short_help="Write label maps and overlays of photographs.")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--bundle", type=click.Path(path_type=Path), default=DEFAULT_BUNDLE, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("parsed"), show_default=True)
@click.option("--strict", is_flag=True, help="Refuse unreadable images instead of skipping them.")
@engine_options
@common_options
def parse(
    images: tuple[Path, ...],
    bundle: Path,
    output: Path,
    strict: bool,
    target: str,
    precision: str | None,
    threads: int,
    as_json: bool,
    debug: bool,
) -> None:
    """Write a label PNG (LIP's palette) and an overlay for each of IMAGES, files or folders."""
    from .demo.parse_images import parse_images
    from .engines import open_engine
    from .terminal import Terminal, show_parse

    with (
        Terminal(as_json=as_json) as terminal,
        open_engine(bundle, target, precision, threads=threads) as engine,
    ):
        terminal.stage(f"Parsing with {engine.name}")
        result = parse_images(images, engine, output, strict=strict, progress=terminal.progress)
    show_parse(terminal, result, output)


@cli.command(short_help="Train a student on labelled images.")
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
    from .engines.dependencies import require

    torch = require("torch")
    from .data.lip import LipDataset
    from .distillation.training import Progress, TrainingSpec
    from .distillation.training import train as run_training
    from .terminal import Terminal

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


@cli.command()
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--train", type=click.IntRange(0), default=200, show_default=True, help="Images.")
@click.option("--val", type=click.IntRange(0), default=50, show_default=True, help="Images.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--video", type=click.Path(path_type=Path), help="Also write the walking figure there (.mp4).")
@common_options
def synthesize(
    output: Path, train: int, val: int, seed: int, video: Path | None, threads: int, as_json: bool, debug: bool
) -> None:
    """Render people with label maps into OUTPUT, in LIP's layout."""
    from .data.synthetic import WalkingFigure, write_lip_layout
    from .demo.sinks import VideoSink
    from .terminal import Terminal

    if train + val == 0 and video is None:
        raise UsageError("There is nothing to render: --train and --val are 0.", "Give one of them a number.")
    with Terminal(as_json=as_json) as terminal:
        if video is not None:
            terminal.stage("Rendering the walking figure")
            figure = WalkingFigure(seed=seed)
            with VideoSink(video, figure.fps, figure.size) as sink:
                for done, (image, _) in enumerate(figure, 1):
                    sink.write(image)
                    terminal.progress(done, len(figure))
        terminal.stage("Rendering people")
        write_lip_layout(output, train, val, seed, terminal.progress)
    if as_json:
        terminal.result({"folder": str(output), "train": train, "val": val, "video": video and str(video)})
    else:
        terminal.out.print(f"{train} train and {val} val images in {output}", markup=False)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: those of the process where None.

    Raises:
        SystemExit: the exit code is not 0.
    """
    run(cli, arguments)


if __name__ == "__main__":
    main()
