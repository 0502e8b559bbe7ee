from __future__ import annotations

import base64
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from trtparse.tasks.parsing.pictures import Picture
from trtparse.tests.predicting import LIP
from trtparse.validation.report.pictures import LARGEST, panels, within_budget
from trtparse.validation.result import ValidationResult

MadeUp = Callable[..., ValidationResult]


def decoded(uri: str) -> np.ndarray:
    data = base64.b64decode(uri.split(",", 1)[1])
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


@pytest.fixture
def picture(made_up: MadeUp) -> Picture:
    picture = made_up().first.worst[0].picture
    assert picture is not None
    return picture


def test_label_maps_have_lips_colours_to_the_pixel(picture: Picture) -> None:
    photo, truth, reference, engine, difference = panels(picture, "PyTorch", "INT8")
    assert [panel.caption for panel in (photo, truth, reference, engine, difference)] == [
        "photo", "truth", "PyTorch", "INT8", "difference",
    ]  # fmt: skip
    for panel, labels in ((truth, picture.truth), (reference, picture.reference), (engine, picture.engine)):
        np.testing.assert_array_equal(decoded(panel.uri), LIP.palette_bgr()[labels])


def test_the_photograph_is_the_photograph(picture: Picture) -> None:
    shown = decoded(panels(picture, "", "")[0].uri).astype(float)
    assert shown.shape == picture.photo.shape
    assert np.abs(shown - picture.photo).mean() < 12


def test_the_difference_is_coloured_where_labels_differ_and_grey_elsewhere(picture: Picture) -> None:
    engine = picture.reference.copy()
    engine[16:32, 16:32] = 17
    changed = Picture(picture.photo, picture.truth, picture.reference, engine, LIP)
    shown = decoded(panels(changed, "", "")[-1].uri).astype(int)
    # A JPEG blurs colours by a few pixels; the middle of the square and what is far from it are sure.
    assert np.all(np.abs(shown[20:28, 20:28] - (200, 0, 225)) < 40)
    assert np.all(np.ptp(shown[40:, :8], axis=-1) < 20)


def test_without_labels_there_is_no_truth(picture: Picture) -> None:
    unlabelled = Picture(picture.photo, None, picture.reference, picture.engine, LIP)
    assert [panel.caption for panel in panels(unlabelled, "a", "b")] == ["photo", "a", "b", "difference"]


@pytest.mark.parametrize("size", [(473, 473), (40, 2000), (2000, 1), (1, 1)])
def test_large_pictures_are_made_small(size: tuple[int, int]) -> None:
    labels = np.zeros(size, np.uint8)
    labels[0, -1] = 255
    picture = Picture(np.zeros((*size, 3), np.uint8), labels, labels, labels, LIP)
    for panel in panels(picture, "", ""):
        height, width = decoded(panel.uri).shape[:2]
        assert max(height, width) <= LARGEST
        assert min(height, width) >= 1


@pytest.mark.parametrize(
    ("image_size", "shown"), [((384, 150), (90, 35)), ((30, 20), (90, 60)), ((900, 600), (90, 60))]
)
def test_what_was_stretched_is_shown_in_the_shape_of_its_image(
    image_size: tuple[int, int], shown: tuple[int, int]
) -> None:
    labels = np.zeros((90, 60), np.uint8)
    engine = labels.copy()
    engine[45, 31] = 1
    picture = Picture(np.full((90, 60, 3), 128, np.uint8), None, labels, engine, LIP, image_size)
    pictures = [decoded(panel.uri) for panel in panels(picture, "", "")]
    assert {drawn.shape[:2] for drawn in pictures} == {shown}
    assert np.ptp(pictures[-1].astype(int), axis=-1).max() > 60


def test_a_difference_of_one_pixel_is_seen_in_a_picture_that_is_made_small() -> None:
    labels = np.zeros((1000, 1000), np.uint8)
    engine = labels.copy()
    engine[501, 501] = 1
    picture = Picture(np.full((1000, 1000, 3), 128, np.uint8), None, labels, engine, LIP)
    shown = decoded(panels(picture, "", "")[-1].uri).astype(int)
    assert np.ptp(shown[126:131, 126:131], axis=-1).max() > 60


def test_as_many_pictures_as_fit_are_shown_the_worst_first(made_up: MadeUp) -> None:
    worst = made_up().first.worst
    every = within_budget(worst, "", "", 10**9)
    assert [image for image, _ in every] == list(worst)
    sizes = [sum(len(panel.uri) for panel in row) for _, row in every]
    assert [image for image, _ in within_budget(worst, "", "", sum(sizes[:3]))] == list(worst[:3])
    assert within_budget(worst, "", "", 10) == []


def test_a_result_from_json_has_no_pictures(made_up: MadeUp) -> None:
    result = ValidationResult.from_dict(made_up().to_dict())
    assert within_budget(result.first.worst, "", "", 10**9) == []
