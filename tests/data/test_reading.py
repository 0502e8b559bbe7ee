from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from trtparse.data.dataset import Sample
from trtparse.data.letterbox import Letterbox
from trtparse.data.reading import READERS, Frame, Unreadable, read_ahead, read_frame
from trtparse.errors import DataError
from trtparse.specs.framing import MOST_STRETCH, Framing
from trtparse.tests.predicting import LIP

NAMES = [f"image {index}" for index in range(40)]


def made(index: int) -> Frame:
    pixels = np.full((8, 6, 3), index, np.uint8)
    return Frame(index, NAMES[index], pixels, Letterbox.fit((8, 6), (8, 6), 1.0), None)


def test_frames_come_in_their_order_whichever_is_read_first() -> None:
    def read(index: int) -> Frame:
        time.sleep(0.002 * (index % 3 == 0))
        return made(index)

    indices = [5, 3, 39, 0, 1, 2, 30]
    assert [item.index for item in read_ahead(read, indices, NAMES, 4)] == indices


def test_no_more_are_read_ahead_than_allowed() -> None:
    started: list[int] = []

    def read(index: int) -> Frame:
        started.append(index)
        return made(index)

    found = read_ahead(read, range(40), NAMES, 6)
    for taken in range(1, 20):
        next(found)
        time.sleep(0.002)
        assert len(started) <= taken + 6
    found.close()


def test_reading_goes_on_while_nobody_takes() -> None:
    read_too = threading.Event()

    def read(index: int) -> Frame:
        if index == 1:
            read_too.set()
        return made(index)

    found = read_ahead(read, range(3), NAMES, 2)
    next(found)
    assert read_too.wait(60)
    found.close()


def test_what_cannot_be_read_comes_at_its_place_and_the_rest_goes_on() -> None:
    def read(index: int) -> Frame:
        if index in (1, 4):
            raise DataError(f"{index} is cut off.")
        return made(index)

    found = list(read_ahead(read, range(6), NAMES, 3))
    assert [item.index for item in found] == list(range(6))
    broken = [item for item in found if isinstance(item, Unreadable)]
    assert [(item.name, item.error.message) for item in broken] == [
        ("image 1", "1 is cut off."),
        ("image 4", "4 is cut off."),
    ]


def test_a_fault_in_reading_is_not_taken_for_a_broken_image() -> None:
    def read(index: int) -> Frame:
        raise RuntimeError("a fault")

    with pytest.raises(RuntimeError, match="a fault"):
        list(read_ahead(read, range(3), NAMES, 2))


def test_closing_ends_the_threads() -> None:
    before = threading.active_count()
    found = read_ahead(made, range(40), NAMES, 2 * READERS)
    next(found)
    found.close()
    assert threading.active_count() == before


class OneImage:
    description, names, labelled, label_set = "one", ["one"], True, LIP

    def __init__(self, labels: np.ndarray | None) -> None:
        self._labels = labels

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        return Sample("one", np.full((40, 10, 3), 9, np.uint8), self._labels)

    def labels(self, index: int) -> np.ndarray:
        raise NotImplementedError


def test_an_image_keeps_its_shape_unless_it_may_be_stretched() -> None:
    labels = np.zeros((40, 10), np.uint8)
    letterboxed = read_frame(OneImage(labels), 0, Framing((20, 20)))
    assert (letterboxed.pixels[:, :7] == 0).all()
    assert letterboxed.inside == (slice(0, 20), slice(7, 12))
    squashed = read_frame(OneImage(labels), 0, Framing((20, 20), MOST_STRETCH))
    assert (squashed.pixels == 9).all()
    assert squashed.inside == (slice(0, 20), slice(0, 20))
    assert squashed.letterbox.restore(np.zeros((20, 20), np.uint8)).shape == (40, 10)


@pytest.mark.parametrize(
    ("labels", "told"),
    [(None, "one has no label map"), (np.zeros((10, 40), np.uint8), r"one is 40 x 10 .* label map is 10 x 40")],
)
def test_a_label_map_that_does_not_fit_is_refused(labels: np.ndarray | None, told: str) -> None:
    with pytest.raises(DataError, match=told):
        read_frame(OneImage(labels), 0, Framing((20, 20)))
