"""The pipeline with people, settings and smoothing; and its memory over a long run."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trtparse.data.crops import place_around
from trtparse.demo.parsed_frame import ParsedFrame
from trtparse.demo.people.finder import PeopleFinder
from trtparse.demo.pipeline import run_demo
from trtparse.demo.sources import ArraySource
from trtparse.tasks.people.boxes import Detections
from trtparse.tests.predicting import predicting

SIZE = (96, 128)
HOUR = 100_000
"""Frames: more than an hour of video."""


def street(people: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Bright figures beside each other, 12 wide, 24 apart."""
    frame = np.full((*size, 3), 20, np.uint8)
    for number in range(people):
        frame[20:80, 6 + 24 * number : 18 + 24 * number] = 110
    return frame


class BrightPeople:
    """Finds the figures of :func:`street` by their brightness."""

    name, sure, at_once = "brightness", 0.5, 1

    def __init__(self, fail_at: int = 0) -> None:
        self.looks = 0
        self.threads: set[str] = set()
        self._fail_at = fail_at

    def detect(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        return [self.look(frame) for frame in frames]

    def look(self, frame: np.ndarray) -> Detections:
        self.looks += 1
        self.threads.add(threading.current_thread().name)
        if self.looks == self._fail_at:
            raise RuntimeError("the detector broke")
        boxes = [
            (left, 20.0, left + 12.0, 80.0)
            for left in np.arange(6.0, frame.shape[1] - 12, 24)
            if frame[50, int(left)].max() > 60
        ]
        return Detections(np.array(boxes).reshape(-1, 4), np.full(len(boxes), 0.9))


class Knobs:
    """Settings that a test turns."""

    def __init__(self) -> None:
        self.opacity = 0.55
        self.classes = frozenset(range(1, 20))
        self.policy = "all"


def source(counts: list[int]) -> ArraySource:
    return ArraySource([street(count) for count in counts], SIZE, 25.0)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("demo ")]


@pytest.mark.parametrize("batch", [None, 1, 2, 4, 9])
def test_everybody_is_parsed_in_their_own_crop_and_put_back_with_their_id(make_engine: Any, batch: int | None) -> None:
    counts = [0, 1, 3, 5, 0, 0, 2, 5, 4, 0]
    seen: list[ParsedFrame] = []
    finder = PeopleFinder(BrightPeople(), track=False)
    with make_engine(batch) as engine:
        result = run_demo(source(counts), predicting(engine), [], observers=[seen.append], people=finder)
        # All of a frame's people at once, as far as they fit; with those of frames that wait, where there is a batch.
        most = sum(-(-count // (batch or 8)) for count in counts)
        assert (most if batch is None else -(-sum(counts) // batch)) <= engine.passes <= most
        assert engine.flying == 0
    assert [parsed.number for parsed in seen] == list(range(10))
    assert (result.frames, result.people) == (10, sum(counts))
    for parsed, count in zip(seen, counts):
        assert [person.id for person in parsed.people] == list(range(1, count + 1))
        assert parsed.sights[0].instances is not None
        assert set(np.unique(parsed.sights[0].instances)) == {0, *range(1, count + 1)}
        assert np.array_equal(parsed.sights[0].instances > 0, parsed.sights[0].labels > 0)
        for number in range(count):
            body = (slice(24, 76), slice(8 + 24 * number, 16 + 24 * number))
            assert (parsed.sights[0].labels[body] == 5).all()
            assert (parsed.sights[0].instances[body] == number + 1).all()


def test_two_requests_fly_and_people_are_found_on_the_thread_that_prepares(make_engine: Any) -> None:
    detector = BrightPeople()
    with make_engine(1, seconds=0.004) as engine:
        run_demo(source([4] * 6), predicting(engine), [], people=PeopleFinder(detector, every=3))
        assert (engine.passes, engine.most_flying, engine.flying) == (24, 2, 0)
    assert detector.looks == 2
    assert detector.threads == {"demo prepare"}


class LateDetector(BrightPeople):
    """Begins once all frames have been decoded, as one that is slower than the decoder."""

    def __init__(self, at_once: int) -> None:
        super().__init__()
        self.at_once = at_once
        self.decoded = threading.Event()
        self.calls: list[int] = []

    def frames(self, counts: list[int]) -> Iterator[np.ndarray]:
        for count in counts:
            yield street(count)
        self.decoded.set()

    def detect(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        assert self.decoded.wait(10)
        self.calls.append(len(frames))
        return super().detect(frames)


@pytest.mark.parametrize("batch", [None, 1, 2, 4])
@pytest.mark.parametrize(("every", "at_once", "looks"), [(1, 4, 7), (3, 2, 3)])
def test_frames_that_wait_are_looked_at_together_and_the_answers_are_the_same(
    make_engine: Any, batch: int | None, every: int, at_once: int, looks: int
) -> None:
    counts = [3, 3, 3, 1, 0, 2, 5]

    def run(detector: BrightPeople, frames: Any) -> list[ParsedFrame]:
        seen: list[ParsedFrame] = []
        with make_engine(batch) as engine:
            finder = PeopleFinder(detector, every=every)
            run_demo(ArraySource(frames, SIZE, 25.0), predicting(engine), [], observers=[seen.append], people=finder)
        return seen

    late = LateDetector(at_once)
    together, apart = run(late, late.frames(counts)), run(BrightPeople(), [street(count) for count in counts])
    # The first frame is taken alone, or with those that were decoded by then.
    assert max(late.calls) > 1
    assert max(late.calls) <= at_once
    assert late.looks == looks
    assert [parsed.people for parsed in together] == [parsed.people for parsed in apart]
    for one, other in zip(together, apart):
        assert np.array_equal(one.sights[0].labels, other.sights[0].labels)
        assert np.array_equal(one.sights[0].instances, other.sights[0].instances)
        assert np.array_equal(one.drawn, other.drawn)


def test_people_of_frames_that_wait_share_a_pass_of_an_engine_with_a_batch_and_of_no_other(make_engine: Any) -> None:
    passes = {}
    for batch in (4, None):
        detector = LateDetector(1)
        frames = ArraySource(detector.frames([1] * 8), SIZE, 25.0)
        with make_engine(batch) as engine:
            run_demo(frames, predicting(engine), [], people=PeopleFinder(detector))
            passes[batch] = engine.passes
    # The last frame is not known to be the last before the end of the video is.
    assert passes[4] <= 3
    assert passes[None] == 8


def test_nobody_waits_for_a_frame_that_is_not_there_yet(make_engine: Any) -> None:
    drawn = threading.Semaphore(0)

    def frames() -> Iterator[np.ndarray]:
        for _ in range(4):
            yield street(1)
            assert drawn.acquire(timeout=10)  # a camera that shows the next when the last was seen

    with make_engine(4) as engine:
        run_demo(
            ArraySource(frames(), SIZE, 25.0),
            predicting(engine),
            [],
            observers=[lambda _: drawn.release()],
            people=PeopleFinder(BrightPeople()),
        )
        assert engine.passes == 4


def test_one_who_is_alone_is_parsed_like_a_frame_of_their_own(make_engine: Any) -> None:
    seen: list[ParsedFrame] = []
    with make_engine() as engine:
        run_demo(source([1]), predicting(engine), [], observers=[seen.append], people=PeopleFinder(BrightPeople()))
        crop = place_around(predicting(engine).framing, SIZE, (6, 20, 18, 80))
        inputs = np.zeros((1, *engine.input_size, 3), np.uint8)
        crop.apply(street(1), inputs[0])
        wanted = crop.letterbox.restore(engine.infer(inputs)[0][0])
    assert np.array_equal(seen[0].sights[0].labels[crop.where], wanted)
    assert wanted.any()


def test_a_detector_that_breaks_ends_the_run_with_its_own_exception(make_engine: Any) -> None:
    with make_engine() as engine:
        with pytest.raises(RuntimeError, match="the detector broke"):
            run_demo(source([2] * 50), predicting(engine), [], people=PeopleFinder(BrightPeople(fail_at=7)))
        engine.infer(np.zeros((1, 48, 32, 3), np.uint8))  # nothing is left in flight


def test_settings_that_change_are_followed_from_the_next_frames_on(make_engine: Any, make_frame: Any) -> None:
    knobs, seen = Knobs(), []

    def turn(parsed: ParsedFrame) -> None:
        seen.append(parsed)
        if parsed.number == 20:
            knobs.classes, knobs.policy = frozenset({13}), "latest"
        if parsed.number >= 40:
            knobs.opacity = 0.0

    # From frame 20 on, a machine that is busy elsewhere drops some; a second's worth leaves enough of them.
    frames = ArraySource([make_frame(0)] * 300, SIZE, 250.0)
    with make_engine() as engine:
        run_demo(frames, predicting(engine), [], observers=[turn], settings=knobs)
    assert frames.policy == "latest"
    body, head = (60, 15), (25, 15)
    plain = make_frame(0)
    for parsed in seen:
        assert (parsed.sights[0].labels[body], parsed.sights[0].labels[head]) == (
            5,
            13,
        )  # what is hidden is still known
    assert (seen[0].drawn[body] != plain[body]).any()
    only_face = [parsed for parsed in seen if 30 < parsed.number <= 40]
    last = seen[-1]
    for parsed in only_face:
        assert (parsed.drawn[body] == plain[body]).all()
        assert (parsed.drawn[head] != plain[head]).any()
    assert last.number > 45
    assert np.array_equal(last.drawn, plain)


def test_smoothing_tells_the_flicker_before_and_after(make_engine: Any) -> None:
    frames = []
    for index in range(20):  # the engine sees now one class, now another, where the picture hardly changes
        frame = street(2)
        frame[30:60, 6:18] = (58, 63)[index % 2]
        frames.append(frame)
    with make_engine() as engine:
        smoothed = run_demo(ArraySource(frames, SIZE), predicting(engine), [], smooth=True)
        assert run_demo(ArraySource(frames, SIZE), predicting(engine), []).flicker == {}
    (flicker,) = smoothed.flicker.values()
    assert flicker.before > 0.05
    assert flicker.after < 0.5 * flicker.before
    assert smoothed.to_dict()["flicker"] == {"parsing": {"before": flicker.before, "after": flicker.after}}


def test_stage_times_and_the_rate_are_told_frame_by_frame(make_engine: Any) -> None:
    seen: list[ParsedFrame] = []
    with make_engine(seconds=0.01) as engine:
        run_demo(source([1] * 80), predicting(engine), [], observers=[seen.append])
    assert all(parsed.fps > 0 for parsed in seen)
    assert seen[-1].fps <= 100
    # The engine is the slowest stage, so a frame takes as long as it: on a busy machine both take longer.
    assert 9 < seen[-1].stages.infer < 2e3 / seen[-1].fps
    assert len({parsed.fps for parsed in seen}) < 10  # a number that can be read


@pytest.mark.parametrize(
    ("with_people", "count"),
    [
        (False, 3_000),
        (True, 2_000),
        pytest.param(False, HOUR, marks=pytest.mark.slow),
        pytest.param(True, HOUR // 3, marks=pytest.mark.slow),
    ],
)
def test_memory_stays_flat_over_a_long_run(make_engine: Any, with_people: bool, count: int) -> None:
    size, frame = (24, 32), np.full((24, 32, 3), 110, np.uint8)
    objects: list[int] = []
    resident: list[int] = []

    def frames() -> Iterator[np.ndarray]:
        for index in range(count):
            if index % 500 == 499:
                gc.collect()
                objects.append(sys.getallocatedblocks())
                resident.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
            yield frame

    class Everywhere(BrightPeople):
        def look(self, frame: np.ndarray) -> Detections:
            self.looks += 1
            left = 40.0 * (self.looks // 10 % 2)  # somebody new again and again, half of them outside
            return Detections(np.array([(left, 2.0, left + 12, 20.0)]), np.full(1, 0.9))

    finder = PeopleFinder(Everywhere(), every=2) if with_people else None
    with make_engine() as engine:
        result = run_demo(
            ArraySource(frames(), size, name="a long run"), predicting(engine), [], people=finder, smooth=True
        )
    assert result.frames >= 2000
    assert len(objects) == result.frames // 500
    assert max(objects[2:]) - objects[1] < 1000  # one thing kept of each frame would be 500 more each time
    assert max(resident[2:]) - resident[1] < 8_000_000 + 100 * result.frames  # a frame alone is 2,304 bytes
