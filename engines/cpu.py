"""ONNX Runtime, the CPU runtime that is always there: it runs a bundle's graphs where there is no GPU."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from ..errors import UsageError
from ..graphs.index import fresh_graph_copy
from ..graphs.onnxruntime_form import lean
from ..graphs.raw import OLDER_RAW_OUTPUT, RAW_PROPERTY
from ..graphs.simulated import simulated_graph
from .base import Arrays, Engine, Frames, LayerTime, OutputSpec, Raw
from .machine.facts import cores

_DTYPES = {"float": "float32", "double": "float64"}
"""What the runtime calls otherwise than numpy."""

EXACT_INT8 = ("session.x64quantprecision", "1")
"""A session's setting. On x86 without VNNI the runtime's kernels for INT8 add two products in 16 bits, which overflow;
with it they take others there, that do not. Elsewhere it changes nothing. With AVX2 alone 98.35 % of the pixels were as
in FP32 without it and are 99.41 % with it, the arithmetic's 99.40, for 1.33 times the time (measured, the student, one
thread; FP32 takes 1.8 times)."""


class CpuEngine(Engine):
    """A graph on ONNX Runtime.

    Args:
        graph: ONNX file, or what is in it: ``frames`` (N, H, W, 3) uint8 to any outputs.
        precision: what the graph is.
        threads: of the runtime; 0 for one per core.
        streams: requests that run side by side and share the threads: more of them per second, as threads that work
            on one request wait for each other, and each takes longer.
        simulate: run Q/DQ as the arithmetic it stands for, in float: what TensorRT computes from its INT8
            graph, slowly. Without it the runtime would fuse that graph into kernels of its own, whose labels
            agree with PyTorch's on 90 % of the pixels instead of 99 % (measured, ONNX Runtime 1.31).
    """

    def __init__(
        self,
        graph: Path | onnx.ModelProto,
        precision: str,
        *,
        threads: int = 0,
        streams: int = 1,
        simulate: bool = False,
    ) -> None:
        all_threads = threads or cores()
        told = graph if isinstance(graph, Path) else f"the graph {graph.graph.name}"
        streams = min(streams, all_threads)
        super().__init__(streams)
        # Of a request that waits for its turn one more is wanted, so that no thread waits for the next.
        self.in_flight = streams + 1
        options = onnxruntime.SessionOptions()
        # Each stream is a thread that runs requests; those beyond them help whoever needs it.
        options.intra_op_num_threads = threads if streams == 1 else all_threads - streams + 1
        if streams > 1:
            # Threads that wait would spin, and take the cores from whoever reads and draws meanwhile.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Its warnings speak of the graph's insides; what concerns a user is raised.
        options.log_severity_level = 3
        options.add_session_config_entry(*EXACT_INT8)
        if simulate:
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        self._graph, self._simulate, self._options = graph, simulate, options
        self.precision = precision
        try:
            self._session = self._open()
        except Exception as error:
            # The runtime's exceptions and protobuf's have no common base but Exception.
            self._worker.shutdown()
            raise UsageError(
                f"ONNX Runtime cannot load {told}: {error}", "Build the bundle again, or update onnxruntime."
            ) from error
        frames = self._session.get_inputs()[0]
        if frames.name != "frames" or frames.type != "tensor(uint8)" or len(frames.shape) != 4:
            self._worker.shutdown()
            raise UsageError(
                f"{told} takes {frames.name} {frames.type} {frames.shape}, not frames (N, H, W, 3) uint8.",
                "Use a graph that trtparse build wrote.",
            )
        count, height, width, _ = frames.shape
        self.input_size = (int(height), int(width))
        self.batch = count if isinstance(count, int) else None
        raw = self._session.get_modelmeta().custom_metadata_map.get(RAW_PROPERTY, "") or OLDER_RAW_OUTPUT
        specs = [_spec(output) for output in self._session.get_outputs()]
        self.outputs = tuple(spec for spec in specs if spec.name != raw)
        self._names = [spec.name for spec in self.outputs]
        self._raw = next((spec.name for spec in specs if spec.name == raw), "")
        self.gives_raw = bool(self._raw)
        self.target = "simulated" if simulate else "onnxruntime"
        told = f"{threads} threads" if threads > 1 else "1 thread" if threads else "all cores"
        kind = "TensorRT's graph simulated by " if simulate else ""
        self.name = f"{kind}ONNX Runtime {onnxruntime.__version__}, {precision}, {told}"

    def raw(self, frames: Frames) -> Raw:
        if not self.gives_raw:
            return super().raw(frames)
        self._check(frames)
        raw: Raw = self._session.run([self._raw], {"frames": frames})[0]
        return np.asarray(raw)

    def both(self, frames: Frames) -> tuple[Arrays, Raw]:
        if not self.gives_raw:
            return super().both(frames)
        self._check(frames)
        *arrays, raw = map(np.asarray, self._session.run([*self._names, self._raw], {"frames": frames}))
        return tuple(arrays), raw

    def layer_times(self, frames: Frames, calls: int) -> list[LayerTime]:
        """The times of every node, in the order in which they run; measuring makes each a little slower."""
        self._check(frames)
        with tempfile.TemporaryDirectory() as folder:
            self._options.enable_profiling = True
            self._options.profile_file_prefix = f"{folder}/profile"
            try:
                session = self._open()
            finally:
                self._options.enable_profiling = False
            for _ in range(calls + 1):
                session.run(self._names, {"frames": frames})
            events = json.loads(Path(session.end_profiling()).read_bytes())
        found: dict[tuple[str, str], list[float]] = {}
        for event in events:
            name = str(event.get("name", ""))
            if event.get("cat") == "Node" and name.endswith("_kernel_time"):
                key = (name.removesuffix("_kernel_time"), str(event["args"]["op_name"]))
                found.setdefault(key, []).append(event["dur"] / 1e3)
        # The first call prepares the kernels.
        return [LayerTime.of(name, times[1:], kind) for (name, kind), times in found.items()]

    def _open(self) -> Any:
        source: str | bytes
        if self._simulate or self.precision == "int8":
            read = onnx.load(self._graph) if isinstance(self._graph, Path) else fresh_graph_copy(self._graph)
            if self._simulate:
                read = simulated_graph(read)
            else:
                lean(read)
            source = read.SerializeToString()
        else:
            source = str(self._graph) if isinstance(self._graph, Path) else self._graph.SerializeToString()
        return onnxruntime.InferenceSession(source, self._options, providers=["CPUExecutionProvider"])

    def _run(self, frames: Frames) -> Arrays:
        return tuple(map(np.asarray, self._session.run(self._names, {"frames": frames})))

    def _release(self) -> None:
        del self._session


def _spec(output: Any) -> OutputSpec:
    """What the runtime says of an output."""
    dtype = output.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(length if isinstance(length, int) else None for length in output.shape[1:])
    return OutputSpec(output.name, _DTYPES.get(dtype, dtype), shape)
