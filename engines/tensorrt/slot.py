"""One request's place on the GPU: a stream, an execution context, buffers, the event that says when it is done."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import MachineError
from ..base import Frames
from .cuda import Cuda, CudaFailure, DeviceMemory, Graph, HostMemory

_AHEAD = 16
"""Calls that are queued before the first is waited for, so that the GPU is what is timed and not the processor."""


@dataclass(frozen=True)
class Tensor:
    """An input or output of an engine.

    Args:
        name: ``frames``, or an output's.
        dtype: as the engine has it; ``frames`` are converted to it, and results from it.
        shape: of one frame's part.
        most: frames of a call.
        dynamic: each call may bring another number of them.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    most: int
    dynamic: bool

    def bytes_of(self, count: int) -> int:
        return count * math.prod(self.shape) * self.dtype.itemsize


class Slot:
    """Runs one request at a time. Its caller has made CUDA's context current, and knows what is in flight.

    Args:
        cuda: the GPU.
        context: TensorRT's execution context, the slot's own.
        tensors: of the engine, by name.
        outputs: names of those that a request wants as a rule; others may be asked for now and then.
        mapped: the GPU works in the processor's memory, without copies.
        blocking: waiting for a request sleeps instead of spinning.
        cuda_graph: record a request once, and replay it.
        told: what TensorRT complained of last.
    """

    def __init__(
        self,
        cuda: Cuda,
        context: Any,
        tensors: Mapping[str, Tensor],
        outputs: Sequence[str],
        *,
        mapped: bool,
        blocking: bool,
        cuda_graph: bool,
        told: Callable[[], str],
    ) -> None:
        self.context = context
        self._cuda, self._tensors, self._mapped, self._cuda_graph, self._told = cuda, tensors, mapped, cuda_graph, told
        self._outputs, self._blocking = tuple(outputs), blocking
        self._host: dict[str, HostMemory] = {}
        self._device: dict[str, DeviceMemory] = {}
        self._stream: Any = None
        self._done: Any = None
        self._graph: Graph | None = None
        self._count = 0

    def open(self) -> None:
        """Allocate all that requests need. On an error, :meth:`close` frees what was there by then."""
        self._stream = self._cuda.stream()
        self._done = self._cuda.event(blocking=self._blocking)
        for name, tensor in self._tensors.items():
            size = tensor.bytes_of(tensor.most)
            if self._mapped:
                memory = self._host[name] = self._cuda.host_memory(size, mapped=True)
                address = memory.device_pointer
            else:
                self._device[name] = self._cuda.device_memory(size)
                address = self._device[name].pointer
                if name == "frames" or name in self._outputs:
                    self._host[name] = self._cuda.host_memory(size)
            self._must(self.context.set_tensor_address(name, address), f"take the buffer of {name}")
        if self._tensors["frames"].dynamic:
            self._choose_profile()

    def start(self, frames: Frames, outputs: Sequence[str]) -> None:
        """Put a request into the stream: frames in, the engine, ``outputs`` out.

        Whatever was in the slot before has been waited for. ``frames`` may change once this returns.
        """
        try:
            self._set_count(len(frames))
            tensor = self._tensors["frames"]
            self._host["frames"].view(tensor.dtype, frames.shape)[...] = frames
            if self._cuda_graph and tuple(outputs) == self._outputs:
                self._replay()
            else:
                self._enqueue(outputs)
            self._cuda.record(self._done, self._stream)
        except BaseException:
            self._abandon()
            raise

    def finish(self, output: str) -> NDArray[Any]:
        """Wait for the request; what it gave as that output, the caller's own."""
        try:
            self._cuda.wait(self._done)
        except BaseException:
            self._abandon()
            raise
        tensor = self._tensors[output]
        result: NDArray[Any] = self._host[output].view(tensor.dtype, (self._count, *tensor.shape)).copy()
        return result

    def engine_times(self, calls: int) -> list[float]:
        """Milliseconds of the engine alone, on the frames that are there."""
        cuda, graph = self._cuda, None
        events: list[Any] = []
        times: list[float] = []
        try:
            for _ in range(2 * min(calls, _AHEAD)):
                events.append(cuda.event(timed=True))
            pairs = list(zip(events[::2], events[1::2]))
            if self._cuda_graph:
                with cuda.capture(self._stream) as graph:
                    self._execute()
            while len(times) < calls:
                queued = pairs[: calls - len(times)]
                for before, after in queued:
                    cuda.record(before, self._stream)
                    if graph is None:
                        self._execute()
                    else:
                        cuda.launch(graph, self._stream)
                    cuda.record(after, self._stream)
                cuda.wait(queued[-1][1])
                times += [cuda.milliseconds(before, after) for before, after in queued]
        finally:
            cuda.synchronise(self._stream)
            if graph is not None:
                cuda.free_graph(graph)
            cuda.destroy(*events)
        return times

    def close(self) -> None:
        """Wait for what is in flight and free everything."""
        cuda = self._cuda
        if self._stream is not None:
            cuda.synchronise(self._stream)
        self._drop_graph()
        self.context = None
        for memories in (self._host, self._device):
            while memories:
                cuda.free(memories.popitem()[1])
        for thing in (self._done, self._stream):
            if thing is not None:
                cuda.destroy(thing)
        self._done = self._stream = None

    def _enqueue(self, outputs: Sequence[str]) -> None:
        if not self._mapped:
            size = self._tensors["frames"].bytes_of(self._count)
            self._cuda.copy_to_device(self._device["frames"], self._host["frames"], size, self._stream)
        self._execute()
        for name in outputs:
            size = self._tensors[name].bytes_of(self._count)
            if name not in self._host:
                self._host[name] = self._cuda.host_memory(self._tensors[name].bytes_of(self._tensors[name].most))
            if not self._mapped:
                self._cuda.copy_to_host(self._host[name], self._device[name], size, self._stream)

    def _execute(self) -> None:
        self._must(self.context.execute_async_v3(self._cuda.stream_handle(self._stream)), "run the engine")

    def _replay(self) -> None:
        if self._graph is None:
            # TensorRT does in the first run of a shape what must not be recorded.
            self._enqueue(self._outputs)
            self._cuda.synchronise(self._stream)
            with self._cuda.capture(self._stream) as graph:
                self._enqueue(self._outputs)
            self._graph = graph
        self._cuda.launch(self._graph, self._stream)

    def _abandon(self) -> None:
        """What is left of a failed request must not read the frames of the next one."""
        with contextlib.suppress(Exception):
            self._cuda.synchronise(self._stream)

    def _set_count(self, count: int) -> None:
        if count == self._count:
            return
        tensor = self._tensors["frames"]
        self._drop_graph()
        # Should the context refuse, the next request asks it again.
        self._count = 0
        if tensor.dynamic:
            self._must(self.context.set_input_shape("frames", (count, *tensor.shape)), f"take {count} frames")
        self._count = count

    def _choose_profile(self) -> None:
        """The first context of an engine has its profile by itself, and from TensorRT 10 on all have."""
        if self.context.active_optimization_profile != 0:
            chosen = self.context.set_optimization_profile_async(0, self._cuda.stream_handle(self._stream))
            self._cuda.synchronise(self._stream)
            if not chosen:
                raise MachineError(
                    f"TensorRT lets one execution context use the engine's profile: {self._told()}.",
                    "Build the engine again, for a fixed --batch.",
                )

    def _drop_graph(self) -> None:
        if self._graph is not None:
            self._cuda.free_graph(self._graph)
            self._graph = None

    def _must(self, done: bool, what: str) -> None:
        if not done:
            raise CudaFailure(f"TensorRT did not {what}: {self._told()}")
