"""What a calibration belongs to; whatever differs, it is stale."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

import onnx

from .. import __version__
from ..data.dataset import Image
from ..errors import UsageError
from ..graphs.index import property_of
from .methods import Method

SCHEMA = 3
METHOD = str(Method())

_MEANING = {
    "model": "graph",
    "images": "set of calibration images",
    "preprocessing": "preprocessing",
    "method": "calibration method",
    "version": "version of trtparse",
    "schema": "form of calibration file",
}


@dataclass(frozen=True)
class CalibrationKey:
    """What a set of ranges was collected from; ranges serve only a build with the same key.

    Args:
        model: sha256 of the FP32 graph, as its file in the bundle has it.
        images: sha256 over the names and bytes of the letterboxed frames, whatever their order.
        preprocessing: as the graph's metadata states it.
        method: how ranges follow from values, with its options.
        version: of the program.
        schema: of the file.
    """

    model: str
    images: str
    preprocessing: str
    method: str = METHOD
    version: str = __version__
    schema: int = SCHEMA


def key_of(model: onnx.ModelProto, frame_digests: Iterable[str], method: Method) -> CalibrationKey:
    """The key of ranges of ``model``.

    Args:
        model: FP32.
        frame_digests: from :func:`frame_digest`, one per image, in any order.
        method: of the ranges.
    """
    return CalibrationKey(
        model=hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest(),
        images=hashlib.sha256("".join(sorted(frame_digests)).encode()).hexdigest(),
        preprocessing=json.dumps(json.loads(property_of(model, "preprocessing") or "{}"), sort_keys=True),
        method=str(method),
    )


def frame_digest(name: str, frame: Image) -> str:
    """sha256 of a frame's name, size and bytes."""
    digest = hashlib.sha256(json.dumps([name, *frame.shape]).encode())
    digest.update(frame.tobytes())
    return digest.hexdigest()


def check_key(found: CalibrationKey, expected: CalibrationKey, path: Path) -> None:
    """See that a calibration belongs to what is built.

    Args:
        found: of the calibration.
        expected: of the build; replace a field by that of ``found`` to leave it out of the comparison.
        path: of the calibration's file, for the error.

    Raises:
        UsageError: it does not; the message names the first field that differs.
    """
    # The file's form first: what another form says of the rest is not to be compared.
    for name in sorted((field.name for field in fields(expected)), key=lambda name: name != "schema"):
        old, new = _short(getattr(found, name)), _short(getattr(expected, name))
        if getattr(found, name) != getattr(expected, name):
            raise UsageError(
                f"{path} is stale: it was made with another {_MEANING[name]} ({name} {old}, not {new}).",
                "Calibrate again: trtparse build --int8 --data FOLDER.",
            )


def _short(value: str | int) -> str:
    text = str(value)
    return text[:12] if len(text) == hashlib.sha256().digest_size * 2 else text
