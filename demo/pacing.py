"""What to do when frames come faster than they are taken, and the pace of sources that could be read at any."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TypeVar, cast

import cv2

from ..data.dataset import Image
from ..data.letterbox import Letterbox
from ..errors import UsageError

POLICIES = ("all", "latest")
"""``all``: every frame comes, however long it takes. ``latest``: the newest one comes, and older ones are dropped."""

Opened = TypeVar("Opened", bound="PacedSource")

Notify = Callable[[str], None]
"""Called with a sentence that the person should read; from any thread."""


def check_policy(policy: str) -> str:
    """The policy itself.

    Raises:
        UsageError: there is no such policy.
    """
    if policy not in POLICIES:
        raise UsageError(f"There is no policy {policy}.", f"Give one of {', '.join(POLICIES)}.")
    return policy


def within(size: tuple[int, int], most: tuple[int, int] | None) -> tuple[int, int]:
    """(height, width) of pictures that are scaled down to lie within ``most``, their shape kept, both sides even."""
    if most is None or (size[0] <= most[0] and size[1] <= most[1]):
        return size
    factor = min(most[0] / size[0], most[1] / size[1])
    return max(2, int(size[0] * factor / 2) * 2), max(2, int(size[1] * factor / 2) * 2)


def scaled(frame: Image, size: tuple[int, int]) -> Image:
    """A frame in another size, all of it filled."""
    if frame.shape[:2] == size:
        return frame
    smaller = size[0] < frame.shape[0] or size[1] < frame.shape[1]
    way = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return cast(Image, cv2.resize(frame, (size[1], size[0]), interpolation=way))


def fitted(frame: Image, size: tuple[int, int]) -> Image:
    """A frame of another size inside one of (height, width) ``size``: scaled, black where the shapes differ."""
    return Letterbox.fit((frame.shape[0], frame.shape[1]), size, 1.0).apply(frame)


class PacedSource:
    """What files, folders and arrays have in common: the next frame is there as soon as somebody asks.

    With the policy ``latest`` it is handed out when it is due, counted from the first one, and frames are left out
    while the next one is due as well; so the source plays at its own pace in front of a pipeline that cannot follow.

    Subclasses give ``_take``, and set ``fps``.
    """

    live = False
    has_audio = False
    constant_rate = True
    fps: float

    def __init__(self, policy: str = "all", notify: Notify | None = None) -> None:
        self._policy = check_policy(policy)
        self._notify: Notify = notify or say_nothing
        self.frames_dropped = 0
        self.seconds = self.waited = 0.0
        self._ahead: tuple[Image, float] | None = None
        self._origin: float | None = None  # when the frame of second 0 was due; None: not playing at a pace
        self._stopped = threading.Event()

    @property
    def policy(self) -> str:
        return self._policy

    def set_policy(self, policy: str) -> None:
        self._policy = check_policy(policy)
        self._origin = None

    def stop(self) -> None:
        self._stopped.set()

    def close(self) -> None:
        """Free what the source holds. Closing twice is fine, and so is closing while another thread reads."""
        self.stop()

    def __enter__(self: Opened) -> Opened:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Image]:
        return self

    def __next__(self) -> Image:
        if self._stopped.is_set():
            raise StopIteration
        taken, self._ahead = self._ahead or self._take(), None
        if taken is not None and self._policy == "latest":
            taken = self._in_time(taken)
        if taken is None:
            raise StopIteration
        frame, self.seconds = taken
        return frame

    def _take(self) -> tuple[Image, float] | None:
        """The next frame and its second; None at the end."""
        raise NotImplementedError

    def _in_time(self, taken: tuple[Image, float]) -> tuple[Image, float] | None:
        origin = self._origin  # read once: another thread may change the policy
        if origin is None:
            origin = self._now() - taken[1]
        early = origin + taken[1] - self._now()
        if early > 0:
            self._origin = origin
            return None if self._wait(early) else taken
        # A machine that decodes slower than the frames are due would never catch up: after a second's worth of them
        # it is shown where it is, and the pace counts from there.
        for _ in range(max(1, round(self.fps))):
            self._ahead = self._take()
            if self._ahead is None or origin + self._ahead[1] > self._now():
                break
            taken, self._ahead = self._ahead, None
            self.frames_dropped += 1
        else:
            origin = self._now() - taken[1]
        self._origin = origin
        return taken

    def _now(self) -> float:
        return time.monotonic()

    def _wait(self, seconds: float) -> bool:
        """Wait, or less where the source is stopped meanwhile: then True."""
        begin = time.monotonic()
        stopped = self._stopped.wait(seconds)
        self.waited += time.monotonic() - begin
        return stopped


def say_nothing(_: str) -> None:
    """For those who did not ask to be told."""
