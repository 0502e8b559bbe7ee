"""One engine of a validation: run as the protocol wants it, its calls timed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..engines.base import Engine, Frames
from ..tasks.base import Ask
from ..tasks.predictor import Predictor
from ..tasks.protocol import Protocol
from .latency import latency
from .result import EngineRun


@dataclass(frozen=True)
class Call:
    """What it took to look at some frames: ``seconds`` for ``frames``, those that fill up a batch included."""

    seconds: float
    frames: int


class Runner:
    """An engine and what its calls took.

    Args:
        predictor: open; not owned.
        ask: gives its answers as the protocol wants them.

    Attributes:
        calls: those that count; whoever uses the answers adds them.
    """

    def __init__(self, predictor: Predictor[Any], ask: Ask) -> None:
        self.predictor, self._ask = predictor, ask
        self.calls: list[Call] = []

    @classmethod
    @contextlib.contextmanager
    def open(cls, predictor: Predictor[Any], protocol: Protocol) -> Iterator[Runner]:
        """The runner of an engine; what it needs for the protocol goes with the block."""
        with predictor.task.asking(predictor, protocol) as ask:
            yield cls(predictor, ask)

    @property
    def engine(self) -> Engine:
        """What runs."""
        return self.predictor.engine

    def predict(self, frames: Frames) -> tuple[list[Any], tuple[Call, ...]]:
        """The answers for any number of frames.

        A fixed batch is filled up by repeating the last frame, and its answers are dropped again.
        """
        count, size = len(frames), self.engine.batch or len(frames)
        missing = -count % size
        if missing:
            frames = np.concatenate([frames, np.repeat(frames[-1:], missing, axis=0)])
        answers: list[Any] = []
        calls = []
        for start in range(0, len(frames), size):
            started = time.perf_counter()
            answers += self._ask(frames[start : start + size])
            calls.append(Call(time.perf_counter() - started, size))
        return answers[:count], tuple(calls)

    def run(self, bundle: str) -> EngineRun:
        """The engine and its times, for the result."""
        engine = self.engine
        seconds = sum(call.seconds for call in self.calls)
        timed = latency([call.seconds / call.frames for call in self.calls], self._batch)
        return EngineRun(engine.name, engine.target, engine.precision, seconds, timed, bundle, engine.between)

    @property
    def _batch(self) -> int:
        """Frames per call; where any number goes, that of the first."""
        return self.engine.batch or (self.calls[0].frames if self.calls else 1)
