from __future__ import annotations

import numpy as np
import pytest

from trtparse.engines.base import Arrays, Engine, Frames, OutputSpec
from trtparse.specs.framing import Framing
from trtparse.tasks.people.finder_detector import FinderDetector
from trtparse.tasks.people.task import People
from trtparse.tasks.predictor import Predictor


class BrightBox(Engine):
    """Finds one box around what is bright, and a weaker one of hardly anything."""

    def __init__(self, batch: int | None) -> None:
        super().__init__()
        self.name, self.target, self.precision = "brightness", "fake", "fp32"
        self.input_size, self.batch = (32, 48), batch
        self.outputs = (OutputSpec("boxes", "float32", (2, 5)),)
        self.passes: list[int] = []

    def _release(self) -> None:
        """There is nothing to free."""

    def _run(self, frames: Frames) -> Arrays:
        self.passes.append(len(frames))
        boxes = np.zeros((len(frames), 2, 5), np.float32)
        for rows, frame in zip(boxes, frames):
            there = np.argwhere(frame[..., 0] > 127)
            if len(there):
                (top, left), (bottom, right) = there.min(axis=0), there.max(axis=0) + 1
                rows[0] = (left, top, right, bottom, 0.9)
                rows[1] = (0, 0, 4, 4, 0.05)
        return (boxes,)


def frame(left: int, size: tuple[int, int] = (64, 96)) -> np.ndarray:
    picture = np.full((*size, 3), 20, np.uint8)
    if left:
        picture[8:56, left : left + 16] = 235
    return picture


@pytest.mark.parametrize(("batch", "passes"), [(1, [1] * 5), (2, [2, 2, 2]), (4, [4, 4]), (None, [1] * 5)])
def test_frames_go_through_the_engine_by_its_batch_and_are_answered_as_one_by_one(
    batch: int | None, passes: list[int]
) -> None:
    frames = [frame(8), frame(0), frame(40, (64, 192)), frame(72), frame(24)]
    engine, alone = BrightBox(batch), BrightBox(1)
    with Predictor(engine, People(), Framing((32, 48))) as many, Predictor(alone, People(), Framing((32, 48))) as one:
        found = FinderDetector(many, "many").detect(frames)
        expected = [FinderDetector(one, "one").detect([picture])[0] for picture in frames]
    assert engine.passes == passes
    assert [len(people) for people in expected] == [1, 0, 1, 1, 1]
    for people, others in zip(found, expected):
        assert np.array_equal(people.boxes, others.boxes)
        assert np.array_equal(people.scores, others.scores)


def test_no_frames_are_no_pass() -> None:
    engine = BrightBox(4)
    with Predictor(engine, People(), Framing((32, 48))) as predictor:
        assert FinderDetector(predictor, "nobody").detect([]) == []
    assert not engine.passes
