"""``trtparse build``: build a bundle from a checkpoint or a graph, and engines from a bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import DataError, UsageError
from ..networks.weights import BUNDLES
from ..specs.framing import MOST_STRETCH
from .comparison import ranges_of, typed
from .foreign_options import FOREIGN_OPTIONS, foreign_options, said_of
from .options import (
    DEFAULT_BUNDLE,
    SYNTHETIC,
    Given,
    chosen_task,
    common_options,
    figure_option,
    given_options,
    labels_option,
    parse_batch,
    parse_size,
    task_option,
)
from .tensorrt_options import ENGINE_OPTIONS, engine_spec, tensorrt_options

if TYPE_CHECKING:
    from ..data.dataset import Images
    from ..engines import Bundle
    from ..engines.choice import Choice
    from ..engines.manifest import EngineManifest
    from ..graphs.conventions import Said
    from ..specs.spec import Spec
    from ..tasks.base import Task
    from ..trt_builder.engine_spec import EngineSpec
    from ..validation.result import ValidationResult
    from .terminal import Terminal

_INT8_OPTIONS = (
    "calibration",
    "weights",
    "corrections",
    "calibration_set",
    "ranges",
    "held_out",
    "max_drop",
    "min_agreement",
    "figure",
    "no_validate",
    "calibration_cache",
)


@click.command()
@click.argument("source", required=False, type=click.Path(path_type=Path))
@click.option("--int8", "precision", flag_value="int8", help="FP32, FP16 and INT8 graphs; needs calibration images.")
@click.option("--fp16", "precision", flag_value="fp16", help="FP32 and FP16 graphs (the default).")
@click.option("--fp32", "precision", flag_value="fp32", help="The FP32 graph alone.")
@task_option
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help=f"The bundle's folder.  [default: {DEFAULT_BUNDLE}, or what --task says]",
)
@click.option(
    "--data", help="Calibration images: LIP's layout, people with their joints, a folder of images, or 'synthetic'."
)
@click.option("--split", type=click.Choice(["train", "val", "test"]), help="Of --data.  [default: train, test, val]")
@click.option("--calibration-images", type=click.IntRange(1), default=256, show_default=True)
@click.option(
    "--calibration-set", type=click.Path(path_type=Path), metavar="FILE", help="Those of trtparse calibration-set."
)
@click.option(
    "--calibration",
    metavar="METHOD",
    default="auto",
    show_default=True,
    help="max, percentile:99.99, entropy or mse; auto tries all on held-out images and keeps the best.",
)
@click.option(
    "--weights",
    type=click.Choice(["max", "mse"]),
    default="max",
    show_default=True,
    help="Scales of the weights: nothing clipped, or least squared error.",
)
@click.option(
    "--correct",
    "corrections",
    type=click.Choice(["equalisation", "rounding", "bias"]),
    multiple=True,
    help="Equalise channels across layers, learn to round (AdaRound; slow), correct biases; may be repeated.",
)
@click.option(
    "--ranges",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Take a calibration.json, refused if it is stale, or TensorRT's calibration cache of version 8 to 10.",
)
@click.option(
    "--max-drop",
    type=float,
    metavar="POINTS",
    help="Largest loss, as of mIoU or PCK; layers go back to FP16 until it is met, else exit 4.",
)
@click.option(
    "--min-agreement",
    type=float,
    metavar="POINTS",
    help="Least agreement with PyTorch (mIoU of label maps, OKS of joints), likewise; needs no labels.",
)
@click.option(
    "--held-out",
    metavar="DATA",
    help="Images to judge INT8 on.  [default: --data's val split, else a fifth of its images]",
)
@figure_option
@click.option("--no-validate", is_flag=True, help="Do not measure INT8; the bundle says so.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the choice of calibration images.")
@click.option(
    "--input-size", type=parse_size, metavar="HxW", help="Height x width, e.g. 473x473.  [default: the checkpoint's]"
)
@click.option(
    "--stretch",
    type=click.FloatRange(1, MOST_STRETCH),
    metavar="X",
    help="One side of an image may grow so many times as much as the other to fill the input; 1 keeps shapes.  "
    "[default: the checkpoint's]",
)
@click.option(
    "--batch",
    type=parse_batch,
    metavar="N|dynamic",
    default="1",
    show_default=True,
    help="Frames per call.",
)
@labels_option
@foreign_options
@click.option("--logits", is_flag=True, help="Give the graphs the logits as a second output.")
@click.option(
    "--sure",
    metavar="SCORE|DATA",
    help="The score from which a finder's box is somebody: a number, or images with boxes to choose it on (F2).",
)
@tensorrt_options
@click.option(
    "--calibration-cache",
    metavar="VERSION",
    help="Write TensorRT's calibration cache for that version (8.6.1) as well, with a graph: for trtexec, DeepStream.",
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
    target: str,
    as_json: bool,
    debug: bool,
    **options: Any,
) -> None:
    """Build a bundle from a checkpoint or a graph, and engines from a bundle.

    SOURCE is a checkpoint (.safetensors, .pth); an ONNX graph, or a bundle to compile engines from, neither of which
    needs PyTorch. Without it, the weights that come with trtparse. A network that is not ours needs --preset, or to be
    told how it takes images: --labels, --input-order, --mean, --std and what else its file does not say.
    """
    from ..engines import open_bundle
    from ..storage.files import check_output_file
    from ..storage.folders import recover
    from ..tasks.open import spec_named
    from .build_result import show_build
    from .terminal import Terminal, show_skipped

    if source is not None:
        recover(source)
        if not source.exists():
            raise UsageError(
                f"There is no file {source}.", "SOURCE is a checkpoint (.safetensors, .pth), an ONNX file or a bundle."
            )
    # What can be refused is refused before any work is done.
    engine = engine_spec(precision or "fp16", target, options)
    if options["log"] is not None:
        check_output_file(options["log"])
    if options["calibration_cache"] is not None:
        from ..calibration.cache import number_of

        number_of(options["calibration_cache"])
    if engine is not None and engine.target == "tensorrt-rtx":
        from ..engines.machine.dependencies import require

        require("tensorrt_rtx_bindings")
    if target == "openvino":
        from ..engines.openvino import load_openvino

        load_openvino()
    result: ValidationResult | None = None
    with Terminal(as_json=as_json) as terminal:
        if source is not None and (source.is_dir() or source.name == "bundle.json"):
            _refuse_checkpoint_options(context)
            bundle = open_bundle(source)
            bundle.graph(precision or "fp16")
        else:
            if precision != "int8":
                _refuse_int8_options(context)
            labels = None if options["labels"] is None else spec_named(options["labels"])
            foreign = given_options(context, FOREIGN_OPTIONS)
            said = None if source is None else said_of(source, options, labels, foreign)
            if source is not None and _is_graph(source):
                if said is None:
                    _refuse_export_options(context)
            elif engine is not None:
                engine.profile(options["batch"])
            timed = engine if engine is not None and not options["no_timing"] else None
            bundle, result, skipped = _build_bundle(terminal, source, precision, output, options, timed, labels, said)
            show_skipped(terminal, skipped)
        engines: list[EngineManifest] = []
        if engine is not None:
            from ..trt_builder.compile import HowToBuild, build_engines

            how = HowToBuild(
                options["log"],
                verbose=options["verbose"],
                told=terminal.note if options["verbose"] else lambda _: None,
                accept_unverified=options["accept_unverified"],
                ladder=not options["no_ladder"],
                timed=not options["no_timing"] and engine.target == "tensorrt",
                fastest=options["fastest"],
                bisect=True,
            )
            bundle, engines = build_engines(bundle, engine, terminal.stage, how=how)
        if result is not None:
            from ..validation.report.page import write_report

            terminal.stage("Writing the report")
            write_report(
                result,
                bundle.path,
                ranges=ranges_of(bundle),
                calibration=bundle.manifest.calibration,
                origin=bundle.manifest.origin,
                command=typed(context),
            )
        cache = None
        if options["calibration_cache"] is not None:
            from ..trt_builder.calibration_cache import add_calibration_cache

            terminal.stage("Writing the calibration cache")
            bundle, cache = add_calibration_cache(bundle, options["calibration_cache"])
        runtimes = None if engine is not None else _faster_runtime(terminal, bundle, target, options["threads"])
    show_build(terminal, bundle, engines, cache, runtimes)


def _faster_runtime(terminal: Terminal, bundle: Bundle, target: str, threads: int) -> Choice | None:
    """Time the CPU runtimes on what an engine of the bundle runs by default, and note in it which is faster.

    Raises:
        UsageError: OpenVINO was asked for, and does not run the graph as it should.
    """
    from ..engines.bundle import GRAPHS
    from ..engines.choice import choose
    from ..engines.open import graph_of
    from ..tasks.open import task_of

    precision = "int8" if "int8" in bundle.manifest.precisions else "fp32"
    graph = graph_of("cpu", precision)
    if GRAPHS[graph] not in bundle.manifest.files:
        return None
    terminal.stage("Timing the CPU runtimes")
    choice = choose(bundle, graph, precision, threads, task_of(bundle.manifest).agreement)
    if target == "openvino" and choice.refused and not choice.fastest(target):
        raise UsageError(
            f"{'; '.join(choice.reasons())}.", f"The bundle {bundle.path} is whole: run it with --target onnxruntime."
        )
    return choice


def _refuse_checkpoint_options(context: click.Context) -> None:
    about_engines = {"precision", "target", "calibration_cache", "threads", "as_json", "debug", *ENGINE_OPTIONS}
    given = given_options(context, {str(parameter.name) for parameter in context.command.params} - about_engines)
    if given:
        raise UsageError(
            f"A bundle's graphs are built already: {', '.join(given)} cannot change them.",
            "Leave that out, or build from the checkpoint again.",
        )


def _is_graph(source: Path) -> bool:
    return source.suffix.lower() == ".onnx"


def _refuse_export_options(context: click.Context) -> None:
    given = given_options(context, ("input_size", "stretch", "batch", "logits"))
    if given:
        raise UsageError(
            f"An ONNX graph has its own size, stretch, batch and outputs: {', '.join(given)} cannot change them.",
            "Leave that out, or export the graph anew. Its stretch stands in its metadata, as preprocessing: "
            '{"stretch": 1.5}.',
        )


def _refuse_int8_options(context: click.Context) -> None:
    given = given_options(context, _INT8_OPTIONS)
    if given:
        raise UsageError(f"{', '.join(given)} is about INT8, and none is built.", "Give --int8 as well.")


def _build_bundle(
    terminal: Terminal,
    source: Path | None,
    precision: str | None,
    output: Path | None,
    options: Given,
    engine: EngineSpec | None,
    labels: Spec | None,
    said: Said | None,
) -> tuple[Bundle, ValidationResult | None, list[tuple[str, str]]]:
    """A new bundle, what its INT8 reached, and the images that could not be read."""
    from ..engines.bundle import CALIBRATION_NAME

    wanted = chosen_task()
    output = output or BUNDLES[wanted or "parsing"]

    if source is not None and _is_graph(source):
        from ..graphs.interface import graph_precision, read_onnx
        from ..trt_builder.source import bundle_of_onnx

        if said is None and graph_precision(read_onnx(source)) != "fp32":
            return bundle_of_onnx(source, output, precision, labels), None, []
    else:
        from ..engines.machine.dependencies import require

        terminal.stage("Loading PyTorch")
        require("torch")
    from ..calibration.int8 import Int8Spec
    from ..networks.weights import WEIGHTS
    from ..trt_builder.build import BuildSpec, Listener, build_bundle
    from ..trt_builder.source import task_of_source

    precision = precision or "fp16"
    int8 = Int8Spec(
        method=options["calibration"],
        max_drop=options["max_drop"],
        min_agreement=options["min_agreement"],
        ranges=options["ranges"],
        weights=options["weights"],
        corrections=options["corrections"],
    )
    needless = int8.from_cache and options["no_validate"]
    if source is not None and options["data"] is None and precision == "int8" and not needless:
        raise UsageError(
            "INT8 for a network of your own needs calibration images.",
            "Give --data a folder in LIP's layout or of images; --data synthetic takes the rendered people. With "
            "TensorRT's own calibration cache (--ranges) and --no-validate none is needed.",
        )
    given = source or WEIGHTS[wanted or "parsing"]
    task = task_of_source(given, labels, said)
    if options["figure"] is not None:
        task = task.measured_by(options["figure"])
    if wanted not in (None, task.name):
        raise UsageError(f"{given} is for {task.name}, and --task says {wanted}.", "Leave --task out.")
    dataset = task.open_data(options["data"], options["split"], "calibration", labels)
    task.scorer(dataset, str(given))  # refuses labels of something else
    spec = BuildSpec(
        source=given,
        precision=precision,
        input_size=options["input_size"],
        stretch=options["stretch"],
        labels=labels,
        said=said,
        figure=options["figure"],
        batch=options["batch"],
        logits=options["logits"],
        calibration_images=options["calibration_images"],
        calibration_set=options["calibration_set"],
        seed=options["seed"],
        int8=int8,
        validate=not options["no_validate"],
        threads=options["threads"],
        strict=options["strict"],
        sure=_sure(terminal, task, given, options, said),
        engine=engine,
    )
    held_out = _held_out(task, options, dataset) if precision == "int8" and spec.validate else None
    listener = Listener(terminal.stage, terminal.progress)
    built = build_bundle(spec, dataset, output, listener, held_out)
    calibration = built.bundle.path / CALIBRATION_NAME
    skipped = json.loads(calibration.read_text())["skipped"] if calibration.is_file() else []
    return built.bundle, built.result, [(name, reason) for name, reason in skipped]


def _sure(terminal: Terminal, task: Task[Any], given: Path, options: Given, said: Said | None) -> float | None:
    """What ``--sure`` says: a score, or the one that is best on images."""
    word: str | None = options["sure"]
    if word is None:
        return None
    if not task.finds_people:
        raise UsageError(f"{given} is for {task.name}: --sure is about a finder's scores.", "Leave --sure out.")
    try:
        score = float(word)
    except ValueError:
        pass
    else:
        if not 0 < score < 1:
            raise UsageError(f"--sure {word} is no score.", "Give one between 0 and 1, such as 0.3, or images.")
        return score
    from ..engines.cpu import CpuEngine
    from ..graphs.adapt import adapt
    from ..graphs.interface import read_onnx
    from ..graphs.observe import framing_of
    from ..tasks.people.sure import choose_sure
    from ..tasks.predictor import Predictor

    if word == options["held_out"] or (word != SYNTHETIC and word == options["data"]):
        terminal.note(f"--sure {word} are images of this build as well: let its figures be of others.")
    terminal.stage("Choosing the score from which a box is somebody")
    threads = options["threads"]
    if _is_graph(given):
        model = read_onnx(given)
        model = model if said is None else adapt(model, said, given)
        predictor = Predictor(CpuEngine(model, "fp32", threads=threads), task, framing_of(model))
    else:
        from ..engines.reference import PyTorchEngine
        from ..networks.any_checkpoint import load_any_checkpoint

        framing = load_any_checkpoint(given).framing
        framing = framing.resized(options["input_size"] or framing.input_size)
        engine = PyTorchEngine.from_checkpoint(given, framing.input_size, threads=threads)
        predictor = Predictor(engine, task, framing)
    with predictor:
        best = choose_sure(predictor, task.open_data(word, None, "calibration"), terminal.progress)
    terminal.note(
        f"From {best.threshold:.3f} on a box is somebody: {100 * best.recall:.1f} % of the people are found there, and "
        f"{100 * best.precision:.1f} % of the boxes are somebody's."
    )
    return round(best.threshold, 3)


def _held_out(task: Task[Any], options: Given, dataset: Images) -> Images | None:
    """The images to judge on; None has some of the calibration images kept from calibrating."""
    from ..data.dataset import label_set_of

    data, labels = options["held_out"], label_set_of(dataset)
    if data is not None:
        return task.open_data(data, None, "validation", labels)
    data = options["data"]
    if data is None or data == SYNTHETIC:
        return task.open_data(None, None, "validation", labels)
    try:
        other = task.open_data(data, None, "validation", labels)
    except DataError:
        # A train split alone is enough to calibrate on.
        return None
    return other if other.labelled and other.description != dataset.description else None
