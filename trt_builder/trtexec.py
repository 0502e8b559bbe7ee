"""The line for NVIDIA's ``trtexec`` that builds what we built: to compare with, or to report a fault of TensorRT's."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from .engine_spec import EngineSpec


def trtexec_line(
    graph: Path, spec: EngineSpec, *, typed: bool, batch: tuple[int, int, int] | None, size: tuple[int, int]
) -> str:
    """The line to type.

    Args:
        graph: ONNX file.
        spec: of the engine, its workspace settled.
        typed: precision is in the graph alone; where it is in flags, our builder gives TensorRT another form of the
            graph, and the line is near to that and not the same.
        batch: the profile, where the graph's batch is free.
        size: (height, width) of the frames.
    """
    shapes = () if batch is None else _shapes(batch, size)
    files = (f"--onnx={graph}", f"--saveEngine={graph.stem}.engine")
    return shlex.join(["trtexec", *files, *_flags(spec, typed=typed), *shapes])


def _flags(spec: EngineSpec, *, typed: bool) -> Iterator[str]:
    if typed:
        yield "--stronglyTyped"
    elif spec.precision != "fp32":
        yield from ("--fp16", "--int8") if spec.precision == "int8" else ("--fp16",)
    if spec.precision == "fp32":
        yield "--noTF32"
    yield "--profilingVerbosity=detailed"
    yield f"--builderOptimizationLevel={spec.optimization_level}"
    if spec.workspace_mb is not None:
        yield f"--memPoolSize=workspace:{spec.workspace_mb}M"
    if spec.dla_core is not None:
        yield from (f"--useDLACore={spec.dla_core}", "--allowGPUFallback")
    if spec.version_compatible:
        yield "--versionCompatible"
    if spec.hardware_compatible:
        yield "--hardwareCompatibilityLevel=ampere+"
    if spec.sparsity:
        yield "--sparsity=enable"
    if spec.refit:
        yield "--refit"


def _shapes(batch: tuple[int, int, int], size: tuple[int, int]) -> Iterator[str]:
    height, width = size
    for word, count in zip(("min", "opt", "max"), batch):
        yield f"--{word}Shapes=frames:{count}x{height}x{width}x3"
