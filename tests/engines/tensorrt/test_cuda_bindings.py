"""What the two bindings ask the driver for, in the numbers of NVIDIA's cuda.h; drivers that write down stand in."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from trtparse.engines.tensorrt import cuda_bindings
from trtparse.engines.tensorrt.cuda import Cuda, Device
from trtparse.engines.tensorrt.cuda_bindings import CudaPython, PyCuda

# cuda.h
CU_STREAM_NON_BLOCKING = 1
CU_EVENT_BLOCKING_SYNC, CU_EVENT_DISABLE_TIMING = 1, 2
CU_MEMHOSTALLOC_DEVICEMAP = 2

Asked = list[tuple[str, int]]


def pycuda(asked: Asked) -> dict[str, Any]:
    """PyCUDA's modules on an Orin Nano; flags are written down."""

    def made(kind: str) -> Any:
        return lambda flags: asked.append((kind, flags))

    def pagelocked(size: int, dtype: Any, order: str, flags: int) -> Any:
        asked.append(("memory", flags))
        array = np.empty(size, dtype).view(Pinned)
        return array[:]

    class Pinned(np.ndarray):  # type: ignore[type-arg]
        def get_device_pointer(self) -> int:
            return 4096

    values = {"INTEGRATED": 1, "MULTIPROCESSOR_COUNT": 8}
    device = SimpleNamespace(
        name=lambda: "Orin",
        compute_capability=lambda: (8, 7),
        total_memory=lambda: 8 << 30,
        get_attribute=values.__getitem__,
        retain_primary_context=lambda: SimpleNamespace(push=bool, pop=bool, detach=bool),
    )
    driver = SimpleNamespace(
        init=bool,
        Device=lambda number: device,
        device_attribute=SimpleNamespace(**{name: name for name in values}),
        get_driver_version=lambda: 12060,
        Error=OSError,
        Event=made("event"),
        Stream=made("stream"),
        pagelocked_empty=pagelocked,
    )
    return {"pycuda": SimpleNamespace(VERSION_TEXT="2026.1"), "pycuda.driver": driver}


def cuda_python(asked: Asked) -> dict[str, Any]:
    """cuda-python's modules on the same board."""

    def made(kind: str) -> Any:
        return lambda flags: (0, asked.append((kind, flags)))

    memory = np.empty(64, np.uint8)

    def host_alloc(size: int, flags: int) -> tuple[int, int]:
        asked.append(("memory", flags))
        return 0, memory.ctypes.data

    values = {
        "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR": 8,
        "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR": 7,
        "CU_DEVICE_ATTRIBUTE_INTEGRATED": 1,
        "CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT": 8,
    }
    driver = SimpleNamespace(
        cuInit=lambda flags: (0,),
        cuDeviceGet=lambda number: (0, number),
        CUdevice_attribute=SimpleNamespace(**{name: name for name in values}),
        cuDeviceGetAttribute=lambda kind, device: (0, values[kind]),
        cuDeviceGetName=lambda size, device: (0, b"Orin\0\0"),
        cuDeviceTotalMem=lambda device: (0, 8 << 30),
        cuDriverGetVersion=lambda: (0, 12060),
        cuDevicePrimaryCtxRetain=lambda device: (0, "context"),
        cuDevicePrimaryCtxRelease=bool,
        cuEventCreate=made("event"),
        cuStreamCreate=made("stream"),
        cuMemHostAlloc=host_alloc,
        cuMemHostGetDevicePointer=lambda address, flags: (0, 4096),
    )
    return {"cuda.bindings": SimpleNamespace(__version__="13.0.3"), "cuda.bindings.driver": driver}


@pytest.fixture
def asked() -> Asked:
    return []


@pytest.fixture(params=[(PyCuda, pycuda), (CudaPython, cuda_python)], ids=["PyCUDA", "cuda-python"])
def cuda(request: pytest.FixtureRequest, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> Cuda:
    kind, modules = request.param
    monkeypatch.setattr(cuda_bindings, "require", modules(asked).__getitem__)
    monkeypatch.setattr(cuda_bindings.atexit, "register", lambda *_: None)
    opened: Cuda = kind()
    return opened


def test_a_board_says_what_it_is_its_multiprocessors_too(cuda: Cuda) -> None:
    assert cuda.device == Device("Orin", "8.7", 8 << 30, True, "12.6", 8)


def test_waiting_for_an_event_sleeps_where_that_is_asked_for(cuda: Cuda, asked: Asked) -> None:
    for timed in (False, True):
        for blocking in (False, True):
            cuda.event(timed=timed, blocking=blocking)
    assert asked == [
        ("event", CU_EVENT_DISABLE_TIMING),
        ("event", CU_EVENT_DISABLE_TIMING | CU_EVENT_BLOCKING_SYNC),
        ("event", 0),
        ("event", CU_EVENT_BLOCKING_SYNC),
    ]


def test_a_stream_does_not_wait_for_pytorch_s(cuda: Cuda, asked: Asked) -> None:
    cuda.stream()
    assert asked == [("stream", CU_STREAM_NON_BLOCKING)]


def test_memory_is_mapped_where_that_is_asked_for(cuda: Cuda, asked: Asked) -> None:
    plain, mapped = cuda.host_memory(64), cuda.host_memory(64, mapped=True)
    assert asked == [("memory", 0), ("memory", CU_MEMHOSTALLOC_DEVICEMAP)]
    assert (plain.device_pointer, mapped.device_pointer) == (None, 4096)
    assert mapped.content.shape == (64,)
