"""The options of a TensorRT build, and the specification that they make."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import UsageError
from .options import Given

if TYPE_CHECKING:
    from ..trt_builder.engine_spec import EngineSpec

Command = TypeVar("Command", bound=Callable[..., Any])

BUILD_TARGETS = ("auto", "cpu", "onnxruntime", "openvino", "tensorrt", "tensorrt-rtx")

# As in trt_builder.engine_spec, which is not imported for a help text; a test holds them together.
COMPUTE_CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")

DEFAULT_LEVEL = 3
"""TensorRT's own."""

EXPERIMENTAL = "[experimental: not run on a GPU yet]"

ENGINE_OPTIONS = (
    "capabilities",
    "batch_profile",
    "workspace",
    "optimization_level",
    "timing_cache",
    "dla",
    "gpu_fallback",
    "version_compatible",
    "hardware_compatible",
    "sparsity",
    "refit",
    "log",
    "verbose",
    "accept_unverified",
    "no_ladder",
    "fastest",
    "no_timing",
)
"""Names of the parameters that :func:`tensorrt_options` adds, ``target`` apart."""

_DEFAULTS = {
    "capabilities": (),
    "batch_profile": None,
    "workspace": None,
    "optimization_level": DEFAULT_LEVEL,
    "timing_cache": None,
    "dla": None,
    "log": None,
}
"""Of those that are no flags."""


def parse_profile(value: str | tuple[int, int, int]) -> tuple[int, int, int]:
    """``MIN,OPT,MAX`` frames per call."""
    if isinstance(value, tuple):
        return value
    parts = value.split(",")
    if len(parts) != 3 or not all(part.isdecimal() for part in parts):
        raise click.BadParameter(f"{value!r} is not three numbers such as 1,4,8 (fewest, most likely, most)")
    fewest, likely, most = (int(part) for part in parts)
    if not 1 <= fewest <= likely <= most <= 256:
        raise click.BadParameter(f"{value}: the numbers must rise from 1 to at most 256")
    return fewest, likely, most


def tensorrt_options(command: Command) -> Command:
    """Add ``--target`` and every option of an engine's build to a command."""
    for option in reversed(
        (
            click.option(
                "--target",
                type=click.Choice(BUILD_TARGETS),
                default="auto",
                help="cpu: the graphs alone, and which CPU runtime is faster (or one by name); tensorrt: an engine for "
                "this GPU (with TensorRT 8 experimental: not run yet); tensorrt-rtx: engines without a GPU.  "
                "[default: auto, tensorrt where it can build]",
            ),
            click.option(
                "--compute-capability",
                "capabilities",
                type=click.Choice(COMPUTE_CAPABILITIES),
                multiple=True,
                help="tensorrt-rtx: GPU generation to compile for; may be repeated.  [default: this GPU's, or 8.6]",
            ),
            click.option(
                "--batch-profile",
                type=parse_profile,
                metavar="MIN,OPT,MAX",
                help="Frames per call of an engine, where the bundle was built with --batch dynamic.  [default: 1,1,8]",
            ),
            click.option(
                "--workspace",
                type=click.IntRange(1),
                metavar="MB",
                help="Memory that a layer may use.  [default: half of what is free]",
            ),
            click.option(
                "--optimization-level",
                type=click.IntRange(0, 5),
                default=DEFAULT_LEVEL,
                show_default=True,
                help="0 builds fast, 5 tries most.",
            ),
            click.option(
                "--timing-cache",
                type=click.Path(path_type=Path, dir_okay=False),
                help="Measured kernels, kept from build to build.  [default: timing/ beside the bundle]",
            ),
            click.option(
                "--dla",
                type=click.IntRange(0),
                metavar="CORE",
                help=f"{EXPERIMENTAL} Run on this deep-learning accelerator of a Jetson; needs --gpu-fallback.",
            ),
            click.option("--gpu-fallback", is_flag=True, help="With --dla: what it lacks runs on the GPU."),
            click.option(
                "--version-compatible",
                is_flag=True,
                help=f"{EXPERIMENTAL} Later TensorRTs of the same major run it too.",
            ),
            click.option(
                "--hardware-compatible", is_flag=True, help=f"{EXPERIMENTAL} Ampere GPUs and later ones run it too."
            ),
            click.option(
                "--sparsity",
                is_flag=True,
                help=f"{EXPERIMENTAL} Use kernels for weights that are sparse, two of four.",
            ),
            click.option("--refit", is_flag=True, help=f"{EXPERIMENTAL} The engine's weights can be changed later."),
            click.option(
                "--log",
                type=click.Path(path_type=Path, dir_okay=False),
                help="Write all that TensorRT says into this file.",
            ),
            click.option(
                "--verbose", is_flag=True, help="Show what TensorRT says, every kernel that it tries included."
            ),
            click.option(
                "--accept-unverified",
                is_flag=True,
                help="Keep an engine that fails its checks; its manifest says so.",
            ),
            click.option(
                "--no-ladder",
                is_flag=True,
                help="Stop where TensorRT makes no INT8 engine, instead of trying without INT8 at resizes and pools, "
                "with FP32 scales, and FP16.",
            ),
            click.option(
                "--fastest",
                is_flag=True,
                help="Of INT8 and FP16, timed on this GPU, put the faster engine into the bundle, and not both.",
            ),
            click.option("--no-timing", is_flag=True, help="Do not time INT8 against FP16, which builds both."),
        )
    ):
        command = option(command)
    return command


def engine_spec(precision: str, target: str, options: Given) -> EngineSpec | None:
    """The engine that was asked for, or None where it is the graphs alone.

    Args:
        precision: ``fp32``, ``fp16`` or ``int8``.
        target: one of ``BUILD_TARGETS``.
        options: holds :data:`ENGINE_OPTIONS`; more may be in it.

    Raises:
        UsageError: options of an engine where none is built, or that cannot go together.
    """
    from ..trt_builder.engine_spec import EngineSpec

    if target == "auto":
        from ..trt_builder.compile import choose_target

        target = choose_target()
    if target in ("cpu", "onnxruntime", "openvino"):
        given = [name for name in ENGINE_OPTIONS if options[name] != _DEFAULTS.get(name, False)]
        if given:
            name = given[0]
            word = "compute-capability" if name == "capabilities" else name.replace("_", "-")
            raise UsageError(
                f"--{word} is for an engine, and the CPU runtime's graphs are built alone here.",
                "Give --target tensorrt on a machine with a GPU, or --target tensorrt-rtx.",
            )
        return None
    if options["fastest"]:
        _check_fastest(precision, target, no_timing=options["no_timing"])
    return EngineSpec(
        precision=precision,
        target=target,
        compute_capabilities=tuple(dict.fromkeys(options["capabilities"])),
        batch=options["batch_profile"],
        workspace_mb=options["workspace"],
        optimization_level=options["optimization_level"],
        timing_cache=options["timing_cache"],
        dla_core=options["dla"],
        gpu_fallback=options["gpu_fallback"],
        version_compatible=options["version_compatible"],
        hardware_compatible=options["hardware_compatible"],
        sparsity=options["sparsity"],
        refit=options["refit"],
    )


def _check_fastest(precision: str, target: str, *, no_timing: bool) -> None:
    """See that ``--fastest`` has two to choose from, and is told their times.

    Raises:
        UsageError: it has not.
    """
    if precision != "int8":
        raise UsageError("--fastest chooses between INT8 and FP16, and no INT8 is built.", "Give --int8 as well.")
    if target != "tensorrt":
        raise UsageError("--fastest needs the GPU to time engines on.", "Give --target tensorrt, or leave it out.")
    if no_timing:
        raise UsageError("--fastest goes by times, and --no-timing takes none.", "Give one of them.")
