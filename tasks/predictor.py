"""An engine together with its task: what demo, parse, serve and validation use."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..data.crops import Placement, place
from ..data.dataset import Box
from ..data.letterbox import Letterbox
from ..engines.base import Arrays, Engine, Frames, Ticket
from ..errors import UsageError
from ..specs.framing import Framing
from .base import Task
from .scoring import Answer

Self = TypeVar("Self", bound="Predictor[Any]")


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
        """Where a whole image of (height, width) lies in a frame; it makes the frame, and brings answers back."""
        return Letterbox.of(image_size, self.framing)

    def place(self, image_size: tuple[int, int], box: Box | None = None) -> Placement:
        """Where an image, or what lies around a box in it, lies in a frame; see :func:`~trtparse.data.crops.place`."""
        return place(self.framing, image_size, box)

    def infer(self, frames: Frames) -> list[Answer]:
        """The answers of (N, H, W, 3) uint8 frames; arguments as :meth:`Engine.infer`, errors as :meth:`collect`."""
        return self.collect(self.submit(frames))

    def infer_one(self, frame: NDArray[np.uint8]) -> Answer:
        """The answer of one (H, W, 3) uint8 frame, which fills a fixed batch; errors as :meth:`infer`."""
        return self.infer(np.repeat(frame[None], self.engine.batch or 1, axis=0))[0]

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

    def look_at(self, image: NDArray[np.uint8], box: Box | None = None) -> Answer:
        """The answer for one image, in the image's pixels.

        Args:
            image: (H, W, 3) uint8, BGR, of any size.
            box: around the person, where the network sees one at a time.
        """
        placement = self.place((image.shape[0], image.shape[1]), box)
        return self.task.restore(self.infer_one(placement.apply(image)), placement)

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.engine.close()
