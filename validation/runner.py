"""One engine of a validation: run as the protocol wants it, what it returns checked, its calls timed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..data.dataset import LabelMap
from ..engines.base import Engine, Frames
from ..engines.raw import RawEngine
from ..errors import UsageError
from ..tasks.base import Predictor
from ..tasks.parsing.scoring import Prediction
from ..tasks.parsing.test_time import AugmentedEngine
from .latency import latency
from .result import LOGITS_ORDERS, EngineRun, Protocol


@dataclass(frozen=True)
class Call:
    """What it took to look at some frames: ``seconds`` for ``frames``, those that fill up a batch included."""

    seconds: float
    frames: int


class Runner:
    """An engine and what its calls took.

    Args:
        predictor: open; not owned.
        order: of the protocol; where it resizes logits, predictions carry them.

    Attributes:
        calls: those that count; whoever uses the predictions adds them.
    """

    def __init__(self, predictor: Predictor[LabelMap], order: str) -> None:
        self.predictor, self._wants_logits = predictor, order in LOGITS_ORDERS
        self._exponentials = order == "hrnet"
        self.calls: list[Call] = []

    @classmethod
    @contextlib.contextmanager
    def open(cls, predictor: Predictor[LabelMap], protocol: Protocol) -> Iterator[Runner]:
        """The runner of an engine; what it needs for test-time augmentation goes with the block."""
        if isinstance(predictor.engine, RawEngine):
            # What goes back onto the image is the protocol's to say here.
            predictor = replace(predictor, engine=predictor.engine.engine)
        if not protocol.augmented:
            yield cls(predictor, protocol.order)
            return
        label_set = predictor.task.spec
        with AugmentedEngine(predictor.engine, label_set, flip=protocol.flip, scales=protocol.scales) as augmented:
            yield cls(replace(predictor, engine=augmented), protocol.order)

    @property
    def engine(self) -> Engine:
        """What runs."""
        return self.predictor.engine

    def predict(self, frames: Frames) -> tuple[list[Prediction], tuple[Call, ...]]:
        """What the engine finds in any number of frames.

        A fixed batch is filled up by repeating the last frame, and its predictions are dropped again.
        """
        count, size = len(frames), self.engine.batch or len(frames)
        missing = -count % size
        if missing:
            frames = np.concatenate([frames, np.repeat(frames[-1:], missing, axis=0)])
        predictions: list[Prediction] = []
        calls = []
        for start in range(0, len(frames), size):
            started = time.perf_counter()
            predictions += self._call(frames[start : start + size])
            calls.append(Call(time.perf_counter() - started, size))
        return predictions[:count], tuple(calls)

    def run(self, bundle: str) -> EngineRun:
        """The engine and its times, for the result."""
        engine = self.engine
        seconds = sum(call.seconds for call in self.calls)
        timed = latency([call.seconds / call.frames for call in self.calls], self._batch)
        return EngineRun(engine.name, engine.target, engine.precision, seconds, timed, bundle)

    @property
    def _batch(self) -> int:
        """Frames per call; where any number goes, that of the first."""
        return self.engine.batch or (self.calls[0].frames if self.calls else 1)

    def _call(self, frames: Frames) -> list[Prediction]:
        if not self._wants_logits:
            return [Prediction(labels) for labels in self._checked(self.predictor.infer(frames), frames)]
        logits = self.engine.raw(frames)
        expected = (len(frames), len(self.predictor.task.spec), *frames.shape[1:3])
        if logits.shape != expected:
            raise self._wrong(logits, f"{expected} float32 logits")
        labels = logits.argmax(axis=1).astype(np.uint8)
        return [Prediction(one, scores, self._exponentials) for one, scores in zip(labels, logits)]

    def _checked(self, maps: list[LabelMap], frames: Frames) -> list[LabelMap]:
        expected = f"{frames.shape[:3]} uint8 label maps"
        for labels in maps:
            if not isinstance(labels, np.ndarray) or labels.shape != frames.shape[1:3] or labels.dtype != np.uint8:
                raise self._wrong(labels, expected, len(maps))
        if len(maps) != len(frames):
            raise self._wrong(maps[0] if maps else None, expected, len(maps))
        return maps

    def _wrong(self, found: object, expected: str, times: int | None = None) -> UsageError:
        """What an engine returned: one array, or one of so many of a batch."""
        what = type(found).__name__
        if isinstance(found, np.ndarray):
            what = f"{found.shape if times is None else (times, *found.shape)} {found.dtype}"
        return UsageError(
            f"{self.engine.name} returned {what} instead of {expected}.", "Use a graph that trtparse build wrote."
        )
