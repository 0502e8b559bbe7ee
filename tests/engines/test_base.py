from __future__ import annotations

import numpy as np
import pytest

from trtparse.engines.base import Engine, Frames, LabelMaps
from trtparse.errors import UsageError


class Painter(Engine):
    """Labels every pixel with one id, but for the last of the last frame."""

    def __init__(self, most: int, last: int) -> None:
        super().__init__()
        self.name, self.target, self.precision = "a foreign network", "fake", "fp32"
        self.input_size, self.batch = (4, 3), None
        self._ids = most, last

    def _run(self, frames: Frames) -> LabelMaps:
        labels = np.full(frames.shape[:3], self._ids[0], np.uint8)
        labels[-1, -1, -1] = self._ids[1]
        return labels


def test_a_single_pixel_that_is_no_class_is_an_error_that_names_engine_and_id() -> None:
    frames = np.zeros((2, 4, 3, 3), np.uint8)
    with Painter(0, 20) as engine, pytest.raises(UsageError, match=r"a foreign network labels pixels 20; .* 19"):
        engine.infer(frames)
    with Painter(0, 255) as engine:
        ticket = engine.submit(frames)
        with pytest.raises(UsageError, match="labels pixels 255"):
            engine.collect(ticket)


def test_all_classes_pass() -> None:
    with Painter(0, 19) as engine:
        assert engine.infer(np.zeros((1, 4, 3, 3), np.uint8)).max() == 19
