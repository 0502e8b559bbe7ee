from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtparse.engines.base import Arrays, Engine, Frames, Ticket
from trtparse.engines.latency import LEAST_CALLS, Speed, Times, measure
from trtparse.engines.machine.power import PowerMeter
from trtparse.tests.engines.recording import StandIn


class SleepyEngine(Engine):
    """Takes its time; counts what it was asked."""

    name, target, precision, input_size, batch = "sleepy", "cpu", "fp32", (2, 2), None

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self.calls, self.most_in_flight = seconds, 0, 0

    def submit(self, frames: Frames) -> Ticket:
        ticket = super().submit(frames)
        self.most_in_flight = max(self.most_in_flight, len(self._pending))
        return ticket

    def _run(self, frames: Frames) -> Arrays:
        time.sleep(self.seconds)
        self.calls += 1
        return (np.zeros(frames.shape[:3], np.uint8),)


def _frames(count: int) -> Frames:
    return np.zeros((count, 2, 2, 3), np.uint8)


def test_every_call_is_counted_and_none_is_left_in_flight() -> None:
    with SleepyEngine(0.001) as engine:
        speed = measure(engine, _frames(4), seconds=0.02, warm_up=0.01)
        assert not engine._pending
        assert engine.most_in_flight == 2
        assert engine.calls > speed.warm_up_calls + speed.host_to_host.calls
    assert (speed.engine, speed.batch, speed.in_flight) == ("sleepy", 4, 2)
    assert speed.engine_alone is None
    assert speed.overhead is None
    assert speed.host_to_host.calls >= LEAST_CALLS


def test_times_are_milliseconds_of_a_call_and_the_rate_is_of_frames() -> None:
    with SleepyEngine(0.02) as engine:
        speed = measure(engine, _frames(3), seconds=0.05, warm_up=0.0)
    # A sleep is never shorter than it was asked to be.
    assert speed.host_to_host.p50 >= 20
    assert 0 < speed.frames_per_second <= 3 / 0.02


def test_however_slow_an_engine_is_some_calls_are_timed() -> None:
    with SleepyEngine(0.001) as engine:
        assert measure(engine, _frames(1), seconds=0.0, warm_up=0.0).host_to_host.calls == LEAST_CALLS


@given(st.lists(st.floats(0.01, 1e4), min_size=1, max_size=200))
def test_percentiles_stand_in_order_within_what_was_timed(milliseconds: list[float]) -> None:
    times = Times.of(milliseconds)
    assert min(milliseconds) <= times.p50 <= times.p90 <= times.p99 <= max(milliseconds)
    assert times.calls == len(milliseconds)


def test_an_engine_on_a_gpu_is_timed_alone_and_by_layer(stand_in: Callable[..., StandIn]) -> None:
    one = stand_in()
    parts: list[tuple[int, int]] = []
    speed = measure(
        one.engine, one.frames(), seconds=0.01, warm_up=0.0, layers=True, progress=lambda *part: parts.append(part)
    )
    assert speed.engine_alone is not None
    assert speed.engine_alone.p50 == 1.0
    assert speed.overhead == pytest.approx(1e3 / speed.frames_per_second)
    assert [layer.name for layer in speed.layers] == ["first", "second"]
    assert parts[-1] == (4, 4)
    layer = {"name": "first", "milliseconds": 0.25, "median": 0.25, "calls": 20, "kind": ""}
    assert speed.to_dict()["layers"][0] == layer


def test_power_is_sampled_while_requests_are_in_flight_and_in_no_other_part() -> None:
    class Scale:
        source = "a scale"

        def begin(self) -> None:
            pass

        def watts(self) -> dict[str, float]:
            return {"all": 8.0}

        def joules(self) -> None:
            return None

        def held_down_by(self) -> set[str]:
            return {"temperature"}

    with SleepyEngine(0.001) as engine:
        speed = measure(engine, _frames(4), seconds=0.02, warm_up=0.0, meter=PowerMeter(Scale()))
    assert speed.power is not None
    assert (speed.power.watts, speed.power.held_down_by) == (8.0, ("temperature",))
    assert speed.millijoules == pytest.approx(8000 / speed.frames_per_second)
    assert speed.to_dict()["millijoules"] == speed.millijoules
    with SleepyEngine(0.001) as engine:
        assert measure(engine, _frames(4), seconds=0.0, warm_up=0.0).to_dict()["millijoules"] is None


def test_the_overhead_is_a_calls_share_over_the_engine_alone() -> None:
    times = Times(2.0, 2.0, 2.0, 2.0, 10)
    speed = Speed("a", "tensorrt", "int8", 8, 2, times, times, 4000.0, 5)
    assert speed.overhead == pytest.approx(1.0)
