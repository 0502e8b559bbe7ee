from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from trtparse.engines.cpu import CpuEngine
from trtparse.engines.openvino import OpenVinoEngine
from trtparse.engines.openvino_argmax import MOST_CHANNELS

pytestmark = pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")


def _labelling(path: Path, channels: int, kind: int = TensorProto.FLOAT, **attributes: int) -> Path:
    """The highest of many channels at each pixel, which are stepped, so that several are as high."""
    constants = {
        "steps": np.linspace(-1, 1, channels).reshape(1, channels, 1, 1).astype(np.float32),
        "rough": np.array(20, np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["frames"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["images"], perm=[0, 3, 1, 2]),
        helper.make_node("ReduceMean", ["images", "colours"], ["grey"]),
        helper.make_node("Mul", ["grey", "steps"], ["sloped"]),
        helper.make_node("Cos", ["sloped"], ["waves"]),
        helper.make_node("Mul", ["waves", "rough"], ["high"]),
        helper.make_node("Round", ["high"], ["stepped"]),
        helper.make_node("Cast", ["stepped"], ["typed"], to=kind),
        helper.make_node("ArgMax", ["typed"], ["best"], axis=1, keepdims=0, **attributes),
        helper.make_node("Cast", ["best"], ["labels"], to=TensorProto.INT32),
    ]
    graph = helper.make_graph(
        nodes,
        "labelling",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["N", 16, 16, 3])],
        [helper.make_tensor_value_info("labels", TensorProto.INT32, ["N", 16, 16])],
        [
            *(onnx.numpy_helper.from_array(value, name) for name, value in constants.items()),
            onnx.numpy_helper.from_array(np.array([1], np.int64), "colours"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path / "labelling.onnx")
    return path / "labelling.onnx"


def _kinds(engine: OpenVinoEngine, frames: Any) -> set[str]:
    return {layer.kind for layer in engine.layer_times(frames, 1)}


@pytest.mark.parametrize(
    ("channels", "kind", "attributes", "sorts"),
    [
        (20, TensorProto.FLOAT, {}, False),
        (MOST_CHANNELS, TensorProto.FLOAT, {}, False),
        (20, TensorProto.FLOAT16, {}, False),
        (MOST_CHANNELS + 1, TensorProto.FLOAT, {}, True),
        (20, TensorProto.FLOAT, {"select_last_index": 1}, None),
    ],
    ids=["label map", "most", "FP16", "too many", "last of equals"],
)
def test_the_first_of_the_highest_is_chosen_as_onnx_runtime_does_and_nothing_sorts(
    channels: int, kind: int, attributes: dict[str, int], sorts: bool | None, tmp_path: Path
) -> None:
    graph = _labelling(tmp_path, channels, kind, **attributes)
    frames = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    with CpuEngine(graph, "fp32", threads=1) as engine:
        (expected,) = engine.infer(frames)
    with OpenVinoEngine(graph, "fp32", threads=1) as engine:
        (found,) = engine.infer(frames)
        kinds = _kinds(engine, frames)
        assert [spec.name for spec in engine.outputs] == ["labels"]
    assert "Cos" in kinds
    assert len(np.unique(expected)) > 3
    np.testing.assert_array_equal(found, expected)
    if sorts is not None:
        assert ("TopK" in kinds) == sorts
