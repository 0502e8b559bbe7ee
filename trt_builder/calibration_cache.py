"""For tools that calibrate by TensorRT's own cache, as trtexec and DeepStream: the cache, and a graph they can read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx

from ..calibration.cache import calibration_cache
from ..calibration.quantise.placement import place
from ..calibration.ranges import read_ranges
from ..engines.bundle import CALIBRATION_NAME, Bundle, add_files
from ..errors import UsageError
from ..graphs.weakly_typed import OPSET, float_graph

_FOLDER = "tensorrt"


@dataclass(frozen=True)
class WrittenCache:
    """What was put into a bundle.

    Args:
        cache: the calibration cache.
        graph: the FP32 graph it belongs to, in an opset that every TensorRT with calibrators reads.
        in_float: layers that a budget keeps in FP16 in the bundle's own INT8 graph; a cache cannot say so, and
            TensorRT chooses itself.
    """

    cache: Path
    graph: Path
    in_float: tuple[str, ...]


def add_calibration_cache(bundle: Bundle, version: str) -> tuple[Bundle, WrittenCache]:
    """Write a bundle's ranges as TensorRT's calibration cache into the bundle, and a graph beside it.

    The bundle's own FP32 graph will not do: TensorRT 8.6 misreads its opset without a word (see
    :mod:`.weakly_typed`). The tensors' names are the same in both.

    Args:
        bundle: with INT8.
        version: of the TensorRT that will read it, in full: "8.6.1".

    Raises:
        UsageError: no such version, one without calibrators, or a bundle that was not calibrated.
        BuildError: a graph that cannot be told in the older opset.
    """
    if CALIBRATION_NAME not in bundle.manifest.files:
        raise UsageError(
            f"{bundle.path} was not calibrated, so there are no ranges for a cache.", "Build it with --int8."
        )
    model = onnx.load(bundle.graph("fp32"))
    text = calibration_cache(read_ranges(bundle.path / CALIBRATION_NAME), place(model), version)
    cache, graph = f"{_FOLDER}/calibration-{version}.cache", f"{_FOLDER}/fp32-opset{OPSET}.onnx"
    content = float_graph(model).SerializeToString(deterministic=True)
    calibration = bundle.manifest.calibration
    bundle = add_files(bundle, {graph: content, cache: text.encode()})
    given_back = calibration["search"]["given_back"] if "search" in calibration else ()
    return bundle, WrittenCache(bundle.path / cache, bundle.path / graph, tuple(given_back))
