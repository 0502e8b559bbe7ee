"""From a bundle's graph to TensorRT engines in the bundle: build, look inside, compare with PyTorch, write down.

Needs no PyTorch. An engine that is not what was asked for, or that answers otherwise than PyTorch did, never gets
into the bundle.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import onnx

from ..engines.bundle import Bundle, add_files
from ..engines.machine.facts import Machine, read_machine
from ..engines.machine.probe import Probe
from ..engines.manifest import FOLDER, EngineManifest
from ..errors import MachineError, UsageError
from . import timing_cache
from .build_process import build_in_process
from .engine_spec import COMPUTE_CAPABILITIES, DYNAMIC_BATCH, EngineSpec
from .inspection import check, inspect_engine, inspect_network, wanted_convolutions
from .parity import PARITY_NAME, compare, load_parity
from .tensorrt_api import Built, TensorRT

_MOST_WORKSPACE_MB = 4096
"""More never helped a network of this size; a layer's scratch space is tens of MB."""


def build_engines(
    bundle: Bundle,
    spec: EngineSpec,
    stage: Callable[[str], None] = lambda _: None,
    *,
    machine: Machine | None = None,
) -> tuple[Bundle, list[dict[str, Any]]]:
    """Compile a bundle's graph and put the engines into the bundle.

    Args:
        bundle: holds the graph of ``spec.precision``.
        spec: what to build; with TensorRT-RTX one engine for each compute capability.
        stage: told at the start of each step.
        machine: what this machine is; looked up by default.

    Returns:
        The bundle with its new files, and each engine's manifest, with ``notes`` where there is something to know.

    Raises:
        UsageError: the bundle lacks the graph, or the version of TensorRT what is asked for.
        MachineError: no TensorRT, or none of the GPU that it needs.
        BuildError: the parser or the builder refuses, the engine is not what was asked for, or does not agree with
            PyTorch's stored answers.
    """
    graph = bundle.graph(spec.precision)
    machine = machine or read_machine()
    library = TensorRT.load(spec.target)
    library.check(spec)
    _batch(bundle, spec)
    manifests = []
    for capability in _capabilities(spec, machine):
        bundle, facts = _add_engine(bundle, graph, spec, capability, library, machine, stage)
        manifests.append(facts)
    return bundle, manifests


def choose_target(machine: Machine | None = None) -> str:
    """``auto``: ``tensorrt`` where it can build, which takes an NVIDIA GPU and TensorRT, else ``cpu``."""
    machine = machine or read_machine()
    if machine.gpu is None:
        return "cpu"
    try:
        TensorRT.load("tensorrt")
    except MachineError:
        return "cpu"
    return "tensorrt"


def workspace_mb(machine: Machine, probe: Probe | None = None) -> int | None:
    """Half of the memory that is free where the engine will run, in MB; None where nothing tells."""
    free = None
    if machine.gpu is not None and not machine.gpu.integrated:
        answer = (probe or Probe()).run(("nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"))
        first = answer.output.strip().partition("\n")[0].strip()
        free = int(first) if first.isdecimal() else machine.gpu.memory >> 20
    elif machine.memory is not None:
        # A Jetson's GPU shares the processor's memory.
        free = machine.memory.available >> 20
    return None if not free else max(1, min(free // 2, _MOST_WORKSPACE_MB))


def _capabilities(spec: EngineSpec, machine: Machine) -> tuple[str, ...]:
    """The GPU generations to build for."""
    here = machine.gpu.compute_capability if machine.gpu is not None else ""
    if spec.target == "tensorrt-rtx":
        return spec.compute_capabilities or ((here,) if here in COMPUTE_CAPABILITIES else ("8.6",))
    if machine.gpu is None:
        reason = machine.driver.error if machine.driver is not None else None
        raise MachineError(
            "TensorRT builds on the GPU that the engine is for, and CUDA finds none here"
            + (f" ({reason})." if reason else "."),
            "Build on that machine; --target tensorrt-rtx needs no GPU. See what is missing: trtparse doctor",
        )
    return (here,)


def _add_engine(
    bundle: Bundle,
    graph: Path,
    spec: EngineSpec,
    capability: str,
    library: TensorRT,
    machine: Machine,
    stage: Callable[[str], None],
) -> tuple[Bundle, dict[str, Any]]:
    on_gpu = spec.target == "tensorrt"
    stage(f"Compiling {spec.precision} for compute capability {capability} with {library.name}")
    settled = spec
    if on_gpu and spec.workspace_mb is None:
        settled = replace(spec, workspace_mb=workspace_mb(machine))
    started = time.monotonic()
    built = _build(bundle, graph, settled, capability, library, stage)
    seconds = time.monotonic() - started
    model = onnx.load(graph)
    wanted = wanted_convolutions(model)
    if built.inspector is None:
        inspection = inspect_network(built.layers, wanted, spec.precision)
    else:
        inspection = inspect_engine(built.inspector, wanted, spec.precision)
    check(inspection, wanted, spec.precision)
    manifest = EngineManifest(
        engine=f"{FOLDER}/{_stem(spec, library, capability)}.engine",
        engine_sha256=hashlib.sha256(built.content).hexdigest(),
        bytes=len(built.content),
        target=spec.target,
        precision=spec.precision,
        graph=graph.name,
        graph_sha256=bundle.manifest.files[graph.name],
        input_size=bundle.manifest.input_size,
        stretch=bundle.manifest.stretch,
        batch=_batch(bundle, spec),
        logits=any(output.name == "logits" for output in model.graph.output),
        tensorrt=library.version,
        compute_capability=capability,
        version_compatible=spec.version_compatible,
        hardware_compatible=spec.hardware_compatible,
        rebuild=spec.words(),
        settings={**settled.to_dict(), "notes": list(built.notes)},
        inspection={**inspection.to_dict(), "layers_parsed": len(built.layers)},
        seconds=round(seconds, 3),
        built=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        **_machine_facts(machine, on_gpu),
    )
    if on_gpu:
        manifest = replace(manifest, parity=_parity(bundle, manifest, built, stage))
    bundle = add_files(bundle, {manifest.engine: built.content, _manifest_name(manifest): manifest.to_json().encode()})
    return bundle, asdict(manifest)


def _build(
    bundle: Bundle, graph: Path, spec: EngineSpec, capability: str, library: TensorRT, stage: Callable[[str], None]
) -> Built:
    """Build with the timing cache held, where the target has one."""
    if not library.times_tactics:
        return build_in_process(graph, spec, capability)
    path = spec.timing_cache or timing_cache.default_path(bundle.path, spec.target, library.version, capability)
    with ExitStack() as stack:
        stack.enter_context(timing_cache.locked(path, lambda: stage(f"Waiting for another build, which holds {path}")))
        built = build_in_process(graph, spec, timing_cache=timing_cache.read(path), inspect=True)
        if built.timing_cache:
            timing_cache.write(path, built.timing_cache)
    return built


def _parity(bundle: Bundle, manifest: EngineManifest, built: Built, stage: Callable[[str], None]) -> dict[str, Any]:
    """How well the engine answers as PyTorch did, before it gets into the bundle; empty without stored answers."""
    if PARITY_NAME not in bundle.manifest.files:
        return {}
    stage("Comparing with PyTorch's answers")
    from ..engines.tensorrt.engine import open_tensorrt

    frames, labels = load_parity(bundle.path / PARITY_NAME)
    with tempfile.TemporaryDirectory(prefix="trtparse-parity-") as name:
        files = {**bundle.manifest.files, manifest.engine: manifest.engine_sha256}
        staged = Bundle(Path(name), replace(bundle.manifest, files=files))
        path = staged.path / manifest.engine
        path.parent.mkdir()
        path.write_bytes(built.content)
        with open_tensorrt(staged, manifest) as engine:
            agreement = compare(engine, frames, labels)
    agreement.check(manifest.precision)
    return agreement.to_dict()


def _batch(bundle: Bundle, spec: EngineSpec) -> tuple[int, int, int]:
    fixed = bundle.manifest.batch
    if fixed is None:
        return spec.batch or DYNAMIC_BATCH
    if spec.batch not in (None, (fixed,) * 3):
        raise UsageError(
            f"The bundle's graphs take {fixed} frames per call, so another --batch-profile cannot be had.",
            "Build the bundle with --batch dynamic.",
        )
    return (fixed,) * 3


def _stem(spec: EngineSpec, library: TensorRT, capability: str) -> str:
    accelerator = "" if spec.dla_core is None else f"-dla{spec.dla_core}"
    return f"{spec.target}-{library.short_version}-sm{capability.replace('.', '')}-{spec.precision}{accelerator}"


def _manifest_name(manifest: EngineManifest) -> str:
    return manifest.engine.removesuffix(".engine") + ".json"


def _machine_facts(machine: Machine, on_gpu: bool) -> dict[str, Any]:
    """Of the machine that built; the GPU only where the engine was tuned on it."""
    driver, board = machine.driver, machine.jetson
    return {
        "gpu": machine.gpu.name if on_gpu and machine.gpu is not None else None,
        "cuda": machine.cuda or (driver.cuda if driver is not None else None),
        "driver": driver.version if driver is not None else None,
        "l4t": board.l4t if board is not None else None,
        "jetpack": board.jetpack if board is not None else None,
        "power_mode": board.power_mode if board is not None else None,
    }
