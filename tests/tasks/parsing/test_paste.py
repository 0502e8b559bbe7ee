from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trtparse.data.crops import Window, place, place_around
from trtparse.data.letterbox import Letterbox
from trtparse.specs.framing import Framing
from trtparse.tasks.parsing.paste import paste
from trtparse.tasks.people.person import Person, instance_value

INPUT = (48, 32)
STRETCH = 1.5
FRAMING = Framing(INPUT, STRETCH)
numbers = st.floats(-50, 150, allow_nan=False)


def around(one: Person, size: tuple[int, int]) -> Window:
    window = place_around(FRAMING, size, one.box)
    assert isinstance(window, Window)
    return window


def person(identity: int, *box: float) -> Person:
    return Person(identity, (box[0], box[1], box[2], box[3]), 0.9)


@given(st.tuples(numbers, numbers, numbers, numbers), st.integers(1, 90), st.integers(1, 90))
@settings(max_examples=100, deadline=None)
def test_any_box_gives_a_crop_inside_the_frame_that_goes_there_and_back(
    box: tuple[float, float, float, float], height: int, width: int
) -> None:
    crop = around(person(1, *box), (height, width))
    assert crop.top >= 0
    assert crop.left >= 0
    assert crop.top + crop.size[0] <= height
    assert crop.left + crop.size[1] <= width
    assert min(crop.size) >= min(2, height, width)
    seen = np.zeros((*INPUT, 3), np.uint8)
    crop.apply(np.full((height, width, 3), 200, np.uint8), seen)
    assert seen.max() == 200
    labels, instances = paste([crop], [person(1, *box)], [np.full(INPUT, 5, np.uint8)], (height, width))
    assert (labels[crop.where] == 5).all()
    assert (instances == np.where(labels == 5, 1, 0)).all()
    assert (labels == 5).sum() == crop.size[0] * crop.size[1]


def test_a_crop_shows_all_of_the_person_and_a_little_more() -> None:
    crop = around(person(1, 100, 50, 200, 350), (432, 768))
    assert (crop.top, crop.left) == (26, 92)
    assert crop.size == (348, 116)


def test_the_whole_frame_is_letterboxed_as_ever() -> None:
    frame = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)
    seen = np.zeros((*INPUT, 3), np.uint8)
    place(FRAMING, (60, 90)).apply(frame, seen)
    assert np.array_equal(seen, Letterbox.fit((60, 90), INPUT, STRETCH).apply(frame))


def test_of_two_people_who_overlap_the_nearer_one_hides_the_other() -> None:
    near, far = person(3, 40, 20, 80, 90), person(7, 60, 10, 100, 70)
    for pair in ((near, far), (far, near)):
        crops = [around(one, (100, 140)) for one in pair]
        maps = [np.full(INPUT, one.id, np.uint8) for one in pair]
        labels, instances = paste(crops, pair, maps, (100, 140))
        assert np.array_equal(labels, instances)  # here each one's label is their id
        assert (instances[20:90, 40:80] == 3).all()
        assert (instances[12:18, 62:98] == 7).all()


def test_the_margin_of_a_crop_takes_nothing_from_the_person_whose_it_is() -> None:
    near, far = person(1, 40, 20, 80, 95), person(2, 80, 20, 120, 90)  # shoulder to shoulder
    crops = [around(one, (100, 140)) for one in (near, far)]
    labels, instances = paste(crops, [near, far], [np.full(INPUT, 5, np.uint8)] * 2, (100, 140))
    assert (instances[20:90, 80:120] == 2).all()
    assert (instances[20:95, 40:80] == 1).all()
    assert (labels[18:90, 38:122] == 5).all()


def test_background_of_one_crop_leaves_the_parts_of_another() -> None:
    near, far = person(1, 40, 20, 80, 90), person(2, 60, 10, 100, 70)
    crops = [around(one, (100, 140)) for one in (near, far)]
    _, instances = paste(crops, [near, far], [np.zeros(INPUT, np.uint8), np.full(INPUT, 9, np.uint8)], (100, 140))
    assert set(np.unique(instances)) == {0, 2}
    assert (instances[12:68, 62:98] == 2).all()


def test_nobody_is_a_frame_of_background() -> None:
    labels, instances = paste([], [], [], (20, 30))
    assert labels.shape == instances.shape == (20, 30)
    assert not labels.any()
    assert not instances.any()


def test_instances_above_255_begin_again_and_never_are_background() -> None:
    assert [instance_value(one) for one in (1, 255, 256, 509, 510)] == [1, 255, 2, 255, 1]
    assert all(1 <= instance_value(one) <= 255 for one in range(1, 2000))
