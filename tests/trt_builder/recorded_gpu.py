"""A Jetson that is none: its builder gives engines whose times were recorded, and the recording driver runs them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import onnx
import pytest

from trtparse.engines.machine.facts import Machine, Memory
from trtparse.engines.machine.gpu import Driver, Gpu
from trtparse.engines.machine.jetson import Jetson
from trtparse.errors import TrtparseError
from trtparse.tests.engines.recording import FakeTensorRT, RecordingCuda
from trtparse.trt_builder import build_process, compile, layer_times
from trtparse.trt_builder.engine_spec import EngineSpec
from trtparse.trt_builder.inspection import wanted_convolutions
from trtparse.trt_builder.tensorrt_api import Built, TensorRT

ORIN = Machine(
    processor="Cortex-A78AE",
    cores=6,
    memory=Memory(total=8 << 30, available=3 << 30, swap=0),
    system="Ubuntu 22.04",
    kernel="5.15.148-tegra",
    python="3.10",
    environment=None,
    container=False,
    gpus=(Gpu("Orin", "8.7", 8 << 30, True, 8),),
    nvidia_device=True,
    driver=Driver("540.4.0", "12.6", None),
    cuda="12.6",
    nvcc=None,
    jetson=Jetson("Jetson Orin Nano", "36.4.3", "6.2", "MAXN_SUPER", (), None),
)

Recorded = Callable[[onnx.ModelProto, EngineSpec], tuple[float, list[tuple[str, float]]]]
"""Milliseconds of a call of an engine, and of its layers, by their names."""

_WORDS = {"int8": "Int8", "fp16": "Half", "fp32": "Float"}


@dataclass
class RecordedGpu:
    """What was built, and what it takes.

    Args:
        recorded: what an engine takes.
        cuda: the driver's stand-in.
        built: graph and choices of each build, in order.
        refuses: why no engine comes of a build, by its precision.
        kernels: that the inspector tells of besides.
    """

    recorded: Recorded
    cuda: RecordingCuda = field(default_factory=lambda: RecordingCuda(integrated=True))
    built: list[tuple[onnx.ModelProto, EngineSpec]] = field(default_factory=list)
    refuses: dict[str, TrtparseError] = field(default_factory=dict)
    kernels: list[dict[str, Any]] = field(default_factory=list)

    def build(self, graph: Path, spec: EngineSpec, *_: Any, left: Path, **__: Any) -> Built:
        """In place of a build in a process of its own."""
        (left / build_process.LOG_LEFT).write_text(f"[I] {graph.name}\n")
        model = onnx.load(graph)
        if spec.precision in self.refuses:
            raise self.refuses[spec.precision]
        self.built.append((model, spec))
        milliseconds, layers = self.recorded(model, spec)
        shapes = {
            value.name: [length.dim_value or -1 for length in value.type.tensor_type.shape.dim]
            for value in (*model.graph.input, *model.graph.output)
        }
        count, height, width, _ = shapes["frames"]
        facts = {
            "input_size": (height, width),
            "count": count,
            "most": max(count, 1) if count != -1 else (spec.batch or (1, 1, 8))[2],
            "outputs": {
                value.name: (
                    onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name,
                    shapes[value.name][1:],
                )
                for value in model.graph.output
            },
            "milliseconds": milliseconds,
            "layers": layers,
            "inspector": json.dumps({"Layers": [*_told(model), *self.kernels], "Bindings": ["frames", "labels"]}),
        }
        return Built(json.dumps(facts).encode(), (), str(facts["inspector"]), b"measured")

    def graphs(self) -> list[str]:
        """The precisions that were built, in order."""
        return [spec.precision for _, spec in self.built]


def _told(model: onnx.ModelProto) -> list[dict[str, Any]]:
    """The convolutions, as the inspector lists them, in the precisions that the graph gives them."""
    return [
        {"Name": name, "LayerType": "CaskConvolution", "Inputs": [{"Format/Datatype": _WORDS[precision]}]}
        for name, precision in wanted_convolutions(model).items()
    ]


def install(monkeypatch: pytest.MonkeyPatch, declared: Callable[[str], Any], recorded: Recorded) -> RecordedGpu:
    """Have this machine seem to be a Jetson Orin Nano with TensorRT 10.3."""
    gpu = RecordedGpu(recorded)
    gpu.cuda.device = replace(gpu.cuda.device, name="Orin")
    library: Any = FakeTensorRT(gpu.cuda)
    library.__spec__ = ModuleSpec("tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt", library)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx_bindings", None)  # type: ignore[arg-type]
    for module in ("cuda", "engine"):
        monkeypatch.setattr(f"trtparse.engines.tensorrt.{module}.open_cuda", lambda: gpu.cuda)
    monkeypatch.setattr("trtparse.engines.tensorrt.engine.read_model", lambda probe: "Jetson Orin Nano")
    adapter = TensorRT(declared("tensorrt-10.3.0"), "tensorrt")
    monkeypatch.setattr(TensorRT, "load", classmethod(lambda cls, target: adapter))
    monkeypatch.setattr(compile, "build_in_process", gpu.build)
    for place in (compile, layer_times):
        monkeypatch.setattr(place, "read_machine", lambda *_: ORIN)
    return gpu
