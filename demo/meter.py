"""How long do the pipeline's stages work: over a whole run, and over the last half second."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import fields

from .parsed_frame import StageTimes

_WINDOW_SECONDS = 0.5


class Clock:
    """Seconds of work per stage, waiting left out. Each stage is timed by one thread, so no lock is needed."""

    def __init__(self) -> None:
        self.seconds = {stage.name: 0.0 for stage in fields(StageTimes)}

    @contextlib.contextmanager
    def time(self, stage: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - begin

    def per_frame(self, frames: int) -> StageTimes:
        """Milliseconds, over the whole run."""
        return _milliseconds(self.seconds, frames)


class Meter:
    """Frames per second and stage times of the last half second; they change no more often than that."""

    def __init__(self, clock: Clock) -> None:
        self.fps = 0.0
        self.stages = _milliseconds(clock.seconds, 1)
        self._clock = clock
        self._before = dict(clock.seconds)
        self._since = time.perf_counter()
        self._frames = 0

    def tick(self) -> None:
        """Count a frame."""
        self._frames += 1
        passed = time.perf_counter() - self._since
        if passed < _WINDOW_SECONDS and self.fps:
            return
        now = dict(self._clock.seconds)
        self.stages = _milliseconds({stage: now[stage] - self._before[stage] for stage in now}, self._frames)
        self.fps = self._frames / max(passed, 1e-9)
        if passed >= _WINDOW_SECONDS:  # until then, the first frames count as they come
            self._before, self._since, self._frames = now, self._since + passed, 0


def _milliseconds(seconds: dict[str, float], frames: int) -> StageTimes:
    return StageTimes(**{stage: 1e3 * value / frames for stage, value in seconds.items()})
