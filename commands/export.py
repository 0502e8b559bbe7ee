"""``trtparse export``: write what others' servers take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import DEFAULT_BUNDLE, common_options, wants_people

if TYPE_CHECKING:
    from ..serve.triton.repository import Exported


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def export() -> None:
    """Write a bundle in the form that another program takes."""


@export.command()
@click.argument("bundles", nargs=-1, metavar="[[NAME=]BUNDLE]...")
@click.option(
    "--output", type=click.Path(path_type=Path), default="model_repository", show_default=True, help="A folder."
)
@click.option(
    "--backend",
    type=click.Choice(["auto", "tensorrt", "onnxruntime", "openvino", "python"]),
    default="auto",
    help="auto: tensorrt where the bundle has engines of it, else onnxruntime; openvino: a frame a pass; python: ONNX "
    "Runtime in the Python backend.",
)
@click.option(
    "--people",
    type=click.Choice(["auto", "full"]),
    help="auto: also NAME_people, which finds people in a photograph and looks at each.  [default: full]",
)
@click.option(
    "--detector",
    type=click.Path(path_type=Path),
    metavar="MODEL",
    help="With --people auto: a YOLOX, an RT-DETR or a finder of yours, a graph or a bundle.",
)
@click.option("--precision", type=click.Choice(["fp32", "fp16", "int8"]), help="Default: the lowest that there is.")
@click.option("--image", metavar="TAG", help="Of Triton's image that has the engines' TensorRT, as 24.08-py3.")
@click.option(
    "--batch",
    type=click.IntRange(1, 256),
    default=8,
    show_default=True,
    help="Frames of a pass, where any number goes.",
)
@click.option(
    "--delay",
    type=click.FloatRange(0, 1000),
    default=2.0,
    show_default=True,
    metavar="MS",
    help="How long the first of a batch waits for others.",
)
@click.option("--queue", type=click.IntRange(1), default=64, show_default=True, help="Requests that wait.")
@click.option(
    "--instances",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Side by side, on each GPU or CPU.",
)
@common_options
def triton(
    bundles: tuple[str, ...],
    output: Path,
    backend: str,
    precision: str | None,
    image: str | None,
    batch: int,
    delay: float,
    queue: int,
    instances: int,
    people: str | None,
    detector: Path | None,
    threads: int,
    as_json: bool,
    debug: bool,
) -> None:
    """Write BUNDLES as a model repository for NVIDIA's Triton, each under its folder's name or NAME.

    NAME takes frames and gives what the network gives; NAME_photograph takes a JPEG or a PNG and gives a label map, the
    joints of the person whom it shows, or everybody's box.
    """
    from ..serve.model import named_bundles
    from ..serve.triton.parser import ParserSpec
    from ..serve.triton.repository import export_repository
    from .terminal import Terminal

    named = named_bundles(bundles or (str(DEFAULT_BUNDLE),))
    spec = ParserSpec(backend, precision, batch, round(delay * 1000), queue, instances, threads)
    finds = None
    if wants_people(people, detector):
        from ..tasks.people.detector import detector_graph

        finds = detector_graph(detector)
    with Terminal(as_json=as_json) as terminal:
        terminal.stage(f"Writing {output}")
        exported = export_repository(named, output, spec, image, finds)
    if as_json:
        terminal.result({"schema_version": 1, "output": str(output), "models": [one.to_dict() for one in exported]})
        return
    for one in exported:
        terminal.out.print(_described(one), markup=False)
    terminal.out.print(f"How to start it: {output / 'README.md'}", markup=False)


@export.command()
@click.argument("bundle", type=click.Path(path_type=Path), default=DEFAULT_BUNDLE)
@click.option("--output", type=click.Path(path_type=Path), default="deepstream", show_default=True, help="A folder.")
@click.option("--precision", type=click.Choice(["fp32", "fp16", "int8"]), help="Default: the bundle's lowest.")
@click.option(
    "--batch", type=click.IntRange(1, 256), default=8, show_default=True, help="Frames of a pass, where any fit."
)
@common_options
def deepstream(
    bundle: Path, output: Path, precision: str | None, batch: int, threads: int, as_json: bool, debug: bool
) -> None:
    """Write BUNDLE for NVIDIA's DeepStream: a graph that nvinfer can feed, and its configurations."""
    from ..serve.deepstream.export import export_deepstream
    from .terminal import Terminal

    with Terminal(as_json=as_json) as terminal:
        terminal.stage(f"Writing {output}")
        exported = export_deepstream(bundle, output, precision, batch)
    if as_json:
        terminal.result({"schema_version": 1, "output": str(output), **exported.to_dict()})
        return
    terminal.out.print(
        f"{exported.precision}, {100 * exported.agreement:.3f} % of the {exported.unit} as in {bundle}", markup=False
    )
    terminal.out.print(f"How to start it: {output / 'README.md'}", markup=False)


def _described(one: Exported) -> str:
    where = f", TensorRT {one.parser.tensorrt}" if one.parser.tensorrt else ""
    asked = [model.name for model in (one.photograph, one.people) if model is not None]
    photographs = f"; {' and '.join(asked)} for photographs" if asked else ""
    return f"{one.name}: {one.parser.config['backend']}, {one.parser.precision}{where}{photographs}"
