"""The other forms of an INT8 graph compute the same, with less of it in INT8."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from trtparse.trt_builder.engine_spec import EngineSpec
from trtparse.trt_builder.ladder import FLOAT_POOLS, HALF, SINGLE_SCALES, next_rung, rungs_of, without_pairs_at_pools
from trtparse.trt_builder.tensorrt_api import TensorRT


def pooled() -> onnx.ModelProto:
    """A quantised tensor that a convolution, two pools and a resize read."""
    scale = [numpy_helper.from_array(np.float32(0.5), "scale"), numpy_helper.from_array(np.int8(0), "zero")]
    other = [numpy_helper.from_array(np.float32(0.25), "other"), numpy_helper.from_array(np.int8(0), "none")]
    weight = numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "weight")
    twice = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "twice")
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["xq"], "xq"),
        helper.make_node("DequantizeLinear", ["xq", "scale", "zero"], ["xd"], "xd"),
        helper.make_node("Conv", ["xd", "weight"], ["conv"], "conv"),
        helper.make_node("MaxPool", ["xd"], ["max"], "max", kernel_shape=[1, 1]),
        helper.make_node("QuantizeLinear", ["conv", "other", "none"], ["cq"], "cq"),
        helper.make_node("DequantizeLinear", ["cq", "other", "none"], ["cd"], "cd"),
        helper.make_node("AveragePool", ["cd"], ["mean"], "mean", kernel_shape=[1, 1]),
        helper.make_node("Resize", ["cd", "", "twice"], ["large"], "large"),
    ]
    sizes = {"max": [1, 1, 2, 2], "mean": [1, 1, 2, 2], "large": [1, 1, 4, 4], "conv": [1, 1, 2, 2]}
    graph = helper.make_graph(
        nodes,
        "pooled",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 2, 2])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in sizes.items()],
        [*scale, *other, weight, twice],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_pools_and_resizes_read_floats_and_what_nobody_reads_goes() -> None:
    model = pooled()
    changed = without_pairs_at_pools(model)
    onnx.checker.check_model(changed, full_check=True)
    readers = {node.name: node.input[0] for node in changed.graph.node}
    assert readers == {"xq": "x", "xd": "xq", "conv": "xd", "max": "x", "mean": "conv", "large": "conv"}
    assert {tensor.name for tensor in changed.graph.initializer} == {"scale", "zero", "weight", "twice"}
    assert model == pooled(), "the graph that it was made of is another's"
    frames = np.array([[[[0.1, 0.6], [1.3, -2.2]]]], np.float32)
    session = onnxruntime.InferenceSession(changed.SerializeToString(), providers=["CPUExecutionProvider"])
    found = dict(zip(("max", "mean", "large", "conv"), session.run(["max", "mean", "large", "conv"], {"x": frames})))
    np.testing.assert_array_equal(found["max"], frames)
    np.testing.assert_array_equal(found["mean"], found["conv"])
    np.testing.assert_array_equal(found["conv"], np.rint(frames * 2) / 2)


def test_a_graph_without_such_pairs_stays_as_it_is(small: SimpleNamespace) -> None:
    model = small.model(half=True, quantised=True)
    assert without_pairs_at_pools(model) == model


@pytest.mark.parametrize(
    ("version", "spec", "rungs"),
    [
        ("tensorrt-10.3.0", EngineSpec("int8"), [FLOAT_POOLS, SINGLE_SCALES, HALF]),
        ("tensorrt-8.6.0", EngineSpec("int8"), [FLOAT_POOLS, HALF]),
        ("tensorrt-10.3.0", EngineSpec("fp16"), []),
        ("tensorrt-10.3.0", EngineSpec("int8", dla_core=0, gpu_fallback=True), []),
        ("tensorrt-rtx-1.7.1", EngineSpec("int8", "tensorrt-rtx"), []),
    ],
)
def test_the_forms_on_offer_are_those_that_can_help(
    version: str, spec: EngineSpec, rungs: list[Any], declared: Callable[[str], Any]
) -> None:
    library = TensorRT(declared(version), spec.target)
    bundle: Any = SimpleNamespace(manifest=SimpleNamespace(files={"student.fp16.onnx": ""}))
    assert list(rungs_of(spec, library, bundle)) == rungs
    alone: Any = SimpleNamespace(manifest=SimpleNamespace(files={}))
    assert HALF not in list(rungs_of(spec, library, alone))


def test_a_known_reason_passes_over_what_does_not_help() -> None:
    known = "Could not infer output types for operation:\n291: dequantize: Dequantized input0"
    left = [FLOAT_POOLS, SINGLE_SCALES, HALF]
    assert next_rung(left, known) is SINGLE_SCALES
    assert next_rung(left, known) is HALF
    assert next_rung(left, known) is None
    assert next_rung([FLOAT_POOLS, SINGLE_SCALES], "no implementation") is FLOAT_POOLS
