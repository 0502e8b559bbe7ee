"""TensorRT as an engine: a ring of slots, each with a stream, an execution context and buffers of its own.

While the GPU works on one slot's frames, the next slot's are copied in and what came of the last one's out. What a
request needs is allocated when the engine is opened; a request then copies, enqueues and records one event, and
collecting it waits for that event alone, never for the whole GPU.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...errors import MachineError, UsageError
from ..base import Arrays, Engine, Frames, LayerTime, OutputSpec, Raw, Ticket
from ..bundle import Bundle
from ..machine.dependencies import require
from ..machine.jetson import read_model
from ..machine.probe import Probe
from ..manifest import EngineManifest, Runtime, check_fits, read_engine, remarks
from .cuda import Cuda, open_cuda
from .log import library_logger
from .slot import Slot, Tensor

LIBRARIES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx_bindings"}
"""Target to the module that runs its engines."""

NAMES = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}
"""The same, as people call it."""

_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "UINT8": "uint8",
    "BOOL": "bool",
}


class TensorRTEngine(Engine):
    """An engine file on TensorRT or TensorRT-RTX.

    It belongs to one thread at a time: to the one that has requests in flight, or is in a call. Another one is refused.

    Args:
        content: the engine's bytes.
        manifest: what they are; see :func:`open_tensorrt`, which checks it first.
        slots: requests in flight; from two on, copies and kernels overlap.
        cuda_graph: replay each request as one recorded graph, which spares the processor most of its part.
        mapped: the GPU reads frames from the processor's memory and writes its outputs there, without copies; by
            default where it shares that memory, as on a Jetson.
        spin: wait for the GPU by asking it over and over, which wakes up soonest and keeps a core busy; by default
            where the GPU has memory of its own. A Jetson's few cores have other work.
        remarks: what is special about it here, for its name.
        cuda: the GPU; by default :func:`open_cuda`'s.
        library: TensorRT's module; by default the one of the manifest's target.

    Raises:
        MachineError: no GPU, no TensorRT, not enough memory, or TensorRT refuses the engine.
        UsageError: the engine's inputs and outputs are not ours.
    """

    def __init__(
        self,
        content: bytes,
        manifest: EngineManifest,
        *,
        slots: int = 2,
        cuda_graph: bool = False,
        mapped: bool | None = None,
        spin: bool | None = None,
        remarks: Sequence[str] = (),
        cuda: Cuda | None = None,
        library: Any = None,
    ) -> None:
        if slots < 1:
            raise UsageError(f"{slots} slots are too few.", "One works, two or more overlap.")
        super().__init__()
        # The GPU first: without one, TensorRT 8.6 ends the process instead of raising.
        self._cuda = cuda = cuda or open_cuda()
        trt = library or require(LIBRARIES[manifest.target])
        self.manifest, self.in_flight = manifest, slots
        self.target, self.precision, self.gives_raw = "tensorrt", manifest.precision, manifest.raw is not None
        self._mapped = cuda.device.integrated if mapped is None else mapped
        self._blocking = cuda.device.integrated if spin is None else not spin
        words = [f"{NAMES[manifest.target]} {trt.__version__}", self.precision, cuda.device.name, cuda.name]
        if cuda_graph:
            words.append("CUDA graph")
        if mapped is not None:
            words.append("mapped" if mapped else "copies")
        self.name = ", ".join([*words, *remarks])
        self._slots: list[Slot] = []
        self._free: deque[Slot] = deque()
        self._runtime: Any = None
        self._engine: Any = None
        self._entered, self._owner = threading.Lock(), 0
        self._logger = library_logger(trt)
        self._cuda_graph, self._trt = cuda_graph, trt
        try:
            with cuda.current():
                self._load(content)
                for _ in range(slots):
                    self._slots.append(self._new_slot(cuda_graph))
        except BaseException:
            self.close()
            raise
        self._free.extend(self._slots)

    def infer(self, frames: Frames) -> Arrays:
        if self._pending and self._owner != threading.get_ident():
            raise self._in_use()
        return super().infer(frames)

    def submit(self, frames: Frames) -> Ticket:
        with self._one_thread():
            return super().submit(frames)

    def collect(self, ticket: Ticket) -> Arrays:
        with self._one_thread():
            return super().collect(ticket)

    def raw(self, frames: Frames) -> Raw:
        if self.manifest.raw is None:
            return super().raw(frames)
        name = self.manifest.raw.name
        with self._idle_slot(frames) as slot:
            slot.start(frames, (name,))
            raw: Raw = slot.finish(name).astype(np.float32, copy=False)
        return raw

    def engine_times(self, frames: Frames, calls: int) -> list[float]:
        """Milliseconds of the engine alone, without copies, as the GPU's own clock has them.

        Args:
            frames: as :meth:`infer`.
            calls: how many, one after another on one stream.
        """
        with self._idle_slot(frames) as slot:
            self._through(slot, frames)
            return slot.engine_times(calls)

    def layer_times(self, frames: Frames, calls: int) -> list[LayerTime]:
        """The mean time of every layer, in the order in which they run; measuring makes each a little slower."""
        times: dict[str, list[float]] = {}

        class Profiler(self._trt.IProfiler):  # type: ignore[misc,name-defined]
            def __init__(self) -> None:
                super().__init__()

            def report_layer_time(self, layer_name: str, ms: float) -> None:
                times.setdefault(layer_name, []).append(ms)

        profiler = Profiler()
        with self._idle_slot(frames):
            # A context that has a profiler keeps it, so this one is thrown away.
            slot = self._new_slot(cuda_graph=False)
            try:
                self._through(slot, frames)
                slot.context.profiler = profiler
                for _ in range(calls):
                    self._through(slot, frames)
            finally:
                slot.close()
        return [LayerTime(name, sum(found) / calls, float(np.median(found)), calls) for name, found in times.items()]

    def layers_json(self, frames: Frames) -> str:
        """The engine's layers as TensorRT's inspector lists them, at the size of ``frames``."""
        with self._idle_slot(frames) as slot:
            self._through(slot, frames)
            inspector = self._engine.create_engine_inspector()
            inspector.execution_context = slot.context
            return str(inspector.get_engine_information(self._trt.LayerInformationFormat.JSON))

    def _run(self, frames: Frames) -> Arrays:
        return self._start(frames)()

    def _start(self, frames: Frames) -> Callable[[], Arrays]:
        slot = self._free[0]
        with self._cuda.current():
            slot.start(frames, self._names)
        self._free.popleft()

        def finish() -> Arrays:
            try:
                with self._cuda.current():
                    return tuple(slot.finish(spec.name).astype(spec.dtype, copy=False) for spec in self.outputs)
            finally:
                self._free.append(slot)

        return finish

    def _through(self, slot: Slot, frames: Frames) -> None:
        """One call in a slot, waited for."""
        slot.start(frames, self._names)
        slot.finish(self._names[0])

    @property
    def batch_range(self) -> tuple[int, int]:
        fewest, _, most = self.manifest.batch
        return fewest, most

    def _check(self, frames: Any) -> None:
        super()._check(frames)
        fewest, most = self.batch_range
        if not fewest <= len(frames) <= most:
            raise UsageError(
                f"frames must be {fewest} to {most} at a time, not {len(frames)}: the engine was built for that.",
                "Split them, or build the engine for larger batches.",
            )

    @contextlib.contextmanager
    def _one_thread(self) -> Iterator[None]:
        if not self._entered.acquire(blocking=False):
            raise self._in_use()
        try:
            if self._pending and self._owner != threading.get_ident():
                raise self._in_use()
            self._owner = threading.get_ident()
            yield
        finally:
            self._entered.release()

    def _in_use(self) -> UsageError:
        return UsageError(
            "Another thread uses this engine, or has requests in flight.",
            "Open one engine per thread, or let one thread make all calls.",
        )

    @contextlib.contextmanager
    def _idle_slot(self, frames: Frames) -> Iterator[Slot]:
        """A slot for a call that is no request, with nothing in flight."""
        with self._one_thread():
            self._check(frames)
            if self._pending:
                raise UsageError("Requests are in flight.", "Collect every submitted ticket first.")
            with self._cuda.current():
                yield self._free[0]

    def _load(self, content: bytes) -> None:
        """Bytes to a deserialised engine whose tensors are known."""
        trt, manifest = self._trt, self.manifest
        self._logger.forget()
        self._runtime = runtime = trt.Runtime(self._logger)
        if manifest.version_compatible:
            # Such an engine brings code of its own; its hash says that it is the one that was built.
            runtime.engine_host_code_allowed = True
        if manifest.settings.get("dla_core") is not None:
            runtime.DLA_core = int(manifest.settings["dla_core"])
        self._engine = engine = runtime.deserialize_cuda_engine(content)
        if engine is None:
            raise MachineError(
                f"{NAMES[manifest.target]} {trt.__version__} cannot load {manifest.engine}: {self._logger.told()}.",
                "Build it again on this machine: trtparse build BUNDLE "
                + " ".join(manifest.rebuild or (f"--{manifest.precision}", "--target", manifest.target)),
            )
        self._tensors = _tensors(engine, manifest)
        self.input_size = manifest.input_size
        # Lengths that the graph left open are in the engine.
        self.outputs = tuple(replace(spec, shape=self._tensors[spec.name].shape) for spec in manifest.outputs)
        self._names = tuple(spec.name for spec in self.outputs)
        fewest, most = self.batch_range
        self.batch = most if fewest == most else None

    def _new_slot(self, cuda_graph: bool) -> Slot:
        slot = Slot(
            self._cuda,
            self._new_context,
            self._tensors,
            self._names,
            mapped=self._mapped,
            blocking=self._blocking,
            cuda_graph=cuda_graph,
            told=self._logger.told,
        )
        try:
            slot.open()
        except BaseException:
            slot.close()
            raise
        return slot

    def _new_context(self) -> Any:
        context = self._engine.create_execution_context()
        if context is None:
            raise MachineError(
                f"TensorRT has no memory for another execution context: {self._logger.told()}.",
                "Close other programs that use the GPU, or build the engine for a smaller batch.",
            )
        return context

    def close(self) -> None:
        # A call of another thread is let finish: what it uses must not go under it.
        with self._entered:
            super().close()

    def _release(self) -> None:
        # What a lost context cannot free, it has lost already.
        for slot in self._slots:
            with contextlib.suppress(MachineError), self._cuda.current():
                slot.close()
        with contextlib.suppress(MachineError), self._cuda.current():
            self._free.clear()
            self._slots.clear()
            # In this order: the runtime outlives its engine.
            self._engine = None
            self._runtime = None


def open_tensorrt(
    bundle: Bundle,
    manifest: EngineManifest,
    *,
    slots: int = 2,
    cuda_graph: bool = False,
    mapped: bool | None = None,
    spin: bool | None = None,
) -> TensorRTEngine:
    """Open an engine of a bundle, once its manifest says that it fits this machine; the options are the engine's.

    Raises:
        MachineError: it does not fit, or this machine has no GPU or no TensorRT.
        UsageError: its file is damaged, or the bundle's graph is another one by now.
    """
    cuda = open_cuda()
    library = require(LIBRARIES[manifest.target])
    here = this_runtime(manifest.target, cuda, library)
    check_fits(bundle, manifest, here)
    return TensorRTEngine(
        read_engine(bundle, manifest),
        manifest,
        slots=slots,
        cuda_graph=cuda_graph,
        mapped=mapped,
        spin=spin,
        remarks=remarks(manifest, here),
        cuda=cuda,
        library=library,
    )


def this_runtime(target: str, cuda: Cuda | None = None, library: Any = None) -> Runtime:
    """What this machine has to run engines of a target with.

    Raises:
        MachineError: no GPU, or that TensorRT is not installed.
    """
    cuda = cuda or open_cuda()
    library = library or require(LIBRARIES[target])
    device = cuda.device
    # Other boards have a device tree as well; what is integrated is a Jetson's.
    board = read_model(Probe()) if device.integrated else ""
    return Runtime(
        target, str(library.__version__), device.compute_capability, device.name, device.multiprocessors, board
    )


def _tensors(engine: Any, manifest: EngineManifest) -> dict[str, Tensor]:
    """An engine's input and outputs, which must be those of its manifest."""
    specs = [*manifest.outputs, *([manifest.raw] if manifest.raw is not None else [])]
    wanted = {spec.name: spec.shape for spec in (OutputSpec("frames", "uint8", (*manifest.input_size, 3)), *specs)}
    names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
    shapes = {name: tuple(int(length) for length in engine.get_tensor_shape(name)) for name in names}
    dtypes = {name: engine.get_tensor_dtype(name).name for name in names}
    fewest, _, most = manifest.batch
    count = -1 if shapes.get("frames", (0,))[0] == -1 else most
    fits = shapes.keys() == wanted.keys() and all(
        shape[0] == count and _is_of(shape[1:], wanted[name]) for name, shape in shapes.items()
    )
    if not fits or not set(dtypes.values()) <= set(_DTYPES):
        raise UsageError(
            f"{manifest.engine} has the tensors {shapes} of {dtypes}; its manifest says {wanted} of {fewest} to {most} "
            "frames.",
            "Build the engine again.",
        )
    return {
        name: Tensor(name, np.dtype(_DTYPES[dtypes[name]]), shape[1:], most, count == -1)
        for name, shape in shapes.items()
    }


def _is_of(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    """Whether all lengths are known, and as they should be."""
    return len(shape) == len(wanted) and all(have >= 0 and want in (None, have) for have, want in zip(shape, wanted))
