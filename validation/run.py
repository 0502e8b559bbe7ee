"""One pass over a dataset: the next images are read while a batch is in inference and the one before is scored."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.dataset import Images
from ..data.reading import READERS, Frame, Unreadable, read_ahead, read_frame
from ..errors import DataError
from ..specs.framing import Framing
from ..storage.journal import Journal
from ..tasks.scoring import Picture, Scorer, mark_image
from .record import BatchRecord
from .result import SkippedImage
from .runner import Call, Runner
from .tally import Tally

_IN_FLIGHT = 3
"""Batches read and not yet scored: one in inference, one being scored, one that waits."""


@dataclass(frozen=True)
class _Batch:
    """Frames on their way, and the images met on the way that could not be read."""

    frames: tuple[Frame, ...]
    unreadable: tuple[Unreadable, ...]


_Answers = tuple[list[list[Any]], list[tuple[Call, ...]]]
"""Per engine, the reference first: answers for a batch's frames, and what they took."""


class Run:
    """The pass, and what it has learned so far.

    Args:
        runners: the reference's first.
        dataset: of which the first ``total`` images are looked at.
        total: how many.
        scorer: of everybody's answers.
        framing: how images become frames by the protocol.
        batch: images at a time, or the next multiple of the largest batch that an engine asks for.
        strict: raise at the first image that cannot be read.
        record: where to keep every batch; what it holds already is not looked at again.

    Attributes:
        tally: of the images so far.
        seconds: wall time, that of the runs in the record included.
    """

    def __init__(
        self,
        runners: Sequence[Runner],
        dataset: Images,
        total: int,
        scorer: Scorer[Any],
        framing: Framing,
        batch: int,
        strict: bool,
        record: Journal[BatchRecord] | None = None,
    ) -> None:
        self.runners, self.total = tuple(runners), total
        self._dataset, self._framing, self._batch = dataset, framing, batch
        self._strict, self._record, self._scorer = strict, record, scorer
        self.tally = Tally(len(runners) - 1, scorer)
        self.seconds = 0.0
        self._skipped: dict[int, SkippedImage] = {}
        self._seen: set[int] = set()
        for learned in record.entries if record is not None else ():
            self._take(learned, None)

    @property
    def skipped(self) -> list[SkippedImage]:
        """The images that could not be read, in the dataset's order."""
        return [self._skipped[index] for index in sorted(self._skipped)]

    def through(self, progress: Callable[[int, int], None] | None = None) -> bool:
        """Look at every image that was not seen yet.

        Args:
            progress: called with the number of images seen and the number there are.

        Returns:
            Whether Ctrl-C ended it before the last one. What is in inference then is finished and counted.

        Raises:
            DataError: with ``strict``, an image cannot be read.
            UsageError: an engine returned something else than the task's answers.
        """
        told = -1

        def tell() -> None:
            nonlocal told
            if progress is not None and told != len(self._seen):
                told = len(self._seen)
                progress(told, self.total)

        if self._seen:
            tell()
        with contextlib.ExitStack() as stack:
            # They end in the reverse order: no more reading, no more inference, then the scoring of what is there.
            scoring, inference = ThreadPoolExecutor(1, "scoring"), ThreadPoolExecutor(1, "inference")
            stack.callback(scoring.shutdown, cancel_futures=True)
            stack.callback(inference.shutdown, cancel_futures=True)
            batches = stack.enter_context(contextlib.closing(self._batches()))
            waiting: deque[Future[None]] = deque()
            self._since = time.perf_counter()
            try:
                for batch in batches:
                    predicted = inference.submit(self._predict, batch)
                    waiting.append(scoring.submit(self._score, batch, predicted))
                    if len(waiting) >= _IN_FLIGHT:
                        waiting.popleft().result()
                        tell()
                while waiting:
                    waiting.popleft().result()
                    tell()
            except KeyboardInterrupt:
                pass
        return len(self._seen) < self.total

    def picture(self, number: int, index: int) -> Picture | None:
        """Look again at an image, for its picture with engine ``number``; None where it is no longer there."""
        try:
            frame = self._frame(index)
        except DataError:
            return None
        reference, engine = (
            runner.predict(frame.pixels[None])[0][0] for runner in (self.runners[0], self.runners[1 + number])
        )
        return self._scorer.picture(frame, reference, engine)

    def _frame(self, index: int) -> Frame:
        return read_frame(self._dataset, index, self._framing)

    def _batches(self) -> Generator[_Batch, None, None]:
        """Full batches, and a last one with what remains."""
        # Engines of batch 1 get several calls in a row as well: the threads of a runtime go on spinning for a while
        # after a call, and an engine that is called next has the processors to itself only after that.
        largest = max((runner.engine.batch or 1 for runner in self.runners), default=1)
        size = -(-self._batch // largest) * largest
        indices = [index for index in range(self.total) if index not in self._seen]
        frames: list[Frame] = []
        unreadable: list[Unreadable] = []
        with contextlib.closing(read_ahead(self._frame, indices, self._dataset.names, size + READERS)) as found:
            for item in found:
                if isinstance(item, Frame):
                    frames.append(item)
                elif self._strict:
                    raise item.error
                else:
                    unreadable.append(item)
                if len(frames) == size:
                    yield _Batch(tuple(frames), tuple(unreadable))
                    frames, unreadable = [], []
        if frames or unreadable:
            yield _Batch(tuple(frames), tuple(unreadable))

    def _predict(self, batch: _Batch) -> _Answers:
        """One engine after the other, on the thread of inference."""
        if not batch.frames:
            return [[] for _ in self.runners], []
        pixels = np.stack([frame.pixels for frame in batch.frames])
        predictions, calls = zip(*(runner.predict(pixels) for runner in self.runners))
        return list(predictions), list(calls)

    def _score(self, batch: _Batch, predicted: Future[_Answers]) -> None:
        """Count a batch, on the thread of scoring: whole or not at all, whenever Ctrl-C comes."""
        predictions, calls = predicted.result()
        found = list(zip(*predictions))
        now = time.perf_counter()
        learned = BatchRecord(
            scores=tuple(mark_image(self._scorer, frame, one[0], one[1:]) for frame, one in zip(batch.frames, found)),
            skipped=tuple((item.index, SkippedImage(item.name, item.error.message)) for item in batch.unreadable),
            calls=tuple(calls),
            wall=now - self._since,
        )
        self._since = now
        if self._record is not None:
            self._record.append(learned)
        self._take(learned, [_Sight(self._scorer, frame, one) for frame, one in zip(batch.frames, found)])

    def _take(self, learned: BatchRecord, sights: Sequence[_Sight] | None) -> None:
        """Add a batch to what is known; ``sights`` of its images where they are at hand."""
        self.seconds += learned.wall
        for runner, calls in zip(self.runners, learned.calls):
            runner.calls += calls
        self._skipped.update(learned.skipped)
        self._seen.update(index for index, _ in learned.skipped)
        for position, score in enumerate(learned.scores):
            self.tally.add(score, _no_picture if sights is None else sights[position].picture)
            self._seen.add(score.index)


@dataclass(frozen=True)
class _Sight:
    """A frame and what reference and engines found in it, while they are in memory."""

    scorer: Scorer[Any]
    frame: Frame
    found: tuple[Any, ...]

    def picture(self, number: int) -> Picture:
        return self.scorer.picture(self.frame, self.found[0], self.found[1 + number])


def _no_picture(number: int) -> None:
    return None
