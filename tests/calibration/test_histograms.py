from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from trtparse.calibration.histograms import BINS, HistogramCollector, count_magnitudes
from trtparse.calibration.ranges import RangeCollector

NewLadder = Callable[..., onnx.ModelProto]
Frames = NDArray[np.uint8]

FINITE = st.floats(-(2.0**100), 2.0**100, width=32)


def counted(values: NDArray[np.float32], maximum: float, bins: int = BINS) -> NDArray[np.int64]:
    counts = np.zeros(bins, np.int64)
    count_magnitudes(counts, values, maximum)
    return counts


class TestCounting:
    def test_each_value_falls_into_the_part_that_its_magnitude_lies_in(self) -> None:
        values = np.array([0, -0.0, 0.5, -0.9, 1, -1.5, 3.99, 4, -4], np.float32)
        np.testing.assert_array_equal(counted(values, 4, bins=4), [4, 2, 0, 3])

    @given(arrays(np.float32, st.integers(1, 50), elements=FINITE))
    def test_none_is_lost_and_the_largest_is_in_the_last_bin(self, values: NDArray[np.float32]) -> None:
        maximum = float(np.abs(values).max())
        counts = counted(values, maximum)
        assert counts.sum() == values.size
        assert counts[-1 if maximum else 0] > 0

    @given(arrays(np.float32, st.integers(2, 50), elements=FINITE), st.data())
    def test_neither_order_nor_parts_matter(self, values: NDArray[np.float32], data: st.DataObject) -> None:
        maximum = float(np.abs(values).max())
        shuffled = values[data.draw(st.permutations(range(values.size)))]
        cut = data.draw(st.integers(1, values.size - 1))
        parts = counted(shuffled[:cut], maximum) + counted(shuffled[cut:], maximum)
        np.testing.assert_array_equal(parts, counted(values, maximum))

    def test_tensors_of_any_shape_and_size_are_counted_whole(self) -> None:
        values = np.random.default_rng(1).normal(size=(1, 3, 300, 301)).astype(np.float32)
        maximum = float(np.abs(values).max())
        counts = counted(values, maximum)
        expected, _ = np.histogram(np.abs(values.astype(np.float64)), BINS, (0, maximum))
        assert counts.sum() == values.size
        # A float and a double may differ on which side of an edge a value lies.
        assert np.abs(np.cumsum(counts) - np.cumsum(expected)).max() <= 5

    @pytest.mark.parametrize("maximum", [1.4e-45, 1e-38, 3.4e38])
    def test_the_smallest_and_largest_ranges_are_counted_as_others(self, maximum: float) -> None:
        values = np.array([0, maximum], np.float32)
        counts = counted(values, float(values[1]))
        assert (counts[0], counts[-1], counts.sum()) == (1, 1, 2)

    def test_a_magnitude_above_the_maximum_counts_in_the_last_bin(self) -> None:
        assert counted(np.array([5, -1e30], np.float32), 1)[-1] == 2


class TestCollector:
    def test_it_counts_the_activations_of_the_graph(self, new_ladder: NewLadder, small_frames: Frames) -> None:
        collector = HistogramCollector(new_ladder(), {"image": 1.0, "sigmoid": 1.0}, threads=1)
        for frame in small_frames:
            collector.update(frame)
        histograms = collector.histograms()
        assert list(histograms) == ["image", "sigmoid"]
        assert histograms["image"].counts.sum() == small_frames.size
        expected = np.bincount((small_frames.astype(np.float32) * np.float32(1 / 255) * BINS).astype(int).reshape(-1))
        np.testing.assert_array_equal(histograms["image"].counts[: len(expected)], expected)

    def test_the_first_pass_s_maxima_are_those_of_the_second(self, new_ladder: NewLadder, small_frames: Frames) -> None:
        model = new_ladder()
        ranges = RangeCollector(model, threads=1)
        ranges.update("all", small_frames)
        maxima = {name: max(abs(low), abs(high)) for name, (low, high) in ranges.limits().items()}
        collector = HistogramCollector(model, maxima, threads=1)
        for frame in small_frames:
            collector.update(frame)
        for name, histogram in collector.histograms().items():
            assert histogram.counts[-1] > 0, name

    def test_what_it_keeps_does_not_grow_with_the_frames(self, new_ladder: NewLadder, small_frames: Frames) -> None:
        collector = HistogramCollector(new_ladder(), {"image": 1.0, "stem": 9.0}, threads=1)
        for _ in range(10):
            for frame in small_frames:
                collector.update(frame)
        assert collector.counts.shape == (2, BINS)
        held = [value for value in vars(collector).values() if isinstance(value, (list, dict, np.ndarray))]
        assert sum(len(value) for value in held) == 4
