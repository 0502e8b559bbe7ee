"""What every engine must do, run against each of them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from trtparse.engines import Bundle, Engine, Ticket, open_engine
from trtparse.engines.base import Frames
from trtparse.errors import UsageError

KINDS = [
    *("pytorch-fp32", "cpu-fp32", "cpu-fp16", "cpu-int8", "simulated-int8"),
    *(pytest.param(f"tensorrt-{precision}", marks=pytest.mark.gpu) for precision in ("fp32", "fp16", "int8")),
]


def _bundle(kind: str, request: pytest.FixtureRequest) -> Bundle:
    """TensorRT's engines come from where PyTorch may be missing, so they are in a bundle that was made before."""
    bundle = request.getfixturevalue("gpu_bundle" if kind.startswith("tensorrt") else "pristine_bundle")
    assert isinstance(bundle, Bundle)
    return bundle


@pytest.fixture(scope="module", params=KINDS)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    target, precision = request.param.split("-")
    with open_engine(_bundle(request.param, request), target, precision, threads=2) as opened:
        yield opened


def test_it_says_what_it_is(engine: Engine) -> None:
    assert engine.input_size == (256, 192)
    assert engine.batch is None
    assert engine.precision in engine.name
    assert engine.target in ("pytorch", "cpu", "simulated", "tensorrt")


def test_a_forked_child_is_told_to_open_its_own_instead_of_waiting_for_threads_that_it_lacks(
    engine: Engine, frames: Frames
) -> None:
    engine.infer(frames[:1])
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # ends a child that hangs, so that the test fails instead of waiting for ever
        calls = (lambda: engine.infer(frames[:1]), lambda: engine.logits(frames[:1]), engine.close)
        for call in calls:
            try:
                call()
                os.write(tell, b"went through\n")
            except UsageError as error:
                os.write(tell, f"{error.message} {error.hint}\n".encode())
        os._exit(0)
    os.close(tell)
    with os.fdopen(told) as pipe:
        inferred, logits, closed = pipe.read().splitlines()
    assert os.waitpid(child, 0)[1] == 0
    assert f"was opened in process {os.getpid()}" in inferred
    assert "open_engine()" in inferred
    assert logits == inferred
    assert closed == "went through"
    assert engine.infer(frames[:1]).shape == (1, 256, 192)


def test_label_maps_have_the_frames_size_and_only_classes(engine: Engine, frames: Frames) -> None:
    labels = engine.infer(frames)
    assert labels.shape == frames.shape[:3]
    assert labels.dtype == np.uint8
    assert labels.max() < 20
    assert len(np.unique(labels)) > 3


def test_a_frame_gets_the_same_labels_alone_and_in_a_batch(engine: Engine, frames: Frames) -> None:
    together = engine.infer(frames[:3])
    alone = np.concatenate([engine.infer(frame[None]) for frame in frames[:3]])
    # Kernels sum in another order for another batch: a pixel on a border may turn.
    assert (together == alone).mean() > 0.999


def test_the_same_frames_give_the_same_labels(engine: Engine, frames: Frames) -> None:
    np.testing.assert_array_equal(engine.infer(frames[:2]), engine.infer(frames[:2]))


def test_two_requests_in_flight_come_back_in_order(engine: Engine, frames: Frames) -> None:
    expected = [engine.infer(frames[:1]), engine.infer(frames[1:2])]
    assert (expected[0] != expected[1]).any()
    tickets = [engine.submit(frames[:1]), engine.submit(frames[1:2])]
    for ticket, labels in zip(tickets, expected):
        np.testing.assert_array_equal(engine.collect(ticket), labels)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((1, 256, 192, 3), np.float32),
        np.zeros((1, 192, 256, 3), np.uint8),
        np.zeros((256, 192, 3), np.uint8),
        np.zeros((0, 256, 192, 3), np.uint8),
        np.zeros((1, 256, 192, 4), np.uint8),
        [[0]],
    ],
)
def test_frames_of_another_shape_or_type_are_refused_by_what_they_are(engine: Engine, wrong: object) -> None:
    with pytest.raises(UsageError, match=r"must be .*\(N, 256, 192, 3\) uint8"):
        engine.infer(wrong)  # type: ignore[arg-type]


def test_more_requests_than_fit_are_refused_and_the_engine_goes_on(engine: Engine, frames: Frames) -> None:
    tickets = [engine.submit(frames[:1]) for _ in range(engine.in_flight)]
    with pytest.raises(UsageError, match="already in flight"):
        engine.submit(frames[:1])
    with pytest.raises(UsageError, match="in flight"):
        engine.infer(frames[:1])
    for ticket in tickets:
        engine.collect(ticket)
    engine.infer(frames[:1])


def test_a_ticket_is_collected_once_and_in_turn(engine: Engine, frames: Frames) -> None:
    first, second = engine.submit(frames[:1]), engine.submit(frames[1:2])
    with pytest.raises(UsageError, match="not the oldest"):
        engine.collect(second)
    engine.collect(first)
    with pytest.raises(UsageError, match="not in flight"):
        engine.collect(first)
    engine.collect(second)


def test_a_view_of_a_larger_array_is_read_as_it_looks(engine: Engine, frames: Frames) -> None:
    wide = np.zeros((1, 256, 384, 3), np.uint8)
    wide[:, :, ::2] = frames[:1]
    np.testing.assert_array_equal(engine.infer(wide[:, :, ::2]), engine.infer(frames[:1]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_closed_engine_refuses_and_leaves_no_thread(
    kind: str, request: pytest.FixtureRequest, frames: Frames
) -> None:
    before = {thread for thread in threading.enumerate() if "Engine" in thread.name}
    target, precision = kind.split("-")
    engine = open_engine(_bundle(kind, request), target, precision, threads=1)
    engine.infer(frames[:1])
    engine.submit(frames[:1])
    engine.close()
    engine.close()
    with pytest.raises(UsageError, match="closed"):
        engine.infer(frames[:1])
    with pytest.raises(UsageError, match="closed"):
        engine.collect(Ticket(2))
    assert {thread for thread in threading.enumerate() if "Engine" in thread.name} == before


@pytest.mark.parametrize(
    ("kind", "least"), [("cpu-fp32", 0.9995), ("cpu-fp16", 0.995), ("cpu-int8", 0.95), ("simulated-int8", 0.95)]
)
def test_every_engine_agrees_with_the_reference(
    kind: str, least: float, pristine_bundle: Bundle, frames: Frames
) -> None:
    target, precision = kind.split("-")
    with (
        open_engine(pristine_bundle, "pytorch", threads=2) as reference,
        open_engine(pristine_bundle, target, precision, threads=2) as engine,
    ):
        assert (reference.infer(frames) == engine.infer(frames)).mean() >= least
