from __future__ import annotations

import numpy as np
import pytest

from trtparse.validation.latency import BINS, latency


class TestLatency:
    def test_is_in_milliseconds_without_the_first_call(self) -> None:
        found = latency([9.0, *(0.001 * n for n in range(1, 102))], 4)
        assert found is not None
        assert (found.p50, found.p90, found.p99) == pytest.approx((51, 91, 100))
        assert (found.batch, found.calls) == (4, 101)

    def test_the_histogram_holds_every_call(self) -> None:
        times = np.random.default_rng(0).gamma(2, 0.01, 1001)
        found = latency(list(times), 1)
        assert found is not None
        assert len(found.counts) == BINS == len(found.edges) - 1
        assert sum(found.counts) + found.beyond == found.calls == 1000
        assert 0 < found.beyond <= 10
        np.testing.assert_array_equal(np.histogram(1e3 * times[1:], found.edges)[0], found.counts)

    @pytest.mark.parametrize("times", [[0.01], [0.01, 0.01], [5.0, 0.01, 0.01]])
    def test_of_few_or_equal_calls_is_what_they_took(self, times: list[float]) -> None:
        found = latency(times, 1)
        assert found is not None
        assert found.p50 == found.p99 == pytest.approx(10)
        assert sum(found.counts) == found.calls == max(len(times) - 1, 1)

    def test_of_no_call_is_unknown(self) -> None:
        assert latency([], 1) is None
