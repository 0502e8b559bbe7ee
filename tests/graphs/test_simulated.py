from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from trtparse.graphs.simulated import simulated_graph


def rounding(kind: int, scale: float) -> onnx.ModelProto:
    """Quantises and dequantises values of a type."""
    dtype = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16}[kind]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["int8"], "q"),
        helper.make_node("DequantizeLinear", ["int8", "scale", "zero"], ["y"], "dq"),
    ]
    values = [helper.make_tensor_value_info(name, kind, [None]) for name in ("x", "y")]
    constants = [
        numpy_helper.from_array(np.asarray(scale, dtype), "scale"),
        numpy_helper.from_array(np.int8(0), "zero"),
    ]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


@pytest.mark.parametrize("scale", [0.0123, 0.5, 3.0])
def test_fp16_values_are_rounded_to_the_nearest_level_ties_to_even(scale: float) -> None:
    exact = float(np.float16(scale))
    x = np.concatenate([np.arange(-140, 140, 0.25) * exact, [0.0]]).astype(np.float16)
    model = rounding(TensorProto.FLOAT16, scale)
    before = model.SerializeToString()
    cut = simulated_graph(model)
    assert model.SerializeToString() == before
    onnx.checker.check_model(cut, full_check=True)
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(cut.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": x})
    assert found.dtype == np.float16
    levels = np.clip(np.rint(x.astype(np.float32) / np.float32(exact)), -128, 127)
    np.testing.assert_array_equal(found, (levels * np.float32(exact)).astype(np.float16))


def test_an_fp32_graph_stays_as_it_is() -> None:
    model = rounding(TensorProto.FLOAT, 0.5)
    assert simulated_graph(model) == model
