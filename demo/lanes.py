"""What each engine sees of the frames: a lane of requests per engine, filled on the thread that prepares."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..data.crops import Placement
from ..data.dataset import Image
from ..engines.base import Engine, Frames
from ..tasks.people.crops import placements_of
from ..tasks.people.person import Person
from ..tasks.predictor import Predictor
from .jobs import Channel, Job, Request

_MOST_AT_ONCE = 8  # crops in one request to an engine that takes any number


class Lane:
    """The requests to one engine.

    Args:
        number: of the lane, from 0.
        predictor: the engine's.
        frame_size: (height, width) of the source's frames.
        several: whether frames are seen person by person. Crops of several frames share a request then if the engine
            has a batch: on one that takes any number, a processor's, it would take as long as its parts.
        ready: where full requests go.
        stop: of the run.
    """

    def __init__(
        self,
        number: int,
        predictor: Predictor[Any],
        frame_size: tuple[int, int],
        several: bool,
        ready: Channel[Request],
        stop: threading.Event,
    ) -> None:
        self.number, self.predictor = number, predictor
        self._frame_size, self._several, self._ready = frame_size, several, ready
        self._whole = predictor.place(frame_size)
        self._fewest, self.capacity = _batch(predictor.engine, several)
        self._shares = not several or predictor.engine.batch_range[1] is not None
        self.in_flight = max(1, predictor.engine.in_flight)
        self._request: Request | None = None
        self.buffers: Channel[Frames] = Channel(stop)
        for _ in range(self.in_flight + 2):  # one being filled, one ready
            self.buffers.put(np.zeros((self.capacity, *predictor.engine.input_size, 3), np.uint8))

    def placements(self, people: Sequence[Person] | None) -> tuple[Placement, ...]:
        """Where what the engine sees of a frame lies; ``people`` is None where nobody was looked for."""
        return (self._whole,) if people is None else placements_of(people, self._frame_size, self.predictor.framing)

    def take(self, job: Job) -> Image | None:
        """(H, W, 3) uint8 to put the next crop of a frame into; None at the end of the run."""
        if self._request is None or len(self._request.carried) == self.capacity:
            self.hand_over()
            buffer = self.buffers.take()
            if buffer is None:
                return None
            self._request = Request(self.number, buffer)
        self._request.carried.append(job)
        place: Image = self._request.inputs[len(self._request.carried) - 1]
        return place

    def complete(self, job: Job) -> None:
        """There are no more crops of a frame."""
        if self._request is None:  # nobody to look at; the frame keeps its place among the others
            self._request = Request(self.number, np.zeros((0, 0, 0, 3), np.uint8))
        self._request.complete.append(job)
        if not self._shares or len(self._request.carried) in (0, self.capacity):
            self.hand_over()

    def none_waits(self) -> None:
        """No other frame is there: people who were found are not kept waiting for one. Whole frames fill batches."""
        if self._several:
            self.hand_over()

    def hand_over(self) -> None:
        """Send off what there is, filled up to what the engine wants."""
        request, self._request = self._request, None
        if request is None:
            return
        used = len(request.carried)
        if 0 < used < self._fewest:
            request.inputs[used : self._fewest] = request.inputs[used - 1]
        self._ready.put(request)

    def frames(self, request: Request) -> Frames:
        """What the engine is given."""
        return request.inputs[: max(len(request.carried), self._fewest)]


def _batch(engine: Engine, several: bool) -> tuple[int, int]:
    """The fewest and the most crops for one request; the fewest it may bring, where frames are whole."""
    fewest, most = engine.batch_range
    wanted = max(_MOST_AT_ONCE, fewest) if several else fewest
    return fewest, wanted if most is None else min(most, wanted)
