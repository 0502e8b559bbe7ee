from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
import pytest

from trtparse.demo.live import pictures as module
from trtparse.demo.live.pictures import Picture, Pictures, encode_jpeg, encode_png
from trtparse.tests.demo.live.made_frames import eventually, made_frame


@pytest.fixture
def made() -> queue.SimpleQueue[Picture]:
    return queue.SimpleQueue()


@pytest.fixture
def pictures(made: queue.SimpleQueue[Picture]) -> Iterator[Pictures]:
    pictures = Pictures(made.put)
    yield pictures
    pictures.close()
    assert not pictures._thread.is_alive()


def test_nothing_is_made_while_nobody_watches(pictures: Pictures) -> None:
    for number in range(200):
        pictures.take(made_frame(number))
    assert pictures.newest is not None
    assert pictures.newest.number == 199
    assert pictures.made == 0


def test_a_wish_is_met_by_the_newest_frame_once(pictures: Pictures, made: queue.SimpleQueue[Picture]) -> None:
    pictures.take(made_frame(0))
    pictures.take(made_frame(7))
    pictures.want()
    pictures.want()
    picture = made.get(timeout=60)
    assert picture.number == 7
    pictures.want()
    with pytest.raises(queue.Empty):
        made.get(timeout=0.2)
    pictures.take(made_frame(8))
    assert made.get(timeout=60).number == 8


def test_a_frame_that_comes_after_the_wish_is_made_into_a_picture(
    pictures: Pictures, made: queue.SimpleQueue[Picture]
) -> None:
    pictures.want()
    pictures.take(made_frame(3))
    assert made.get(timeout=60).number == 3


def test_taking_a_frame_does_not_wait_for_a_picture_in_the_making(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(module, "encode_jpeg", lambda image: go_on.wait(30) and b"")
    made: queue.SimpleQueue[Picture] = queue.SimpleQueue()
    pictures = Pictures(made.put)
    pictures.want()
    pictures.take(made_frame(0))
    eventually(lambda: pictures._done == 0)
    for number in range(1, 50):  # on this thread, while the other one is held
        pictures.take(made_frame(number))
    assert not go_on.is_set()
    assert pictures.newest is not None
    assert pictures.newest.number == 49
    go_on.set()
    assert made.get(timeout=60).number == 0
    pictures.want()
    assert made.get(timeout=60).number == 49
    pictures.close()


def test_frames_are_looked_at_and_not_written_to(pictures: Pictures, made: queue.SimpleQueue[Picture]) -> None:
    frame = made_frame(0)
    frame.drawn.flags.writeable = frame.sights[0].labels.flags.writeable = False
    before = frame.drawn.copy()
    pictures.take(frame)
    pictures.want()
    made.get(timeout=60)
    assert np.array_equal(frame.drawn, before)
    assert pictures.newest is frame


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((1, 1), (1, 1)),
        ((97, 129), (97, 129)),
        ((1080, 1920), (720, 1280)),
        ((4320, 10), (1280, 3)),
        ((1, 3000), (1, 1280)),
    ],
)
def test_a_picture_is_no_larger_than_a_window_needs(size: tuple[int, int], shown: tuple[int, int]) -> None:
    image = np.full((*size, 3), 77, np.uint8)
    decoded = cv2.imdecode(np.frombuffer(encode_jpeg(image), np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == (*shown, 3)
    assert np.abs(decoded.astype(int) - 77).max() <= 2


def test_a_snapshot_keeps_every_pixel() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1500, 40, 3), np.uint8)
    assert np.array_equal(cv2.imdecode(np.frombuffer(encode_png(image), np.uint8), cv2.IMREAD_COLOR), image)


def test_frames_of_another_size_follow(pictures: Pictures, made: queue.SimpleQueue[Picture]) -> None:
    pictures.take(made_frame(0))
    pictures.want()
    made.get(timeout=60)
    pictures.take(replace(made_frame(1), drawn=np.zeros((10, 20, 3), np.uint8)))
    pictures.want()
    decoded = cv2.imdecode(np.frombuffer(made.get(timeout=60).jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == (10, 20, 3)
