"""The KServe protocol's tensors (version 2, with Triton's binary extension): a request's bytes to arrays, and back.

A body is JSON, and behind it the bytes of those tensors that the JSON gives a ``binary_data_size``. The header
``Inference-Header-Content-Length`` says where the JSON ends; without it, the body is JSON alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engines.base import Arrays, Frames, OutputSpec
from ..errors import UsageError
from ..storage.json_types import ReadJson

HEADER_LENGTH = "Inference-Header-Content-Length"
INPUT = "frames"
MOST_JSON_PER_VALUE = 5
"""Bytes that a uint8 takes in JSON, with its comma and a space."""

DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "int8": "INT8",
    "uint16": "UINT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}
"""numpy's names to KServe's."""

_MOST_DIGITS = 18
"""Of a length in bytes."""

_NOT_SERVED = ("shared_memory_region", "classification", "sequence_id", "sequence_start", "sequence_end")
_DOCUMENT = "See the KServe protocol, version 2: https://kserve.github.io/website/docs/concepts/architecture/data-plane"


@dataclass(frozen=True)
class Asked:
    """What a request asks for.

    Args:
        frames: (N, H, W, 3) uint8, a view of the body where it came as bytes.
        id: given back with the answer; empty where none was given.
        outputs: the names that are wanted, each with whether as bytes.
        patience: seconds that the client gives it; None for no limit of its own.
    """

    frames: Frames
    id: str
    outputs: tuple[tuple[str, bool], ...]
    patience: float | None


def read_request(
    body: bytes | bytearray, header_length: str | None, input_size: tuple[int, int], outputs: Sequence[OutputSpec]
) -> Asked:
    """What a request's body asks for.

    Args:
        body: all of it.
        header_length: of the header; None where there is none.
        input_size: (height, width) that the frames must have.
        outputs: that the model gives.

    Raises:
        UsageError: no such request, or tensors of another name, type or shape.
    """
    end = end_of_json(body, header_length)
    try:
        asked = json.loads(bytes(body[:end]))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"The request is no JSON: {error}.", _DOCUMENT) from error
    if not isinstance(asked, dict):
        raise UsageError("The request is no JSON object.", _DOCUMENT)
    parameters = _parameters(asked)
    _check_served(parameters)
    named = _named(asked.get("inputs"), "inputs")
    if [tensor["name"] for tensor in named] != [INPUT]:
        told = ", ".join(str(tensor["name"]) for tensor in named) or "none"
        raise UsageError(f"The one input is {INPUT}; the request has {told}.", _DOCUMENT)
    frames = _frames(named[0], memoryview(body)[end:], input_size)
    given = asked.get("id", "")
    if not isinstance(given, str):
        raise UsageError("The request's id is no text.", _DOCUMENT)
    return Asked(frames, given, _wanted(asked.get("outputs"), parameters, outputs), _patience(parameters))


def write_answer(
    asked: Asked, arrays: Arrays, outputs: Sequence[OutputSpec], model: str, version: str
) -> tuple[list[bytes], int | None]:
    """An answer's body in pieces, and where its JSON ends; None where it is JSON alone."""
    by_name = {spec.name: array for spec, array in zip(outputs, arrays)}
    return write_tensors(asked.outputs, by_name, model, version, asked.id)


def write_tensors(
    wanted: Sequence[tuple[str, bool]], arrays: Mapping[str, NDArray[Any]], model: str, version: str, asked: str = ""
) -> tuple[list[bytes], int | None]:
    """Tensors as the protocol has them; returns as :func:`write_answer`.

    Args:
        wanted: their names, each with whether as bytes.
        arrays: by their names.
        model, version: that gave them.
        asked: the request's id; empty for none.
    """
    told, blobs = [], []
    for name, as_bytes in wanted:
        array = np.ascontiguousarray(arrays[name])
        entry: dict[str, object] = {
            "name": name,
            "datatype": DATATYPES[str(array.dtype)],
            "shape": list(array.shape),
        }
        if as_bytes:
            blob = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
            entry["parameters"] = {"binary_data_size": len(blob)}
            blobs.append(blob)
        else:
            entry["data"] = array.ravel().tolist()
        told.append(entry)
    answer: dict[str, object] = {"model_name": model, "model_version": version, "outputs": told}
    if asked:
        answer["id"] = asked
    text = json.dumps(answer).encode()
    return [text, *blobs], len(text) if blobs else None


def most_bytes(input_size: tuple[int, int], frames: int) -> int:
    """How large a request of so many frames can be; as JSON, with room for names and parameters."""
    return input_size[0] * input_size[1] * 3 * frames * MOST_JSON_PER_VALUE + (1 << 16)


def end_of_json(body: bytes | bytearray, header_length: str | None) -> int:
    """How many of a request's bytes are JSON; arguments as of :func:`read_request`.

    Raises:
        UsageError: the header says no number, or more than there are.
    """
    if header_length is None:
        return len(body)
    # Python reads no number of thousands of digits, so those are counted first.
    if (
        not (header_length.isascii() and header_length.isdecimal())
        or len(header_length) > _MOST_DIGITS
        or int(header_length) > len(body)
    ):
        told = header_length[: _MOST_DIGITS + 1]
        raise UsageError(f"{HEADER_LENGTH} is {told!r}; the body has {len(body)} bytes.", _DOCUMENT)
    return int(header_length)


def _parameters(of: ReadJson) -> ReadJson:
    parameters = of.get("parameters", {})
    if not isinstance(parameters, dict):
        raise UsageError("parameters is no JSON object.", _DOCUMENT)
    return parameters


def _check_served(parameters: ReadJson) -> None:
    for name in _NOT_SERVED:
        if parameters.get(name):
            raise UsageError(f"This server has no {name}.", "Send the tensors with the request, without it.")


def _named(tensors: Any, what: str) -> list[ReadJson]:
    """Tensors as a request lists them, each with a name and parameters that are served."""
    if not isinstance(tensors, list) or not all(isinstance(tensor, dict) and "name" in tensor for tensor in tensors):
        raise UsageError(f"{what} is no list of named tensors.", _DOCUMENT)
    for tensor in tensors:
        _check_served(_parameters(tensor))
    return tensors


def _frames(tensor: ReadJson, blobs: memoryview, input_size: tuple[int, int]) -> Frames:
    height, width = input_size
    wanted = f"(N, {height}, {width}, 3) UINT8"
    shape, kind = tensor.get("shape"), tensor.get("datatype")
    if (
        kind != "UINT8"
        or not isinstance(shape, list)
        or not all(type(length) is int for length in shape)
        or shape[1:] != [height, width, 3]
        or shape[0] < 1
    ):
        raise UsageError(
            f"{INPUT} must be {wanted}, not {shape} {kind}.",
            "Bring photographs to that size first, or send them whole to /models/NAME/image.",
        )
    count = shape[0] * height * width * 3
    size = _parameters(tensor).get("binary_data_size")
    if size is None:
        if len(blobs):
            raise UsageError(f"{len(blobs)} bytes follow the JSON, and no tensor is said to have them.", _DOCUMENT)
        return _numbers(tensor.get("data"), count).reshape(shape)
    if size != count or len(blobs) != count:
        raise UsageError(
            f"{INPUT} of {shape} has {count} bytes; the request says {size} and brings {len(blobs)}.", _DOCUMENT
        )
    return np.frombuffer(blobs, np.uint8).reshape(shape)


def _numbers(data: Any, count: int) -> NDArray[np.uint8]:
    """The numbers of a JSON list, nested or not."""
    try:
        array = np.asarray(data).ravel()
    except ValueError:  # rows of different lengths
        array = np.empty(0)
    if array.size != count or array.dtype.kind not in "iu" or array.min() < 0 or array.max() > 255:
        raise UsageError(f"The data of {INPUT} is no list of {count} numbers from 0 to 255.", _DOCUMENT)
    return array.astype(np.uint8)


def _wanted(asked: Any, parameters: ReadJson, outputs: Sequence[OutputSpec]) -> tuple[tuple[str, bool], ...]:
    by_default = bool(parameters.get("binary_data_output", False))
    names = [spec.name for spec in outputs]
    if asked is None or asked == []:
        return tuple((name, by_default) for name in names)
    wanted = [
        (str(tensor["name"]), bool(_parameters(tensor).get("binary_data", by_default)))
        for tensor in _named(asked, "outputs")
    ]
    for name, _ in wanted:
        if name not in names:
            raise UsageError(f"There is no output {name}.", f"Choose of {', '.join(names)}.")
    return tuple(wanted)


def _patience(parameters: ReadJson) -> float | None:
    """``timeout`` in microseconds, as Triton has it."""
    timeout = parameters.get("timeout")
    if timeout is None:
        return None
    if type(timeout) is not int or timeout < 0:
        raise UsageError(f"A timeout of {timeout!r} is no number of microseconds.", _DOCUMENT)
    return timeout / 1e6 or None
