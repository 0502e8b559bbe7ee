"""What every engine must do, run against each of them, on graphs of several tasks."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from trtparse.engines import Bundle, Engine, Ticket, open_engine
from trtparse.engines.base import Arrays, Frames
from trtparse.engines.cpu import CpuEngine
from trtparse.engines.openvino import OpenVinoEngine
from trtparse.engines.tensorrt.engine import TensorRTEngine
from trtparse.errors import UsageError
from trtparse.graphs.half import to_half
from trtparse.tests.engines.recording import POINTS, FakeTensorRT, RecordingCuda, fake_engine
from trtparse.tests.engines.tiny_graphs import joints_graph
from trtparse.tests.predicting import label_maps

PARSING = [
    *("pytorch-fp32", "onnxruntime-fp32", "onnxruntime-fp16", "onnxruntime-int8", "simulated-int8"),
    *("openvino-fp32", "openvino-fp16", "openvino-int8"),
    *(pytest.param(f"tensorrt-{precision}", marks=pytest.mark.gpu) for precision in ("fp32", "fp16", "int8")),
]
TINY = {
    "joints": ("onnxruntime", ("joints", "maps")),
    "joints in fp16": ("onnxruntime", ("joints", "maps")),
    "labels and joints": ("onnxruntime", ("labels", "joints", "maps")),
    "joints on OpenVINO": ("openvino", ("joints", "maps")),
    "joints on OpenVINO in fp16": ("openvino", ("joints", "maps")),
    "labels and joints on OpenVINO": ("openvino", ("labels", "joints", "maps")),
    "points on a stand-in": ("stand-in", (POINTS,)),
    "points and labels on a stand-in": ("stand-in", (POINTS, *label_maps((6, 4)))),
}
KINDS = [*PARSING, *TINY]


def _opener(kind: str, request: pytest.FixtureRequest) -> Callable[[], Engine]:
    """What opens an engine of a kind; each time a new one."""
    if "openvino" in kind.lower() and find_spec("openvino") is None:
        pytest.skip("OpenVINO is not installed")
    if kind not in TINY:
        # TensorRT's engines come from where PyTorch may be missing, so they are in a bundle that was made before.
        bundle = request.getfixturevalue("gpu_bundle" if kind.startswith("tensorrt") else "pristine_bundle")
        target, precision = kind.split("-")
        return partial(open_engine, bundle, target, precision, threads=2)
    target, outputs = TINY[kind]
    if target == "stand-in":
        content, manifest = fake_engine((1, 2, 8), outputs=outputs, logits=True)  # type: ignore[arg-type]
        cuda = RecordingCuda()
        return partial(TensorRTEngine, content, manifest, cuda=cuda, library=FakeTensorRT(cuda))
    folder: Path = request.getfixturevalue("tmp_path_factory").mktemp("tiny")
    model = joints_graph(outputs)  # type: ignore[arg-type]
    precision = "fp16" if kind.endswith("fp16") else "fp32"
    onnx.save(to_half(model) if precision == "fp16" else model, folder / "tiny.onnx")
    kind_of_engine = OpenVinoEngine if target == "openvino" else CpuEngine
    return partial(kind_of_engine, folder / "tiny.onnx", precision, threads=2)


@pytest.fixture(scope="module", params=KINDS)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    with _opener(request.param, request)() as opened:
        yield opened


@pytest.fixture
def some(engine: Engine, frames: Frames) -> Frames:
    """Six frames of the engine's size."""
    return _of_size(engine, frames)


def _of_size(engine: Engine, frames: Frames) -> Frames:
    if engine.input_size == frames.shape[1:3]:
        return frames
    return np.random.default_rng(0).integers(0, 256, (6, *engine.input_size, 3), np.uint8)


def assert_equal(found: Arrays, expected: Arrays) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected):
        np.testing.assert_array_equal(one, other)


def test_it_says_what_it_is(engine: Engine, frames: Frames) -> None:
    assert engine.input_size in ((256, 192), (24, 16), (6, 4))
    assert engine.batch is None
    assert engine.precision in engine.name
    assert engine.target in ("pytorch", "onnxruntime", "openvino", "simulated", "tensorrt")
    if engine.input_size == (256, 192):
        assert engine.outputs == label_maps((256, 192))


def test_a_forked_child_is_told_to_open_its_own_instead_of_waiting_for_threads_that_it_lacks(
    engine: Engine, some: Frames
) -> None:
    engine.infer(some[:1])
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # ends a child that hangs, so that the test fails instead of waiting for ever
        calls: tuple[Callable[[], Any], ...] = (
            lambda: engine.infer(some[:1]),
            lambda: engine.raw(some[:1]),
            engine.close,
        )
        for call in calls:
            try:
                call()
                os.write(tell, b"went through\n")
            except UsageError as error:
                os.write(tell, f"{error.message} {error.hint}\n".encode())
        os._exit(0)
    os.close(tell)
    with os.fdopen(told) as pipe:
        inferred, raw, closed = pipe.read().splitlines()
    assert os.waitpid(child, 0)[1] == 0
    assert f"was opened in process {os.getpid()}" in inferred
    assert "open_engine()" in inferred
    assert raw == inferred
    assert closed == "went through"
    assert len(engine.infer(some[:1])[0]) == 1


def test_arrays_are_as_the_output_specs_say_and_the_caller_s_own(engine: Engine, some: Frames) -> None:
    arrays = engine.infer(some)
    assert isinstance(arrays, tuple)
    assert len(arrays) == len(engine.outputs) == len({spec.name for spec in engine.outputs})
    for spec, array in zip(engine.outputs, arrays):
        assert (array.dtype, array.shape) == (np.dtype(spec.dtype), (len(some), *spec.shape))
        assert len(np.unique(array)) > 3
        array[:] = 0
    again = engine.infer(some)
    assert all(array.any() for array in again)


def test_label_maps_hold_only_what_the_raw_tensor_tells_apart(engine: Engine, some: Frames) -> None:
    labels = dict(zip((spec.name for spec in engine.outputs), engine.infer(some[:2]))).get("labels")
    raw = engine.raw(some[:2])
    assert engine.gives_raw
    assert (raw.dtype, len(raw)) == (np.float32, 2)
    if labels is not None:
        assert (raw.argmax(axis=1) == labels).mean() > 0.999


def test_a_frame_gets_the_same_answers_alone_and_in_a_batch(engine: Engine, some: Frames) -> None:
    together = engine.infer(some[:3])
    alone = [engine.infer(frame[None]) for frame in some[:3]]
    for position, array in enumerate(together):
        singles = np.concatenate([arrays[position] for arrays in alone])
        # Kernels sum in another order for another batch: a pixel on a border may turn.
        assert np.isclose(array, singles, rtol=1e-3).mean() > 0.999


def test_the_same_frames_give_the_same_answers(engine: Engine, some: Frames) -> None:
    assert_equal(engine.infer(some[:2]), engine.infer(some[:2]))


def test_two_requests_in_flight_come_back_in_order(engine: Engine, some: Frames) -> None:
    expected = [engine.infer(some[:1]), engine.infer(some[1:2])]
    assert (expected[0][0] != expected[1][0]).any()
    tickets = [engine.submit(some[:1]), engine.submit(some[1:2])]
    for ticket, arrays in zip(tickets, expected):
        assert_equal(engine.collect(ticket), arrays)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda height, width: np.zeros((1, height, width, 3), np.float32),
        lambda height, width: np.zeros((1, width, height, 3), np.uint8),
        lambda height, width: np.zeros((height, width, 3), np.uint8),
        lambda height, width: np.zeros((0, height, width, 3), np.uint8),
        lambda height, width: np.zeros((1, height, width, 4), np.uint8),
        lambda height, width: [[0]],
    ],
    ids=["float32", "turned round", "no batch", "no frame", "four channels", "a list"],
)
def test_frames_of_another_shape_or_type_are_refused_by_what_they_are(
    engine: Engine, wrong: Callable[[int, int], Any]
) -> None:
    height, width = engine.input_size
    with pytest.raises(UsageError, match=rf"must be .*\(N, {height}, {width}, 3\) uint8"):
        engine.infer(wrong(height, width))


def test_more_requests_than_fit_are_refused_and_the_engine_goes_on(engine: Engine, some: Frames) -> None:
    tickets = [engine.submit(some[:1]) for _ in range(engine.in_flight)]
    with pytest.raises(UsageError, match="already in flight"):
        engine.submit(some[:1])
    with pytest.raises(UsageError, match="in flight"):
        engine.infer(some[:1])
    for ticket in tickets:
        engine.collect(ticket)
    engine.infer(some[:1])


def test_a_ticket_is_collected_once_and_in_turn(engine: Engine, some: Frames) -> None:
    first, second = engine.submit(some[:1]), engine.submit(some[1:2])
    with pytest.raises(UsageError, match="not the oldest"):
        engine.collect(second)
    engine.collect(first)
    with pytest.raises(UsageError, match="not in flight"):
        engine.collect(first)
    engine.collect(second)


def test_a_view_of_a_larger_array_is_read_as_it_looks(engine: Engine, some: Frames) -> None:
    height, width = engine.input_size
    wide = np.zeros((1, height, 2 * width, 3), np.uint8)
    wide[:, :, ::2] = some[:1]
    assert_equal(engine.infer(wide[:, :, ::2]), engine.infer(some[:1]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_closed_engine_refuses_and_leaves_no_thread(
    kind: str, request: pytest.FixtureRequest, frames: Frames
) -> None:
    before = {thread for thread in threading.enumerate() if "Engine" in thread.name}
    engine = _opener(kind, request)()
    some = _of_size(engine, frames)
    engine.infer(some[:1])
    engine.submit(some[:1])
    engine.close()
    engine.close()
    with pytest.raises(UsageError, match="closed"):
        engine.infer(some[:1])
    with pytest.raises(UsageError, match="closed"):
        engine.collect(Ticket(2))
    assert {thread for thread in threading.enumerate() if "Engine" in thread.name} == before


@pytest.mark.parametrize(
    ("kind", "least"),
    [
        *(("onnxruntime-fp32", 0.9995), ("onnxruntime-fp16", 0.995), ("onnxruntime-int8", 0.95)),
        *(("openvino-fp32", 0.9995), ("openvino-fp16", 0.995), ("openvino-int8", 0.95)),
        ("simulated-int8", 0.95),
    ],
)
def test_every_engine_agrees_with_the_reference(
    kind: str, least: float, pristine_bundle: Bundle, frames: Frames
) -> None:
    target, precision = kind.split("-")
    with (
        open_engine(pristine_bundle, "pytorch", threads=2) as reference,
        open_engine(pristine_bundle, target, precision, threads=2) as engine,
    ):
        assert (reference.infer(frames)[0] == engine.infer(frames)[0]).mean() >= least
