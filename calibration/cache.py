"""Ranges as TensorRT's own calibration cache, for DLA and for builders that read no Q/DQ; and such caches read."""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError
from .quantise.placement import Placement
from .quantise.qdq import activation_scales
from .ranges import Ranges, scale_of


def calibration_cache(ranges: Ranges, placement: Placement, version: str) -> str:
    """The scale of every activation in TensorRT's text form, the same scales as in the Q/DQ graph.

    The first line names the version and the calibrator, and TensorRT refuses the cache of another version; each
    further line is a tensor's name and its scale, a big-endian float32 in hexadecimal. With a cache TensorRT picks
    the INT8 layers itself: ``placement`` gives only the scales that tensors share.

    Args:
        ranges: of every activation.
        placement: of the same graph.
        version: of the TensorRT that will read it: "8.6.1", "10.3.0".

    Raises:
        UsageError: no such version, or one that has no calibrators.
        BuildError: no range for a tensor of ``placement``, or one that has no scale.
    """
    number = number_of(version)
    scales = {name: scale_of(ranges.absolute_maximum(name), name) for name in ranges.limits}
    scales |= activation_scales(placement, ranges)
    lines = [f"TRT-{number}-EntropyCalibration2"]
    lines += [f"{name}: {struct.pack('>f', scale).hex()}" for name, scale in scales.items()]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class CalibrationCache:
    """A calibration cache that TensorRT wrote.

    Args:
        version: of TensorRT ("8.6.1").
        calibrator: that made it ("EntropyCalibration2").
        scales: of tensors, by their names in TensorRT's network.
    """

    version: str
    calibrator: str
    scales: dict[str, float]


def is_cache(path: Path) -> bool:
    """Whether a file begins as TensorRT's calibration caches do."""
    try:
        with path.open("rb") as file:
            return file.read(4) == b"TRT-"
    except OSError:
        return False


def read_cache(path: Path) -> CalibrationCache:
    """Read a calibration cache of TensorRT 8 to 10.

    Raises:
        UsageError: it cannot be read, is of another version, cut off, or holds what is no scale.
    """
    again = "Calibrate here: trtparse build --int8 --data FOLDER."
    try:
        first, *lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise UsageError(f"{path} is no calibration cache that can be read: {error}.", again) from error
    header = re.fullmatch(r"TRT-(\d+)-(\w+)", first.strip())
    if header is None:
        raise UsageError(f"{path} is no calibration cache of TensorRT: it begins with {first[:40]!r}.", again)
    version = _version(int(header[1]))
    if not 8 <= int(version.partition(".")[0]) <= 10:
        raise UsageError(f"{path} is of TensorRT {version}; caches of 8 to 10 are read.", again)
    scales = {}
    for number, line in enumerate(lines, 2):
        if not line.strip():
            continue
        name, _, digits = line.strip().rpartition(": ")
        if not name or not re.fullmatch(r"[0-9a-fA-F]{8}", digits):
            raise UsageError(f"{path} is damaged in line {number}: {line[:60]!r} is no name with a scale.", again)
        scale = float(struct.unpack(">f", bytes.fromhex(digits))[0])
        if not math.isfinite(scale) or scale < 0:
            raise UsageError(f"{path} says that the scale of {name} is {scale:g} (line {number}).", again)
        scales[name] = scale
    if not scales:
        raise UsageError(f"{path} holds no scale.", again)
    return CalibrationCache(version, header[2], scales)


def _version(number: int) -> str:
    """As NvInferVersion.h counts; the inverse of :func:`number_of`."""
    step = 10000 if number >= 100_000 else 1000
    return f"{number // step}.{number % step // 100}.{number % 100}"


def number_of(version: str) -> int:
    """As NvInferVersion.h counts: 8.6.1 is 8601, 10.3.0 is 100300.

    Raises:
        UsageError: no version of TensorRT, or one that has no calibrators.
    """
    match = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)(\.\d+)?", version)
    if match is None:
        raise UsageError(f"{version!r} is no version of TensorRT.", "Write it in full, like 8.6.1 or 10.3.0.")
    major, minor, patch = (int(part) for part in match.groups()[:3])
    if major > 10:
        raise UsageError(
            f"TensorRT {version} reads no calibration cache: its networks are strongly typed.",
            "It takes the bundle's INT8 graph as it is: trtparse build BUNDLE --int8 --target tensorrt",
        )
    return major * (10000 if major >= 10 else 1000) + minor * 100 + patch
