"""What a bundle is built from: a checkpoint, or an FP32 graph where PyTorch is not at hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from ..engines.base import Engine
from ..engines.bundle import WEIGHTS_NAME
from ..engines.cpu import CpuEngine
from ..engines.machine.dependencies import require
from ..errors import UsageError
from ..graphs.observe import stretch_of
from .onnx_source import check_interface, graph_precision, read_onnx


@dataclass(frozen=True)
class Source:
    """An FP32 graph, and the engine that every other one is compared with.

    Args:
        model: FP32.
        network, options: what it is.
        input_size: (height, width) of the frames.
        stretch: of the images in them.
        batch: frames per call, None for any number.
        reference: what the reference is called.
        open_reference: opens it, with a number of threads.
        save_weights: into a bundle's folder, where there are any.
        told: what a person should know of how it was read: which of several networks in a checkpoint was taken, that a
            graph's opset was raised; empty for nothing.
    """

    model: onnx.ModelProto
    network: str
    options: dict[str, Any]
    input_size: tuple[int, int]
    stretch: float
    batch: int | None
    reference: str
    open_reference: Callable[[int], Engine]
    save_weights: Callable[[Path], None]
    told: str = ""


def open_source(
    path: Path,
    input_size: tuple[int, int] | None,
    stretch: float | None,
    batch: int | None,
    *,
    logits: bool,
    int8: bool = False,
) -> Source:
    """Export a checkpoint, or read an FP32 graph.

    Args:
        path: a checkpoint, or an ONNX file with frames in and labels out, which has its own size, stretch, batch and
            outputs.
        input_size: (height, width); None takes the checkpoint's.
        stretch: of the images; None takes the checkpoint's.
        batch: frames per call, None for any number.
        logits: give the graph a second output.
        int8: INT8 is to be made of it; an ONNX file is brought to what that needs.

    Raises:
        UsageError: no such file, or one that cannot be used.
        BuildError: the exporter refuses the network.
        MachineError: a checkpoint without PyTorch.
    """
    if path.suffix.lower() == ".onnx":
        return _of_graph(path, int8=int8)
    for package in ("torch", "safetensors", "onnxslim"):
        require(package)
    from ..engines.reference import PyTorchEngine
    from ..networks.checkpoint import load_checkpoint, save_checkpoint
    from .export import export_onnx

    checkpoint = load_checkpoint(path)
    network, size = checkpoint.network, input_size or checkpoint.input_size
    shapes = stretch or checkpoint.stretch
    return Source(
        model=export_onnx(network, size, shapes, batch=batch, logits=logits),
        network=network.kind,
        options=network.spec.to_dict(),
        input_size=size,
        stretch=shapes,
        batch=batch,
        reference="PyTorch",
        open_reference=lambda threads: PyTorchEngine(network, size, shapes, threads=threads),
        save_weights=lambda folder: save_checkpoint(
            network, folder / WEIGHTS_NAME, checkpoint.input_size, shapes, lossless=True
        ),
        told=checkpoint.told,
    )


def _of_graph(path: Path, *, int8: bool) -> Source:
    model = read_onnx(path)
    batch, input_size = check_interface(model, path)
    precision = graph_precision(model)
    if precision != "fp32":
        raise UsageError(
            f"{path} is {precision}: other precisions are made from an FP32 graph.",
            f"Give the FP32 graph, or --{precision} to take this one as it is.",
        )
    told = ""
    if int8:
        from .opset import opset_of, prepare_for_int8

        before = opset_of(model)
        model = prepare_for_int8(model, str(path))
        if opset_of(model) != before:
            told = f"Raised from opset {before} to {opset_of(model)}, with the same answers"
    return Source(
        model=model,
        network="onnx",
        options={"source": path.name, "producer": model.producer_name or "unknown"},
        input_size=input_size,
        stretch=stretch_of(model),
        batch=batch,
        reference="the FP32 graph",
        open_reference=lambda threads: CpuEngine(path, "fp32", threads=threads),
        save_weights=lambda folder: None,
        told=told,
    )
