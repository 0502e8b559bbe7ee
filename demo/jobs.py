"""What travels through the pipeline, and how it is handed on."""

from __future__ import annotations

import contextlib
import queue
import threading
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from ..data.crops import Placement
from ..data.dataset import Image
from ..engines.base import Frames
from ..tasks.drawing import Sight
from ..tasks.people.person import Person

_POLL_SECONDS = 0.1

Item = TypeVar("Item")


@dataclass
class Job:
    """One frame on its way; each stage fills in what it found out.

    Args:
        number, seconds, frame: as the source gave them; see :class:`~trtparse.demo.parsed_frame.ParsedFrame`.
        waits_for: how many engines have not answered yet.
        people: who was found; None where nobody was looked for.
        placements: by engine, where what it sees of the frame lies.
        found: by engine, the answer for each of these, in the network's pixels.
        sights: by engine, what is shown of it, once it was looked at.
    """

    number: int
    seconds: float
    frame: Image
    waits_for: int
    people: tuple[Person, ...] | None = None
    placements: tuple[tuple[Placement, ...], ...] = ()
    found: tuple[list[Any], ...] = ()
    sights: tuple[Sight, ...] = ()


@dataclass
class Request:
    """One pass of an engine.

    Args:
        lane: the number of the engine's.
        inputs: its buffer.
        carried: whose crop lies in each place that is used.
        complete: the frames whose last crop for this engine is among them.
    """

    lane: int
    inputs: Frames
    carried: list[Job] = field(default_factory=list)
    complete: list[Job] = field(default_factory=list)


class Channel(Generic[Item]):
    """Hands things from one thread to another, in order.

    Putting never waits: whoever uses it bounds what travels. None is the end of the stream, or wakes who waits.

    Args:
        stop: once it is set, taking gives None.
    """

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._items: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self.put = self._items.put
        self.empty = self._items.empty

    def take(self) -> Item | None:
        """The next one; None at the end of the stream, or once the run is to stop."""
        while not self._stop.is_set():
            with contextlib.suppress(queue.Empty):
                item = self._items.get(timeout=_POLL_SECONDS)
                return None if self._stop.is_set() else item
        return None
