"""What a network is for: the protocol between engines, which give arrays, and everything that a person sees.

An engine turns frames into arrays and knows no task. A task says what the arrays mean: how they become answers, how an
answer goes back from a frame onto its image, how it is drawn and kept. A new task is one folder beside this file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..data.letterbox import Letterbox
from ..engines.base import Arrays, Engine, Frames, Ticket
from ..errors import UsageError
from ..specs.framing import Framing
from ..specs.label_set import LabelSet

Answer = TypeVar("Answer")
Self = TypeVar("Self", bound="Predictor[Any]")


@dataclass(frozen=True)
class Closeness:
    """How close a graph or an engine has to come to the network that it was made from.

    Args:
        figure: what manifests call the share that agrees ("pixel_agreement").
        unit: what it is a share of ("pixels").
        least: of each graph, by its name in a bundle, from 0 to 1: below it the graph is broken, not merely less
            accurate.
        tolerance: floats that differ by no more than that agree.
    """

    figure: str
    unit: str
    least: Mapping[str, float]
    tolerance: float = 0.0


@dataclass(frozen=True)
class Figure:
    """The one figure that budgets, tolerances, intervals and plots go by.

    Args:
        name: as columns and axes have it ("mIoU").
        words: as sentences have it ("mean IoU").
    """

    name: str
    words: str

    @property
    def unit(self) -> str:
        """Of a loss of it, 100 of which are all there is to lose."""
        return f"points of {self.words}"


class Task(ABC, Generic[Answer]):
    """What the arrays of an engine mean.

    ``Answer`` is what is said of one frame or image; a label map for parsing.
    """

    name: ClassVar[str]
    """As manifests and graphs have it: ``parsing``."""
    figure: ClassVar[Figure]
    """What is lost where an engine does worse than its reference."""

    closeness: ClassVar[Closeness]

    @property
    @abstractmethod
    def spec(self) -> LabelSet:
        """What answers speak of. It travels with weights, graphs, bundles and results."""

    @abstractmethod
    def unpack(self, arrays: Arrays) -> list[Answer]:
        """The answer for each frame, in the frame's pixels.

        Raises:
            UsageError: arrays that are no answers; the message goes on after the engine's name.
        """

    @abstractmethod
    def restore(self, answer: Answer, letterbox: Letterbox) -> Answer:
        """An answer of a frame, in the pixels of the image that lies in it."""

    def agreement(self, found: Arrays, expected: Arrays) -> NDArray[np.float64]:
        """How much of two engines' arrays for the same frames agrees.

        Returns:
            (N,) shares from 0 to 1: of integers that are equal, of floats that are within ``closeness.tolerance``; of
            several arrays the lowest.
        """
        shares = [
            _agrees(one, other, self.closeness.tolerance).reshape(len(one), -1).mean(axis=1)
            for one, other in zip(found, expected)
        ]
        return np.asarray(np.min(shares, axis=0))


def _agrees(one: NDArray[Any], other: NDArray[Any], tolerance: float) -> NDArray[np.bool_]:
    if np.issubdtype(other.dtype, np.floating):
        # In this form a NaN agrees with nothing.
        return np.asarray(np.abs(one - other) <= tolerance)
    return np.asarray(one == other)


@dataclass(frozen=True)
class Predictor(Generic[Answer]):
    """An engine together with what its answers mean and how images become its frames; a context manager.

    Args:
        engine: open; closed where the block ends.
        task: what its arrays mean.
        framing: how images become its frames; of the engine's input size.
    """

    engine: Engine
    task: Task[Answer]
    framing: Framing

    @property
    def name(self) -> str:
        """What runs, for messages."""
        return self.engine.name

    def letterbox(self, image_size: tuple[int, int]) -> Letterbox:
        """Where an image of (height, width) lies in a frame; it makes the frame, and brings answers back."""
        return Letterbox.fit(image_size, self.framing.input_size, self.framing.stretch)

    def infer(self, frames: Frames) -> list[Answer]:
        """The answers of (N, H, W, 3) uint8 frames; arguments as :meth:`Engine.infer`, errors as :meth:`collect`."""
        return self.collect(self.submit(frames))

    def submit(self, frames: Frames) -> Ticket:
        """Start a request; arguments and errors as :meth:`Engine.submit`."""
        return self.engine.submit(frames)

    def collect(self, ticket: Ticket) -> list[Answer]:
        """Wait for a request; arguments and errors as :meth:`Engine.collect`.

        Raises:
            UsageError: what the engine gave makes no answers.
        """
        return self.unpack(self.engine.collect(ticket))

    def unpack(self, arrays: Arrays) -> list[Answer]:
        """The answer for each frame, of what the engine gave.

        Raises:
            UsageError: it makes no answers.
        """
        try:
            return self.task.unpack(arrays)
        except UsageError as error:
            raise UsageError(f"{self.name} {error.message}", error.hint) from error

    def look_at(self, image: NDArray[np.uint8]) -> Answer:
        """The answer for one image, in the image's pixels.

        Args:
            image: (H, W, 3) uint8, BGR, of any size.
        """
        letterbox = self.letterbox((image.shape[0], image.shape[1]))
        frames = np.repeat(letterbox.apply(image)[None], self.engine.batch or 1, axis=0)
        return self.task.restore(self.infer(frames)[0], letterbox)

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.engine.close()
