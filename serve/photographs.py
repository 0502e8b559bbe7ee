"""A photograph's bytes to frames, and an answer to bytes: what the engine's thread has nothing to do with."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..data.crops import Placement
from ..data.dataset import Image
from ..data.image_header import stored_size
from ..data.images import decode_image
from ..engines.base import Arrays, Frames
from ..errors import DataError, UsageError
from ..tasks.base import Predictor, Task
from .tensors import write_tensors

_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")


class FormatError(UsageError):
    """The bytes are no photograph in a format that is served."""


class SizeError(UsageError):
    """The photograph has too many pixels."""


@dataclass(frozen=True)
class Photograph:
    """A photograph that became a frame.

    Args:
        frames: (1, H, W, 3) uint8.
        placement: where it lies in that frame.
    """

    frames: Frames
    placement: Placement


def read_photograph(
    data: bytes | bytearray, place: Callable[[tuple[int, int]], Placement], most_pixels: int
) -> Photograph:
    """The frame of a photograph; arguments and errors as of :func:`decode_photograph`.

    Args:
        data: the file.
        place: where an image of (height, width) lies in a frame.
        most_pixels: that are unpacked.
    """
    image = decode_photograph(data, most_pixels)
    placement = place((image.shape[0], image.shape[1]))
    return Photograph(placement.apply(image)[None], placement)


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


def answer_of(predictor: Predictor[Any], arrays: Arrays, photograph: Photograph) -> Any:
    """What the arrays of a photograph's frame say, in the photograph's pixels.

    Raises:
        UsageError: they make no answer.
    """
    return predictor.task.restore(predictor.unpack(arrays)[0], photograph.placement)


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


def encode_json(task: Task[Any], answer: Any, model: str, image_size: tuple[int, int]) -> bytes:
    """An answer in words.

    Args:
        task: of the answer.
        answer: in the photograph's pixels.
        model: its name.
        image_size: (height, width) of the photograph.
    """
    told = {
        "model": model,
        "task": task.name,
        task.spec_words.replace(" ", "_"): task.spec.name,
        "height": image_size[0],
        "width": image_size[1],
        **task.in_words(answer),
    }
    return json.dumps(told).encode()


def encode_tensor(task: Task[Any], answer: Any, model: str, version: str) -> tuple[bytes, int]:
    """An answer as KServe's protocol has it, with binary data; and where its JSON ends."""
    spec = task.tensor()
    assert spec is not None, "what check_encoded passed"
    pieces, end = write_tensors(((spec.name, True),), {spec.name: answer}, model, version)
    assert end is not None
    return b"".join(pieces), end
