"""A photograph's bytes to frames, and an answer to bytes: what the engine's thread has nothing to do with."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.crops import Placement
from ..data.dataset import Image
from ..data.image_header import stored_size
from ..data.images import decode_image
from ..engines.base import Arrays, Frames, OutputSpec
from ..errors import DataError, UsageError
from ..tasks.base import Predictor, Task
from ..tasks.parsing.draw import encode_label_png
from ..tasks.parsing.metrics import pixels_of_classes
from ..tasks.parsing.task import Parsing
from ..tasks.people.task import People
from ..tasks.pose.keypoint_file import told_joints
from ..tasks.pose.oks import person_scores
from ..tasks.pose.task import Pose
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
    if not isinstance(task, (Parsing, Pose, People)):
        raise UsageError(
            f"Answers for photographs are not served for {task.name}.",
            "Ask for the tensors: /v2/models/NAME/infer",
        )


def encode_png(task: Task[Any], answer: Any) -> bytes:
    """A label map as trtparse parse writes it, without the record of what made it."""
    assert isinstance(task, Parsing)
    return encode_label_png(answer, task.label_set)


def encode_json(task: Task[Any], answer: Any, model: str, image_size: tuple[int, int]) -> bytes:
    """An answer in words.

    Of a label map the pixels of each class that is seen, and the PNG in base 64; of joints x, y and score of each by
    its name, and the person's score; of people each one's box, from left to bottom, and score.

    Args:
        task: of the answer.
        answer: in the photograph's pixels.
        model: its name.
        image_size: (height, width) of the photograph.
    """
    told: dict[str, Any] = {
        "model": model,
        "task": task.name,
        task.spec_words.replace(" ", "_"): task.spec.name,
        "height": image_size[0],
        "width": image_size[1],
    }
    if isinstance(task, Pose):
        told["score"] = round(float(person_scores(answer[None], np.ones(1))[0]), 4)
        told["keypoints"] = told_joints(answer, task.skeleton)
    elif isinstance(task, People):
        told["people"] = [
            {"box": [round(float(side), 1) for side in box], "score": round(float(score), 4)} for *box, score in answer
        ]
    else:
        assert isinstance(task, Parsing)
        pixels = pixels_of_classes(answer, task.label_set)
        names = task.label_set.classes
        told["pixels"] = {names[index]: count for index, count in enumerate(pixels) if count}
        told["labels_png"] = base64.b64encode(encode_png(task, answer)).decode("ascii")
    return json.dumps(told).encode()


def answer_tensor(task: Task[Any], *, people: bool = False) -> OutputSpec:
    """What an answer on a photograph is as a tensor.

    ``label_map`` (H, W) uint8, ``keypoints`` (K, 3) float32, or ``people`` (n, 5) float32, corners of boxes and scores.

    Args:
        task: of the answer.
        people: whether it is about everybody in the photograph: then joints are (P, K, 3).
    """
    if isinstance(task, People):
        return OutputSpec("people", "float32", (None, 5))
    if isinstance(task, Pose):
        each = (len(task.skeleton), 3)
        return OutputSpec("keypoints", "float32", (None, *each) if people else each)
    assert isinstance(task, Parsing)
    return OutputSpec("label_map", "uint8", (None, None))


def encode_tensor(task: Task[Any], answer: Any, model: str, version: str) -> tuple[bytes, int]:
    """An answer as KServe's protocol has it, with binary data; and where its JSON ends."""
    spec = answer_tensor(task)
    pieces, end = write_tensors(((spec.name, True),), {spec.name: answer}, model, version)
    assert end is not None
    return b"".join(pieces), end
