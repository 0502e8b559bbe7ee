"""Open an engine: from what a bundle holds and what this machine has, to one that runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import MachineError, TrtparseError, UsageError
from .base import Engine
from .bundle import GRAPHS, WEIGHTS_NAME, Bundle, open_bundle
from .machine.dependencies import require
from .manifest import EngineManifest, check_fits, engine_manifests, engine_names, mismatches

if TYPE_CHECKING:
    from .choice import Alike, Choice

TARGETS = ("auto", "tensorrt", "cpu", "onnxruntime", "openvino", "simulated", "pytorch")
"""``tensorrt``: an engine of the bundle, TensorRT-RTX's included. ``cpu``: the faster of ONNX Runtime and OpenVINO.
``simulated``: TensorRT's INT8 graph in float arithmetic. ``pytorch``: the reference."""

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
"""``bf16`` is the FP32 graph computed in BF16, by OpenVINO on a processor that has it."""

_WITHOUT_BF16 = {
    "tensorrt": "A TensorRT engine of a bundle",
    "simulated": "TensorRT, simulated,",
    "onnxruntime": "ONNX Runtime",
}

Rebuild = Callable[[Bundle, str, EngineManifest | None], Bundle]
"""Builds a TensorRT engine of a precision for this machine, as the manifest of one that does not fit has it (None
where there was none), and gives the bundle with it in."""


def open_engine(
    bundle: Bundle | Path | str,
    target: str = "auto",
    precision: str | None = None,
    *,
    threads: int = 0,
    streams: int = 1,
    between: str | None = None,
    slots: int = 2,
    cuda_graph: bool = False,
    mapped: bool | None = None,
    spin: bool | None = None,
    rebuild: Rebuild | None = None,
    alike: Alike | None = None,
) -> Engine:
    """Open an engine of a bundle; its ``name`` says what was chosen.

    Args:
        bundle: an opened bundle, or its folder.
        target: one of ``TARGETS``; ``auto`` takes a TensorRT engine of the bundle that fits this machine, else
            ``cpu``, which measures once on a machine which runtime is fastest where OpenVINO is installed.
        precision: one of ``PRECISIONS``; by default the lowest that there is.
        threads: of the CPU runtime; 0 for one per core.
        streams: requests that the CPU runtime works on side by side, sharing its threads.
        between: of INT8 on OpenVINO, what it computes with between the layers: ``f32``, ``bf16`` or ``f16``; by default
            what was measured to be faster.
        slots: requests that TensorRT has in flight.
        cuda_graph: let TensorRT replay each request as one recorded graph.
        mapped, spin: see :class:`~trtparse.engines.tensorrt.engine.TensorRTEngine`.
        rebuild: called where this machine could run TensorRT and the bundle has no engine that fits it.
        alike: what two runtimes agree on, where ``target`` leaves the choice of one; None counts numbers.

    Raises:
        UsageError: an unknown target or precision, or one that the bundle was not built with.
        MachineError: the package or the GPU that the target needs is missing, or the engine was built for another
            machine; the hint is the line that builds it again.
    """
    if not isinstance(bundle, Bundle):
        bundle = open_bundle(bundle)
    if target not in TARGETS:
        raise UsageError(f"Unknown target {target!r}.", f"Choose one of {', '.join(TARGETS)}.")
    if between is not None and target != "openvino":
        raise UsageError(
            f"What is between INT8 layers ({between}) is OpenVINO's to choose.", "Take the target openvino."
        )
    if target == "pytorch":
        if precision not in (None, "fp32"):
            raise UsageError(f"The PyTorch reference runs in fp32, not {precision}.", "Leave --precision out.")
        if WEIGHTS_NAME not in bundle.manifest.files:
            raise UsageError(
                f"The bundle {bundle.path} holds no weights for PyTorch: it was built from a graph.",
                "Compare with its FP32 graph: --reference fp32.",
            )
        require("torch")
        from .reference import PyTorchEngine

        return PyTorchEngine.from_checkpoint(bundle.weights, bundle.manifest.input_size, threads=threads)
    if precision not in (None, *PRECISIONS):
        raise UsageError(f"Unknown precision {precision!r}.", f"Choose one of {', '.join(PRECISIONS)}.")
    if precision == "bf16" and target in _WITHOUT_BF16:
        raise UsageError(f"{_WITHOUT_BF16[target]} does not compute in BF16.", "OpenVINO does: --target openvino")
    note = ""
    if target == "tensorrt" or (target == "auto" and could_run_tensorrt(bundle, rebuild)):
        from .tensorrt.engine import open_tensorrt

        try:
            bundle, manifest = _fitting(bundle, precision, rebuild)
        except TrtparseError:
            if target == "tensorrt" or rebuild is not None:
                raise
            note = " (no TensorRT engine of the bundle fits this machine)"
        else:
            return open_tensorrt(bundle, manifest, slots=slots, cuda_graph=cuda_graph, mapped=mapped, spin=spin)
    if precision is None:
        precision = "int8" if "int8" in bundle.manifest.precisions else "fp32"
    engine = _open_on_cpu(bundle, target, precision, threads=threads, streams=streams, between=between, alike=alike)
    engine.name += note
    return engine


def _open_on_cpu(
    bundle: Bundle,
    target: str,
    precision: str,
    *,
    threads: int,
    streams: int,
    between: str | None,
    alike: Alike | None,
) -> Engine:
    from .cpu import CpuEngine

    name = graph_of(target, precision)
    graph = bundle.graph(name)
    remark = ""
    if target == "openvino" or (target == "cpu" and precision == "bf16"):
        between = _right_on_openvino(bundle, precision, threads, between, alike)
        target = "openvino"
    elif target in ("auto", "cpu"):
        found = fastest_on_cpu(bundle, precision, threads, alike)
        target, between, remark = found.runtime, found.between, found.remark
    if target == "openvino":
        from .model_cache import ModelCache
        from .openvino import OpenVinoEngine

        cache = ModelCache.beside(bundle.path, bundle.manifest.files[GRAPHS[name]])
        engine: Engine = OpenVinoEngine(
            graph, precision, threads=threads, streams=streams, between=between, cache=cache
        )
    else:
        engine = CpuEngine(graph, precision, threads=threads, streams=streams, simulate=target == "simulated")
    engine.name += remark
    return engine


def fastest_on_cpu(bundle: Bundle, precision: str, threads: int, alike: Alike | None = None) -> Choice:
    """Which CPU runtime, and in which arithmetic; see :mod:`.choice`."""
    from . import choice

    return choice.choose(bundle, graph_of("cpu", precision), precision, threads, alike)


def _right_on_openvino(
    bundle: Bundle, precision: str, threads: int, between: str | None, alike: Alike | None
) -> str | None:
    """What OpenVINO is to have between INT8 layers: what was asked for, or the faster one that gives what it should.

    Raises:
        MachineError: it is not there.
        UsageError: it cannot run the graph, or gives something else than ONNX Runtime.
    """
    from . import choice
    from .openvino import load_openvino

    load_openvino()
    found = fastest_on_cpu(bundle, precision, threads, alike)
    asked = "openvino" if between is None else f"openvino-{between}"
    reasons, way = found.reasons(asked), found.fastest(asked)
    if reasons and not way:
        raise UsageError(f"{'; '.join(reasons)}.", "Run it on ONNX Runtime: --target onnxruntime")
    return between if between is not None else choice.between_of(way)


def graph_of(target: str, precision: str) -> str:
    """The graph of a bundle that a CPU runtime runs: ``fp32``, ``fp16``, ``int8`` or ``int8-cpu``."""
    if precision == "int8" and target != "simulated":
        return "int8-cpu"
    return "fp32" if precision == "bf16" else precision


def could_run_tensorrt(bundle: Bundle, rebuild: Rebuild | None = None) -> bool:
    """Whether this machine has a GPU and TensorRT; not asked where the bundle has no engine that they could run."""
    if rebuild is None and not engine_names(bundle):
        return False
    from .tensorrt.cuda import open_cuda
    from .tensorrt.engine import LIBRARIES

    try:
        open_cuda()
    except MachineError:
        return False
    return any(_is_there(module) for module in LIBRARIES.values())


def _is_there(module: str) -> bool:
    try:
        require(module)
    except MachineError:
        return False
    return True


def _fitting(bundle: Bundle, precision: str | None, rebuild: Rebuild | None) -> tuple[Bundle, EngineManifest]:
    """An engine that this machine can run, built where need be and allowed."""
    manifest, error = _choose(bundle, precision)
    if error is not None and rebuild is not None:
        wanted = precision or ("int8" if "int8" in bundle.manifest.precisions else "fp16")
        bundle = rebuild(bundle, manifest.precision if manifest is not None else wanted, manifest)
        manifest, error = _choose(bundle, precision)
    if error is not None:
        raise error
    assert manifest is not None
    return bundle, manifest


def _choose(bundle: Bundle, precision: str | None) -> tuple[EngineManifest | None, TrtparseError | None]:
    """The engine of the lowest precision that fits; where none does, the first, and why not.

    Raises:
        MachineError: no GPU, or no TensorRT.
    """
    from .tensorrt.cuda import open_cuda
    from .tensorrt.engine import LIBRARIES, this_runtime

    cuda = open_cuda()
    try:
        manifests = engine_manifests(bundle, precision)
    except UsageError as error:
        return None, error
    if not manifests:
        kind = f"{precision.upper()} engine" if precision else "engine"
        words = f"--{precision or 'int8'} --target tensorrt"
        return None, UsageError(
            f"The bundle {bundle.path} has no TensorRT {kind}.", f"Build it: trtparse build {bundle.path} {words}"
        )
    installed = {target for target, module in LIBRARIES.items() if _is_there(module)}
    if not installed & {manifest.target for manifest in manifests}:
        require(LIBRARIES[manifests[0].target])
    candidates = [manifest for manifest in manifests if manifest.target in installed]
    for manifest in candidates:
        if not mismatches(manifest, this_runtime(manifest.target, cuda)) and manifest.is_of(bundle):
            return manifest, None
    first = candidates[0]
    try:
        check_fits(bundle, first, this_runtime(first.target, cuda))
    except TrtparseError as error:
        return first, error
    raise AssertionError("an engine that fits was not chosen")
