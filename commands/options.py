"""Options that several commands share, and what they are read as."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import UsageError
from ..networks.weights import BUNDLES

if TYPE_CHECKING:
    from ..engines import Bundle
    from ..engines.manifest import EngineManifest
    from ..engines.open import Rebuild
    from ..tasks.base import Task
    from ..tasks.predictor import Predictor

Command = TypeVar("Command", bound=Callable[..., Any])

Given = Mapping[str, Any]
"""What was typed, by the option's name, each in the type that its option has; None where it was left out."""

DEFAULT_BUNDLE = BUNDLES["parsing"]

SYNTHETIC = "synthetic"

_TASK = "trtparse.task"
TARGETS = ("auto", "tensorrt", "cpu", "onnxruntime", "openvino", "simulated", "pytorch")
PRECISIONS = ("fp32", "fp16", "bf16", "int8")


def common_options(command: Command) -> Command:
    for option in (
        click.option("--debug", is_flag=True, help="Show the traceback of an error."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table."),
        click.option("--threads", type=click.IntRange(0), default=0, help="CPU threads; 0 for one per core."),
    ):
        command = option(command)
    return command


def task_option(command: Command) -> Command:
    """``--task``: of the network that comes along, where no other is named."""
    return click.option(
        "--task",
        type=click.Choice(list(BUNDLES)),
        is_eager=True,
        expose_value=False,
        callback=_choose_task,
        help="What it is for: parts of people, their joints, or boxes around them.  [default: parsing]",
    )(command)


def figure_option(command: Command) -> Command:
    """``--figure``: what budgets, tolerances and intervals go by."""
    return click.option(
        "--figure",
        metavar="WORD",
        help="What budget, tolerance and interval go by: PCK or AP, of poses.  [default: PCK; of a bundle what its "
        "build went by]",
    )(command)


def _choose_task(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.meta[_TASK] = value
        context.default_map = {**(context.default_map or {}), "bundle": str(BUNDLES[value])}


def chosen_task() -> str | None:
    """What ``--task`` says; None where it was left out."""
    task: str | None = click.get_current_context().meta.get(_TASK)
    return task


def check_task(bundle: Bundle) -> None:
    """See that a bundle is for the task that was asked for.

    Raises:
        UsageError: it is for another; names both.
    """
    _check_task(bundle.manifest.task, bundle.path)


def check_predictor(predictor: Predictor[Any], bundle: Path) -> None:
    """As :func:`check_task`, of a bundle that was opened already."""
    _check_task(predictor.task.name, bundle)


def check_takes_people(task: Task[Any], bundle: Path) -> None:
    """See that a bundle answers about the people whom something else finds.

    Raises:
        UsageError: it finds people itself.
    """
    if task.finds_people:
        raise UsageError(
            f"{bundle} is for {task.name}: it finds people, and does nothing with those that are found.",
            f"Give it as --detector {bundle}, and a parser's bundle as --bundle; or --people full to draw its boxes.",
        )


def _check_task(task: str, path: Path) -> None:
    wanted = chosen_task()
    if wanted is not None and task != wanted:
        raise UsageError(
            f"{path} is for {task}, and --task says {wanted}.", "Leave --task out, or name another bundle."
        )


def given_options(context: click.Context, names: Collection[str]) -> list[str]:
    """The options that were typed, as ``--threads``, of those whose parameters are called so."""
    return [
        option.opts[0]
        for option in context.command.params
        if isinstance(option, click.Option)
        and option.name in names
        and context.get_parameter_source(str(option.name)) is click.core.ParameterSource.COMMANDLINE
    ]


def wants_people(people: str | None, detector: Path | None) -> bool:
    """Whether ``--people`` and ``--detector`` ask for the people in photographs to be found.

    Raises:
        UsageError: a detector, and nobody is to be found.
    """
    if people == "full" and detector is not None:
        raise UsageError("--detector is for finding people.", "Leave --people full out.")
    return people == "auto" or detector is not None


def engine_options(command: Command) -> Command:
    for option in (
        click.option("--cuda-graph", is_flag=True, help="Let TensorRT replay each request as one CUDA graph."),
        click.option(
            "--slots",
            type=click.IntRange(1, 16),
            default=2,
            show_default=True,
            help="TensorRT's requests in flight; from two on, copies and kernels overlap.",
        ),
        click.option("--precision", type=click.Choice(PRECISIONS), help="Default: the bundle's lowest."),
        click.option(
            "--target",
            type=click.Choice(TARGETS),
            default="auto",
            help="auto: a TensorRT engine of the bundle that fits this machine, else cpu; cpu: the faster of ONNX "
            "Runtime and OpenVINO here; simulated: TensorRT's graph in float arithmetic.",
        ),
        click.option(
            "--auto-rebuild", is_flag=True, help="Build the TensorRT engine where the bundle has none for this machine."
        ),
    ):
        command = option(command)
    return command


def rebuild(wanted: bool, stage: Callable[[str], None]) -> Rebuild | None:
    """What ``--auto-rebuild`` lets :func:`~trtparse.engines.open_engine` call; None where it was not given.

    Args:
        wanted: whether it was given.
        stage: told at the start of each step of a build.
    """
    if not wanted:
        return None

    def build(bundle: Bundle, precision: str, manifest: EngineManifest | None) -> Bundle:
        from ..trt_builder.compile import build_engines
        from ..trt_builder.engine_spec import EngineSpec

        spec = EngineSpec(precision) if manifest is None else EngineSpec.from_settings(manifest.settings)
        return build_engines(bundle, spec, stage)[0]

    return build


def parse_size(value: str | tuple[int, int]) -> tuple[int, int]:
    """``HEIGHTxWIDTH``."""
    if isinstance(value, tuple):
        return value
    parts = value.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() for part in parts):
        raise click.BadParameter(f"{value!r} is not a size such as 256x192 (height x width)")
    size = (int(parts[0]), int(parts[1]))
    if not 64 <= min(size) <= max(size) <= 4096:
        raise click.BadParameter(f"{value}: height and width must lie between 64 and 4096")
    return size


def parse_batch(value: str) -> int | None:
    """A number of frames, or None for ``dynamic``."""
    if value == "dynamic":
        return None
    if not value.isdecimal() or not 1 <= int(value) <= 256:
        raise click.BadParameter(f"{value!r} is neither a number from 1 to 256 nor 'dynamic'")
    return int(value)


def labels_option(command: Command) -> Command:
    """``--labels``; :func:`~trtparse.specs.label_set.label_set` reads it."""
    return click.option(
        "--labels",
        metavar="WORD|FILE",
        help="What the classes mean: lip, atr, pascal, cihp, fashn, bodypix, person, or a TOML file.",
    )(command)
