from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtparse.data.letterbox import Letterbox, scales
from trtparse.specs.framing import Framing

SIZES = st.tuples(st.integers(1, 700), st.integers(1, 700))
INPUTS = st.sampled_from([(192, 128), (256, 192), (384, 384), (64, 96)])


@given(image=SIZES, target=INPUTS)
def test_the_image_lies_inside_the_input_touches_two_sides_and_is_centred(
    image: tuple[int, int], target: tuple[int, int]
) -> None:
    box = Letterbox.fit(image, target, 1.0)
    assert box.height == target[0] or box.width == target[1]
    below, right = target[0] - box.top - box.height, target[1] - box.left - box.width
    assert 0 <= below - box.top <= 1
    assert 0 <= right - box.left <= 1


@given(image=SIZES, target=INPUTS)
def test_the_aspect_ratio_is_kept_to_a_pixel(image: tuple[int, int], target: tuple[int, int]) -> None:
    box = Letterbox.fit(image, target, 1.0)
    scale = min(target[0] / image[0], target[1] / image[1])
    assert abs(box.height - max(image[0] * scale, 1)) <= 0.5
    assert abs(box.width - max(image[1] * scale, 1)) <= 0.5


@given(size=st.tuples(st.integers(1, 90), st.integers(1, 90)), seed=st.integers(0, 99))
def test_label_maps_return_unchanged_where_the_input_is_a_whole_multiple(size: tuple[int, int], seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 20, size, np.uint8)
    box = Letterbox.fit(size, (3 * size[0], 3 * size[1]), 1.0)
    np.testing.assert_array_equal(box.restore(box.apply_labels(labels)), labels)


@given(image=st.tuples(st.integers(1, 200), st.integers(1, 200)), target=INPUTS, seed=st.integers(0, 99))
def test_restoring_has_the_size_of_the_image_and_no_label_from_the_border(
    image: tuple[int, int], target: tuple[int, int], seed: int
) -> None:
    box = Letterbox.fit(image, target, 1.0)
    labels = box.apply_labels(np.random.default_rng(seed).integers(3, 9, image, np.uint8))
    restored = box.restore(labels)
    assert restored.shape == image
    assert set(np.unique(restored)) <= set(range(3, 9))


def test_an_image_lies_where_its_framing_says_on_the_grey_that_it_says() -> None:
    framing = Framing((64, 64), place="upper left", fill=114)
    box = Letterbox.of((100, 50), framing)
    assert (box.top, box.left, box.height, box.width) == (0, 0, 64, 32)
    frame = box.apply(np.full((100, 50, 3), 200, np.uint8))
    assert (frame[:, :32] == 200).all()
    assert (frame[:, 32:] == 114).all()
    used = np.full_like(frame, 7)
    np.testing.assert_array_equal(box.apply(np.full((100, 50, 3), 200, np.uint8), used), frame)
    np.testing.assert_allclose(box.to_frame(box.to_image(np.array([[3.0, 60.0]]))), [[3, 60]], atol=1e-4)
    assert Letterbox.of((100, 50), Framing((64, 64))) == Letterbox.fit((100, 50), (64, 64), 1.0)


def test_the_border_is_black_and_its_label_is_ignored() -> None:
    box = Letterbox.fit((100, 50), (64, 64), 1.0)
    assert (box.top, box.left, box.height, box.width) == (0, 16, 64, 32)
    frame = box.apply(np.full((100, 50, 3), 200, np.uint8))
    assert frame.shape == (64, 64, 3)
    assert not frame[:, :16].any()
    assert not frame[:, 48:].any()
    assert (frame[:, 16:48] == 200).all()
    labels = box.apply_labels(np.full((100, 50), 7, np.uint8))
    assert (labels[:, :16] == 255).all()
    assert (labels[:, 16:48] == 7).all()


def test_a_buffer_is_wiped_before_it_is_used_again() -> None:
    out = np.full((64, 64, 3), 99, np.uint8)
    frame = Letterbox.fit((100, 50), (64, 64), 1.0).apply(np.full((100, 50, 3), 200, np.uint8), out)
    assert frame is out
    assert not out[:, :16].any()


def test_the_middle_of_a_pixel_stays_the_middle() -> None:
    labels = np.zeros((4, 4), np.uint8)
    labels[:, 2:] = 5
    big = Letterbox.fit((4, 4), (64, 64), 1.0).apply_labels(labels)
    assert (big[:, :32] == 0).all()
    assert (big[:, 32:] == 5).all()


def test_arrays_of_another_size_are_refused() -> None:
    box = Letterbox.fit((100, 50), (64, 64), 1.0)
    with pytest.raises(ValueError, match="expected uint8 of 100x50"):
        box.apply(np.zeros((50, 100, 3), np.uint8))
    with pytest.raises(ValueError, match="expected uint8 of 64x64"):
        box.restore(np.zeros((100, 50), np.uint8))
    with pytest.raises(ValueError, match="no area"):
        Letterbox.fit((0, 50), (64, 64), 1.0)


@given(
    st.tuples(st.integers(1, 400), st.integers(1, 400)),
    st.tuples(st.integers(64, 200), st.integers(64, 200)),
    st.floats(1, 10),
)
def test_no_shape_is_changed_by_more_than_asked_and_one_side_always_fits(
    image: tuple[int, int], target: tuple[int, int], stretch: float
) -> None:
    box = Letterbox.fit(image, target, stretch)
    assert box.height == target[0] or box.width == target[1]
    down, across = scales(image, target, stretch)
    assert max(down / across, across / down) <= stretch * (1 + 1e-9)
    plain = Letterbox.fit(image, target, 1.0)
    assert box.height >= plain.height
    assert box.width >= plain.width
    labels = np.random.default_rng(0).integers(0, 20, (box.height, box.width), np.uint8)
    frame = np.zeros(target, np.uint8)
    frame[box.top : box.top + box.height, box.left : box.left + box.width] = labels
    assert box.restore(frame).shape == image


def test_a_standing_person_fills_more_of_the_input_where_it_may_be_stretched() -> None:
    widths = [Letterbox.fit((384, 151), (256, 192), stretch).width for stretch in (1.0, 1.5, 4.0, math.inf)]
    assert widths == [101, 151, 192, 192]
    wide = Letterbox.fit((100, 200), (256, 192), 1.5)
    assert (wide.height, wide.width) == (144, 192)


@pytest.mark.parametrize("size", [(40, 30), (9, 70), (64, 48)])
def test_scores_go_back_bilinearly_before_the_class_is_taken(size: tuple[int, int]) -> None:
    scores = np.random.default_rng(3).normal(size=(5, 64, 48)).astype(np.float32)
    scores[3] = scores[1]  # of classes that are equal, the first
    box = Letterbox.fit(size, (64, 48), 1.0)
    inside = scores[:, box.top : box.top + box.height, box.left : box.left + box.width]
    wanted = cv2.resize(np.ascontiguousarray(inside.transpose(1, 2, 0)), size[::-1]).argmax(2)
    found = box.restore_scores(scores)
    assert (found.dtype, found.shape) == (np.uint8, size)
    assert (found == wanted).mean() > 0.999
    assert 3 not in found
    with pytest.raises(ValueError, match="expected scores"):
        box.restore_scores(scores[:, 1:])
