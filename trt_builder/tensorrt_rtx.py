"""NVIDIA's own parser and builder where there is no GPU: a strict type checker for every graph.

What TensorRT-RTX refuses here, TensorRT 10 and 11 would refuse on the Jetson.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import onnx

from .engine_spec import COMPUTE_CAPABILITIES, EngineSpec
from .tensorrt_api import TensorRT

__all__ = ["COMPUTE_CAPABILITIES", "CompiledEngine", "compile_engine", "version"]


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
    return TensorRT.load("tensorrt-rtx").version


def compile_engine(model: onnx.ModelProto, compute_capability: str = "8.6") -> CompiledEngine:
    """Parse and build one engine, in this process and outside of any bundle.

    Raises:
        UsageError: a compute capability that cannot be built for.
        MachineError: TensorRT-RTX is not installed.
        BuildError: the parser refuses a node (named), or the builder gives no engine.
    """
    spec = EngineSpec(target="tensorrt-rtx", compute_capabilities=(compute_capability,))
    library = TensorRT.load("tensorrt-rtx")
    started = time.monotonic()
    built = library.build(model, spec, compute_capability)
    quantise = sum(layer.kind == "QUANTIZE" for layer in built.layers)
    seconds = time.monotonic() - started
    return CompiledEngine(built.content, compute_capability, library.version, len(built.layers), quantise, seconds)
