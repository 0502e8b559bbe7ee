from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from trtparse.tasks.people.boxes import Detections
from trtparse.tasks.people.shared_detector import SharedDetector


class Slow:
    """Finds a box as wide as the picture's value, once it may."""

    name, sure = "slow", 0.5

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once
        self.calls: list[int] = []
        self.asked, self.go = threading.Event(), threading.Event()
        self._inside = threading.Lock()

    def detect(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        assert self._inside.acquire(blocking=False)
        self.asked.set()
        assert self.go.wait(10)
        self.calls.append(len(frames))
        self._inside.release()
        if any(frame.max() == 13 for frame in frames):
            raise RuntimeError("the detector broke")
        return [Detections(np.array([[0.0, 0, frame.max(), 5]]), np.ones(1)) for frame in frames]

    def close(self) -> None:
        pass


def picture(value: int) -> np.ndarray:
    return np.full((8, 8, 3), value, np.uint8)


def ask(detector: Slow, values: Sequence[int]) -> list[Detections | Exception]:
    """All at once from threads; the first is at the detector while the others come."""
    shared = SharedDetector(detector)
    with ThreadPoolExecutor(len(values)) as pool:
        asked = [pool.submit(shared.detect, picture(values[0]))]
        assert detector.asked.wait(10)
        asked += [pool.submit(shared.detect, picture(value)) for value in values[1:]]
        while len(shared._waiting) < len(values) - 1:
            threading.Event().wait(0.001)
        detector.go.set()
        return [one.exception() or one.result() for one in asked]  # type: ignore[misc]


@pytest.mark.parametrize(("at_once", "calls"), [(1, [1] * 6), (2, [1, 2, 2, 1]), (8, [1, 5])])
def test_what_waits_goes_together_and_everybody_gets_their_own_answer(at_once: int, calls: list[int]) -> None:
    detector = Slow(at_once)
    values = [3, 4, 5, 6, 7, 8]
    found = ask(detector, values)
    assert [one.boxes[0, 2] for one in found if isinstance(one, Detections)] == values
    assert detector.calls == calls


def test_what_the_detector_raises_is_for_those_whose_pictures_it_was_shown() -> None:
    found = ask(Slow(2), [3, 13, 5])
    assert [isinstance(one, RuntimeError) for one in found] == [False, True, True]
    assert SharedDetector(Slow(1)).sure == 0.5
