"""Frames of a stream that does not wait for us: read without a pause, and connected to again when it is lost.

A thread reads, so that what a slow pipeline takes is new and not what waited in a driver's or a network's queue.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np

from ..data.dataset import Image
from ..errors import DataError, TrtparseError
from .containers import rate_of, usual_rate
from .pacing import Notify, check_policy, fitted, say_nothing, scaled, within

_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.5, 30.0
_MOST_WAITING = 32  # frames of a live source that is to keep all; then its reader waits
_FRAMES_TO_MEASURE = 12
_FASTEST = 240.0


class Connection(Protocol):
    """A stream that is open. ``fps`` is 0 where it does not tell."""

    @property
    def fps(self) -> float: ...

    def read(self) -> Image | None:
        """The next frame, (H, W, 3) uint8, BGR; None where it has ended or is lost."""
        ...

    def close(self) -> None: ...


class LiveSource:
    """The frames of a stream that does not wait.

    Opened, its first frame read and its rate measured where it does not tell one; so a stream that is not there is
    found out before any work starts. A context manager. It ends when it is stopped or closed.

    With the policy ``latest`` the newest frame alone is kept; with ``all`` up to 32 wait, and then the thread that
    reads does, so that what is lost is lost where the stream comes from.

    Args:
        name: for messages.
        connect: opens the stream, the first time and whenever it was lost.
        policy: see :data:`~trtparse.demo.pacing.POLICIES`.
        notify: told, on the reading thread, when it is lost and when it is back.
        most: (height, width) within which pictures are to lie; larger ones are scaled down. None takes them as they
            are.

    Raises:
        DataError: not one frame came.
        Whatever ``connect`` raises the first time.
    """

    live = True
    path: Path | None = None
    frame_count: int | None = None
    frames_missing = 0
    has_audio = False
    constant_rate = False

    def __init__(
        self,
        name: str,
        connect: Callable[[], Connection],
        policy: str = "latest",
        notify: Notify | None = None,
        most: tuple[int, int] | None = None,
    ) -> None:
        self.name, self._most = name, most
        self._policy = check_policy(policy)
        self._say: Notify = notify or say_nothing
        self._connect = connect
        self._connection: Connection | None = connect()
        self.frames_dropped = self.times_lost = 0
        self.seconds = self.waited = 0.0
        self._arrived = threading.Condition()
        self._stopped = threading.Event()
        self._error: BaseException | None = None
        self._resized = False
        try:
            waiting = self._first_frames(self._connection)
        except BaseException:
            self._connection.close()
            raise
        self._waiting = deque(waiting if policy == "all" else waiting[-1:])
        self._origin = self._waiting[0][1]
        self._reader = threading.Thread(target=self._guarded, name=f"reader of {name}", daemon=True)
        self._reader.start()

    @property
    def policy(self) -> str:
        return self._policy

    def set_policy(self, policy: str) -> None:
        with self._arrived:
            self._policy = check_policy(policy)
            self._arrived.notify_all()

    def stop(self) -> None:
        self._stopped.set()
        with self._arrived:
            self._arrived.notify_all()

    def close(self) -> None:
        """End the stream. Twice is fine; a reader that hangs in a driver is left behind."""
        self.stop()
        self._reader.join(2.0)

    def __enter__(self) -> LiveSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Image]:
        return self

    def __next__(self) -> Image:
        with self._arrived:
            begin = time.monotonic()
            self._arrived.wait_for(lambda: self._waiting or self._stopped.is_set() or self._error is not None)
            self.waited += time.monotonic() - begin
            if self._error is not None and not self._waiting:
                raise self._error
            if self._stopped.is_set():
                raise StopIteration
            if self._policy == "latest":
                self._keep_newest()
            frame, when = self._waiting.popleft()
            self._arrived.notify_all()
        self.seconds = when - self._origin
        return frame

    def _keep_newest(self) -> None:
        while len(self._waiting) > 1:
            self._waiting.popleft()
            self.frames_dropped += 1

    def _first_frames(self, connection: Connection) -> list[tuple[Image, float]]:
        """One frame; or as many as the rate is measured with."""
        told = connection.fps if math.isfinite(connection.fps) and 0 < connection.fps <= _FASTEST else 0.0
        frames: list[tuple[Image, float]] = []
        while len(frames) < (1 if told else _FRAMES_TO_MEASURE):
            frame = connection.read()
            if frame is None:
                break
            frames.append((frame, time.monotonic()))
        if not frames:
            raise DataError(
                f"{self.name} is there, and not one picture comes from it.",
                "See whether another program gets any, or holds it.",
            )
        self._own_size = (frames[0][0].shape[0], frames[0][0].shape[1])
        self.size: tuple[int, int] = within(self._own_size, self._most)
        # the first ones may have waited for us, and come all at once
        measured = rate_of(np.asarray([when for _, when in frames[len(frames) // 3 :]], np.float64))
        self.fps: float = told or (min(usual_rate(measured[0]), 60.0) if measured else 25.0)
        return [(self._sized(frame), when) for frame, when in frames]

    # The reader's thread.

    def _guarded(self) -> None:
        try:
            self._read()
        except BaseException as error:  # raised where the next frame is asked for
            with self._arrived:
                self._error = error
                self._arrived.notify_all()
        finally:
            if self._connection is not None:
                self._connection.close()

    def _read(self) -> None:
        while not self._stopped.is_set():
            frame, reason = None, "no more pictures came"
            if self._connection is not None:
                try:
                    frame = self._connection.read()
                except TrtparseError as error:
                    reason = error.message.rstrip(".")
            if frame is None:
                if not self._stopped.is_set():
                    self._reconnect(reason)
                continue
            taken = (self._sized(frame), time.monotonic())
            with self._arrived:
                self._arrived.wait_for(self._has_room)
                self._waiting.append(taken)
                if self._policy == "latest":
                    self._keep_newest()
                self._arrived.notify_all()

    def _has_room(self) -> bool:
        return self._policy == "latest" or len(self._waiting) < _MOST_WAITING or self._stopped.is_set()

    def _reconnect(self, reason: str) -> None:
        """Connect again until it is back or nobody waits any more; each time after a longer wait."""
        lost, wait = time.monotonic(), _FIRST_WAIT_SECONDS
        self.times_lost += 1
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        while self._connection is None:
            self._say(f"{self.name} is lost: {reason}. Connecting again in {wait:g} s.")
            if self._stopped.wait(wait):
                return
            wait = min(2 * wait, _LONGEST_WAIT_SECONDS)
            try:
                self._connection = self._connect()
            except TrtparseError as error:
                reason = error.message.rstrip(".")
        self._say(f"{self.name} is back after {time.monotonic() - lost:.0f} s.")

    def _sized(self, frame: Image) -> Image:
        if frame.shape[:2] in (self.size, self._own_size):
            return scaled(frame, self.size)
        if not self._resized:
            self._resized = True
            self._say(
                f"{self.name} changes its picture size from {self.size[1]}x{self.size[0]} to "
                f"{frame.shape[1]}x{frame.shape[0]}; it goes on in the first size."
            )
        return fitted(frame, self.size)
