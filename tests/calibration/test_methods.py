from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from trtparse.calibration.histograms import BINS, Histogram
from trtparse.calibration.methods import METHODS, UNSIGNED, Method, threshold
from trtparse.errors import UsageError

Values = NDArray[np.float64]


def histogram_of(values: Values) -> Histogram:
    magnitudes = np.abs(values)
    counts, _ = np.histogram(magnitudes, BINS, (0, float(magnitudes.max())))
    return Histogram(counts.astype(np.int64), float(magnitudes.max()))


def squared_error(values: Values, reach: float, levels: int = 127) -> float:
    """Of symmetric int8 that reaches so far, on the values themselves; 255 levels: of uint8."""
    scale = reach / levels
    return float(np.mean((values - scale * np.clip(np.round(values / scale), -levels, levels)) ** 2))


def level_of(position: int, kept: int) -> int:
    """The int8 magnitude of the centre of a bin, where ``kept`` bins reach 127."""
    return min(math.floor((position + 0.5) * 127 / kept + 0.5), 127)


def divergence(counts: NDArray[np.int64], kept: int) -> float:
    """Kullback and Leibler's sum, bin by bin."""
    counts = counts.copy()
    counts[0] = counts[1]
    true = counts[:kept].astype(float)
    inside = true.sum()
    if inside == 0:
        return math.inf
    levels: dict[int, list[int]] = {}
    for position in np.flatnonzero(true):
        levels.setdefault(level_of(int(position), kept), []).append(int(position))
    int8 = np.zeros(kept)
    for members in levels.values():
        int8[members] = true[members].sum() / len(members)
    true[np.flatnonzero(true)[-1]] += counts[kept:].sum()
    true, int8 = true / true.sum(), int8 / int8.sum()
    filled = true > 0
    return float((true[filled] * np.log(true[filled] / int8[filled])).sum())


@pytest.fixture(scope="module")
def shapes() -> dict[str, Values]:
    """Values as activations are distributed."""
    rng = np.random.default_rng(4)
    return {
        "normal": rng.normal(size=200_000),
        "laplace": rng.laplace(size=200_000),
        "relu": np.maximum(rng.normal(size=200_000), 0),
        "uniform": rng.uniform(-1, 1, 200_000),
        "outliers": np.concatenate([rng.normal(size=500_000), rng.uniform(20, 40, 3)]),
        "constant": np.full(1000, 0.7),
    }


class TestNames:
    @pytest.mark.parametrize("name", METHODS)
    def test_each_is_read_from_its_name(self, name: str) -> None:
        assert Method.parse(name) == Method(name)

    def test_a_percentile_is_read_with_its_value(self) -> None:
        assert Method.parse("percentile:99.9") == Method("percentile", 99.9)
        assert Method.parse("percentile") == Method("percentile", 99.99)

    @given(st.sampled_from(METHODS), st.floats(min_value=0, max_value=100, exclude_min=True))
    def test_each_comes_back_from_its_text(self, name: str, percentile: float) -> None:
        method = Method(name, percentile) if name == "percentile" else Method(name)
        assert Method.parse(str(method)) == method

    @pytest.mark.parametrize(("text", "near"), [("entropie", "entropy"), ("MSE", ""), ("minmax", "max"), ("kl", "")])
    def test_an_unknown_one_is_refused_and_the_nearest_named(self, text: str, near: str) -> None:
        with pytest.raises(UsageError, match="no calibration method") as caught:
            Method.parse(text)
        assert (f"Did you mean {near}?" in caught.value.message) == bool(near)
        assert "max, percentile, entropy, mse" in caught.value.hint

    @pytest.mark.parametrize("value", ["0", "-1", "100.1", "nan", "inf", "many", ""])
    def test_what_is_no_percentile_is_refused(self, value: str) -> None:
        with pytest.raises(UsageError, match="percentile"):
            Method.parse(f"percentile:{value}")

    def test_a_value_where_none_is_taken_is_refused(self) -> None:
        with pytest.raises(UsageError, match="mse takes no value"):
            Method.parse("mse:3")


class TestEveryMethod:
    @given(st.data())
    def test_thresholds_lie_above_zero_and_at_most_at_the_maximum(self, data: st.DataObject) -> None:
        filled = data.draw(st.dictionaries(st.integers(0, BINS - 1), st.integers(1, 10**12), max_size=6))
        counts = np.zeros(BINS, np.int64)
        counts[list(filled)] = list(filled.values())
        counts[-1] += 1
        maximum = data.draw(st.floats(1e-30, 1e30))
        for name in METHODS:
            assert 0 < threshold(Histogram(counts, maximum), Method(name)) <= maximum

    @pytest.mark.parametrize("name", METHODS)
    def test_twice_the_values_have_twice_the_threshold(self, name: str, shapes: dict[str, Values]) -> None:
        for values in shapes.values():
            histogram = histogram_of(values)
            double = Histogram(histogram.counts, 2 * histogram.maximum)
            assert threshold(double, Method(name)) == 2 * threshold(histogram, Method(name))

    @pytest.mark.parametrize("name", METHODS)
    def test_a_tensor_of_zeros_keeps_its_range(self, name: str) -> None:
        counts = np.zeros(BINS, np.int64)
        counts[0] = 5
        assert threshold(Histogram(counts, 0.0), Method(name)) == 0

    @pytest.mark.parametrize("name", METHODS)
    def test_nothing_counted_clips_nothing(self, name: str) -> None:
        assert threshold(Histogram(np.zeros(BINS, np.int64), 3.0), Method(name)) == 3

    @pytest.mark.parametrize("name", METHODS)
    def test_one_value_alone_is_not_clipped_by_more_than_a_thousandth(
        self, name: str, shapes: dict[str, Values]
    ) -> None:
        assert threshold(histogram_of(shapes["constant"]), Method(name)) >= 0.7 * 0.999

    def test_max_is_the_maximum(self, shapes: dict[str, Values]) -> None:
        for values in shapes.values():
            assert threshold(histogram_of(values), Method("max")) == np.abs(values).max()


class TestPercentile:
    @pytest.mark.parametrize(
        ("percentile", "bins"), [(50, 1), (90, 1), (90.1, 2), (99, 2), (99.9, 4), (99.91, 4096), (100, 4096)]
    )
    def test_it_keeps_the_fewest_bins_that_hold_so_many(self, percentile: float, bins: int) -> None:
        counts = np.zeros(BINS, np.int64)
        counts[[0, 1, 3, -1]] = 900, 90, 9, 1
        assert threshold(Histogram(counts, 4096.0), Method("percentile", percentile)) == bins

    @pytest.mark.parametrize("percentile", [10.0, 99.0, 99.9, 99.99])
    def test_it_is_that_of_the_values_to_a_bin(self, percentile: float, shapes: dict[str, Values]) -> None:
        for name, values in shapes.items():
            histogram = histogram_of(values)
            expected = np.percentile(np.abs(values), percentile, method="inverted_cdf")
            found = threshold(histogram, Method("percentile", percentile))
            assert abs(found - expected) <= 1.001 * histogram.maximum / BINS, name


class TestEntropy:
    @pytest.mark.parametrize("shape", ["normal", "laplace", "relu", "uniform", "outliers"])
    def test_it_is_where_the_sum_over_the_bins_is_least(self, shape: str, shapes: dict[str, Values]) -> None:
        histogram = histogram_of(shapes[shape])
        found = threshold(histogram, Method("entropy"))
        candidates = range(BINS, 127, -32)
        least = min(divergence(histogram.counts, kept) for kept in candidates)
        assert divergence(histogram.counts, round(found / histogram.maximum * BINS)) <= least + 1e-9

    @pytest.mark.parametrize(("shape", "share"), [("laplace", 0.9), ("relu", 0.99), ("outliers", 0.4)])
    def test_it_is_not_the_maximum_where_there_is_a_tail(
        self, shape: str, share: float, shapes: dict[str, Values]
    ) -> None:
        histogram = histogram_of(shapes[shape])
        assert threshold(histogram, Method("entropy")) < share * histogram.maximum

    def test_it_is_the_maximum_where_there_is_no_tail(self) -> None:
        assert threshold(Histogram(np.full(BINS, 7, np.int64), 2.0), Method("entropy")) == 2

    def test_exact_zeros_however_many_change_nothing(self, shapes: dict[str, Values]) -> None:
        without = histogram_of(shapes["laplace"])
        with_zeros = Histogram(without.counts.copy(), without.maximum)
        with_zeros.counts[0] += 10**9
        assert threshold(with_zeros, Method("entropy")) == threshold(without, Method("entropy"))


class TestSquaredError:
    @pytest.mark.parametrize("shape", ["normal", "laplace", "relu", "uniform", "outliers"])
    def test_no_other_threshold_has_a_smaller_error_on_the_values_themselves(
        self, shape: str, shapes: dict[str, Values]
    ) -> None:
        values = shapes[shape]
        histogram = histogram_of(values)
        found = squared_error(values, threshold(histogram, Method("mse")))
        least = min(squared_error(values, histogram.maximum * part / 100) for part in range(4, 101))
        assert found <= 1.005 * least

    def test_it_counts_every_bin_at_its_centre(self) -> None:
        rng = np.random.default_rng(3)
        centres = np.arange(BINS) + 0.5
        for _ in range(5):
            counts = rng.integers(0, 9, BINS) ** 4
            counts[rng.integers(200, 4000) :] //= 1000
            counts[-1] = 1

            def error(kept: int, counts: NDArray[np.int64] = counts) -> float:
                levels = np.array([level_of(position, kept) for position in range(BINS)])
                return float((counts * (centres - levels * kept / 127) ** 2).sum())

            found = round(threshold(Histogram(counts, float(BINS)), Method("mse")))
            assert error(found) <= min(error(kept) for kept in range(BINS, 127, -64)) * (1 + 1e-9)

    def test_it_clips_where_there_is_a_tail(self, shapes: dict[str, Values]) -> None:
        histogram = histogram_of(shapes["laplace"])
        assert threshold(histogram, Method("mse")) < 0.9 * histogram.maximum

    @pytest.mark.parametrize("shape", ["normal", "laplace", "relu", "outliers"])
    def test_uint8_s_finer_steps_reach_further_and_err_least_there(self, shape: str, shapes: dict[str, Values]) -> None:
        values = np.abs(shapes[shape])
        histogram = histogram_of(values)
        unsigned = threshold(histogram, Method("mse"), UNSIGNED)
        assert unsigned > threshold(histogram, Method("mse"))
        found = squared_error(values, unsigned, 255)
        least = min(squared_error(values, histogram.maximum * part / 100, 255) for part in range(8, 101))
        assert found <= 1.005 * least
