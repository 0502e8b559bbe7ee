from __future__ import annotations

import numpy as np
import pytest

from trtparse.engines.base import Arrays, Engine, Frames
from trtparse.errors import UsageError


class Painter(Engine):
    """Labels every pixel with one id, but for the last of the last frame."""

    def __init__(self, most: int, last: int) -> None:
        super().__init__()
        self.name, self.target, self.precision = "a foreign network", "fake", "fp32"
        self.input_size, self.batch = (4, 3), None
        self._ids = most, last

    def _run(self, frames: Frames) -> Arrays:
        labels = np.full(frames.shape[:3], self._ids[0], np.uint8)
        labels[-1, -1, -1] = self._ids[1]
        return (labels,)


def test_an_engine_knows_no_classes() -> None:
    with Painter(0, 255) as engine:
        (labels,) = engine.infer(np.zeros((1, 4, 3, 3), np.uint8))
    assert labels.max() == 255


def test_an_engine_without_its_raw_tensor_says_how_to_have_it() -> None:
    with Painter(0, 1) as engine, pytest.raises(UsageError, match="gives answers alone") as caught:
        engine.raw(np.zeros((1, 4, 3, 3), np.uint8))
    assert "--logits" in caught.value.hint
