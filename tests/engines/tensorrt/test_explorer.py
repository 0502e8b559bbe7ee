"""Layers and times as NVIDIA's trt-engine-explorer reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from trtparse.engines.base import LayerTime
from trtparse.engines.tensorrt.explorer import profile, write_explorer
from trtparse.tests.engines.recording import StandIn

TOLD = '{"Layers": [{"Name": "first", "LayerType": "CaskConvolution"}, {"Name": "second"}], "Bindings": ["frames"]}'


def test_a_profile_has_the_fields_of_trtexec_s_and_the_calls_first() -> None:
    count, *layers = profile([LayerTime("first", 0.25, 0.2, 20), LayerTime("second", 0.75, 0.7, 20)])
    assert count == {"count": 20}
    assert layers[0] == {"name": "first", "timeMs": 5.0, "averageMs": 0.25, "medianMs": 0.2, "percentage": 25.0}
    # trt-engine-explorer takes records of four or five fields for layers, and no others.
    assert {len(layer) for layer in layers} == {5}
    assert profile([]) == [{"count": 0}]


@pytest.mark.parametrize("batch", [(1, 1, 1), (1, 2, 4)])
def test_layers_and_times_lie_side_by_side_under_the_engine_s_name(
    batch: tuple[int, int, int], stand_in: Callable[..., StandIn], tmp_path: Path
) -> None:
    one = stand_in(batch, fields={"inspector": TOLD})
    frames = one.frames()
    layers = one.engine.layer_times(frames, 3)
    paths = write_explorer(tmp_path / "new", one.engine, frames, layers)
    assert [path.name for path in paths] == [
        "tensorrt-10.3.0-sm87-int8.graph.json",
        "tensorrt-10.3.0-sm87-int8.profile.json",
    ]
    graph, times = (json.loads(path.read_text()) for path in paths)
    assert graph == json.loads(TOLD)
    assert [entry["name"] for entry in times[1:]] == [layer["Name"] for layer in graph["Layers"]]
    assert times[0] == {"count": 3}
