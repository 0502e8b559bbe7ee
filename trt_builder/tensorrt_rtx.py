"""Compile a graph with TensorRT-RTX: NVIDIA's own parser and builder, no GPU needed.

The graphs are strongly typed, so the engine has the precision that the graph has. The parser on the CPU is
also a strict type checker for every graph that goes to another TensorRT later.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import onnx

from ..engines.dependencies import require
from ..errors import BuildError, UsageError

COMPUTE_CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
"""What TensorRT-RTX 1.7 can build for without that GPU at hand."""


@dataclass(frozen=True)
class CompiledEngine:
    """A serialised engine and what is known of it.

    Args:
        content: the plain engine, no header in front.
        compute_capability: the GPU generation it is for.
        version: of TensorRT-RTX.
        layers: of the network as the parser read it.
        quantise_layers: Quantize layers among them: more than 0 is what makes it INT8.
        seconds: the build took.
    """

    content: bytes
    compute_capability: str
    version: str
    layers: int
    quantise_layers: int
    seconds: float


def version() -> str:
    """The version of the installed TensorRT-RTX."""
    return str(_bindings().__version__)


def compile_engine(model: onnx.ModelProto, compute_capability: str = "8.6", *, max_batch: int = 8) -> CompiledEngine:
    """Parse and build one engine.

    Args:
        model: typed graph; its precision becomes the engine's.
        compute_capability: one of ``COMPUTE_CAPABILITIES``.
        max_batch: upper end of the profile where the graph's batch is free.

    Raises:
        UsageError: a compute capability that cannot be built for.
        MachineError: TensorRT-RTX is not installed.
        BuildError: the parser refuses a node (named), or the builder gives no engine.
    """
    if compute_capability not in COMPUTE_CAPABILITIES:
        raise UsageError(
            f"TensorRT-RTX cannot build for compute capability {compute_capability}.",
            f"Choose from {', '.join(COMPUTE_CAPABILITIES)}.",
        )
    trt = _bindings()
    started = time.monotonic()
    logger = _logger(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model.SerializeToString()):
        errors = [parser.get_error(number) for number in range(parser.num_errors)]
        told = "; ".join(f"{error.node_operator()} {error.node_name()}: {error.desc()}".strip() for error in errors[:3])
        raise BuildError(f"NVIDIA's parser refuses the graph: {told or logger.told()}.")
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{compute_capability.replace('.', '')}"), 0)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    _add_profile(builder, config, network, max_batch)
    serialised = builder.build_serialized_network(network, config)
    if serialised is None:
        raise BuildError(f"TensorRT-RTX built no engine: {logger.told()}.")
    kinds = [network.get_layer(number).type for number in range(network.num_layers)]
    quantise = sum(kind == trt.LayerType.QUANTIZE for kind in kinds)
    content = bytes(serialised)
    return CompiledEngine(
        content, compute_capability, str(trt.__version__), len(kinds), quantise, time.monotonic() - started
    )


def _add_profile(builder: Any, config: Any, network: Any, max_batch: int) -> None:
    frames = network.get_input(0)
    shape = tuple(frames.shape)
    if shape[0] != -1:
        return
    profile = builder.create_optimization_profile()
    profile.set_shape(frames.name, (1, *shape[1:]), (1, *shape[1:]), (max_batch, *shape[1:]))
    config.add_optimization_profile(profile)


def _bindings() -> Any:
    return require("tensorrt_rtx_bindings")


def _logger(trt: Any) -> Any:
    """A logger that keeps the library's complaints for our own error instead of printing them."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.messages: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.ERROR:
                self.messages.append(message.strip())

        def told(self) -> str:
            return "; ".join(self.messages[-3:]) or "it gave no reason"

    return Logger()
