"""A photograph's bytes to frames, and an answer to bytes: what the engine's thread has nothing to do with."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.crops import Placement, place
from ..data.dataset import Image
from ..data.image_header import stored_size
from ..data.images import decode_image
from ..engines.base import Arrays, Frames
from ..errors import DataError, UsageError
from ..specs.framing import Framing
from ..tasks.base import Task
from ..tasks.people.crops import people_of, placements_of
from ..tasks.people.detector import PersonDetector
from ..tasks.people.person import Person
from ..tasks.people.rows import rows_of_people, told_people
from ..tasks.people.shared_detector import SharedDetector
from ..tasks.predictor import Predictor
from .tensors import write_tensors

_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")


class FormatError(UsageError):
    """The bytes are no photograph in a format that is served."""


class SizeError(UsageError):
    """The photograph has too many pixels."""


PEOPLE = "people"
"""What their boxes are called in answers about everybody."""

Find = Callable[[Image], tuple[Person, ...]]
"""The people in (H, W, 3) uint8, BGR; for any thread."""


@dataclass(frozen=True)
class Photograph:
    """A photograph that became frames.

    Args:
        image_size: (height, width).
        placements: where frames lie in it.
        frames: (N, H, W, 3) uint8.
        people: whom the frames show, one after the other; None where nobody was looked for, and one frame is the whole.
    """

    image_size: tuple[int, int]
    placements: tuple[Placement, ...]
    frames: Frames
    people: tuple[Person, ...] | None = None

    @property
    def rows(self) -> NDArray[np.float32]:
        """(N, 5) float32 of the people: left, top, right and bottom of their boxes in pixels, and their scores."""
        return rows_of_people(self.people or ())

    def answer(self, task: Task[Any], answers: Sequence[Any]) -> Any:
        """What the answers about the frames say of the photograph, in its pixels: as :meth:`Task.tensor` tells it."""
        if self.people is None:
            return task.restore(answers[0], self.placements[0])
        return task.everybody(answers, self.placements, self.people, self.image_size)


def finder(detector: PersonDetector) -> Find:
    """Who is in photographs, by a detector that is asked by one thread at a time."""
    shared = SharedDetector(detector)
    return lambda image: people_of(shared.detect(image), shared.sure, (image.shape[0], image.shape[1]))


def read_photograph(
    data: bytes | bytearray, framing: Framing, most_pixels: int, find: Find | None = None
) -> Photograph:
    """The frames of a photograph; arguments and errors as of :func:`decode_photograph`.

    Args:
        data: the file.
        framing: of the network that will see it.
        most_pixels: that are unpacked.
        find: the people, for a frame of each; None takes the photograph for one person.
    """
    image = decode_photograph(data, most_pixels)
    size = (image.shape[0], image.shape[1])
    people = None if find is None else find(image)
    placements = (place(framing, size),) if people is None else placements_of(people, size, framing)
    frames = np.zeros((len(placements), *framing.input_size, 3), np.uint8)
    for placement, frame in zip(placements, frames):
        placement.apply(image, frame)
    return Photograph(size, placements, frames, people)


def decode_photograph(data: bytes | bytearray, most_pixels: int) -> Image:
    """(H, W, 3) uint8, BGR, of a JPEG or a PNG, upright as its EXIF orientation says.

    Args:
        data: the file.
        most_pixels: that are unpacked.

    Raises:
        FormatError: it is neither.
        SizeError: it has more pixels than that; none of them was decoded.
        DataError: it is empty, cut off or damaged.
    """
    data = bytes(data)
    if not data:
        raise DataError("The body is empty.", "Send the bytes of a JPEG or a PNG.")
    if not data.startswith(_SIGNATURES):
        raise FormatError(
            "The body is neither a JPEG nor a PNG.", "Send the file's own bytes: curl --data-binary @FILE"
        )
    height, width = stored_size(data) or (0, 0)
    if height * width > most_pixels:
        raise SizeError(f"The photograph is {width}x{height} pixels; {most_pixels} are read.", "Send a smaller one.")
    return decode_image(data, "The photograph", upright=True)


def answer_of(predictor: Predictor[Any], passes: Sequence[Arrays], photograph: Photograph) -> Any:
    """What the arrays of a photograph's frames say, in the photograph's pixels.

    Raises:
        UsageError: they make no answer.
    """
    return photograph.answer(predictor.task, [answer for arrays in passes for answer in predictor.unpack(arrays)])


def check_encoded(task: Task[Any]) -> None:
    """See that answers of a task can be written.

    Raises:
        UsageError: they cannot yet.
    """
    if task.tensor() is None:
        raise UsageError(
            f"Answers for photographs are not served for {task.name}.",
            "Ask for the tensors: /v2/models/NAME/infer",
        )


def encode(
    task: Task[Any], answer: Any, photograph: Photograph, accept: str, model: str, version: str
) -> tuple[bytes, str, int | None]:
    """An answer as it goes out: a tensor or JSON where those are asked for, else as the task keeps answers in files.

    Args:
        task: of the answer.
        answer: in the photograph's pixels.
        photograph: that it is about.
        accept: the types of content that the client takes, as HTTP's header of that name has them.
        model, version: that gave it.

    Returns:
        The bytes, their type, and of a tensor where its JSON ends.
    """
    if "application/octet-stream" in accept:
        body, end = encode_tensor(task, answer, model, version, photograph)
        return body, "application/octet-stream", end
    if "application/json" in accept or task.ending == ".json":
        return encode_json(task, answer, model, photograph), "application/json", None
    return task.encode(answer), "image/png", None


def encode_json(task: Task[Any], answer: Any, model: str, photograph: Photograph) -> bytes:
    """An answer in words.

    Args:
        task: of the answer.
        answer: in the photograph's pixels.
        model: its name.
        photograph: that it is about.
    """
    everybody = photograph.people is not None
    told = {
        "model": model,
        "task": task.name,
        task.spec_words.replace(" ", "_"): task.spec.name,
        "height": photograph.image_size[0],
        "width": photograph.image_size[1],
        **({PEOPLE: told_people(photograph.rows)} if everybody else {}),
        **task.in_words(answer, people=everybody),
    }
    return json.dumps(told).encode()


def encode_tensor(task: Task[Any], answer: Any, model: str, version: str, photograph: Photograph) -> tuple[bytes, int]:
    """An answer as KServe's protocol has it, with binary data; and where its JSON ends. ``people`` are beside it."""
    spec = task.tensor(people=photograph.people is not None)
    assert spec is not None, "what check_encoded passed"
    arrays = {spec.name: answer} if photograph.people is None else {spec.name: answer, PEOPLE: photograph.rows}
    pieces, end = write_tensors([(name, True) for name in arrays], arrays, model, version)
    assert end is not None
    return b"".join(pieces), end
