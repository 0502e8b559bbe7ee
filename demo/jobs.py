"""What travels through the pipeline, and how it is handed on."""

from __future__ import annotations

import contextlib
import queue
import threading
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..data.dataset import Image, LabelMap
from ..engines.base import Frames
from ..tasks.people.person import Person
from .people.crops import Crop

_POLL_SECONDS = 0.1

Item = TypeVar("Item")


@dataclass
class Job:
    """One frame on its way; each stage fills in what it found out.

    Args:
        number, seconds, frame: as the source gave them; see :class:`~trtparse.demo.parsed_frame.ParsedFrame`.
        people: who was found.
        crops: what of it is parsed.
        found: the label map of each crop, at the network's size.
        labels, instances: at the frame's size.
    """

    number: int
    seconds: float
    frame: Image
    people: tuple[Person, ...] = ()
    crops: tuple[Crop, ...] = ()
    found: list[LabelMap] = field(default_factory=list)
    labels: LabelMap = field(default_factory=lambda: np.zeros((0, 0), np.uint8))
    instances: NDArray[np.uint8] | None = None

    @property
    def cell(self) -> float:
        """The width of one of the network's pixels in pixels of the frame; the mean of the crops'."""
        return sum(crop.letterbox.cell for crop in self.crops) / len(self.crops) if self.crops else 1.0


@dataclass
class Request:
    """One pass of the engine.

    Args:
        inputs: its buffer.
        carried: whose crop lies in each place that is used.
        complete: the frames whose last crop is among them.
    """

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
