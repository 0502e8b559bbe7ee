"""The thread that an engine belongs to: it makes batches of what waits, and opens the engine anew where it dies.

A batch is what waits when the engine has room for one more request; nothing waits for a batch to fill unless it is
told to (``delay``). While the thread waits for a pass it starts none; under load the next one is under way already, as
it was started when the pass before it ended. What may wait is bounded: a server under too much load says so, and does
not grow.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..engines.base import Arrays, Frames, Ticket
from ..errors import TrtparseError
from ..tasks.predictor import Predictor
from .statistics import Statistics

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
"""Between two attempts to open an engine."""

HOPELESS = 5
"""Attempts that failed one after the other: a GPU whose driver gave up comes back in a new process alone."""

STUCK_SECONDS = 60.0
"""That a pass has taken: no network needs as long, and the driver hangs."""


class BusyError(Exception):
    """What may wait does: come again later."""


class DownError(Exception):
    """There is no engine at the moment, or it died under the request."""


@dataclass(frozen=True)
class BatchSpec:
    """How requests become batches.

    Args:
        most_frames: of a pass; 0 for as many as the engine was built for, and one after the other on a CPU.
        delay: seconds that the first of a batch waits for others.
        most_waiting: frames that wait, those in a pass not counted.
    """

    most_frames: int = 0
    delay: float = 0.0
    most_waiting: int = 64


@dataclass
class _Job:
    frames: Frames
    came: float
    answer: Future[Arrays] = field(default_factory=Future)


@dataclass(frozen=True)
class _Flight:
    """A pass that is under way. ``frames`` are held until it ends."""

    ticket: Ticket
    jobs: list[_Job]
    frames: Frames
    started: float


class Worker:
    """Runs one engine.

    Args:
        open_predictor: opens it, on the worker's thread.
        spec: how requests become batches.
        statistics: told of each pass.
        say: told when an engine dies and when it is there again, on the worker's thread.

    Raises:
        TrtparseError: it cannot be opened.
    """

    def __init__(
        self,
        open_predictor: Callable[[], Predictor[Any]],
        spec: BatchSpec,
        statistics: Statistics,
        say: Callable[[str], None],
    ) -> None:
        self._open, self._spec, self._statistics, self._say = open_predictor, spec, statistics, say
        self.most_waiting = spec.most_waiting
        self._condition = threading.Condition()
        self._waiting: deque[_Job] = deque()
        self._waiting_frames = 0
        self._flying: deque[_Flight] = deque()
        self._ending = False
        self._down = "It is being opened."
        self._failed = 0
        opened: Future[Predictor[Any]] = Future()
        self._thread = threading.Thread(target=self._run, args=(opened,), name="engine", daemon=True)
        self._thread.start()
        self.predictor = opened.result()
        self.most_frames = self._most_frames()

    @property
    def down(self) -> str:
        """Why there is no engine; empty while there is one."""
        return self._down

    @property
    def is_hopeless(self) -> bool:
        """Whether only a new process would help."""
        oldest = next(iter(self._flying), None)
        stuck = oldest is not None and time.monotonic() - oldest.started > STUCK_SECONDS
        return stuck or self._failed >= HOPELESS

    @property
    def waiting(self) -> int:
        """Frames that wait."""
        return self._waiting_frames

    def submit(self, frames: Frames) -> Future[Arrays]:
        """Have frames looked at, ``most_frames`` of them at the most; a cancelled future's are left out.

        Raises:
            BusyError: too many wait.
            DownError: there is no engine.
        """
        job = _Job(frames, time.monotonic())
        with self._condition:
            if self._down or self._ending:
                raise DownError(self._down or "The server is ending.")
            if self._waiting_frames + len(frames) > max(self.most_waiting, len(frames)):
                raise BusyError
            self._waiting.append(job)
            self._waiting_frames += len(frames)
            self._condition.notify()
        return job.answer

    def close(self) -> None:
        """Finish what waits, and close the engine."""
        with self._condition:
            self._ending = True
            self._condition.notify()
        self._thread.join()

    def _most_frames(self) -> int:
        fewest, most = self.predictor.engine.batch_range
        if most is not None:
            return min(self._spec.most_frames or most, most)
        return max(self._spec.most_frames or 1, fewest)

    # On the worker's thread.

    def _run(self, opened: Future[Predictor[Any]]) -> None:
        try:
            self.predictor = self._open()
        except BaseException as error:
            opened.set_exception(error)
            return
        self.most_frames = self._most_frames()
        self._down = ""
        opened.set_result(self.predictor)
        while True:
            try:
                if not self._step():
                    break
            except Exception as error:
                self._revive(error)
        with contextlib.suppress(Exception):
            self.predictor.engine.close()

    def _step(self) -> bool:
        """Start a pass where there is room for one, else wait for the oldest. False at the end."""
        jobs = self._next_jobs()
        if jobs is None:
            return False
        if jobs:
            self._start(jobs)
        elif self._flying:
            self._finish()
        return True

    def _next_jobs(self) -> list[_Job] | None:
        """What makes up the next pass; nothing where the engine has no room for one, None at the end."""
        with self._condition:
            while not self._waiting and not self._flying:
                if self._ending:
                    return None
                self._condition.wait()
            if len(self._flying) >= self.predictor.engine.in_flight:
                return []
            if self._waiting and self._spec.delay and not self._flying:
                until = self._waiting[0].came + self._spec.delay
                self._condition.wait_for(
                    lambda: self._ending or self._waiting_frames >= self.most_frames, until - time.monotonic()
                )
            jobs: list[_Job] = []
            frames = 0
            while self._waiting and frames + len(self._waiting[0].frames) <= self.most_frames:
                job = self._waiting.popleft()
                self._waiting_frames -= len(job.frames)
                # Whoever left is not worked for.
                if job.answer.set_running_or_notify_cancel():
                    jobs.append(job)
                    frames += len(job.frames)
            return jobs

    def _start(self, jobs: list[_Job]) -> None:
        frames = jobs[0].frames if len(jobs) == 1 else np.concatenate([job.frames for job in jobs])
        fewest = self.predictor.engine.batch_range[0]
        if len(frames) < fewest:
            frames = np.concatenate([frames, np.repeat(frames[-1:], fewest - len(frames), axis=0)])
        started = time.monotonic()
        try:
            ticket = self.predictor.submit(frames)
        except Exception:
            _fail(jobs, DownError("The engine died."))
            raise
        self._flying.append(_Flight(ticket, jobs, frames, started))

    def _finish(self) -> None:
        flight = self._flying[0]
        arrays = self.predictor.engine.collect(flight.ticket)
        ended = time.monotonic()
        # Of two passes under way the second has waited for the first.
        begun = max(flight.started, self._statistics.last_end)
        counts = [len(job.frames) for job in flight.jobs]
        waits = [begun - job.came for job in flight.jobs]
        self._statistics.passed(sum(counts), waits, ended - begun, ended)
        first = 0
        for job, count in zip(flight.jobs, counts):
            _answer(job, tuple(array[first : first + count] for array in arrays))
            first += count
        self._flying.popleft()

    def _revive(self, error: Exception) -> None:
        """Fail what was under way, and open the engine anew until it opens or the server ends."""
        with self._condition:
            self._down = f"The engine died: {_told(error)}"
        self._say(f"The engine {self.predictor.name} died: {_told(error)}. It is opened anew.")
        for flight in self._flying:
            _fail(flight.jobs, DownError(self._down))
        self._flying.clear()
        with contextlib.suppress(Exception):
            self.predictor.engine.close()
        pause = _FIRST_PAUSE_SECONDS
        while not self._ending:
            try:
                self.predictor = self._open()
            except Exception as again:
                self._failed += 1
                with self._condition:
                    self._down = f"The engine died and cannot be opened: {_told(again)}"
                    self._fail_waiting()
                    self._say(f"{self._down}. It is tried again in {pause:g} s.")
                    self._condition.wait_for(lambda: self._ending, pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                continue
            self._failed = 0
            self._statistics.revivals += 1
            self._say(f"The engine is there again: {self.predictor.name}.")
            with self._condition:
                self._down = ""
            return
        with self._condition:
            self._fail_waiting()

    def _fail_waiting(self) -> None:
        _fail(list(self._waiting), DownError(self._down))
        self._waiting.clear()
        self._waiting_frames = 0


def _told(error: Exception) -> str:
    message = error.message if isinstance(error, TrtparseError) else str(error).strip().partition("\n")[0]
    return (message or type(error).__name__).rstrip(".")


def _answer(job: _Job, arrays: Arrays) -> None:
    with contextlib.suppress(InvalidStateError):
        job.answer.set_result(arrays)


def _fail(jobs: list[_Job], error: Exception) -> None:
    for job in jobs:
        with contextlib.suppress(InvalidStateError):
            job.answer.set_exception(error)
