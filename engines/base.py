"""The one protocol that every engine meets: frames in, label maps out."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..labels import NUM_CLASSES

if TYPE_CHECKING:
    from ..data.letterbox import Letterbox

Frames = NDArray[np.uint8]
"""(N, H, W, 3) uint8, BGR, at the network's input size."""

LabelMaps = NDArray[np.uint8]
"""(N, H, W) uint8, ids of LIP-20."""

Logits = NDArray[np.float32]
"""(N, 20, H, W) float32, before argmax."""


Self = TypeVar("Self", bound="Engine")


@dataclass(frozen=True)
class Ticket:
    """A request in flight; hand it to :meth:`Engine.collect` once."""

    number: int


class Engine(ABC):
    """Turns frames into label maps.

    ``infer`` is the plain way. For throughput, ``submit`` starts a request and returns at once, and
    ``collect`` waits for it; requests are collected in the order in which they were submitted, and at least
    ``in_flight`` of them can be under way. An engine belongs to the thread that uses it, and to the process that
    opened it: threads and GPU do not come along into a fork. It is a context manager; after ``close`` every call is
    an error.

    Attributes:
        name: what runs, for messages ("ONNX Runtime 1.31.1, 2 threads").
        target: the word that ``--target`` knows it by.
        precision: ``fp32``, ``fp16`` or ``int8``: a property of the graph that runs.
        input_size: (height, width) of the frames.
        stretch: how far images' shapes are changed to fill them, as the network was trained to see them.
        batch: the number of frames a call must bring, or None where any number goes.
        in_flight: how many requests may be under way.
        gives_logits: whether :meth:`logits` works.
    """

    name: str
    target: str
    precision: str
    input_size: tuple[int, int]
    stretch: float = 1.0
    batch: int | None
    in_flight: int = 2
    gives_logits: bool = False

    def __init__(self, streams: int = 1) -> None:
        self._worker = ThreadPoolExecutor(streams, thread_name_prefix=type(self).__name__)
        self._pending: deque[tuple[Ticket, Callable[[], LabelMaps]]] = deque()
        self._issued = 0
        self._closed = False
        self._process = os.getpid()

    def letterbox(self, image_size: tuple[int, int]) -> Letterbox:
        """Where an image of (height, width) lies in a frame; it makes the frame, and brings label maps back."""
        from ..data.letterbox import Letterbox  # reads OpenCV, which the process that builds engines does without

        return Letterbox.fit(image_size, self.input_size, self.stretch)

    @property
    def batch_range(self) -> tuple[int, int | None]:
        """The fewest and the most frames that a call may bring; None for no limit."""
        return (1, None) if self.batch is None else (self.batch, self.batch)

    @abstractmethod
    def _run(self, frames: Frames) -> LabelMaps:
        """One forward pass of checked frames, on the worker's thread."""

    def _start(self, frames: Frames) -> Callable[[], LabelMaps]:
        """Start a request of checked frames; what it returns waits for the label maps."""
        return self._worker.submit(self._run, frames).result

    def infer(self, frames: Frames) -> LabelMaps:
        """Label maps of a batch of frames.

        Args:
            frames: (N, H, W, 3) uint8, BGR, with (H, W) = ``input_size`` and N = ``batch`` where that is fixed.

        Returns:
            (N, H, W) uint8; the caller's own.

        Raises:
            UsageError: frames of another shape or dtype, requests still in flight, a closed engine, one of another
                process, or one that labels pixels with what is no class.
        """
        if self._pending:
            raise UsageError("infer() while requests are in flight.", "Collect every submitted ticket first.")
        return self.collect(self.submit(frames))

    def logits(self, frames: Frames) -> Logits:
        """What argmax made the label maps of, on the thread that calls; never with requests in flight.

        Args:
            frames: as ``infer``.

        Returns:
            (N, 20, H, W) float32; the caller's own.

        Raises:
            UsageError: as ``infer``, or the engine gives label maps alone.
        """
        raise UsageError(
            f"{self.name} gives label maps alone, and no logits.",
            "Build the bundle with its logits as a second output: trtparse build --logits",
        )

    def submit(self, frames: Frames) -> Ticket:
        """Start a request. ``frames`` must stay as they are until it is collected.

        Raises:
            UsageError: as ``infer``, or ``in_flight`` requests are already under way.
        """
        self._check(frames)
        if len(self._pending) >= self.in_flight:
            raise UsageError(
                f"{self.in_flight} requests are already in flight.", "Collect the oldest ticket before submitting."
            )
        self._issued += 1
        ticket = Ticket(self._issued)
        self._pending.append((ticket, self._start(frames)))
        return ticket

    def collect(self, ticket: Ticket) -> LabelMaps:
        """Wait for the oldest request.

        Raises:
            UsageError: ``ticket`` was collected before, or an older one has not been; or the network gave a pixel an
                id that is no class of LIP's.
        """
        self._check_open()
        if not self._pending or self._pending[0][0] != ticket:
            known = any(ticket == waiting for waiting, _ in self._pending)
            raise UsageError(
                f"Ticket {ticket.number} is not the oldest request in flight."
                if known
                else f"Ticket {ticket.number} is not in flight.",
                "Collect tickets once each, in the order in which they were submitted.",
            )
        _, finish = self._pending.popleft()
        labels = finish()
        # 5 to 10 µs for a map of 256x192 (measured on one core); the network before it takes some 5,000.
        highest = int(np.max(labels, initial=0))
        if highest >= NUM_CLASSES:
            raise UsageError(
                f"{self.name} labels pixels {highest}; LIP-20 ends at {NUM_CLASSES - 1}.",
                f"Use a network with LIP's {NUM_CLASSES} classes.",
            )
        return labels

    def close(self) -> None:
        """Wait for what is in flight and free everything. Closing twice is fine."""
        if self._closed:
            return
        self._closed = True
        self._pending.clear()
        if self._process == os.getpid():
            self._worker.shutdown()
            self._release()

    def _release(self) -> None:  # noqa: B027  (an engine may hold nothing)
        """Free what the subclass holds; called once."""

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("The engine is closed.", "Open it again with open_engine().")
        if self._process != os.getpid():
            # Its threads exist in that process alone: a request would wait for ever.
            raise UsageError(
                f"The engine {self.name} was opened in process {self._process}, before this one was forked from it.",
                "Open an engine in each child process, best in one that was spawned, not forked: open_engine() there.",
            )

    def _check(self, frames: Any) -> None:
        self._check_open()
        height, width = self.input_size
        count = "N" if self.batch is None else str(self.batch)
        wanted = f"({count}, {height}, {width}, 3) uint8"
        if not isinstance(frames, np.ndarray):
            raise UsageError(f"frames must be a numpy array {wanted}, not {type(frames).__name__}.")
        fits = (
            frames.ndim == 4
            and frames.dtype == np.uint8
            and frames.shape[1:] == (height, width, 3)
            and frames.shape[0] > 0
            and (self.batch is None or frames.shape[0] == self.batch)
        )
        if not fits:
            raise UsageError(
                f"frames must be {wanted}, not {frames.shape} {frames.dtype}.",
                "Letterbox images first: engine.letterbox(image.shape[:2]).apply(image)",
            )

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
