from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

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


def test_int8_adds_up_on_every_processor(tmp_path: Path) -> None:
    # Two products of 255 and 127 do not fit into 16 bits, in which kernels without VNNI would add them.
    constants = {
        "scale": np.float32(1),
        "small": np.float32(1 / 127),
        "zero": np.uint8(0),
        "middle": np.int8(0),
        "weights": np.full((16, 3, 3, 3), 127, np.int8),
        "out_scale": np.float32(64),
    }
    nodes = [
        helper.make_node("Cast", ["frames"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("QuantizeLinear", ["planes", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["dq"]),
        helper.make_node("DequantizeLinear", ["weights", "small", "middle"], ["w"]),
        helper.make_node("Conv", ["dq", "w"], ["sums"]),
        helper.make_node("QuantizeLinear", ["sums", "out_scale", "zero"], ["q_sums"]),
        helper.make_node("DequantizeLinear", ["q_sums", "out_scale", "zero"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes,
        "bright",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, [1, 8, 8, 3])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 16, 6, 6])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    with CpuEngine(model, "int8", threads=1) as engine:
        (found,) = engine.infer(np.full((1, 8, 8, 3), 255, np.uint8))
    np.testing.assert_array_equal(found, np.full((1, 16, 6, 6), round(27 * 255 / 64) * 64, np.float32))
