from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trtparse.data.dataset import Image
from trtparse.demo.pacing import PacedSource, fitted
from trtparse.demo.sources import ArraySource
from trtparse.errors import UsageError


class Clocked(PacedSource):
    """Frames whose first pixel is their number, on a clock that only moves by hand and by waiting."""

    def __init__(self, frames: int, fps: float = 10.0, policy: str = "latest", decoding: float = 0.0) -> None:
        super().__init__(policy)
        self.fps, self.clock, self.decoding = fps, 100.0, decoding
        self.waits: list[float] = []
        self._numbers = iter(range(frames))

    def _take(self) -> tuple[Image, float] | None:
        self.clock += self.decoding
        number = next(self._numbers, None)
        return None if number is None else (np.full((2, 2, 3), number, np.uint8), number / self.fps)

    def _now(self) -> float:
        return self.clock

    def _wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.clock += seconds
        return False

    def taken(self, work: float) -> list[int]:
        """The numbers of the frames that somebody gets who works as long on each."""
        numbers = []
        for frame in self:
            numbers.append(int(frame[0, 0, 0]))
            self.clock += work
        return numbers


def test_with_all_every_frame_comes_at_once_however_long_the_work_takes() -> None:
    source = Clocked(30, policy="all")
    assert source.taken(work=5.0) == list(range(30))
    assert (source.waits, source.frames_dropped) == ([], 0)


def test_with_latest_the_source_keeps_its_own_pace() -> None:
    quick = Clocked(20)
    assert quick.taken(work=0.01) == list(range(20))
    assert quick.clock == pytest.approx(100 + 1.9 + 0.01)
    slow = Clocked(20)
    assert slow.taken(work=0.25) == [0, 2, 5, 7, 10, 12, 15, 17, 19]
    assert slow.frames_dropped == 11


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 80), st.floats(0.0, 1.5), st.floats(0.0, 0.4))
def test_no_frame_comes_twice_early_or_uncounted(frames: int, work: float, decoding: float) -> None:
    source = Clocked(frames, decoding=decoding)
    numbers = source.taken(work)
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 0 or decoding
    assert len(numbers) + source.frames_dropped == frames
    assert numbers[-1] == frames - 1


def test_a_machine_that_decodes_too_slowly_still_shows_a_frame_per_second_of_the_video() -> None:
    source = Clocked(100, decoding=0.3)
    numbers = source.taken(work=0.0)
    assert len(numbers) >= 9


def test_the_policy_changes_on_the_way_and_the_pace_counts_from_there() -> None:
    source = Clocked(40, policy="all")
    for _ in range(10):
        next(source)
        source.clock += 3.0
    source.set_policy("latest")
    next(source)
    source.clock += 0.05
    assert int(next(source)[0, 0, 0]) == 11
    assert source.frames_dropped == 0
    source.clock += 1.0
    next(source)
    dropped = source.frames_dropped
    assert dropped >= 8
    source.set_policy("all")
    source.clock += 50
    rest = source.taken(work=9.0)
    assert rest == list(range(rest[0], 40))
    assert source.frames_dropped == dropped


def test_there_is_no_other_policy() -> None:
    source = Clocked(3)
    with pytest.raises(UsageError, match="no policy newest") as caught:
        source.set_policy("newest")
    assert "all, latest" in caught.value.hint
    assert source.policy == "latest"
    with pytest.raises(UsageError):
        ArraySource([], (2, 2), policy="")


def test_stopping_ends_a_wait_at_once() -> None:
    frames = [np.zeros((2, 2, 3), np.uint8)] * 2
    source = ArraySource(frames, (2, 2), fps=1e-4, policy="latest")
    next(source)
    threading.Timer(0.05, source.stop).start()
    assert next(source, None) is None  # in place of hours


def test_a_frame_of_another_shape_is_fitted_whole_and_in_its_own_proportions() -> None:
    frame = np.full((50, 50, 3), 200, np.uint8)
    out = fitted(frame, (40, 100))
    assert out.shape == (40, 100, 3)
    columns = np.flatnonzero(out[20, :, 0] == 200)
    assert (columns.min(), columns.max()) == (30, 69)
