"""The bindings themselves; what needs a GPU is marked so, and runs over each binding that is there."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from trtparse.engines.tensorrt import cuda_bindings as module
from trtparse.engines.tensorrt.cuda import BINDINGS, Cuda, CudaFailure, Device, explained, open_cuda
from trtparse.errors import MachineError

ORIN = Device("Orin", "8.7", 8 << 30, True, "12.6")


def test_without_a_binding_both_are_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    open_cuda.cache_clear()
    with pytest.raises(MachineError, match=r"PyCUDA is not installed\. cuda-python is not installed\.") as caught:
        open_cuda()
    assert "nvcc" in caught.value.hint


def test_a_binding_that_is_there_and_fails_says_more_than_one_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise MachineError("PyCUDA is not installed.", "Install it.")

    def failing() -> None:
        raise explained(CudaFailure("CUDA_ERROR_NO_DEVICE (100)"))

    monkeypatch.setattr(module, "PyCuda", missing)
    monkeypatch.setattr(module, "CudaPython", failing)
    open_cuda.cache_clear()
    with pytest.raises(MachineError) as caught:
        open_cuda()
    assert caught.value.message == "No NVIDIA GPU can be used: CUDA_ERROR_NO_DEVICE (100)."
    assert "--target cpu" in caught.value.hint


def test_the_binding_that_works_is_taken_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing() -> None:
        raise MachineError("PyCUDA is installed and cannot be loaded: libcuda.so.1.", "Install it again.")

    monkeypatch.setattr(module, "PyCuda", failing)
    monkeypatch.setattr(module, "CudaPython", object)
    open_cuda.cache_clear()
    try:
        assert open_cuda() is open_cuda()
    finally:
        open_cuda.cache_clear()


@pytest.mark.parametrize(
    ("text", "device", "told"),
    [
        ("CUDA_ERROR_OUT_OF_MEMORY (2)", ORIN, "memory is full (Orin, 8192 MiB)"),
        ("cuMemAlloc failed: out of memory", ORIN, "memory is full (Orin, 8192 MiB)"),
        ("cuInit failed: no device", None, "No NVIDIA GPU can be used"),
        ("CUDA_ERROR_SYSTEM_DRIVER_MISMATCH (803)", None, "driver is missing or too old"),
        ("libcuda.so.1: cannot open shared object file", None, "driver is missing or too old"),
        ("CUDA_ERROR_ILLEGAL_ADDRESS (700)", ORIN, "The GPU failed"),
    ],
)
def test_a_failure_of_the_driver_is_explained(text: str, device: Device | None, told: str) -> None:
    error = explained(CudaFailure(text), device)
    assert told in error.message
    assert text in error.message
    assert error.hint


def test_importing_the_runner_imports_no_binding_and_no_tensorrt() -> None:
    script = (
        "import sys, trtparse.engines.tensorrt.cuda, trtparse.engines.tensorrt.engine, trtparse.engines.open\n"
        "print(sorted({'pycuda', 'cuda', 'tensorrt', 'torch', 'onnxruntime'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# On a GPU


@pytest.fixture(params=BINDINGS)
def cuda(request: pytest.FixtureRequest) -> Iterator[Cuda]:
    open_cuda.cache_clear()
    try:
        yield open_cuda(request.param)
    except MachineError as error:
        pytest.skip(error.message)


@pytest.mark.gpu
def test_what_is_copied_there_and_back_is_the_same(cuda: Cuda) -> None:
    content = np.arange(100_000, dtype=np.uint32).view(np.uint8)
    with cuda.current():
        stream, done = cuda.stream(), cuda.event()
        there, back = cuda.host_memory(content.size), cuda.host_memory(content.size)
        device = cuda.device_memory(content.size)
        there.view(np.uint8, content.shape)[...] = content
        cuda.copy_to_device(device, there, content.size, stream)
        cuda.copy_to_host(back, device, content.size, stream)
        cuda.record(done, stream)
        cuda.wait(done)
        np.testing.assert_array_equal(back.view(np.uint8, content.shape), content)
        for memory in (there, back, device):
            cuda.free(memory)
        cuda.destroy(done, stream)
        del done, stream


@pytest.mark.gpu
def test_a_graph_replays_what_was_captured(cuda: Cuda) -> None:
    with cuda.current():
        stream = cuda.stream()
        there, back, device = cuda.host_memory(64), cuda.host_memory(64), cuda.device_memory(64)
        with cuda.capture(stream) as graph:
            cuda.copy_to_device(device, there, 64, stream)
            cuda.copy_to_host(back, device, 64, stream)
        for value in (1, 2, 3):
            there.view(np.uint8, (64,))[...] = value
            cuda.launch(graph, stream)
            cuda.synchronise(stream)
            assert set(back.view(np.uint8, (64,)).tolist()) == {value}
        cuda.free_graph(graph)
        for memory in (there, back, device):
            cuda.free(memory)
        cuda.destroy(stream)
        del stream


@pytest.mark.gpu
def test_mapped_memory_has_an_address_on_the_gpu(cuda: Cuda) -> None:
    with cuda.current():
        memory = cuda.host_memory(4096, mapped=True)
        assert memory.device_pointer
        cuda.free(memory)


@pytest.mark.gpu
def test_events_tell_the_time_between_them(cuda: Cuda) -> None:
    with cuda.current():
        stream, start, end = cuda.stream(), cuda.event(timed=True), cuda.event(timed=True)
        there, device = cuda.host_memory(1 << 26), cuda.device_memory(1 << 26)
        cuda.record(start, stream)
        cuda.copy_to_device(device, there, 1 << 26, stream)
        cuda.record(end, stream)
        cuda.wait(end)
        assert cuda.milliseconds(start, end) > 0
        for memory in (there, device):
            cuda.free(memory)
        cuda.destroy(stream, start, end)
        del stream, start, end


@pytest.mark.gpu
def test_more_memory_than_there_is_is_an_error_and_the_gpu_goes_on(cuda: Cuda) -> None:
    with pytest.raises(MachineError, match="memory is full"), cuda.current():
        cuda.device_memory(1 << 50)
    with cuda.current():
        cuda.free(cuda.device_memory(1 << 20))


@pytest.mark.gpu
def test_no_context_is_left_current_on_any_thread(cuda: Cuda) -> None:
    library = ctypes.CDLL("libcuda.so.1")
    seen: list[tuple[int | None, int | None]] = []

    def use() -> None:
        inside, after = ctypes.c_void_p(), ctypes.c_void_p()
        with cuda.current():
            library.cuCtxGetCurrent(ctypes.byref(inside))
        library.cuCtxGetCurrent(ctypes.byref(after))
        seen.append((inside.value, after.value))

    for _ in range(2):
        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
    assert len(seen) == 2
    assert all(inside and after is None for inside, after in seen)
