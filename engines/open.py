"""Open an engine: from what a bundle holds and what this machine has, to one that runs."""

from __future__ import annotations

from pathlib import Path

from ..errors import UsageError
from .base import Engine
from .bundle import Bundle, open_bundle
from .dependencies import require

TARGETS = ("auto", "cpu", "simulated", "pytorch")
"""``cpu``: ONNX Runtime. ``simulated``: TensorRT's INT8 graph in float arithmetic. ``pytorch``: the reference."""


def open_engine(
    bundle: Bundle | Path, target: str = "auto", precision: str | None = None, *, threads: int = 0
) -> Engine:
    """Open an engine of a bundle; its ``name`` says what was chosen.

    Args:
        bundle: an opened bundle, or its folder.
        target: one of ``TARGETS``; ``auto`` takes the CPU runtime.
        precision: ``fp32``, ``fp16`` or ``int8``; by default the bundle's INT8 where it has it, else FP32.
        threads: of the CPU runtime; 0 for one per core.

    Raises:
        UsageError: an unknown target or precision, or one that the bundle was not built with.
        MachineError: the package that the target needs is not installed.
    """
    if isinstance(bundle, Path):
        bundle = open_bundle(bundle)
    if target not in TARGETS:
        raise UsageError(f"Unknown target {target!r}.", f"Choose one of {', '.join(TARGETS)}.")
    if target == "pytorch":
        if precision not in (None, "fp32"):
            raise UsageError(f"The PyTorch reference runs in fp32, not {precision}.", "Leave --precision out.")
        require("torch")
        from .reference import PyTorchEngine

        return PyTorchEngine.from_checkpoint(bundle.weights, bundle.manifest.input_size, threads=threads)
    if precision is None:
        precision = "int8" if "int8" in bundle.manifest.precisions else "fp32"
    if precision not in ("fp32", "fp16", "int8"):
        raise UsageError(f"Unknown precision {precision!r}.", "Choose fp32, fp16 or int8.")
    from .cpu import CpuEngine

    simulate = target == "simulated"
    graph = "int8-cpu" if precision == "int8" and not simulate else precision
    return CpuEngine(bundle.graph(graph), precision, threads=threads, simulate=simulate)
