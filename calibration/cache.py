"""Ranges as TensorRT's own calibration cache, for DLA and for builders that read no Q/DQ."""

from __future__ import annotations

import re
import struct

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
    number = _number(version)
    scales = {name: scale_of(ranges.absolute_maximum(name), name) for name in ranges.limits}
    scales |= activation_scales(placement, ranges)
    lines = [f"TRT-{number}-EntropyCalibration2"]
    lines += [f"{name}: {struct.pack('>f', scale).hex()}" for name, scale in scales.items()]
    return "\n".join(lines) + "\n"


def _number(version: str) -> int:
    """As NvInferVersion.h counts: 8.6.1 is 8601, 10.3.0 is 100300."""
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
