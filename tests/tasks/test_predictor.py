from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from trtparse.engines.base import Arrays, Engine, Frames
from trtparse.errors import UsageError
from trtparse.specs.framing import Framing
from trtparse.specs.label_set import label_set
from trtparse.tasks.parsing.task import Parsing
from trtparse.tasks.predictor import Predictor
from trtparse.tests.predicting import predicting

FRAMES = np.zeros((2, 4, 3, 3), np.uint8)


class Painter(Engine):
    """Gives what it was told to."""

    def __init__(self, *arrays: NDArray[np.generic]) -> None:
        super().__init__()
        self.name, self.target, self.precision = "a foreign network", "fake", "fp32"
        self.input_size, self.batch = (4, 3), None
        self._arrays = arrays

    def _run(self, frames: Frames) -> Arrays:
        return self._arrays


def painted(most: int, last: int) -> NDArray[np.uint8]:
    labels = np.full((2, 4, 3), most, np.uint8)
    labels[-1, -1, -1] = last
    return labels


def test_a_single_pixel_that_is_no_class_is_an_error_that_names_engine_id_and_label_set() -> None:
    told = r"^a foreign network labels pixels 20; LIP-20 ends at 19\."
    with predicting(Painter(painted(0, 20))) as predictor, pytest.raises(UsageError, match=told):
        predictor.infer(FRAMES)
    with predicting(Painter(painted(0, 255))) as predictor:
        ticket = predictor.submit(FRAMES)
        with pytest.raises(UsageError, match="labels pixels 255"):
            predictor.collect(ticket)


def test_how_many_classes_there_are_is_the_label_set_s() -> None:
    person = Parsing(label_set("person"))
    told = r"labels pixels 2; .* ends at 1\."
    with (
        Predictor(Painter(painted(0, 2)), person, Framing((4, 3))) as predictor,
        pytest.raises(UsageError, match=told),
    ):
        predictor.infer(FRAMES)


def test_all_classes_pass() -> None:
    with predicting(Painter(painted(0, 19))) as predictor:
        answers = predictor.infer(FRAMES)
    assert [int(labels.max()) for labels in answers] == [0, 19]


@pytest.mark.parametrize(
    "arrays",
    [
        (),
        (painted(0, 1), painted(0, 1)),
        (painted(0, 1).astype(np.int64),),
        (np.zeros((2, 5, 3), np.float32),),
        (painted(0, 1).tolist(),),
    ],
    ids=["nothing", "two", "another type", "joints", "a list"],
)
def test_what_is_no_label_map_is_refused_by_what_it_is(arrays: Arrays) -> None:
    told = r"^a foreign network returned .* instead of \(N, H, W\) uint8 label maps"
    with predicting(Painter(*arrays)) as predictor, pytest.raises(UsageError, match=told):
        predictor.infer(FRAMES)
