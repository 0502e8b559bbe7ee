from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from trtparse.calibration.quantise.placement import WeightSite
from trtparse.calibration.quantise.weights import Int8Weights, along, nearest
from trtparse.errors import UsageError

SITE = WeightSite("w", 0, ("layer",))


def squared_error(weight: NDArray[np.float32], weights: Int8Weights) -> NDArray[np.float64]:
    """(channels,)."""
    scales = weights.scales(weight, SITE)
    rounded = nearest(weight, scales, 0) * along(scales, 0, weight.ndim)
    return np.square(weight - rounded, dtype=np.float64).sum(axis=tuple(range(1, weight.ndim)))


class TestScales:
    @given(hnp.arrays(np.float32, (3, 2, 3, 3), elements=st.floats(-8, 8, width=32)))
    @settings(max_examples=40, deadline=None)
    def test_mse_is_nowhere_worse_than_max(self, weight: NDArray[np.float32]) -> None:
        assert (squared_error(weight, Int8Weights("mse")) <= squared_error(weight, Int8Weights("max"))).all()

    def test_mse_clips_a_lone_outlier_among_many_values_and_max_does_not(self) -> None:
        rng = np.random.default_rng(0)
        weight = rng.normal(size=(1, 200_000)).astype(np.float32)
        weight[0, 0] = 8
        scales = {method: float(Int8Weights(method).scales(weight, SITE)[0]) for method in ("max", "mse")}
        assert scales["max"] * 127 >= 8
        assert scales["mse"] < 0.8 * scales["max"]

    def test_mse_finds_what_a_search_of_every_share_finds(self) -> None:
        weight = np.random.default_rng(1).standard_t(3, size=(4, 300)).astype(np.float32)
        maxima = np.abs(weight).max(axis=1)
        found = squared_error(weight, Int8Weights("mse"))
        every = []
        for share in np.arange(0.5, 1.001, 0.001):
            scales = (maxima * share / 127).astype(np.float32)
            rounded = nearest(weight, scales, 0) * along(scales, 0, 2)
            every.append(np.square(weight - rounded, dtype=np.float64).sum(axis=1))
        assert (found <= 1.1 * np.min(every, axis=0)).all()

    @pytest.mark.parametrize("method", ["max", "mse"])
    def test_they_are_exact_in_fp16_and_positive_for_dead_channels(self, method: str) -> None:
        weight = np.zeros((3, 5), np.float32)
        weight[0] = 0.3
        scales = Int8Weights(method).scales(weight, SITE)
        np.testing.assert_array_equal(scales.astype(np.float16).astype(np.float32), scales)
        assert (scales > 0).all()

    def test_an_unknown_method_names_the_nearest(self) -> None:
        with pytest.raises(UsageError, match="Did you mean mse"):
            Int8Weights("mes")


class TestIntegers:
    def test_without_learned_ones_they_are_the_nearest(self) -> None:
        weight = np.array([[1.0, -0.5, 0.2, 0.0]], np.float32)
        weights = Int8Weights()
        scale = weights.scales(weight, SITE)[0]
        expected = [[round(value / scale) for value in weight[0]]]
        np.testing.assert_array_equal(weights.integers_of(weight, SITE), expected)

    def test_learned_ones_are_taken_as_they_are(self) -> None:
        learned = np.array([[3, -4]], np.int8)
        weights = Int8Weights(integers={"w": learned})
        np.testing.assert_array_equal(weights.integers_of(np.ones((1, 2), np.float32), SITE), learned)

    @pytest.mark.parametrize("axis", [0, 1])
    def test_scales_spread_along_the_channels(self, axis: int) -> None:
        weight = np.ones((2, 2), np.float32)
        scales = np.array([0.5, 0.25], np.float32)
        expected = np.array([[2, 2], [4, 4]]) if axis == 0 else np.array([[2, 4], [2, 4]])
        np.testing.assert_array_equal(nearest(weight, scales, axis), expected)
