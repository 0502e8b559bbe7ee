from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from trtparse.calibration.quantise.patches import patches, placed_convolutions
from trtparse.calibration.quantise.placement import place
from trtparse.graphs.index import GraphIndex


@pytest.mark.parametrize("group", [1, 2, 6])
@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"pads": [1, 1, 1, 1]},
        {"pads": [0, 1, 2, 0], "strides": [2, 1]},
        {"dilations": [2, 1], "pads": [2, 1, 2, 1], "strides": [1, 2]},
    ],
)
def test_patches_times_weights_are_the_convolution(group: int, attributes: dict[str, Any]) -> None:
    rng = np.random.default_rng(4)
    values = rng.normal(size=(6, 9, 8)).astype(np.float32)
    weight = rng.normal(size=(12, 6 // group, 3, 2)).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], "conv", group=group, **attributes)
    float_type = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", float_type, [1, 6, 9, 8])],
        [helper.make_tensor_value_info("y", float_type, None)],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"x": values[None]})
    rows = weight.reshape(group, 12 // group, -1)
    found = np.einsum("gpk,gok->gop", patches(values, node, (3, 2)), rows).reshape(expected[0].shape)
    np.testing.assert_allclose(found, expected[0], rtol=1e-4, atol=1e-5)


def test_every_placed_convolution_is_there_and_no_transposed_one(new_ladder: Callable[..., onnx.ModelProto]) -> None:
    model = new_ladder()
    placement = place(model)
    found = {node.name: site for site, node in placed_convolutions(GraphIndex(model.graph), placement)}
    placed = {name for site in placement.weights for name in site.layers}
    assert "up" in placed
    assert set(found) == placed - {"up"}
    assert all(name in site.layers for name, site in found.items())
