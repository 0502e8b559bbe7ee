"""A photograph's bytes to frames, and an answer to bytes: what the engine's thread has nothing to do with."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.image_header import stored_size
from ..data.images import decode_image
from ..data.letterbox import Letterbox
from ..engines.base import Arrays, Frames
from ..errors import DataError, UsageError
from ..tasks.base import Predictor, Task
from ..tasks.parsing.draw import encode_label_png
from ..tasks.parsing.metrics import pixels_of_classes
from ..tasks.parsing.task import Parsing

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
        letterbox: where it lies in that frame.
    """

    frames: Frames
    letterbox: Letterbox


def read_photograph(
    data: bytes | bytearray, letterbox_of: Callable[[tuple[int, int]], Letterbox], most_pixels: int
) -> Photograph:
    """The frame of a JPEG or a PNG, upright as its EXIF orientation says.

    Args:
        data: the file.
        letterbox_of: where an image of (height, width) lies in a frame.
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
    image = decode_image(data, "The photograph", upright=True)
    letterbox = letterbox_of((image.shape[0], image.shape[1]))
    return Photograph(letterbox.apply(image)[None], letterbox)


def answer_of(predictor: Predictor[Any], arrays: Arrays, photograph: Photograph) -> Any:
    """What the arrays of a photograph's frame say, in the photograph's pixels.

    Raises:
        UsageError: they make no answer.
    """
    return predictor.task.restore(predictor.unpack(arrays)[0], photograph.letterbox)


def check_encoded(task: Task[Any]) -> None:
    """See that answers of a task can be written.

    Raises:
        UsageError: they cannot yet.
    """
    if not isinstance(task, Parsing):
        raise UsageError(
            f"Answers for photographs are served for {Parsing.name} alone, not for {task.name}.",
            "Ask for the tensors: /v2/models/NAME/infer",
        )


def encode_png(task: Task[Any], answer: Any) -> bytes:
    """A label map as trtparse parse writes it, without the record of what made it."""
    assert isinstance(task, Parsing)
    return encode_label_png(answer, task.label_set)


def encode_json(task: Task[Any], answer: Any, model: str) -> bytes:
    """A label map in words: its size, the pixels of each class that is seen, and the PNG in base 64."""
    assert isinstance(task, Parsing)
    names = task.label_set.classes
    pixels = pixels_of_classes(answer, task.label_set)
    height, width = np.shape(answer)
    return json.dumps(
        {
            "model": model,
            "task": task.name,
            "label_set": task.label_set.name,
            "height": height,
            "width": width,
            "pixels": {names[index]: count for index, count in enumerate(pixels) if count},
            "labels_png": base64.b64encode(encode_png(task, answer)).decode("ascii"),
        }
    ).encode()
