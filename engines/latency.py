"""How fast is an engine: one call after another, with requests in flight, and without its copies.

Times of one call go from the caller's frames to the caller's arrays. Every engine is measured alike, PyTorch and
the CPU runtime included, so that the ratios mean something.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from ..storage.json_types import JsonObject
from .base import Engine, Frames, LayerTime, Ticket
from .machine.power import Power, PowerMeter

LEAST_CALLS = 5
"""However slow an engine is."""
MOST_ENGINE_CALLS = 2000
_PROFILED_CALLS = 20


@runtime_checkable
class Measurable(Protocol):
    """An engine that the GPU itself can time."""

    def engine_times(self, frames: Frames, calls: int) -> list[float]: ...


@runtime_checkable
class Layered(Protocol):
    """An engine that can time its layers."""

    def layer_times(self, frames: Frames, calls: int) -> list[LayerTime]: ...


@dataclass(frozen=True)
class Times:
    """Milliseconds per call.

    Args:
        p50, p90, p99, mean: over the calls.
        calls: how many were timed.
    """

    p50: float
    p90: float
    p99: float
    mean: float
    calls: int

    @classmethod
    def of(cls, milliseconds: Sequence[float]) -> Times:
        p50, p90, p99 = (float(value) for value in np.percentile(milliseconds, [50, 90, 99]))
        return cls(p50, p90, p99, float(np.mean(milliseconds)), len(milliseconds))


@dataclass(frozen=True)
class Speed:
    """What was measured of an engine.

    Args:
        engine: its name.
        target, precision: what it was opened as.
        between: what OpenVINO computes with between INT8 layers; empty for all else.
        batch: frames per call.
        in_flight: requests under way for ``frames_per_second``.
        host_to_host: of a call at a time.
        engine_alone: on the GPU, without copies; None where only the host's clock is there.
        frames_per_second: with ``in_flight`` requests under way.
        warm_up_calls: before anything was timed.
        layers: mean milliseconds of each layer, where asked for and known.
        power: while requests were in flight; None where nothing measures it.
    """

    engine: str
    target: str
    precision: str
    batch: int
    in_flight: int
    host_to_host: Times
    engine_alone: Times | None
    frames_per_second: float
    warm_up_calls: int
    layers: tuple[LayerTime, ...] = ()
    power: Power | None = None
    between: str = ""

    @property
    def millijoules(self) -> float | None:
        """Per frame, with requests in flight."""
        return None if self.power is None else 1e3 * self.power.watts / self.frames_per_second

    @property
    def overhead(self) -> float | None:
        """A call's share of the time with requests in flight, over that of the engine alone; 1 where copies hide."""
        if self.engine_alone is None:
            return None
        return 1e3 * self.batch / self.frames_per_second / self.engine_alone.p50

    def to_dict(self) -> JsonObject:
        return {**asdict(self), "overhead": self.overhead, "millijoules": self.millijoules}


def measure(
    engine: Engine,
    frames: Frames,
    *,
    seconds: float = 3.0,
    warm_up: float = 1.0,
    layers: bool = False,
    meter: PowerMeter | None = None,
    progress: Callable[[int, int], None] = lambda _, __: None,
) -> Speed:
    """Measure an engine.

    Args:
        engine: with nothing in flight.
        frames: one batch of it.
        seconds: for each of the measurements.
        warm_up: seconds before the first, in which clocks rise and kernels are chosen.
        layers: time every layer as well, where the engine can.
        meter: of the machine's power; it samples while requests are in flight, and disturbs no other measurement.
        progress: told after each part.
    """
    parts = 3 + layers
    warm_up_calls = len(_one_by_one(engine, frames, warm_up))
    progress(1, parts)
    single = Times.of(_one_by_one(engine, frames, seconds))
    progress(2, parts)
    with contextlib.nullcontext() if meter is None else meter.sampling():
        rate = _frames_per_second(engine, frames, seconds)
    alone: Times | None = None
    profile: tuple[LayerTime, ...] = ()
    if isinstance(engine, Measurable):
        calls = int(np.clip(1e3 * seconds / single.p50, LEAST_CALLS, MOST_ENGINE_CALLS))
        alone = Times.of(engine.engine_times(frames, calls))
        progress(3, parts)
    if layers and isinstance(engine, Layered):
        profile = tuple(engine.layer_times(frames, _PROFILED_CALLS))
    progress(parts, parts)
    return Speed(
        engine.name,
        engine.target,
        engine.precision,
        len(frames),
        engine.in_flight,
        single,
        alone,
        rate,
        warm_up_calls,
        profile,
        None if meter is None else meter.power,
        engine.between,
    )


def _one_by_one(engine: Engine, frames: Frames, seconds: float) -> list[float]:
    """Milliseconds of each call, one at a time."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < LEAST_CALLS or time.perf_counter() < end:
        started = time.perf_counter()
        engine.infer(frames)
        times.append(1e3 * (time.perf_counter() - started))
    return times


def _frames_per_second(engine: Engine, frames: Frames, seconds: float) -> float:
    """With as many requests in flight as the engine takes."""
    flying: deque[Ticket] = deque(engine.submit(frames) for _ in range(engine.in_flight))
    # The first is done when the others are under way: from then on it is steady.
    engine.collect(flying.popleft())
    started = time.perf_counter()
    done = 0
    while done < LEAST_CALLS or time.perf_counter() < started + seconds:
        flying.append(engine.submit(frames))
        engine.collect(flying.popleft())
        done += 1
    elapsed = time.perf_counter() - started
    while flying:
        engine.collect(flying.popleft())
    return done * len(frames) / elapsed
