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

MOST_GRAPHS = 4
"""Numbers of frames whose CUDA graph a slot keeps. A graph records the shapes and the state of its execution context,
so each has a context of its own, with memory of its own."""

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


@dataclass
class _Shape:
    """A number of frames: the execution context that is set to it, and its graph once one is recorded."""

    context: Any
    graph: Graph | None = None


class Slot:
    """Runs one request at a time. Its caller has made CUDA's context current, and knows what is in flight.

    Args:
        cuda: the GPU.
        new_context: makes an execution context of TensorRT's, for this slot alone.
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
        new_context: Callable[[], Any],
        tensors: Mapping[str, Tensor],
        outputs: Sequence[str],
        *,
        mapped: bool,
        blocking: bool,
        cuda_graph: bool,
        told: Callable[[], str],
    ) -> None:
        self.context: Any = None
        self._new_context = new_context
        self._cuda, self._tensors, self._mapped, self._cuda_graph, self._told = cuda, tensors, mapped, cuda_graph, told
        self._outputs, self._blocking = tuple(outputs), blocking
        self._host: dict[str, HostMemory] = {}
        self._device: dict[str, DeviceMemory] = {}
        self._stream: Any = None
        self._done: Any = None
        self._shapes: dict[int, _Shape] = {}
        self._count = 0

    def open(self) -> None:
        """Allocate all that requests need. On an error, :meth:`close` frees what was there by then."""
        self._stream = self._cuda.stream()
        self._done = self._cuda.event(blocking=self._blocking)
        for name, tensor in self._tensors.items():
            size = tensor.bytes_of(tensor.most)
            if self._mapped:
                self._host[name] = self._cuda.host_memory(size, mapped=True)
            else:
                self._device[name] = self._cuda.device_memory(size)
                if name == "frames" or name in self._outputs:
                    self._host[name] = self._cuda.host_memory(size)
        self.context = self._open_context()

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
        for shape in self._shapes.values():
            self._drop_graph(shape)
        self._shapes.clear()
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
        shape = self._shapes[self._count]
        if shape.graph is None:
            # TensorRT does in the first run of a shape what must not be recorded.
            self._enqueue(self._outputs)
            self._cuda.synchronise(self._stream)
            with self._cuda.capture(self._stream) as graph:
                self._enqueue(self._outputs)
            shape.graph = graph
        self._cuda.launch(shape.graph, self._stream)

    def _abandon(self) -> None:
        """What is left of a failed request must not read the frames of the next one."""
        with contextlib.suppress(Exception):
            self._cuda.synchronise(self._stream)

    def _set_count(self, count: int) -> None:
        if count == self._count:
            return
        # Should a context refuse, the next request asks it again.
        self._count = 0
        if count in self._shapes:
            # What was used last comes last.
            shape = self._shapes.pop(count)
        else:
            shape = _Shape(self._context_to_set())
            if self._tensors["frames"].dynamic:
                size = (count, *self._tensors["frames"].shape)
                self._must(shape.context.set_input_shape("frames", size), f"take {count} frames")
        self._shapes[count] = shape
        self.context, self._count = shape.context, count

    def _context_to_set(self) -> Any:
        """An execution context for another number of frames: where nothing is recorded, one serves for all."""
        most = MOST_GRAPHS if self._cuda_graph else 1
        if not self._shapes:
            return self.context
        if len(self._shapes) < most:
            return self._open_context()
        oldest = self._shapes.pop(next(iter(self._shapes)))
        self._drop_graph(oldest)
        return oldest.context

    def _open_context(self) -> Any:
        """A new execution context that works in the slot's buffers."""
        context = self._new_context()
        for name in self._tensors:
            address = self._host[name].device_pointer if self._mapped else self._device[name].pointer
            self._must(context.set_tensor_address(name, address), f"take the buffer of {name}")
        if self._tensors["frames"].dynamic:
            self._choose_profile(context)
        return context

    def _choose_profile(self, context: Any) -> None:
        """The first context of an engine has its profile by itself, and from TensorRT 10 on all have."""
        if context.active_optimization_profile != 0:
            chosen = context.set_optimization_profile_async(0, self._cuda.stream_handle(self._stream))
            self._cuda.synchronise(self._stream)
            if not chosen:
                raise MachineError(
                    f"TensorRT lets one execution context use the engine's profile: {self._told()}.",
                    "Build the engine again, for a fixed --batch.",
                )

    def _drop_graph(self, shape: _Shape) -> None:
        if shape.graph is not None:
            self._cuda.free_graph(shape.graph)
            shape.graph = None

    def _must(self, done: bool, what: str) -> None:
        if not done:
            raise CudaFailure(f"TensorRT did not {what}: {self._told()}")
