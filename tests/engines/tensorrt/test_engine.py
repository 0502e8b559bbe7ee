"""The order of things on a GPU, shown on a stand-in that fails on every race; see recording.py."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trtparse.engines import OutputSpec, Ticket
from trtparse.engines.tensorrt.cuda import CudaFailure
from trtparse.engines.tensorrt.engine import TensorRTEngine, this_runtime
from trtparse.engines.tensorrt.log import library_logger
from trtparse.engines.tensorrt.slot import MOST_GRAPHS
from trtparse.errors import MachineError, UsageError
from trtparse.tests.engines.recording import (
    ANSWERS,
    POINTS,
    FakeTensorRT,
    Race,
    RecordingCuda,
    StandIn,
    fake_engine,
    labels_of,
)
from trtparse.tests.predicting import label_maps

Open = Callable[..., StandIn]

ALLOCATIONS = ("stream", "event", "host_memory", "device_memory")

WAYS = {
    "copied": {},
    "mapped": {"integrated": True},
    "graph": {"cuda_graph": True},
    "mapped graph": {"integrated": True, "cuda_graph": True},
    "int32 labels": {"types": {"labels": "int32"}},
    "with logits": {"logits": True},
    "two outputs": {"outputs": (POINTS, *label_maps((6, 4)))},
    "two outputs mapped, one in half": {
        "outputs": (*label_maps((6, 4)), POINTS),
        "types": {"points": "float16"},
        "integrated": True,
        "cuda_graph": True,
    },
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> dict[str, Any]:
    return WAYS[request.param]


def assert_answers(one: StandIn, arrays: tuple[Any, ...], frames: Any) -> None:
    """The arrays are what the stand-in makes of the frames, as the engine's output specs have them."""
    assert len(arrays) == len(one.engine.outputs)
    for spec, array in zip(one.engine.outputs, arrays):
        assert (array.dtype, array.shape) == (np.dtype(spec.dtype), (len(frames), *spec.shape))
        np.testing.assert_array_equal(array, ANSWERS[spec.name](frames))


def test_arrays_are_the_frames_own(stand_in: Open, way: dict[str, Any]) -> None:
    one = stand_in((1, 2, 4), **way)
    for seed, count in enumerate((1, 4, 2, 2, 1)):
        frames = one.frames(count, seed)
        assert_answers(one, one.engine.infer(frames), frames)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    way=st.sampled_from(list(WAYS.values())),
    slots=st.integers(1, 4),
    steps=st.lists(st.one_of(st.none(), st.integers(1, 3)), max_size=30),
)
def test_however_submits_and_collects_follow_each_other_every_request_gets_its_own_arrays(
    stand_in: Open, way: dict[str, Any], slots: int, steps: list[int | None]
) -> None:
    one = stand_in((1, 1, 3), slots=slots, **way)
    flying: list[tuple[Ticket, Any]] = []
    results = []
    for seed, step in enumerate(steps):
        if step is None or len(flying) == slots:
            if flying:
                ticket, expected = flying.pop(0)
                results.append((one.engine.collect(ticket), expected))
        else:
            frames = one.frames(step, seed)
            flying.append((one.engine.submit(frames), frames))
    results += [(one.engine.collect(ticket), expected) for ticket, expected in flying]
    for arrays, frames in results:
        assert_answers(one, arrays, frames)


def test_the_second_request_starts_before_the_first_is_waited_for(stand_in: Open) -> None:
    one = stand_in()
    one.cuda.calls.clear()
    tickets = [one.engine.submit(one.frames(seed=seed)) for seed in range(2)]
    request = ["copy_to_device", "execute", "copy_to_host", "record"]
    assert one.cuda.calls == request * 2
    assert [len(stream.waiting) for stream in one.cuda.streams] == [4, 4]
    one.engine.collect(tickets[0])
    assert one.cuda.calls == [*request * 2, "wait"]
    assert [len(stream.waiting) for stream in one.cuda.streams] == [0, 4], "only the first one's stream was waited for"
    one.engine.collect(tickets[1])


def test_mapped_memory_needs_no_copies(stand_in: Open) -> None:
    one = stand_in(integrated=True)
    one.cuda.calls.clear()
    one.engine.infer(one.frames())
    assert one.cuda.calls == ["execute", "record", "wait"]


def test_waiting_sleeps_on_a_jetson_and_spins_where_that_is_asked_for(stand_in: Open) -> None:
    def waits(**options: Any) -> set[bool]:
        return {event.blocking for event in stand_in(**options).cuda.events}

    assert waits(integrated=True) == {True}
    assert waits(integrated=False) == {False}
    assert waits(integrated=True, spin=True) == {False}
    assert waits(integrated=False, spin=False) == {True}


def test_what_is_timed_spins_on_a_jetson_as_well(stand_in: Open) -> None:
    one = stand_in(integrated=True)
    one.engine.engine_times(one.frames(), 2)
    assert {event.blocking for event in one.cuda.events if event.timed} == {False}


@pytest.mark.parametrize(("integrated", "board"), [(True, "Jetson Orin Nano"), (False, "")])
def test_what_would_run_an_engine_is_told_with_its_multiprocessors_and_a_jetson_s_board(
    integrated: bool, board: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = RecordingCuda(integrated=integrated)
    cuda.device = replace(cuda.device, name="Orin", multiprocessors=8)
    monkeypatch.setattr("trtparse.engines.tensorrt.engine.read_model", lambda probe: "Jetson Orin Nano")
    here = this_runtime("tensorrt", cuda, FakeTensorRT(cuda))
    assert (here.tensorrt, here.gpu, here.multiprocessors, here.board) == ("10.3.0", "Orin", 8, board)


def test_copies_can_be_asked_for_where_memory_is_shared(stand_in: Open) -> None:
    one = stand_in(integrated=True, mapped=False)
    assert ", copies" in one.engine.name
    one.cuda.calls.clear()
    one.engine.infer(one.frames())
    assert one.cuda.calls == ["copy_to_device", "execute", "copy_to_host", "record", "wait"]


def test_a_library_has_one_logger_that_all_its_engines_share(stand_in: Open) -> None:
    cuda = RecordingCuda()
    library = FakeTensorRT(cuda)
    engines = [TensorRTEngine(*fake_engine(), cuda=cuda, library=library) for _ in range(2)]
    assert len({id(engine._logger) for engine in engines}) == 1
    assert engines[0]._logger is not stand_in().engine._logger
    for engine in engines:
        engine.close()


def test_of_many_complaints_the_first_are_told_and_the_others_counted() -> None:
    logger = library_logger(FakeTensorRT(RecordingCuda()))
    lines: list[str] = []
    logger.log_to(lines.append, verbose=False)
    for number in range(25):
        logger.log(1, f"error {number}\n")
        logger.log(2, f"warning {number}")
    logger.log(0, "internal")
    logger.log(3, "built in 3 s")
    logger.log(4, "Tactic 7")
    told = logger.told()
    assert told.startswith("error 0; error 1; ")
    assert told.endswith("error 19 (6 more errors and 25 warnings)")
    assert lines[:2] == ["[E] error 0", "[W] warning 0"]
    assert lines[-2:] == ["[F] internal", "[I] built in 3 s"]
    # What was told once does not come up again with the next engine.
    assert logger.told() == "it gave no reason"
    logger.log_to(lines.append, verbose=True)
    logger.log(4, "Tactic 7")
    assert lines[-1] == "[V] Tactic 7"


def _graphs(one: StandIn) -> int:
    return len([graph for graph in one.cuda.graphs if graph.handle])


def test_a_graph_is_recorded_once_for_each_number_of_frames(stand_in: Open) -> None:
    one = stand_in((1, 1, 2), slots=1, cuda_graph=True)
    assert "CUDA graph" in one.engine.name
    for number, count in enumerate((1, 1, 1, 2, 2, 1, 2)):
        frames = one.frames(count, seed=number)
        np.testing.assert_array_equal(one.engine.infer(frames)[0], labels_of(frames))
    assert one.cuda.calls.count("capture") == 2
    assert one.cuda.calls.count("launch") == 7
    assert _graphs(one) == 2
    assert len(one.library.contexts) == 2


def test_of_many_numbers_of_frames_the_graphs_used_last_are_kept_and_no_more_contexts_made(stand_in: Open) -> None:
    one = stand_in((1, 1, 8), slots=1, cuda_graph=True)
    for count in (1, 2, 3, 4, 1, 5, 2, 1, 3, 4, 5):
        frames = one.frames(count, seed=count)
        np.testing.assert_array_equal(one.engine.infer(frames)[0], labels_of(frames))
        assert _graphs(one) <= MOST_GRAPHS
    # 5 takes the place of 2, 2 that of 3, 3 that of 4, 4 that of 5; 1 was used all along until 5 came again.
    assert one.cuda.calls.count("capture") == 9
    assert len(one.library.contexts) == MOST_GRAPHS


def test_without_graphs_one_context_serves_any_number_of_frames(stand_in: Open) -> None:
    one = stand_in((1, 1, 8), slots=1)
    for count in (1, 2, 3, 4, 5, 1):
        one.engine.infer(one.frames(count))
    assert len(one.library.contexts) == 1


@pytest.mark.parametrize("way", [{}, {"cuda_graph": True}, {"integrated": True}], ids=["copied", "graph", "mapped"])
def test_ten_thousand_requests_allocate_nothing_and_never_wait_for_a_whole_stream(
    stand_in: Open, way: dict[str, Any]
) -> None:
    one = stand_in(**way)
    frames = one.frames()
    for _ in range(2):
        one.engine.infer(frames)
    before = len(one.cuda.left())
    one.cuda.calls.clear()
    flying = [one.engine.submit(frames)]
    for _ in range(9_999):
        flying.append(one.engine.submit(frames))
        one.engine.collect(flying.pop(0))
    one.engine.collect(flying.pop())
    assert one.cuda.calls.count("wait") == one.cuda.calls.count("record") == 10_000
    assert not {*ALLOCATIONS, "synchronise", "capture", "free", "destroy"} & set(one.cuda.calls)
    assert len(one.cuda.left()) == before


def test_frames_may_change_once_they_are_submitted_and_labels_never_do(stand_in: Open) -> None:
    one = stand_in()
    frames = one.frames()
    expected = labels_of(frames)
    ticket = one.engine.submit(frames)
    frames[:] = 0
    (first,) = one.engine.collect(ticket)
    for seed in range(4):
        one.engine.infer(one.frames(seed=seed + 1))
    np.testing.assert_array_equal(first, expected)
    assert first.flags.owndata
    assert first.flags.writeable


# What the stand-in is good for: each fault that the runner could have is one that it catches.


def test_the_stand_in_catches_a_forgotten_wait(stand_in: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    one = stand_in()
    ticket = one.engine.submit(one.frames())
    monkeypatch.setattr(one.cuda, "wait", lambda event: None)
    with pytest.raises(Race, match="looks at it, and stream 1 still has to"):
        one.engine.collect(ticket)


def test_the_stand_in_catches_a_wait_for_another_slots_event(stand_in: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    one = stand_in()
    wait = one.cuda.wait
    tickets = [one.engine.submit(one.frames(seed=seed)) for seed in range(2)]
    monkeypatch.setattr(one.cuda, "wait", lambda event: wait(one.cuda.events[1]))
    with pytest.raises(Race, match="looks at it"):
        one.engine.collect(tickets[0])


def test_the_stand_in_catches_a_slot_that_is_used_twice(stand_in: Open) -> None:
    one = stand_in()
    one.engine._free[1] = one.engine._free[0]
    one.engine.submit(one.frames())
    with pytest.raises(Race, match="looks at it"):
        one.engine.submit(one.frames())


def test_the_stand_in_catches_slots_that_share_a_buffer_or_a_context(stand_in: Open) -> None:
    for shared in ("_device", "context"):
        one = stand_in()
        first, second = one.engine._slots
        mine = getattr(second, shared)
        setattr(second, shared, getattr(first, shared))
        one.engine.submit(one.frames())
        with pytest.raises(Race, match="while stream 1 may"):
            one.engine.submit(one.frames())
        setattr(second, shared, mine)


def test_the_stand_in_catches_an_event_before_the_copy(stand_in: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    one = stand_in()
    copy, record = one.cuda.copy_to_host, one.cuda.record

    def copy_late(*arguments: Any) -> None:
        record(one.engine._slots[0]._done, arguments[-1])
        copy(*arguments)

    monkeypatch.setattr(one.cuda, "copy_to_host", copy_late)
    monkeypatch.setattr(one.cuda, "record", lambda event, stream: None)
    with pytest.raises(Race, match="still has to copy_to_host"):
        one.engine.infer(one.frames())


def test_the_stand_in_catches_a_call_without_a_context(stand_in: Open) -> None:
    one = stand_in()
    with pytest.raises(Race, match="without a current context"):
        one.engine._slots[0].start(one.frames(), ("labels",))


def test_the_stand_in_catches_memory_that_is_freed_too_early(stand_in: Open) -> None:
    one = stand_in()
    one.engine.submit(one.frames())
    with one.cuda.current(), pytest.raises(Race, match="freed"):
        one.cuda.free(one.engine._slots[0]._device["frames"])


# Bad input, each with an engine that works afterwards


def _works(one: StandIn) -> None:
    frames = one.frames(max(1, one.engine.manifest.batch[0]), 99)
    np.testing.assert_array_equal(one.engine.infer(frames)[0], labels_of(frames))


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((1, 6, 4, 3), np.float32), np.zeros((1, 4, 6, 3), np.uint8), np.zeros((6, 4, 3), np.uint8), [[0]]],
)
def test_frames_of_another_shape_or_type_are_refused(stand_in: Open, wrong: Any) -> None:
    one = stand_in()
    with pytest.raises(UsageError, match=r"must be .*\(1, 6, 4, 3\) uint8"):
        one.engine.infer(wrong)
    _works(one)


def test_more_frames_than_the_engine_was_built_for_are_refused_by_number(stand_in: Open) -> None:
    one = stand_in((2, 2, 4))
    for count in (1, 5):
        with pytest.raises(UsageError, match=f"2 to 4 at a time, not {count}"):
            one.engine.infer(one.frames(count))
    _works(one)


def test_a_ticket_is_collected_once_and_in_turn_and_no_more_go_in_than_there_are_slots(stand_in: Open) -> None:
    one = stand_in()
    first, second = (one.engine.submit(one.frames(seed=seed)) for seed in range(2))
    with pytest.raises(UsageError, match="already in flight"):
        one.engine.submit(one.frames())
    with pytest.raises(UsageError, match="not the oldest"):
        one.engine.collect(second)
    one.engine.collect(first)
    with pytest.raises(UsageError, match="not in flight"):
        one.engine.collect(first)
    with pytest.raises(UsageError, match="in flight"):
        one.engine.infer(one.frames())
    one.engine.collect(second)
    _works(one)


def _on_another_thread(call: Callable[[], Any]) -> BaseException | None:
    raised: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised[0] if raised else None


def test_a_second_thread_is_refused_while_the_first_has_requests_in_flight(stand_in: Open) -> None:
    one = stand_in()
    frames = one.frames()
    ticket = one.engine.submit(frames)
    for call in (
        lambda: one.engine.infer(frames),
        lambda: one.engine.submit(frames),
        lambda: one.engine.collect(ticket),
        lambda: one.engine.engine_times(frames, 1),
    ):
        error = _on_another_thread(call)
        assert isinstance(error, UsageError)
        assert "Another thread uses this engine" in error.message
    one.engine.collect(ticket)
    assert _on_another_thread(lambda: _works(one)) is None, "with nothing in flight, it may change hands"
    _works(one)


def test_a_second_thread_is_refused_while_the_first_waits(stand_in: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    one = stand_in()
    wait, errors = one.cuda.wait, []

    def wait_and_meet(event: Any) -> None:
        errors.append(_on_another_thread(lambda: one.engine.submit(one.frames())))
        wait(event)

    monkeypatch.setattr(one.cuda, "wait", wait_and_meet)
    one.engine.infer(one.frames())
    assert len(errors) == 1
    assert isinstance(errors[0], UsageError)


def test_a_closed_engine_refuses(stand_in: Open) -> None:
    one = stand_in()
    ticket = one.engine.submit(one.frames())
    one.engine.close()
    one.engine.close()
    assert one.cuda.left() == []
    for call in (
        lambda: one.engine.submit(one.frames()),
        lambda: one.engine.infer(one.frames()),
        lambda: one.engine.collect(ticket),
        lambda: one.engine.engine_times(one.frames(), 1),
    ):
        with pytest.raises(UsageError, match="closed"):
            call()


def test_closing_waits_for_what_is_in_flight_on_whatever_thread(stand_in: Open) -> None:
    one = stand_in()
    for seed in range(2):
        one.engine.submit(one.frames(seed=seed))
    assert _on_another_thread(one.engine.close) is None
    assert one.cuda.left() == []
    assert [len(stream.waiting) for stream in one.cuda.streams] == [0, 0]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_memory_that_runs_out_while_opening_is_explained_and_all_given_back(way: dict[str, Any]) -> None:
    """At every single allocation in turn, until none fails any more."""
    engine = {key: way[key] for key in ("logits", "outputs", "types") if key in way}
    options = {key: way[key] for key in ("cuda_graph",) if key in way}
    failed = 0
    for call in ALLOCATIONS:
        for number in itertools.count(1):
            cuda = RecordingCuda(integrated=way.get("integrated", False), fail={call: number})
            error: MachineError | None = None
            try:
                TensorRTEngine(*fake_engine(**engine), cuda=cuda, library=FakeTensorRT(cuda), **options).close()
            except MachineError as caught:
                error = caught
            assert cuda.left() == []
            assert cuda.depth() == 0
            if error is None:
                break
            failed += 1
            assert "memory is full (Stand-in GPU, 8192 MiB)" in error.message
    assert failed >= 8


@pytest.mark.parametrize("call", ["execute", "copy_to_device", "copy_to_host", "record"])
def test_a_request_that_fails_is_an_error_and_the_others_work(stand_in: Open, call: str) -> None:
    one = stand_in(cuda=RecordingCuda(fail={call: 2}))
    first = one.engine.submit(one.frames())
    with pytest.raises(MachineError, match="memory is full"):
        one.engine.submit(one.frames())
    np.testing.assert_array_equal(one.engine.collect(first)[0], labels_of(one.frames()))
    for _ in range(3):
        _works(one)


def test_a_wait_that_fails_is_an_error_and_the_next_request_works(stand_in: Open) -> None:
    one = stand_in(cuda=RecordingCuda(fail={"wait": 1}))
    with pytest.raises(MachineError, match="memory is full"):
        one.engine.infer(one.frames())
    for _ in range(3):
        _works(one)


def test_a_run_that_tensorrt_refuses_says_what_it_complained_of(stand_in: Open) -> None:
    one = stand_in(refuses="execute")
    with pytest.raises(MachineError, match="did not run the engine: the kernel would not start"):
        one.engine.infer(one.frames())
    one.library.refuses = ""
    _works(one)


def test_a_number_of_frames_that_tensorrt_refuses_leaves_the_others_usable(stand_in: Open) -> None:
    one = stand_in((1, 1, 4), refuses="set_input_shape")
    with pytest.raises(MachineError, match="did not take 3 frames"):
        one.engine.infer(one.frames(3))
    one.library.refuses = ""
    for count in (3, 1):
        frames = one.frames(count)
        np.testing.assert_array_equal(one.engine.infer(frames)[0], labels_of(frames))


@pytest.mark.parametrize(
    ("refuses", "told"), [("load", "10.3.0 cannot load .*Version tag"), ("context", "no memory for another execution")]
)
def test_an_engine_that_tensorrt_refuses_says_why_and_leaves_nothing_behind(refuses: str, told: str) -> None:
    cuda = RecordingCuda()
    with pytest.raises(MachineError, match=told):
        TensorRTEngine(*fake_engine(), cuda=cuda, library=FakeTensorRT(cuda, refuses))
    assert cuda.left() == []


def test_two_contexts_on_one_profile_are_refused_where_tensorrt_cannot_share_it() -> None:
    cuda = RecordingCuda()
    with pytest.raises(MachineError, match="lets one execution context use the engine's profile"):
        TensorRTEngine(*fake_engine((1, 1, 4)), cuda=cuda, library=FakeTensorRT(cuda, shares_profiles=False))
    assert cuda.left() == []
    with TensorRTEngine(
        *fake_engine((1, 1, 4)), slots=1, cuda=cuda, library=FakeTensorRT(cuda, shares_profiles=False)
    ) as engine:
        assert engine.in_flight == 1


def test_an_engine_with_other_tensors_than_its_manifest_says_is_refused() -> None:
    cuda = RecordingCuda()
    content, _ = fake_engine()
    _, manifest = fake_engine(logits=True)
    with pytest.raises(UsageError, match="has the tensors"):
        TensorRTEngine(content, manifest, cuda=cuda, library=FakeTensorRT(cuda))
    assert cuda.left() == []


@pytest.mark.parametrize(
    ("built", "told"),
    [((POINTS,), "has the tensors"), ((OutputSpec("points", "bfloat16", (4, 3)),), "BF16")],
    ids=["another length", "a type that numpy lacks"],
)
def test_an_engine_whose_outputs_are_not_as_its_manifest_says_is_refused(
    built: tuple[OutputSpec, ...], told: str
) -> None:
    cuda = RecordingCuda()
    content, manifest = fake_engine(outputs=built)
    manifest = replace(manifest, outputs=(replace(POINTS, shape=(5 if told == "has the tensors" else 4, 3)),))
    with pytest.raises(UsageError, match=told):
        TensorRTEngine(content, manifest, cuda=cuda, library=FakeTensorRT(cuda))
    assert cuda.left() == []


def test_lengths_that_the_graph_left_open_are_read_from_the_engine() -> None:
    cuda = RecordingCuda()
    content, manifest = fake_engine(outputs=(POINTS,))
    manifest = replace(manifest, outputs=(replace(POINTS, shape=(None, 3)),))
    with TensorRTEngine(content, manifest, cuda=cuda, library=FakeTensorRT(cuda)) as engine:
        assert engine.outputs == (POINTS,)


def test_no_slots_are_too_few() -> None:
    with pytest.raises(UsageError, match="0 slots"):
        TensorRTEngine(*fake_engine(), slots=0)


def test_a_gpu_that_is_lost_lets_the_engine_close(stand_in: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    one = stand_in()
    one.engine.submit(one.frames())

    def lost(*_: Any) -> None:
        raise CudaFailure("CUDA_ERROR_ILLEGAL_ADDRESS (700)")

    with monkeypatch.context() as patch:
        for call in ("synchronise", "free", "destroy", "wait"):
            patch.setattr(one.cuda, call, lost)
        with suppress(UsageError):
            one.engine.close()
    with pytest.raises(UsageError, match="closed"):
        one.engine.infer(one.frames())
    for block in one.cuda.blocks.values():
        block.freed = True
    for thing in (*one.cuda.streams, *one.cuda.events):
        thing.destroyed = True


# Beside the requests


def test_logits_come_from_the_same_engine(stand_in: Open) -> None:
    one = stand_in((1, 1, 2), logits=True)
    frames = one.frames(2)
    logits = one.engine.raw(frames)
    assert logits.shape == (2, 20, 6, 4)
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(logits.argmax(1), labels_of(frames))
    with pytest.raises(UsageError, match="answers alone"):
        stand_in().engine.raw(frames)


@pytest.mark.parametrize("graph", [False, True])
def test_the_engine_alone_is_timed_without_its_copies(stand_in: Open, graph: bool) -> None:
    one = stand_in(cuda_graph=graph)
    for _ in range(2):
        one.engine.infer(one.frames())
    one.cuda.calls.clear()
    before = len(one.cuda.left())
    times = one.engine.engine_times(one.frames(), 40)
    # The stand-in's clock ticks once for each kernel or copy.
    assert times == [1.0] * 40
    assert len(one.cuda.left()) == before
    _works(one)


@pytest.mark.parametrize(("call", "number"), [("event", 7), ("execute", 6), ("capture", 2), ("launch", 9)])
def test_measuring_that_fails_gives_its_events_back(stand_in: Open, call: str, number: int) -> None:
    one = stand_in(slots=1, cuda=RecordingCuda(fail={call: number}), cuda_graph=call in ("capture", "launch"))
    one.engine.infer(one.frames())
    before = len(one.cuda.left())
    with pytest.raises(MachineError):
        one.engine.engine_times(one.frames(), 40)
    assert len(one.cuda.left()) == before
    _works(one)


def test_layers_are_timed_in_a_context_of_their_own(stand_in: Open) -> None:
    one = stand_in()
    before = len(one.cuda.left())
    layers = one.engine.layer_times(one.frames(), 5)
    assert [(layer.name, layer.milliseconds) for layer in layers] == [("first", 0.25), ("second", 0.5)]
    assert len(one.library.contexts) == 3
    assert len(one.cuda.left()) == before
    _works(one)


def test_only_a_version_compatible_engine_may_bring_code(stand_in: Open) -> None:
    assert stand_in().library.runtimes[0].engine_host_code_allowed is False
    assert stand_in(fields={"version_compatible": True}).library.runtimes[0].engine_host_code_allowed is True


def test_a_dla_engine_is_loaded_on_its_core(stand_in: Open) -> None:
    one = stand_in(fields={"settings": {"dla_core": 1}})
    assert one.library.runtimes[0].DLA_core == 1
    assert not hasattr(stand_in().library.runtimes[0], "DLA_core")


def test_the_name_says_what_runs(stand_in: Open) -> None:
    engine = stand_in().engine
    assert engine.name == "TensorRT 10.3.0, int8, Stand-in GPU, stand-in"
    assert (engine.target, engine.precision, engine.input_size, engine.batch) == ("tensorrt", "int8", (6, 4), 1)
    assert stand_in((1, 2, 4)).engine.batch is None
