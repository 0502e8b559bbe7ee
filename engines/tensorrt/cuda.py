"""The few calls of CUDA's driver that running an engine needs: through PyCUDA, or cuda-python where that is there.

No ``pycuda.autoinit``: it makes a context of its own, current on the one thread that imported it. Here the GPU's
primary context is retained, the one that PyTorch and TensorRT use, and pushed and popped around each use, on
whatever thread that is.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ...errors import MachineError, TrtparseError

BINDINGS = ("pycuda", "cuda-python")
"""Packages that reach the driver, the preferred one first."""

# CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: what other threads do meanwhile does not end the capture.
_THREAD_LOCAL = 1


@dataclass(frozen=True)
class Device:
    """The GPU that engines run on.

    Args:
        name: NVIDIA's.
        compute_capability: such as ``8.7``.
        memory: bytes.
        integrated: it shares the processor's memory, as on a Jetson.
        cuda: the newest CUDA that its driver speaks, such as ``12.6``.
        multiprocessors: how many it has: 4 to 16 on what are all called "Orin".
    """

    name: str
    compute_capability: str
    memory: int
    integrated: bool
    cuda: str
    multiprocessors: int = 0


class HostMemory:
    """Memory of the processor that the GPU copies from and to without a detour.

    Args:
        content: all of it.
        device_pointer: where the GPU sees it itself; None unless it is mapped.
        native: the binding's own object.
    """

    def __init__(self, content: NDArray[np.uint8], device_pointer: int | None, native: Any) -> None:
        self.content, self.device_pointer, self.native = content, device_pointer, native

    def view(self, dtype: DTypeLike, shape: tuple[int, ...]) -> NDArray[Any]:
        """Its beginning as an array. Take a new one for each use, and let go of it: the memory is freed by hand."""
        count = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return self.content[:count].view(dtype).reshape(shape)


@dataclass(frozen=True)
class DeviceMemory:
    """Memory of the GPU: where it is, and the binding's own object."""

    pointer: int
    native: Any


class CudaFailure(Exception):
    """A call of the driver failed; becomes a MachineError where :meth:`Cuda.current` ends."""


class Cuda(ABC):
    """A GPU through one binding. Every call but ``current`` itself is made inside ``with cuda.current():``.

    Streams and events are the binding's own objects.

    Attributes:
        name: of the binding, for messages ("PyCUDA 2026.1").
        device: the GPU.
    """

    name: str
    device: Device
    failures: tuple[type[Exception], ...] = (CudaFailure,)

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """The primary context is current in this block, on this thread.

        Raises:
            MachineError: a call in the block failed.
        """
        try:
            self._push()
            try:
                yield
            finally:
                self._pop()
        except self.failures as error:
            raise explained(error, self.device) from error

    @abstractmethod
    def _push(self) -> None: ...

    @abstractmethod
    def _pop(self) -> None: ...

    @abstractmethod
    def stream(self) -> Any:
        """A new stream: what is put into it runs in order."""

    @abstractmethod
    def stream_handle(self, stream: Any) -> int:
        """A stream as other libraries take it."""

    @abstractmethod
    def synchronise(self, stream: Any) -> None:
        """Wait until a stream has nothing left to do."""

    @abstractmethod
    def event(self, *, timed: bool = False, blocking: bool = False) -> Any:
        """A new event, with a time stamp where it is ``timed``. Waiting for it sleeps where it is ``blocking``, and
        otherwise spins, which wakes up sooner and takes a core meanwhile."""

    @abstractmethod
    def record(self, event: Any, stream: Any) -> None:
        """Let ``event`` happen once the stream has done all that is in it now."""

    @abstractmethod
    def wait(self, event: Any) -> None:
        """Wait until an event has happened."""

    @abstractmethod
    def milliseconds(self, start: Any, end: Any) -> float:
        """Between two timed events that have happened."""

    @abstractmethod
    def host_memory(self, size: int, *, mapped: bool = False) -> HostMemory:
        """``size`` bytes of page-locked memory, ``mapped`` into the GPU's addresses where asked for."""

    @abstractmethod
    def device_memory(self, size: int) -> DeviceMemory:
        """``size`` bytes of the GPU's memory."""

    @abstractmethod
    def copy_to_device(self, target: DeviceMemory, source: HostMemory, size: int, stream: Any) -> None:
        """Put a copy of ``size`` bytes into a stream."""

    @abstractmethod
    def copy_to_host(self, target: HostMemory, source: DeviceMemory, size: int, stream: Any) -> None:
        """Put a copy of ``size`` bytes into a stream."""

    @abstractmethod
    def free(self, thing: HostMemory | DeviceMemory) -> None:
        """Give memory back, which nothing uses any more."""

    @abstractmethod
    def destroy(self, *things: Any) -> None:
        """Give streams and events back. The caller must hold no other reference to them."""

    @contextlib.contextmanager
    def capture(self, stream: Any) -> Iterator[Graph]:
        """Record what the block puts into a stream, instead of running it."""
        graph = Graph()
        handle = self.stream_handle(stream)
        _call("cuStreamBeginCapture_v2", _pointer(handle), _THREAD_LOCAL)
        captured = ctypes.c_void_p()
        try:
            yield graph
        except BaseException:
            # The stream must leave its capture, or nothing runs in it ever again.
            _library().cuStreamEndCapture(_pointer(handle), ctypes.byref(captured))
            if captured.value is not None:
                _library().cuGraphDestroy(captured)
            raise
        _call("cuStreamEndCapture", _pointer(handle), ctypes.byref(captured))
        try:
            executable = ctypes.c_void_p()
            _call("cuGraphInstantiateWithFlags", ctypes.byref(executable), captured, ctypes.c_ulonglong(0))
        finally:
            _library().cuGraphDestroy(captured)
        graph.handle = executable.value

    def launch(self, graph: Graph, stream: Any) -> None:
        """Put all that a graph recorded into a stream, by one call."""
        _call("cuGraphLaunch", _pointer(graph.handle), _pointer(self.stream_handle(stream)))

    def free_graph(self, graph: Graph) -> None:
        """Give a graph back that does not run any more."""
        if graph.handle is not None:
            _call("cuGraphExecDestroy", _pointer(graph.handle))
            graph.handle = None


class Graph:
    """A recorded piece of a stream; ``handle`` is None until it is whole."""

    handle: int | None = None


@functools.cache
def open_cuda(binding: str | None = None) -> Cuda:
    """The first GPU, through PyCUDA where that imports, else through cuda-python.

    Opened once and kept to the end of the process: TensorRT and PyTorch share its context and never give theirs back.
    ``CUDA_VISIBLE_DEVICES`` chooses another GPU.

    Args:
        binding: one of ``BINDINGS``, to have no other.

    Raises:
        MachineError: no binding, no driver, or no GPU.
    """
    from .cuda_bindings import CudaPython, PyCuda

    kinds: dict[str, type[PyCuda] | type[CudaPython]] = {"pycuda": PyCuda, "cuda-python": CudaPython}
    reasons: list[TrtparseError] = []
    for name in BINDINGS if binding is None else (binding,):
        try:
            return kinds[name]()
        except MachineError as error:
            reasons.append(error)
    # A package that is there and fails says more than one that is not.
    told = [error for error in reasons if "not installed" not in error.message] or reasons
    raise MachineError(" ".join(error.message for error in told), told[0].hint)


def explained(error: Exception, device: Device | None = None) -> MachineError:
    """What to tell the user about a failed call of the driver.

    Args:
        device: None while it is being opened.
    """
    text = str(error) or type(error).__name__
    lowered = text.lower().replace("_", " ")
    if "out of memory" in lowered or type(error).__name__ == "MemoryError":
        size = "" if device is None else f" ({device.name}, {device.memory >> 20} MiB)"
        return MachineError(
            f"The GPU's memory is full{size}: {text}.", "Close other programs that use it, or take a smaller --batch."
        )
    if any(word in lowered for word in ("libcuda", "driver mismatch", "insufficient", "stub", "not found", "dlopen")):
        return MachineError(
            f"NVIDIA's driver is missing or too old: {text}.",
            "Install or update it, and restart; trtparse doctor says what is there.",
        )
    if device is None:
        return MachineError(f"No NVIDIA GPU can be used: {text}.", "Use --target cpu, or see trtparse doctor.")
    return MachineError(
        f"The GPU failed: {text}.",
        "Start trtparse again, as CUDA's context is lost in this process; trtparse doctor says what the machine has.",
    )


@functools.cache
def _library() -> Any:
    """CUDA's driver library itself, for graphs, which PyCUDA 2026.1 does not know."""
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise CudaFailure(str(error)) from error


def _call(name: str, *arguments: Any) -> None:
    code = getattr(_library(), name)(*arguments)
    if code != 0:
        raise CudaFailure(f"{name} gave CUDA's error {code}")


def _pointer(address: int | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(address)
