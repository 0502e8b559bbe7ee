from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from trtparse.calibration.near_duplicates import (
    NEAR,
    NearDuplicates,
    fingerprint,
    photograph_of,
    thumbnail,
)
from trtparse.data.dataset import Image
from trtparse.data.synthetic import SyntheticPeople


def bits(image: Image) -> NDArray[np.bool_]:
    return fingerprint(thumbnail(image))


def distance(one: Image, other: Image) -> int:
    return int(np.count_nonzero(bits(one) != bits(other)))


def as_jpeg(image: Image) -> Image:
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], 1), np.uint8)


def at_half_size(image: Image) -> Image:
    return np.asarray(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)


def darker(image: Image) -> Image:
    return (image * 0.6).astype(np.uint8)


def cut_by_two_percent(image: Image) -> Image:
    height, width = image.shape[:2]
    return np.ascontiguousarray(image[height // 50 :, : width - width // 50])


@pytest.fixture(scope="module")
def persons() -> list[Image]:
    people = SyntheticPeople(10, seed=11)
    return [people[index].image for index in range(10)]


@pytest.mark.parametrize("change", [as_jpeg, at_half_size, darker, cut_by_two_percent])
def test_a_changed_copy_is_a_near_duplicate(change: Callable[[Image], Image], persons: list[Image]) -> None:
    assert max(distance(image, change(image)) for image in persons) <= NEAR


def test_two_persons_are_none(persons: list[Image]) -> None:
    nearest = min(distance(persons[a], persons[b]) for a in range(len(persons)) for b in range(a))
    assert nearest > NEAR


@given(st.integers(0, 255), st.integers(0, 255), st.integers(1, 200), st.integers(1, 200))
def test_images_of_one_colour_are_alike(first: int, second: int, height: int, width: int) -> None:
    assert distance(np.full((height, width, 3), first, np.uint8), np.full((90, 70, 3), second, np.uint8)) == 0


def test_a_half_of_the_bits_is_set_in_an_image_with_something_on_it(persons: list[Image]) -> None:
    assert bits(persons[0]).shape == (255,)
    assert [int(bits(image).sum()) for image in persons] == pytest.approx([127] * len(persons), abs=8)


@pytest.mark.parametrize(
    ("name", "photograph"),
    [
        ("100012_501646", "100012"),
        ("100012_501646.jpg", "100012"),
        ("123360_900100123360", "123360"),
        ("ccp_0594", None),
        ("synthetic_0_000001", None),
        ("1_2_3", None),
        ("100012", None),
        ("", None),
    ],
)
def test_the_photograph_is_read_from_lip_s_names(name: str, photograph: str | None) -> None:
    assert photograph_of(name) == photograph


def test_who_is_alike_is_told_by_bits_or_by_the_photograph(persons: list[Image]) -> None:
    images = [persons[0], persons[1], as_jpeg(persons[0]), persons[2]]
    duplicates = NearDuplicates(["7_1", "8_1", "9_1", "8_2"], [bits(image) for image in images])
    found = [np.flatnonzero(duplicates.of(position)).tolist() for position in range(4)]
    assert found == [[0, 2], [1, 3], [0, 2], [1, 3]]


@given(st.data())
def test_the_product_counts_the_bits_that_differ(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    base = rng.random(255) < 0.5
    flips = data.draw(st.lists(st.integers(NEAR - 2, NEAR + 2), min_size=1, max_size=6))
    others = [base ^ np.isin(np.arange(255), rng.permutation(255)[:number]) for number in flips]
    found = NearDuplicates(["name"] * (len(flips) + 1), [base, *others]).of(0)
    assert found.tolist() == [True, *(number <= NEAR for number in flips)]


def test_names_that_tell_no_photograph_are_not_taken_for_one() -> None:
    rng = np.random.default_rng(0)
    duplicates = NearDuplicates(["a", "a", "b"], list(rng.random((3, 255)) < 0.5))
    assert duplicates.of(1).tolist() == [False, True, False]
