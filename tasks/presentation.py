"""How a task's answers reach a person or a program: drawn, kept in files, in words and as tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic

import numpy as np
from numpy.typing import NDArray

from ..data.crops import Placement
from ..engines.base import OutputSpec
from ..errors import UsageError
from ..storage.json_types import JsonObject
from .coco import Results, Summary, results_file
from .drawing import Drawer, Part
from .people.person import Person
from .scoring import Answer


class Presentation(Generic[Answer]):
    """The half of a task that others see. What a task does not have is refused in words."""

    name: ClassVar[str]
    """As manifests and graphs have it: ``parsing``."""
    ending: ClassVar[str] = ""
    """Of the file that an answer is kept in."""
    flicker_words: ClassVar[str] = ""
    """What :class:`~trtparse.tasks.drawing.Flicker` is a share of."""
    covers: ClassVar[bool] = True
    """Whether drawings cover areas of a frame; what does not is drawn over what does."""
    results: ClassVar[Results | None] = None
    """What is written about all images of a folder together; None for nothing."""

    @property
    def pixel_classes(self) -> tuple[str, ...]:
        """What the values of pixels are called, by number, where answers are label maps; empty where they are not."""
        return ()

    @property
    def legend(self) -> tuple[tuple[str, tuple[int, int, int]], ...]:
        """The colours of pictures in a report: a name and (red, green, blue) of each."""
        return ()

    @property
    def parts(self) -> Mapping[int, Part]:
        """What can be drawn or left out, by its number among ``rows``."""
        return {}

    def drawer(self, frame_size: tuple[int, int], fps: float, *, smooth: bool = False) -> Drawer[Answer, Any]:
        """What draws one frame of a run after the other.

        Args:
            frame_size: (height, width).
            fps: frames a second.
            smooth: keep still what stands still in the picture.

        Raises:
            UsageError: nothing draws the task.
        """
        raise self._not_here(f"Nothing draws {self.name}.")

    def drawn(self, image: NDArray[np.uint8], answer: Answer, placement: Placement) -> NDArray[np.uint8]:
        """One still image with its answer, (H, W, 3) uint8, BGR; the caller's own.

        Args:
            image: (H, W, 3) uint8, BGR.
            answer: in its pixels.
            placement: where it lay in the network's frame.
        """
        raise self._not_here(f"Nothing draws {self.name}.")

    def together(
        self,
        answers: Sequence[Answer],
        placements: Sequence[Placement],
        people: Sequence[Person],
        image_size: tuple[int, int],
    ) -> Any:
        """One answer for an image, of those about the people in it.

        Where that is another type than of one person, :meth:`encode`, :meth:`decode`, :meth:`amounts` and ``results``
        know both.

        Args:
            answers: in the pixels of their frames.
            placements: where these lie in the image.
            people: whom each is about.
            image_size: (height, width).

        Raises:
            UsageError: an answer of the task is about one person.
        """
        raise self._of_one_person()

    def everybody(
        self,
        answers: Sequence[Answer],
        placements: Sequence[Placement],
        people: Sequence[Person],
        image_size: tuple[int, int],
    ) -> NDArray[Any]:
        """The same as a tensor, as :meth:`tensor` says; arguments and errors as of :meth:`together`."""
        return np.asarray(self.together(answers, placements, people, image_size))

    def drawn_together(
        self,
        image: NDArray[np.uint8],
        answers: Sequence[Answer],
        placements: Sequence[Placement],
        people: Sequence[Person],
    ) -> NDArray[np.uint8]:
        """One still image with the answers about the people in it, (H, W, 3) uint8, BGR; the caller's own.

        Args:
            image: (H, W, 3) uint8, BGR.
            answers, placements, people: as of :meth:`together`.

        Raises:
            UsageError: an answer of the task is about one person.
        """
        raise self._of_one_person()

    @staticmethod
    def _not_here(what: str) -> UsageError:
        return UsageError(what, "Its answers can be had in Python: Predictor.look_at.")

    def _of_one_person(self) -> UsageError:
        return UsageError(
            f"An answer of {self.name} is about one person, and --people auto finds several.",
            "Leave --people out, and give a photograph for each person.",
        )

    def encode(self, answer: Answer, record: str = "") -> bytes:
        """An answer as a file, the same bytes each time.

        Args:
            answer: on its image.
            record: what it was made from, ASCII; empty for nothing.
        """
        raise self._not_here(f"Nothing keeps {self.name} in files.")

    def decode(self, data: bytes, path: str) -> tuple[str | None, Any]:
        """The inverse of :meth:`encode`.

        Args:
            data: the file.
            path: for messages.

        Returns:
            What it was made from, None where it does not say; and the answer, None where the file is damaged or was
            written anew by another program.
        """
        raise self._not_here(f"Nothing keeps {self.name} in files.")

    def tensor(self, *, people: bool = False) -> OutputSpec | None:
        """What an answer on an image is as a tensor; a length that hangs on the image is None.

        Args:
            people: it is about everybody in the image, each of whom was looked at.

        Returns:
            None where answers are not given to programs.
        """
        return None

    def in_words(self, answer: Answer, *, people: bool = False) -> JsonObject:
        """An answer on an image for programs, in JSON's types; ``people`` as of :meth:`tensor`.

        Raises:
            UsageError: answers are not given to programs.
        """
        raise self._not_here(f"Nothing tells {self.name} in words.")

    def summary(self, annotations: Path | None) -> Summary | None:
        """``results`` of a folder; None for nothing.

        Args:
            annotations: what ``--annotations`` names.

        Raises:
            UsageError: the task has no use for annotations.
            DataError: they cannot be read.
        """
        if self.results is not None:
            return results_file(self.results, annotations)
        if annotations is not None:
            raise UsageError(f"{self.name} has no use for --annotations.", "Leave it out.")
        return None

    def image_size(self, answer: Answer) -> tuple[int, int] | None:
        """(height, width) of the image that an answer is on; None where the answer does not tell."""
        return None

    def amounts(self, answer: Answer, path: str = "") -> tuple[int, ...]:
        """How much of each of ``rows`` an answer on an image holds, in the figure's unit of support.

        Raises:
            UsageError: what it holds is no answer of the task; ``path`` is where it came from.
        """
        raise UsageError(f"Nothing counts {self.name}.", "Leave --index out.")
