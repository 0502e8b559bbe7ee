"""What a network is for: the protocol between engines, which give arrays, and everything that a person sees.

An engine turns frames into arrays and knows no task. A task says what the arrays mean: how they become answers, how an
answer goes back from a frame onto its image, how it is drawn and kept. A new task is one folder beside this file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..data.letterbox import Letterbox
from ..engines.base import Engine, Frames, Ticket
from ..specs.framing import Framing
from ..specs.label_set import LabelSet

Answer = TypeVar("Answer")
Self = TypeVar("Self", bound="Predictor[Any]")

Arrays = tuple[NDArray[Any], ...]
"""What an engine gives for N frames: one array for each of its outputs, the first axis of each N long."""


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

    @property
    @abstractmethod
    def spec(self) -> LabelSet:
        """What answers speak of. It travels with weights, graphs, bundles and results."""

    @abstractmethod
    def unpack(self, arrays: Arrays) -> list[Answer]:
        """The answer for each frame, in the frame's pixels."""

    @abstractmethod
    def restore(self, answer: Answer, letterbox: Letterbox) -> Answer:
        """An answer of a frame, in the pixels of the image that lies in it."""


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
        """The answers of (N, H, W, 3) uint8 frames; arguments and errors as :meth:`Engine.infer`."""
        return self.collect(self.submit(frames))

    def submit(self, frames: Frames) -> Ticket:
        """Start a request; arguments and errors as :meth:`Engine.submit`."""
        return self.engine.submit(frames)

    def collect(self, ticket: Ticket) -> list[Answer]:
        """Wait for a request; arguments and errors as :meth:`Engine.collect`."""
        return self.task.unpack((self.engine.collect(ticket),))

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
