"""The one protocol that every engine meets: frames in, arrays out. What the arrays mean, the task knows."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError

Frames = NDArray[np.uint8]
"""(N, H, W, 3) uint8, BGR, at the network's input size."""

Arrays = tuple[NDArray[Any], ...]
"""What an engine gives for N frames: one array for each of its outputs, in their order, the first axis N long."""

Raw = NDArray[np.float32]
"""(N, ...) float32: what the answers are decided from, such as logits before argmax."""

Self = TypeVar("Self", bound="Engine")


@dataclass(frozen=True)
class OutputSpec:
    """One array that an engine gives.

    Args:
        name: as the graph has it.
        dtype: as numpy calls it ("uint8").
        shape: of one frame's part; None where the graph leaves a length open.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class LayerTime:
    """A layer of an engine, and the mean and the median of its times in milliseconds, over some calls.

    Args:
        name: as the runtime calls it.
        milliseconds, median: of its times.
        calls: how many were timed.
        kind: the runtime's word for what it does; empty where that does not say.
    """

    name: str
    milliseconds: float
    median: float = 0.0
    calls: int = 0
    kind: str = ""

    @classmethod
    def of(cls, name: str, times: Sequence[float], kind: str) -> LayerTime:
        """Of milliseconds, one for each call."""
        return cls(name, float(np.mean(times)), float(np.median(times)), len(times), kind)


@dataclass(frozen=True)
class Ticket:
    """A request in flight; hand it to :meth:`Engine.collect` once."""

    number: int


class Engine(ABC):
    """Turns frames into arrays.

    ``infer`` is the plain way. For throughput, ``submit`` starts a request and returns at once, and
    ``collect`` waits for it; requests are collected in the order in which they were submitted, and at least
    ``in_flight`` of them can be under way. An engine belongs to the thread that uses it, and to the process that
    opened it: threads and GPU do not come along into a fork. It is a context manager; after ``close`` every call is
    an error.

    Attributes:
        name: what runs, for messages ("ONNX Runtime 1.31.1, 2 threads").
        target: the word that ``--target`` knows it by.
        precision: ``fp32``, ``fp16`` or ``int8``, a property of the graph that runs; ``bf16`` where an FP32 graph is
            computed in BF16.
        input_size: (height, width) of the frames.
        outputs: what comes of them, in order.
        batch: the number of frames a call must bring, or None where any number goes.
        in_flight: how many requests may be under way.
        gives_raw: whether :meth:`raw` works.
        between: of INT8 on OpenVINO, what is computed with between its layers: ``f32``, ``bf16`` or ``f16``.
    """

    name: str
    target: str
    precision: str
    input_size: tuple[int, int]
    outputs: tuple[OutputSpec, ...]
    batch: int | None
    in_flight: int = 2
    gives_raw: bool = False
    between: str = ""

    def __init__(self, streams: int = 1) -> None:
        self._worker = ThreadPoolExecutor(streams, thread_name_prefix=type(self).__name__)
        self._pending: deque[tuple[Ticket, Callable[[], Arrays]]] = deque()
        self._issued = 0
        self._closed = False
        self._process = os.getpid()

    @property
    def batch_range(self) -> tuple[int, int | None]:
        """The fewest and the most frames that a call may bring; None for no limit."""
        return (1, None) if self.batch is None else (self.batch, self.batch)

    @abstractmethod
    def _run(self, frames: Frames) -> Arrays:
        """One forward pass of checked frames, on the worker's thread."""

    def _start(self, frames: Frames) -> Callable[[], Arrays]:
        """Start a request of checked frames; what it returns waits for the arrays."""
        return self._worker.submit(self._run, frames).result

    def infer(self, frames: Frames) -> Arrays:
        """What comes of a batch of frames.

        Args:
            frames: (N, H, W, 3) uint8, BGR, with (H, W) = ``input_size`` and N = ``batch`` where that is fixed.

        Returns:
            An array for each of ``outputs``; the caller's own.

        Raises:
            UsageError: frames of another shape or dtype, requests still in flight, a closed engine, or one of another
                process.
        """
        if self._pending:
            raise UsageError("infer() while requests are in flight.", "Collect every submitted ticket first.")
        return self.collect(self.submit(frames))

    def raw(self, frames: Frames) -> Raw:
        """What the answers are decided from, on the thread that calls; never with requests in flight.

        Args:
            frames: as ``infer``.

        Returns:
            (N, ...) float32, as logits before argmax; the caller's own.

        Raises:
            UsageError: as ``infer``, or the engine gives answers alone.
        """
        raise UsageError(
            f"{self.name} gives answers alone, and not the tensor that they are decided from.",
            "Build the bundle with that as one more output: trtparse build --logits",
        )

    def both(self, frames: Frames) -> tuple[Arrays, Raw]:
        """What :meth:`infer` and :meth:`raw` give, in one pass where the engine can; errors as of :meth:`raw`."""
        return self.infer(frames), self.raw(frames)

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

    def collect(self, ticket: Ticket) -> Arrays:
        """Wait for the oldest request.

        Raises:
            UsageError: ``ticket`` was collected before, or an older one has not been.
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
        return finish()

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
                "Letterbox images first: predictor.letterbox(image.shape[:2]).apply(image)",
            )

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
