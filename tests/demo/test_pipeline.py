from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from trtparse.demo.parsed_frame import ParsedFrame
from trtparse.demo.pipeline import run_demo
from trtparse.demo.sinks import VideoSink
from trtparse.demo.sources import ArraySource, VideoSource
from trtparse.errors import DataError, UsageError
from trtparse.tests.predicting import predicting

SIZE = (96, 128)
Frame = Callable[..., np.ndarray]


class ListSink:
    """Keeps what it is given; takes a while; may raise or ask for the end at a frame."""

    def __init__(self, seconds: float = 0.0, fail_at: int = 0, end_at: int = 0, latest_only: bool = False) -> None:
        self.path: Path | None = None
        self.latest_only = latest_only
        self.frames: list[np.ndarray] = []
        self.threads: set[threading.Thread] = set()
        self._seconds, self._fail_at, self._end_at = seconds, fail_at, end_at

    def write(self, frame: np.ndarray, seconds: float | None = None) -> bool:
        self.frames.append(frame)
        self.threads.add(threading.current_thread())
        time.sleep(self._seconds)
        if len(self.frames) == self._fail_at:
            raise RuntimeError("the sink broke")
        return len(self.frames) != self._end_at


@pytest.fixture
def walk(make_frame: Frame) -> Callable[..., ArraySource]:
    def make(
        frames: int = 20,
        seconds: float = 0.0,
        fail_at: int = 0,
        error: BaseException | None = None,
        taken: list[int] | None = None,
    ) -> ArraySource:
        def generate() -> Iterator[np.ndarray]:
            for index in range(frames):
                if taken is not None:
                    taken.append(index)
                time.sleep(seconds)
                if index + 1 == fail_at:
                    raise error or RuntimeError("the source broke")
                yield make_frame(index)

        return ArraySource(generate(), SIZE, 25.0, frames, "the walker")

    return make


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("demo ")]


@pytest.mark.parametrize("batch", [None, 1, 4, 7])
def test_every_frame_comes_out_once_in_order_with_its_own_labels(
    walk: Any, make_frame: Frame, make_engine: Any, batch: int | None
) -> None:
    sink, seen = ListSink(), []
    with make_engine(batch) as engine:
        result = run_demo(walk(18), predicting(engine), [sink], observers=[seen.append])
        assert engine.passes == -(-18 // (batch or 1))
    assert [parsed.number for parsed in seen] == list(range(18))
    assert [parsed.seconds for parsed in seen] == pytest.approx([number / 25 for number in range(18)])
    assert (result.frames, result.frames_missing, result.stopped) == (18, 0, False)
    for parsed in seen:
        index, labels = parsed.number, parsed.sights[0].labels
        assert parsed.drawn is sink.frames[index]
        assert (parsed.people, parsed.looked_for, parsed.sights[0].instances) == ((), False, None)
        assert labels.shape == SIZE
        left = 5 + index
        assert (labels[15:28, left + 7 : left + 13] == 13).all()
        assert (labels[40:85, left + 5 : left + 15] == 5).all()
        assert (labels[:, : max(0, left - 5)] == 0).all()


def test_output_has_the_inputs_rate_count_and_size(
    make_video: Callable[..., Path], make_engine: Any, tmp_path: Path, count_frames: Callable[[Path], int]
) -> None:
    path = tmp_path / "out.mp4"
    with (
        VideoSource(make_video(frames=23, fps=29.97)) as source,
        VideoSink(path, source.fps, source.size) as sink,
        make_engine(4) as engine,
    ):
        result = run_demo(source, predicting(engine), [sink])
    assert (result.output, result.frames) == (path, 23)
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(29.97, rel=1e-3)
    assert count_frames(path) == 23


def test_frames_in_memory_are_not_drawn_on(make_frame: Frame, engine: Any) -> None:
    frames = [make_frame(index) for index in range(4)]
    sink = ListSink()
    run_demo(ArraySource(frames, SIZE), predicting(engine), [sink])
    for index, drawn in enumerate(sink.frames):
        assert np.array_equal(frames[index], make_frame(index))
        assert not np.array_equal(drawn, frames[index])


def test_two_requests_are_in_flight_where_the_engine_is_the_slowest(walk: Any, make_engine: Any) -> None:
    with make_engine(seconds=0.01) as engine:
        run_demo(walk(20), predicting(engine), [])
        assert (engine.most_flying, engine.flying) == (2, 0)


@pytest.mark.parametrize("slowest", ["source", "engine", "sink"])
def test_the_pace_is_the_slowest_stages_and_not_the_sums(walk: Any, make_engine: Any, slowest: str) -> None:
    pause = {name: 0.04 if name == slowest else 0.012 for name in ("source", "engine", "sink")}
    with make_engine(seconds=pause["engine"]) as engine:
        result = run_demo(walk(30, pause["source"]), predicting(engine), [ListSink(pause["sink"])])
    stages = {"source": result.stages.decode, "engine": result.stages.infer, "sink": result.stages.encode}
    assert result.fps > 1.3e3 / sum(stages.values())  # as they were measured: a busy machine draws all of them out
    for name, milliseconds in stages.items():  # what it worked, and not what it waited for the slowest
        assert 0.9e3 * pause[name] < milliseconds
        assert name == slowest or milliseconds < 0.75 * stages[slowest]


@pytest.mark.parametrize("fail_at", [1, 10, 20])
@pytest.mark.parametrize("broken", ["source", "engine", "sink"])
@pytest.mark.parametrize("slow", ["source", "engine", "sink", ""])
def test_whatever_breaks_ends_the_run_at_once_with_its_own_exception(
    walk: Any, make_engine: Any, broken: str, slow: str, fail_at: int
) -> None:
    pause = {name: 0.01 if name == slow else 0.0 for name in ("source", "engine", "sink")}
    at = {name: fail_at if name == broken else 0 for name in pause}
    taken: list[int] = []
    with make_engine(seconds=pause["engine"], fail_at=at["engine"]) as engine:
        sink = ListSink(pause["sink"], at["sink"])
        with pytest.raises(RuntimeError, match=f"the {broken} broke"):
            run_demo(walk(500, pause["source"], at["source"], taken=taken), predicting(engine), [sink])
        engine.infer(np.zeros((1, 48, 32, 3), np.uint8))  # nothing is left in flight
    assert len(taken) < fail_at + 60


@pytest.mark.parametrize("callback", ["progress", "observer"])
def test_a_callback_that_raises_ends_the_run(walk: Any, engine: Any, callback: str) -> None:
    def fail(*_: object) -> None:
        raise LookupError("the callback broke")

    with pytest.raises(LookupError, match="the callback broke"):
        run_demo(
            walk(), predicting(engine), [], **({"progress": fail} if callback == "progress" else {"observers": [fail]})
        )


def test_a_source_that_ends_with_keyboard_interrupt_ends_the_run_with_it(walk: Any, engine: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_demo(walk(20, 0, 5, KeyboardInterrupt()), predicting(engine), [])


@pytest.mark.parametrize("slow", ["source", "engine", "sink"])
def test_ctrl_c_leaves_a_video_that_plays(
    walk: Any, make_engine: Any, tmp_path: Path, count_frames: Callable[[Path], int], slow: str
) -> None:
    pause = {name: 0.01 if name == slow else 0.0 for name in ("source", "engine", "sink")}
    path = tmp_path / "out.mp4"

    def press(parsed: ParsedFrame) -> None:
        if parsed.number == 11:
            signal.raise_signal(signal.SIGINT)

    def interrupted() -> None:
        with make_engine(seconds=pause["engine"]) as engine, VideoSink(path, 25, SIZE) as sink:
            run_demo(walk(500, pause["source"]), predicting(engine), [sink, ListSink(pause["sink"])], observers=[press])

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert 12 <= count_frames(path) < 100


def test_an_engine_that_breaks_leaves_the_frames_so_far(
    walk: Any, make_engine: Any, tmp_path: Path, count_frames: Callable[[Path], int]
) -> None:
    path = tmp_path / "out.mp4"

    def broken() -> None:
        with make_engine(seconds=0.005, fail_at=15) as engine, VideoSink(path, 25, SIZE) as sink:
            run_demo(walk(500), predicting(engine), [sink])

    with pytest.raises(RuntimeError, match="the engine broke"):
        broken()
    assert 1 <= count_frames(path) <= 14


@pytest.mark.parametrize("latest_only", [False, True])
def test_a_sink_may_ask_for_the_end(walk: Any, make_engine: Any, latest_only: bool) -> None:
    with make_engine(seconds=0.005) as engine:
        result = run_demo(walk(400), predicting(engine), [ListSink(end_at=5, latest_only=latest_only)])
        engine.infer(np.zeros((1, 48, 32, 3), np.uint8))
    assert result.stopped
    assert 5 <= result.frames < 60
    assert result.frames_missing == 0


def test_windows_are_shown_from_the_callers_thread_and_files_written_from_another(walk: Any, engine: Any) -> None:
    window, file = ListSink(latest_only=True), ListSink()
    run_demo(walk(), predicting(engine), [window, file])
    assert window.threads == {threading.main_thread()}
    assert threading.main_thread() not in file.threads
    assert len(file.frames) == 20
    assert window.frames[-1] is file.frames[-1]


def test_progress_comes_on_the_callers_thread_and_ends_with_all(walk: Any, engine: Any) -> None:
    calls = []
    run_demo(walk(), predicting(engine), [], progress=lambda *args: calls.append((*args, threading.current_thread())))
    assert calls[-1] == (20, 20, threading.main_thread())
    assert [done for done, _, _ in calls] == sorted(done for done, _, _ in calls)


def test_frames_that_the_header_lists_and_that_do_not_come_are_reported(make_frame: Frame, engine: Any) -> None:
    source = ArraySource((make_frame(index) for index in range(6)), SIZE, frame_count=10)
    assert run_demo(source, predicting(engine), []).frames_missing == 4


def test_a_source_without_frames_is_an_error(engine: Any) -> None:
    with pytest.raises(DataError, match="holds no frames"):
        run_demo(ArraySource([], SIZE), predicting(engine), [])


def test_the_video_being_read_is_never_replaced(make_video: Callable[..., Path], engine: Any) -> None:
    path = make_video()
    before = path.read_bytes()

    def onto_itself() -> None:
        with VideoSource(path) as source, VideoSink(path, source.fps, source.size) as sink:
            run_demo(source, predicting(engine), [sink])

    with pytest.raises(UsageError, match="is the video being read"):
        onto_itself()
    assert path.read_bytes() == before


def test_a_result_goes_to_json(walk: Any, engine: Any, tmp_path: Path) -> None:
    with VideoSink(tmp_path / "out.mp4", 25, SIZE) as sink:
        result = run_demo(walk(), predicting(engine), [sink], hud=True)
    told = json.loads(json.dumps(result.to_dict()))
    assert told["schema_version"] == 2
    assert told["frames"] == 20
    assert told["output"] == str(tmp_path / "out.mp4")
    assert set(told["stages"]) == {"decode", "preprocess", "infer", "overlay", "encode"}
    assert told["fps"] == pytest.approx(20 / told["seconds"])


def test_waiting_for_the_source_is_not_decoding(make_engine: Any) -> None:
    class Waits(ArraySource):
        def __next__(self) -> np.ndarray:
            self.waited += 10.0  # more than anything takes: what is left shows that it was taken off
            return super().__next__()

    frames = [np.zeros((*SIZE, 3), np.uint8)] * 4
    with make_engine() as engine:
        result = run_demo(Waits(frames, SIZE), predicting(engine), [])
    assert result.frames == 4
    assert result.stages.decode < 0
