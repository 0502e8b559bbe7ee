from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from trtparse.engines import Bundle
from trtparse.engines.base import Frames
from trtparse.engines.cpu import CpuEngine
from trtparse.tests.engines.tiny_graphs import SIZE, joints_graph


@pytest.mark.parametrize(("threads", "streams", "in_flight"), [(1, 2, 2), (2, 2, 3), (4, 2, 3), (3, 3, 4)])
def test_streams_answer_in_order_as_one_does_and_are_no_more_than_the_threads(
    threads: int, streams: int, in_flight: int, pristine_bundle: Bundle, frames: Frames
) -> None:
    graph = pristine_bundle.graph("int8-cpu")
    with CpuEngine(graph, "int8", threads=1) as engine:
        assert engine.in_flight == 2
        expected = [engine.infer(frame[None]) for frame in frames]
    with CpuEngine(graph, "int8", threads=threads, streams=streams) as engine:
        assert engine.in_flight == in_flight
        found = []
        for first in range(0, len(frames), in_flight):
            tickets = [engine.submit(frame[None]) for frame in frames[first : first + in_flight]]
            found += [engine.collect(ticket) for ticket in tickets]
    assert len(found) == len(expected)
    for one, other in zip(found, expected):
        np.testing.assert_array_equal(one[0], other[0])


@pytest.mark.parametrize("simulate", [False, True])
def test_layers_have_kinds_and_times(simulate: bool, tmp_path: Path) -> None:
    onnx.save(joints_graph(), tmp_path / "tiny.onnx")
    frames = np.zeros((1, *SIZE, 3), np.uint8)
    with CpuEngine(tmp_path / "tiny.onnx", "fp32", threads=1, simulate=simulate) as engine:
        layers = engine.layer_times(frames, 3)
        assert len(engine.infer(frames)[0]) == 1
    assert any(layer.kind == "Conv" for layer in layers)
    assert {layer.calls for layer in layers} == {3}
    assert all(layer.milliseconds >= 0 for layer in layers)
    assert list(tmp_path.iterdir()) == [tmp_path / "tiny.onnx"]
