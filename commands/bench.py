"""``trtparse bench``: how fast a bundle's engines are here, against PyTorch and each other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import MachineError, TrtparseError, UsageError
from ..storage.json_types import ReadJson
from .options import DEFAULT_BUNDLE, Given, check_task, common_options, task_option

if TYPE_CHECKING:
    from ..engines import Bundle, Engine
    from ..engines.base import Frames
    from ..engines.bundle import Manifest
    from ..engines.latency import Speed
    from .terminal import Terminal

TARGETS = ("tensorrt", "cpu", "onnxruntime", "openvino", "pytorch")
PRECISIONS = ("fp32", "fp16", "bf16", "int8")
SLOWEST_LAYERS = 15
SCHEMA = 1


@dataclass(frozen=True)
class Candidate:
    """An engine to measure: its word in messages, and what opens it."""

    label: str
    open: Callable[[], Engine]


@click.command()
@click.argument("bundle", required=False, type=click.Path(path_type=Path), default=DEFAULT_BUNDLE)
@click.option(
    "--target",
    "targets",
    type=click.Choice(TARGETS),
    multiple=True,
    help="May be repeated; cpu is both CPU runtimes.  [default: all that run here]",
)
@click.option(
    "--precision",
    "precisions",
    type=click.Choice(PRECISIONS),
    multiple=True,
    help="May be repeated.  [default: all that the bundle has; on the CPU fp32 and int8]",
)
@click.option("--batch", type=click.IntRange(1, 256), help="Frames per call.  [default: the bundle's, or 1]")
@click.option("--seconds", type=click.FloatRange(0.01), default=3.0, show_default=True, help="Of each measurement.")
@click.option("--warm-up", type=click.FloatRange(0), default=1.0, show_default=True, help="Seconds before it.")
@click.option(
    "--slots", type=click.IntRange(1, 16), default=2, show_default=True, help="TensorRT's requests in flight."
)
@click.option("--cuda-graph", is_flag=True, help="Let TensorRT replay each request as one CUDA graph.")
@click.option(
    "--mapped/--copies",
    default=None,
    help="TensorRT works in the processor's memory, or on copies in the GPU's own.  [default: mapped on a Jetson]",
)
@click.option("--layers", is_flag=True, help="Time every layer as well, and sum them by kind; PyTorch's are not.")
@click.option(
    "--explorer",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write the layers and their times there, as NVIDIA's trt-engine-explorer reads them.",
)
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write the JSON document there as well."
)
@task_option
@common_options
def bench(
    bundle: Path,
    targets: tuple[str, ...],
    precisions: tuple[str, ...],
    batch: int | None,
    seconds: float,
    warm_up: float,
    slots: int,
    cuda_graph: bool,
    mapped: bool | None,
    layers: bool,
    explorer: Path | None,
    output: Path | None,
    threads: int,
    as_json: bool,
    debug: bool,
) -> None:
    """Time BUNDLE's engines: latency from host to host, throughput, and the GPU's part alone.

    Takes all that run here: TensorRT engines that fit this GPU, ONNX Runtime and OpenVINO on the CPU, and PyTorch,
    eager, as it comes and with channels last. Times are of whole calls: frames in, label maps out.
    """
    from ..engines import open_bundle
    from ..engines.machine.clocks import read_clocks
    from ..engines.machine.facts import machine_facts, read_machine
    from ..engines.machine.power import open_meter
    from ..storage.files import check_output_file, check_output_folder, replace_bytes
    from .terminal import Terminal

    if output is not None:
        check_output_file(output)
    if explorer is not None:
        check_output_folder(explorer)
    skipped: list[tuple[str, str]] = []
    with Terminal(as_json=as_json) as terminal:
        opened = open_bundle(bundle)
        check_task(opened)
        count = _batch(opened, batch)
        frames = _frames(opened.manifest, count)
        machine = read_machine()
        gpu = machine.gpu is not None
        # What is timed is the GPU, so waiting for it spins.
        tensorrt = {"slots": slots, "cuda_graph": cuda_graph, "mapped": mapped, "spin": True}
        candidates = list(_candidates(opened, targets, precisions, threads, tensorrt, gpu=gpu))
        bus = machine.gpu.bus if machine.gpu is not None else ""
        before = read_clocks(bus=bus)
        speeds = list(
            _measured(
                terminal,
                candidates,
                frames,
                skipped,
                strict=bool(targets),
                seconds=seconds,
                warm_up=warm_up,
                explorer=explorer,
                layers=layers or explorer is not None,
                meter=open_meter(bus) if gpu else None,
            )
        )
        after = read_clocks(bus=bus)
    if not speeds:
        told = "; ".join(f"{label}: {reason}" for label, reason in skipped)
        raise UsageError(f"Nothing of {bundle} runs here. {told}".strip(), "See what is missing: trtparse doctor")
    document = {
        "schema": SCHEMA,
        "bundle": str(opened.path),
        "digest": opened.digest,
        "input_size": list(opened.manifest.input_size),
        "batch": count,
        "seconds": seconds,
        "warm_up_seconds": warm_up,
        "machine": machine_facts(machine),
        "clocks_before": before,
        "clocks_after": after,
        "engines": [speed.to_dict() for _, speed in speeds],
        "skipped": [{"engine": label, "reason": reason} for label, reason in skipped],
    }
    if output is not None:
        replace_bytes(output, (json.dumps(document, indent=2) + "\n").encode())
    if as_json:
        terminal.result(document)
    else:
        _show(terminal, document, speeds, skipped)


def _batch(bundle: Bundle, asked: int | None) -> int:
    """Frames per call."""
    fixed = bundle.manifest.batch
    if asked is not None and fixed not in (None, asked):
        raise UsageError(
            f"The bundle's graphs take {fixed} frames per call, not {asked}.",
            f"Leave --batch out, or build a bundle with --batch {asked} or --batch dynamic.",
        )
    return asked or fixed or 1


def _frames(manifest: Manifest, count: int) -> Frames:
    """A rendered person; times hang on the size, not on what is seen."""
    import numpy as np

    from ..data.letterbox import Letterbox
    from ..data.synthetic import SyntheticPeople

    image = SyntheticPeople(1)[0].image
    frame = Letterbox.of((image.shape[0], image.shape[1]), manifest.framing).apply(image)
    return np.repeat(frame[None], count, axis=0)


def _candidates(
    bundle: Bundle,
    targets: Sequence[str],
    precisions: Sequence[str],
    threads: int,
    tensorrt: Given,
    *,
    gpu: bool,
) -> Iterator[Candidate]:
    """Everything that was asked for, PyTorch first: it is what the others are set against.

    Args:
        tensorrt: how its engines are opened.
        gpu: there is one.
    """
    from ..engines import open_engine
    from ..engines.manifest import engine_names
    from ..tasks.open import task_of

    wanted, alike = targets or TARGETS, task_of(bundle.manifest).agreement
    if "pytorch" in wanted and (targets or bundle.weights.is_file()):
        # In fp16, PyTorch needs a GPU.
        for precision in precisions or (("fp32", "fp16") if gpu else ("fp32",)):
            if precision in ("int8", "bf16"):
                continue
            for channels_last in (False, True):
                label = f"PyTorch {precision}{' channels_last' if channels_last else ''}"
                yield Candidate(label, lambda p=precision, c=channels_last: _pytorch(bundle, p, c, threads))  # type: ignore[misc]
    for target, runtime in _cpu_runtimes(targets):
        for precision in precisions or [name for name in bundle.manifest.precisions if name != "fp16"]:
            if precision == "bf16" and target == "onnxruntime" and target not in targets:
                continue
            for between in _betweens() if (target, precision) == ("openvino", "int8") else (None,):
                told = f", {between} between" if between else ""
                yield Candidate(
                    f"{runtime} {precision}{told}",
                    lambda t=target, p=precision, b=between: open_engine(  # type: ignore[misc]
                        bundle, t, p, threads=threads, between=b, alike=alike
                    ),
                )
    if "tensorrt" in wanted and (targets or engine_names(bundle)):
        for precision in precisions or _engine_precisions(bundle):
            yield Candidate(
                f"TensorRT {precision}",
                lambda p=precision: open_engine(bundle, "tensorrt", p, **tensorrt),  # type: ignore[misc]
            )


def _cpu_runtimes(targets: Sequence[str]) -> list[tuple[str, str]]:
    """Those that were asked for by name, or for ``cpu`` and by default those that are installed."""
    from importlib.util import find_spec

    from ..engines.choice import RUNTIMES

    every = not targets or "cpu" in targets
    return [(target, name) for target, name in RUNTIMES.items() if target in targets or (every and find_spec(target))]


def _betweens() -> Sequence[str | None]:
    """What OpenVINO can have between INT8 layers; where it is not there, opening it says so."""
    from ..engines.openvino import betweens, capabilities_of, load_openvino

    try:
        return betweens(capabilities_of(load_openvino().Core()))
    except MachineError:
        return (None,)


def _engine_precisions(bundle: Bundle) -> list[str]:
    """Of the bundle's engines; all three where their manifests cannot be read, so that each one says why."""
    from ..engines.manifest import engine_manifests

    try:
        found = {manifest.precision for manifest in engine_manifests(bundle)}
    except UsageError:
        found = set()
    return [name for name in PRECISIONS if name in found or not found]


def _pytorch(bundle: Bundle, precision: str, channels_last: bool, threads: int) -> Engine:
    from ..engines.machine.dependencies import require

    require("torch")
    require("safetensors")
    from ..engines.reference import PyTorchEngine

    return PyTorchEngine.from_checkpoint(
        bundle.weights,
        bundle.manifest.input_size,
        threads=threads,
        precision=precision,
        channels_last=channels_last,
    )


def _measured(
    terminal: Terminal,
    candidates: Sequence[Candidate],
    frames: Frames,
    skipped: list[tuple[str, str]],
    *,
    strict: bool,
    explorer: Path | None,
    **options: Any,
) -> Iterator[tuple[str, Speed]]:
    """Each engine alone on the machine, one after the other.

    Args:
        skipped: takes those that do not run here, and why.
        strict: they were asked for by name: one that does not run is an error, unless another precision does.
        explorer: folder for TensorRT's layers.
    """
    from ..engines.latency import measure

    done, last = 0, None
    for candidate in candidates:
        terminal.stage(f"Measuring {candidate.label}")
        try:
            with candidate.open() as engine:
                speed = measure(engine, frames, progress=terminal.progress, **options)
                if explorer is not None and speed.layers:
                    _explore(explorer, engine, frames, speed)
        except TrtparseError as error:
            skipped.append((candidate.label, error.message))
            last = error
            continue
        done += 1
        yield candidate.label, speed
    if strict and not done and last is not None:
        raise last


def _explore(folder: Path, engine: Engine, frames: Frames, speed: Speed) -> None:
    from ..engines.tensorrt.engine import TensorRTEngine
    from ..engines.tensorrt.explorer import write_explorer

    if isinstance(engine, TensorRTEngine):
        write_explorer(folder, engine, frames, speed.layers)


def _show(
    terminal: Terminal,
    document: ReadJson,
    speeds: Sequence[tuple[str, Speed]],
    skipped: Sequence[tuple[str, str]],
) -> None:
    from rich.table import Table

    from .tables import print_table

    base = next((speed for _, speed in speeds if speed.target == "pytorch" and speed.precision == "fp32"), None)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for position, column in enumerate(("ms per call", "p50", "p90", "p99", "alone", "frames/s", "× PyTorch")):
        words = position == 0
        table.add_column(column, justify="left" if words else "right", no_wrap=not words, overflow="fold")
    for label, speed in speeds:
        single, alone = speed.host_to_host, speed.engine_alone
        table.add_row(
            label,
            *map(_short, (single.p50, single.p90, single.p99)),
            "" if alone is None else _short(alone.p50),
            f"{speed.frames_per_second:.1f}",
            "" if base is None else f"{base.host_to_host.p50 / single.p50:.2f}",
        )
    out = terminal.out
    print_table(out, table)
    for label, speed in speeds:
        if speed.overhead is not None:
            flying = f"with {speed.in_flight} requests in flight"
            out.print(f"{label}: {flying}, a call takes {speed.overhead:.2f} × the engine alone", markup=False)
        if speed.power is not None:
            power = speed.power
            held = f"; clocks held down by {', '.join(power.held_down_by)}" if power.held_down_by else ""
            out.print(
                f"{label}: {power.watts:.1f} W, {speed.millijoules:.1f} mJ a frame ({power.source}, "
                f"{power.samples} samples, up to {power.highest:.1f} W){held}",
                markup=False,
            )
        if speed.layers:
            _show_layers(terminal, label, speed)
    for label, reason in skipped:
        out.print(f"Not measured: {label}: {reason}", markup=False)
    height, width = document["input_size"]
    out.print(
        f"{document['batch']} × {height}×{width} a call, {document['warm_up_seconds']:g} s of warm-up", style="dim"
    )
    if any(speed.engine_alone is not None for _, speed in speeds):
        out.print("alone: on the GPU, by its own clock, without copies", style="dim")
    for _, speed in speeds:
        out.print(speed.engine, markup=False, style="dim")
    told = {**document["machine"], **document["clocks_after"]}
    out.print(", ".join(f"{name} {value}" for name, value in told.items()), markup=False, style="dim")


def _short(milliseconds: float) -> str:
    return f"{milliseconds:.2f}" if milliseconds < 100 else f"{milliseconds:.0f}"


def _show_layers(terminal: Terminal, label: str, speed: Speed) -> None:
    total = sum(layer.milliseconds for layer in speed.layers)
    kinds: dict[str, list[float]] = {}
    for layer in speed.layers:
        if layer.kind:
            kinds.setdefault(layer.kind, []).append(layer.milliseconds)
    out = terminal.out
    out.print(f"{label}: {len(speed.layers)} layers, {total:.2f} ms together", markup=False)
    for kind, times in sorted(kinds.items(), key=lambda entry: -sum(entry[1])):
        out.print(f"  {sum(times):7.3f} ms  {_share(sum(times), total)}  {len(times):3} × {kind}", markup=False)
    out.print("The slowest:")
    for layer in sorted(speed.layers, key=lambda layer: -layer.milliseconds)[:SLOWEST_LAYERS]:
        told = f"  {layer.milliseconds:7.3f} ms  {_share(layer.milliseconds, total)}  {layer.name}"
        out.print(f"{told} ({layer.kind})" if layer.kind else told, markup=False)


def _share(milliseconds: float, total: float) -> str:
    return f"{100 * milliseconds / total if total else 0.0:4.1f} %"
