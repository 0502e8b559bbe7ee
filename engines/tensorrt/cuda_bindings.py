"""CUDA's driver through PyCUDA, and through cuda-python (``cuda.bindings``); imported when a GPU is opened."""

from __future__ import annotations

import atexit
import ctypes
from typing import Any

import numpy as np

from ..machine.dependencies import require
from .cuda import Cuda, CudaFailure, Device, DeviceMemory, HostMemory, explained

# CU_STREAM_NON_BLOCKING: does not wait for the default stream, in which PyTorch works.
_NON_BLOCKING = 1
# CU_EVENT_BLOCKING_SYNC, which alone decides how cuEventSynchronize waits, and CU_EVENT_DISABLE_TIMING.
_BLOCKING, _UNTIMED = 1, 2
# CU_MEMHOSTALLOC_DEVICEMAP
_MAPPED = 2


class PyCuda(Cuda):
    """The driver through PyCUDA."""

    def __init__(self) -> None:
        self._driver = driver = require("pycuda.driver")
        self.failures = (CudaFailure, driver.Error)
        try:
            driver.init()
            device = driver.Device(0)
            kinds = driver.device_attribute
            self.device = Device(
                name=device.name(),
                compute_capability="{}.{}".format(*device.compute_capability()),
                memory=int(device.total_memory()),
                integrated=bool(device.get_attribute(kinds.INTEGRATED)),
                cuda=_cuda_version(driver.get_driver_version()),
                multiprocessors=int(device.get_attribute(kinds.MULTIPROCESSOR_COUNT)),
            )
            self._context = device.retain_primary_context()
        except driver.Error as error:
            raise explained(error) from error
        self.name = f"PyCUDA {require('pycuda').VERSION_TEXT}"
        # Left to the interpreter's end, PyCUDA would release it after CUDA itself has gone.
        atexit.register(self._context.detach)

    def _push(self) -> None:
        self._context.push()

    def _pop(self) -> None:
        self._context.pop()

    def stream(self) -> Any:
        return self._driver.Stream(_NON_BLOCKING)

    def stream_handle(self, stream: Any) -> int:
        return int(stream.handle)

    def synchronise(self, stream: Any) -> None:
        stream.synchronize()

    def event(self, *, timed: bool = False, blocking: bool = False) -> Any:
        return self._driver.Event(_event_flags(timed=timed, blocking=blocking))

    def record(self, event: Any, stream: Any) -> None:
        event.record(stream)

    def wait(self, event: Any) -> None:
        event.synchronize()

    def milliseconds(self, start: Any, end: Any) -> float:
        return float(start.time_till(end))

    def host_memory(self, size: int, *, mapped: bool = False) -> HostMemory:
        content = self._driver.pagelocked_empty(size, np.uint8, "C", _MAPPED if mapped else 0)
        allocation = content.base
        return HostMemory(content, int(allocation.get_device_pointer()) if mapped else None, allocation)

    def device_memory(self, size: int) -> DeviceMemory:
        allocation = self._driver.mem_alloc(size)
        return DeviceMemory(int(allocation), allocation)

    def copy_to_device(self, target: DeviceMemory, source: HostMemory, size: int, stream: Any) -> None:
        self._driver.memcpy_htod_async(target.pointer, source.content[:size], stream)

    def copy_to_host(self, target: HostMemory, source: DeviceMemory, size: int, stream: Any) -> None:
        self._driver.memcpy_dtoh_async(target.content[:size], source.pointer, stream)

    def free(self, thing: HostMemory | DeviceMemory) -> None:
        thing.native.free()

    def destroy(self, *things: Any) -> None:
        """PyCUDA's streams and events go with their last reference, which is the caller's; here, while in context."""


class CudaPython(Cuda):
    """The driver through cuda-python (``cuda.bindings``)."""

    def __init__(self) -> None:
        self._driver = driver = require("cuda.bindings.driver")
        try:
            self._ask(driver.cuInit(0))
            device = self._ask(driver.cuDeviceGet(0))
            kinds = driver.CUdevice_attribute

            def attribute(name: str) -> int:
                kind = getattr(kinds, f"CU_DEVICE_ATTRIBUTE_{name}")
                return int(self._ask(driver.cuDeviceGetAttribute(kind, device)))

            major, minor = (attribute(f"COMPUTE_CAPABILITY_{part}") for part in ("MAJOR", "MINOR"))
            self.device = Device(
                name=bytes(self._ask(driver.cuDeviceGetName(256, device))).split(b"\0")[0].decode("utf-8", "replace"),
                compute_capability=f"{major}.{minor}",
                memory=int(self._ask(driver.cuDeviceTotalMem(device))),
                integrated=bool(attribute("INTEGRATED")),
                cuda=_cuda_version(self._ask(driver.cuDriverGetVersion())),
                multiprocessors=attribute("MULTIPROCESSOR_COUNT"),
            )
            self._context = self._ask(driver.cuDevicePrimaryCtxRetain(device))
        except (CudaFailure, RuntimeError) as error:
            # RuntimeError: cuda-python finds no libcuda.so.1, or one that lacks the call.
            raise explained(error) from error
        self.name = f"cuda-python {require('cuda.bindings').__version__}"
        atexit.register(driver.cuDevicePrimaryCtxRelease, device)

    def _ask(self, answer: tuple[Any, ...]) -> Any:
        """What a call of the driver gave, past its error code."""
        code, *values = answer
        if int(code) != 0:
            raise CudaFailure(f"{code.name} ({int(code)})")
        return values[0] if values else None

    def _push(self) -> None:
        self._ask(self._driver.cuCtxPushCurrent(self._context))

    def _pop(self) -> None:
        self._ask(self._driver.cuCtxPopCurrent())

    def stream(self) -> Any:
        return self._ask(self._driver.cuStreamCreate(_NON_BLOCKING))

    def stream_handle(self, stream: Any) -> int:
        return int(stream)

    def synchronise(self, stream: Any) -> None:
        self._ask(self._driver.cuStreamSynchronize(stream))

    def event(self, *, timed: bool = False, blocking: bool = False) -> Any:
        return self._ask(self._driver.cuEventCreate(_event_flags(timed=timed, blocking=blocking)))

    def record(self, event: Any, stream: Any) -> None:
        self._ask(self._driver.cuEventRecord(event, stream))

    def wait(self, event: Any) -> None:
        self._ask(self._driver.cuEventSynchronize(event))

    def milliseconds(self, start: Any, end: Any) -> float:
        return float(self._ask(self._driver.cuEventElapsedTime(start, end)))

    def host_memory(self, size: int, *, mapped: bool = False) -> HostMemory:
        address = int(self._ask(self._driver.cuMemHostAlloc(size, _MAPPED if mapped else 0)))
        content = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
        device_pointer = int(self._ask(self._driver.cuMemHostGetDevicePointer(address, 0))) if mapped else None
        return HostMemory(content, device_pointer, address)

    def device_memory(self, size: int) -> DeviceMemory:
        allocation = self._ask(self._driver.cuMemAlloc(size))
        return DeviceMemory(int(allocation), allocation)

    def copy_to_device(self, target: DeviceMemory, source: HostMemory, size: int, stream: Any) -> None:
        self._ask(self._driver.cuMemcpyHtoDAsync(target.native, source.native, size, stream))

    def copy_to_host(self, target: HostMemory, source: DeviceMemory, size: int, stream: Any) -> None:
        self._ask(self._driver.cuMemcpyDtoHAsync(target.native, source.native, size, stream))

    def free(self, thing: HostMemory | DeviceMemory) -> None:
        give_back = self._driver.cuMemFreeHost if isinstance(thing, HostMemory) else self._driver.cuMemFree
        self._ask(give_back(thing.native))

    def destroy(self, *things: Any) -> None:
        for thing in things:
            stream = isinstance(thing, self._driver.CUstream)
            self._ask(self._driver.cuStreamDestroy(thing) if stream else self._driver.cuEventDestroy(thing))


def _event_flags(*, timed: bool, blocking: bool) -> int:
    return (0 if timed else _UNTIMED) | (_BLOCKING if blocking else 0)


def _cuda_version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"
