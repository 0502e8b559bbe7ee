"""``trtparse build``: build a bundle from a checkpoint, or engines from a bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from .options import DEFAULT_BUNDLE, common_options, open_data, parse_batch, parse_size

if TYPE_CHECKING:
    from ..engines import Bundle
    from ..terminal import Terminal

# As in trt_builder.tensorrt_rtx, which takes long to import; a test holds them together.
COMPUTE_CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")


@click.command()
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
    from ..engines import open_bundle
    from ..engines.bundle import recover
    from ..engines.dependencies import require
    from ..terminal import Terminal, show_build, show_skipped

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
            from ..trt_builder.build import Listener, build_engines

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
    from ..engines.dependencies import require

    terminal.stage("Loading PyTorch")
    require("torch")
    from ..engines.bundle import CALIBRATION_NAME
    from ..networks.weights import DEFAULT_WEIGHTS
    from ..trt_builder.build import BuildSpec, Listener, build_bundle

    dataset = open_data(data, split, "calibration")
    spec = BuildSpec(checkpoint=source or DEFAULT_WEIGHTS, precision=precision, **options)
    bundle = build_bundle(spec, dataset, output or DEFAULT_BUNDLE, Listener(terminal.stage, terminal.progress))
    calibration = bundle.path / CALIBRATION_NAME
    skipped = json.loads(calibration.read_text())["skipped"] if calibration.is_file() else []
    return bundle, [(name, reason) for name, reason in skipped]
