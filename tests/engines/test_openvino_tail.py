from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from trtparse.engines.cpu import CpuEngine
from trtparse.engines.openvino import OpenVinoEngine, load_openvino
from trtparse.engines.openvino_tail import MOST_CHANNELS, lean_tail, resize_matrix

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


def _resizing(path: Path, sizes: tuple[int, int], mode: str = "half_pixel", batch: int | str = "N") -> Path:
    """A label map of 20 logits that are whole numbers, so that many are as high, after a bilinear resize of 8 × 6."""
    weight = np.random.default_rng(3).integers(-2, 3, (20, 3, 1, 1)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["frames"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["images"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["images", "weight"], ["logits"]),
        helper.make_node(
            "Resize", ["logits", "", "scales"], ["large"], mode="linear", coordinate_transformation_mode=mode
        ),
        helper.make_node("ArgMax", ["large"], ["best"], axis=1, keepdims=0),
        helper.make_node("Cast", ["best"], ["labels"], to=TensorProto.INT32),
    ]
    scales = np.array([1, 1, sizes[0] / 8, sizes[1] / 6], np.float32)
    graph = helper.make_graph(
        nodes,
        "resizing",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, [batch, 8, 6, 3])],
        [helper.make_tensor_value_info("labels", TensorProto.INT32, [batch, *sizes])],
        [onnx.numpy_helper.from_array(weight, "weight"), onnx.numpy_helper.from_array(scales, "scales")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path / "resizing.onnx")
    return path / "resizing.onnx"


FEW = np.random.default_rng(0).integers(0, 2, (2, 8, 6, 3), np.uint8)
"""Frames whose logits, and what lies between them by eighths, BF16 holds exactly."""


@pytest.mark.parametrize(
    ("sizes", "mode", "batch", "resized"),
    [
        ((32, 24), "half_pixel", "N", False),
        ((32, 24), "half_pixel", 2, False),
        ((16, 48), "half_pixel", "N", False),
        ((8, 6), "half_pixel", "N", None),
        ((12, 9), "half_pixel", "N", True),
        ((32, 24), "asymmetric", "N", True),
    ],
    ids=["four times", "of two frames", "unequal sides", "as it is", "by one and a half", "between corners"],
)
def test_a_resize_before_it_becomes_products_where_it_can_and_the_first_of_equals_is_chosen(
    sizes: tuple[int, int], mode: str, batch: int | str, resized: bool | None, tmp_path: Path
) -> None:
    graph = _resizing(tmp_path, sizes, mode, batch)
    with CpuEngine(graph, "fp32", threads=1) as engine:
        (expected,) = engine.infer(FEW)
    assert len(np.unique(expected)) > 5
    with OpenVinoEngine(graph, "fp32", threads=1) as engine:
        np.testing.assert_array_equal(engine.infer(FEW)[0], expected)
        if resized is not None:
            assert ("Interpolate" in _kinds(engine, FEW)) == resized


def test_in_bf16_what_sorts_stays_and_chooses_the_first_of_equals_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trtparse.engines.openvino.capabilities_of", lambda core: ("FP32", "INT8", "BF16"))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    graph = _resizing(tmp_path, (32, 24))
    with CpuEngine(graph, "fp32", threads=1) as engine:
        (expected,) = engine.infer(FEW)
    with OpenVinoEngine(graph, "bf16", threads=1) as engine:
        np.testing.assert_array_equal(engine.infer(FEW)[0], expected)
        assert {"Interpolate", "TopK"} <= _kinds(engine, FEW)


@pytest.mark.parametrize(
    ("hint", "machine", "kinds"),
    [
        ("f32", "x86_64", {"MatMul", "TopK"}),
        ("bf16", "x86_64", {"Interpolate", "TopK"}),
        ("f16", "x86_64", {"Interpolate", "ReduceMax"}),
        ("f32", "aarch64", {"Interpolate", "ReduceMax"}),
        ("bf16", "aarch64", {"Interpolate", "ReduceMax"}),
    ],
)
def test_the_form_goes_by_what_is_computed_with_and_by_the_machine(
    hint: str, machine: str, kinds: set[str], tmp_path: Path
) -> None:
    openvino = load_openvino()
    model = openvino.Core().read_model(_resizing(tmp_path, (32, 24)))
    assert lean_tail(model, openvino, hint, machine) == (0 if (hint, machine) == ("bf16", "x86_64") else 1)
    found = {node.get_type_name() for node in model.get_ordered_ops()}
    assert found & {"Interpolate", "MatMul", "TopK", "ReduceMax"} == kinds


@pytest.mark.parametrize(("length", "larger"), [(3, 12), (5, 10), (6, 7), (4, 12), (1, 5)])
def test_the_matrix_of_a_resize_is_the_resize_of_each_sample_alone(length: int, larger: int) -> None:
    reference = ReferenceEvaluator(
        helper.make_model(
            helper.make_graph(
                [helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode="linear")],
                "resize",
                [helper.make_tensor_value_info("x", TensorProto.FLOAT, [length, length])],
                [helper.make_tensor_value_info("y", TensorProto.FLOAT, [larger, length])],
                [onnx.numpy_helper.from_array(np.array([larger, length], np.int64), "sizes")],
            ),
            opset_imports=[helper.make_opsetid("", 20)],
        )
    )
    (expected,) = reference.run(None, {"x": np.eye(length, dtype=np.float32)})
    np.testing.assert_allclose(resize_matrix(length, larger), expected, atol=1e-6)
