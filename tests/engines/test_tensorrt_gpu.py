"""TensorRT on a GPU, over the bundle that TRTPARSE_GPU_BUNDLE names; benchmarks/tensorrt_gpu.py makes one."""

from __future__ import annotations

import ctypes
import resource
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from trtparse.engines import Bundle, open_engine
from trtparse.engines.base import Frames
from trtparse.engines.manifest import EngineManifest, engine_manifests, read_engine
from trtparse.engines.tensorrt.cuda import BINDINGS, open_cuda
from trtparse.engines.tensorrt.engine import TensorRTEngine, open_tensorrt
from trtparse.errors import MachineError, UsageError
from trtparse.tasks.parsing.task import LabelMaps

pytestmark = pytest.mark.gpu

WAYS: list[dict[str, Any]] = [
    {"slots": 1},
    {"slots": 3},
    {"cuda_graph": True},
    {"mapped": True},
    {"mapped": True, "cuda_graph": True},
]


@pytest.fixture(scope="module", params=["fp32", "fp16", "int8"])
def manifest(request: pytest.FixtureRequest, gpu_bundle: Bundle) -> EngineManifest:
    return next(one for one in engine_manifests(gpu_bundle) if one.precision == request.param)


@pytest.fixture(scope="module")
def expected(gpu_bundle: Bundle, manifest: EngineManifest, frames: Frames) -> LabelMaps:
    with open_tensorrt(gpu_bundle, manifest) as engine:
        (labels,) = engine.infer(frames)
        return labels


@pytest.fixture
def engine(gpu_bundle: Bundle, manifest: EngineManifest) -> Iterator[TensorRTEngine]:
    with open_tensorrt(gpu_bundle, manifest) as opened:
        yield opened


def _free_memory() -> int:
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    with open_cuda().current():
        assert ctypes.CDLL("libcuda.so.1").cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)) == 0
    return free.value


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_every_way_gives_the_same_labels(
    way: dict[str, Any], gpu_bundle: Bundle, manifest: EngineManifest, expected: LabelMaps, frames: Frames
) -> None:
    with TensorRTEngine(read_engine(gpu_bundle, manifest), manifest, **way) as engine:
        for _ in range(3):
            np.testing.assert_array_equal(engine.infer(frames)[0], expected)
        for count in (1, 3, 1):
            assert (engine.infer(frames[:count])[0] == expected[:count]).mean() > 0.999


@pytest.mark.parametrize("binding", BINDINGS)
def test_every_binding_gives_the_same_labels(
    binding: str, gpu_bundle: Bundle, manifest: EngineManifest, expected: LabelMaps, frames: Frames
) -> None:
    try:
        cuda = open_cuda(binding)
    except MachineError as error:
        pytest.skip(error.message)
    with TensorRTEngine(read_engine(gpu_bundle, manifest), manifest, cuda=cuda, cuda_graph=True) as engine:
        np.testing.assert_array_equal(engine.infer(frames)[0], expected)
        assert min(engine.engine_times(frames, 20)) > 0


def test_it_agrees_with_pytorchs_stored_answers(gpu_bundle: Bundle, manifest: EngineManifest, engine: Any) -> None:
    from trtparse.trt_builder.parity import PARITY_NAME, load_parity

    stored, expected = load_parity(gpu_bundle.path / PARITY_NAME)
    found = np.concatenate([engine.infer(frame[None])[0] for frame in stored])
    assert (found == expected["labels"]).mean() > {"fp32": 0.999, "fp16": 0.995, "int8": 0.95}[manifest.precision]


def test_ten_thousand_requests_leak_nothing_and_stay_right(
    engine: TensorRTEngine, expected: LabelMaps, frames: Frames
) -> None:
    def run(count: int) -> None:
        flying = [engine.submit(frames)]
        for number in range(count):
            flying.append(engine.submit(frames))
            (labels,) = engine.collect(flying.pop(0))
            if number % 500 == 0:
                np.testing.assert_array_equal(labels, expected)
        engine.collect(flying.pop())

    run(200)
    memory, resident = _free_memory(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run(10_000)
    assert _free_memory() == memory
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident < 16 << 10, "kB"


def test_opening_and_closing_gives_the_memory_back(
    gpu_bundle: Bundle, manifest: EngineManifest, frames: Frames
) -> None:
    def once() -> None:
        with open_tensorrt(gpu_bundle, manifest, cuda_graph=True) as engine:
            engine.infer(frames)

    for _ in range(3):
        once()
    before = _free_memory()
    for _ in range(10):
        once()
    # The driver hands memory out in pages of 2 MiB.
    assert before - _free_memory() <= 4 << 20


def test_two_engines_at_a_time_and_a_change_of_threads(
    gpu_bundle: Bundle, manifest: EngineManifest, expected: LabelMaps, frames: Frames
) -> None:
    with open_tensorrt(gpu_bundle, manifest) as first, open_tensorrt(gpu_bundle, manifest) as second:
        tickets = [(engine, engine.submit(frames)) for _ in range(2) for engine in (first, second)]
        for engine, ticket in tickets:
            np.testing.assert_array_equal(engine.collect(ticket)[0], expected)
        found: list[LabelMaps] = []
        thread = threading.Thread(target=lambda: found.append(first.infer(frames)[0]))
        thread.start()
        thread.join()
        np.testing.assert_array_equal(found[0], expected)
        np.testing.assert_array_equal(first.infer(frames)[0], expected)


def test_after_errors_the_gpu_is_usable(
    gpu_bundle: Bundle, manifest: EngineManifest, engine: TensorRTEngine, expected: LabelMaps, frames: Frames
) -> None:
    content = read_engine(gpu_bundle, manifest)
    with pytest.raises(MachineError, match="cannot load"):
        TensorRTEngine(content[: len(content) // 2], manifest)
    with pytest.raises(UsageError, match="at a time"):
        engine.infer(np.zeros((manifest.batch[2] + 1, *engine.input_size, 3), np.uint8))
    with pytest.raises(UsageError, match="must be"):
        engine.infer(frames.astype(np.float32))
    np.testing.assert_array_equal(engine.infer(frames)[0], expected)


def test_layers_and_the_engine_alone_are_timed(engine: TensorRTEngine, frames: Frames) -> None:
    layers = engine.layer_times(frames, 5)
    assert len(layers) > 5
    assert sum(layer.milliseconds for layer in layers) > 0
    assert len(engine.engine_times(frames, 40)) == 40


def test_auto_takes_it_and_says_so(gpu_bundle: Bundle) -> None:
    with open_engine(gpu_bundle) as engine:
        assert engine.target == "tensorrt"
        assert engine.name.startswith("TensorRT")
        assert engine.precision == "int8"


def test_it_lives_beside_pytorch_on_the_same_gpu(engine: TensorRTEngine, expected: LabelMaps, frames: Frames) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("PyTorch sees no GPU")
    ones = torch.ones(64, 64, device="cuda")
    np.testing.assert_array_equal(engine.infer(frames)[0], expected)
    assert float((ones @ ones).sum()) == 64**3
    np.testing.assert_array_equal(engine.infer(frames)[0], expected)
