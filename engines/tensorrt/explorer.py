"""An engine's layers and their times in the forms of NVIDIA's trt-engine-explorer.

They are what ``trtexec --exportLayerInfo`` and ``--exportProfile`` write, for ``EnginePlan("x.graph.json",
"x.profile.json")``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from ...storage.files import check_output_folder, replace_bytes
from ...storage.json_types import JsonObject
from ..base import Frames, LayerTime
from .engine import TensorRTEngine


def profile(layers: Sequence[LayerTime]) -> list[JsonObject]:
    """The times of an engine's layers as ``trtexec --exportProfile`` has them: the number of calls, then each layer."""
    total = sum(layer.milliseconds for layer in layers) or 1.0
    return [
        {"count": max((layer.calls for layer in layers), default=0)},
        *(
            {
                "name": layer.name,
                "timeMs": layer.milliseconds * layer.calls,
                "averageMs": layer.milliseconds,
                "medianMs": layer.median,
                "percentage": 100 * layer.milliseconds / total,
            }
            for layer in layers
        ),
    ]


def write_explorer(folder: Path, engine: TensorRTEngine, frames: Frames, layers: Sequence[LayerTime]) -> list[Path]:
    """Write ``<engine>.graph.json`` and ``<engine>.profile.json``.

    Args:
        folder: is made where it is missing.
        engine: with nothing in flight.
        frames: of the size that its layers are told for.
        layers: its times.

    Raises:
        UsageError: the folder cannot be written.
    """
    stem = PurePosixPath(engine.manifest.engine).stem
    check_output_folder(folder)
    contents = {"graph": engine.layers_json(frames), "profile": json.dumps(profile(layers), indent=1)}
    paths = []
    for kind, content in contents.items():
        paths.append(folder / f"{stem}.{kind}.json")
        replace_bytes(paths[-1], (content.rstrip() + "\n").encode())
    return paths
