from __future__ import annotations

import numpy as np
import pytest

from trtparse.data.crops import RULES, Jitter, apply, crop_matrix, cut, inverse
from trtparse.specs.framing import CropRule

SIZE = (256, 192)


def corners(box: tuple[float, float, float, float], rule: CropRule, jitter: Jitter = Jitter()) -> np.ndarray:
    """Where the input's corners, measured from its edge, lie in the image."""
    shift = 0.5 if rule.half_pixel else 0.0
    edges = np.array([[0, 0], [SIZE[1], SIZE[0]]]) - shift
    return apply(inverse(crop_matrix(box, SIZE, rule, jitter)), edges) + shift


@pytest.mark.parametrize(
    ("family", "width", "height"),
    [("hrnet", 100 * 1.25, 200 * 1.25), ("mspn", 100 * 1.09, 200 * 1.135), ("trtparse", 100 * 1.25, 200 * 1.25)],
)
def test_a_tall_box_is_enlarged_as_its_family_does_and_widened_to_the_input_s_shape(
    family: str, width: float, height: float
) -> None:
    (left, top), (right, bottom) = corners((50, 40, 100, 200), RULES[family])
    assert bottom - top == pytest.approx(height, abs=1e-3)
    assert right - left == pytest.approx(height * 0.75, abs=1e-3)
    assert right - left >= width
    assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx((100, 140), abs=1e-3)


def test_a_wide_box_is_made_higher() -> None:
    (left, top), (right, bottom) = corners((0, 0, 300, 30), CropRule(1, 1))
    assert (right - left, bottom - top) == pytest.approx((300, 400), abs=1e-3)


def test_the_map_and_its_inverse_give_a_point_back_whatever_the_jitter() -> None:
    matrix = crop_matrix((3, 5, 40, 60), SIZE, RULES["hrnet"], Jitter(1.2, 0.7, (0.1, -0.05), True))
    points = np.array([[1.5, 2.5], [-7, 90], [40, 20]], np.float32)
    assert apply(inverse(matrix), apply(matrix, points)) == pytest.approx(points, abs=1e-3)


def test_pixels_go_where_points_go() -> None:
    image = np.zeros((90, 70, 3), np.uint8)
    image[30:33, 20:23] = 255
    for jitter in (Jitter(), Jitter(0.8, -0.6, (0.05, 0.1), True)):
        matrix = crop_matrix((5, 5, 50, 70), SIZE, RULES["trtparse"], jitter)
        rows, columns = np.nonzero(cut(image, matrix, SIZE)[..., 0] > 127)
        assert (columns.mean(), rows.mean()) == pytest.approx(apply(matrix, np.array([21.0, 31.0])), abs=0.3)


def test_a_shrunken_image_is_averaged_and_keeps_its_place() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (800, 600, 1), np.uint8).repeat(3, 2)
    image[300:340, 200:240] = 255
    matrix = crop_matrix((0, 0, 600, 800), (128, 96), CropRule(1, 1))
    small = cut(image, matrix, (128, 96))
    assert small[10:30, 10:30].std() < 30  # plain bilinear: 60 and more
    rows, columns = np.nonzero(small[..., 0] > 225)
    assert (columns.mean(), rows.mean()) == pytest.approx(apply(matrix, np.array([219.5, 319.5])), abs=0.3)


def test_the_input_mirrored_is_the_crop_of_the_mirrored_image() -> None:
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (40, 30, 3), np.uint8)
    plain = cut(image, crop_matrix((4, 3, 20, 30), SIZE, RULES["trtparse"]), SIZE)
    mirrored = cut(image, crop_matrix((4, 3, 20, 30), SIZE, RULES["trtparse"], Jitter(mirrored=True)), SIZE)
    assert np.abs(plain[:, ::-1].astype(int) - mirrored).max() <= 2


def test_a_shrunken_crop_knows_nothing_of_what_lies_around_it() -> None:
    rng = np.random.default_rng(2)
    image = rng.integers(0, 256, (1003, 807, 3), np.uint8)
    matrix = crop_matrix((420, 310, 200, 350), (64, 48), RULES["trtparse"])
    crop = cut(image, matrix, (64, 48))
    for rows, columns in ((slice(0, 230), slice(None)), (slice(None), slice(0, 330)), (slice(790, None), slice(None))):
        other = image.copy()
        other[rows, columns] = 255 - other[rows, columns]
        assert np.array_equal(cut(other, matrix, (64, 48)), crop)


@pytest.mark.parametrize("size", [(1000, 600), (1001, 601), (1003, 602)])
def test_a_shrunken_crop_reaches_the_image_s_edges_and_is_black_beyond(size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 200, np.uint8)
    height, width = size
    crop = cut(image, crop_matrix((0, 0, width, height), (100, 80), CropRule(1.25, 1.25)), (100, 80))
    assert (crop[11:-11, 17:-17] == 200).all()
    assert not crop[:8].any()
    assert not crop[:, -14:].any()
    assert not cut(image, crop_matrix((3 * width, 0, width, height), (100, 80), CropRule()), (100, 80)).any()
