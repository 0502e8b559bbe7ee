"""What a converter left in a graph goes, and nothing of what it computes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from trtparse.graphs.computed import run
from trtparse.graphs.folded import folded
from trtparse.tests.graphs.foreign_graphs import foreign


def turned_round() -> onnx.ModelProto:
    """As TensorFlow's graphs are: a Transpose before and behind every convolution, the activation between them."""
    weight = np.random.default_rng(0).normal(size=(8, 8, 3, 3)).astype(np.float32)
    nodes, last = [], "pixels"
    for number in range(3):
        names = [f"{word}{number}" for word in ("planes", "conv", "turned", "relu")]
        nodes += [
            helper.make_node("Transpose", [last], [names[0]], names[0], perm=[0, 3, 1, 2]),
            helper.make_node("Conv", [names[0], "w"], [names[1]], names[1], pads=[1] * 4),
            helper.make_node("Transpose", [names[1]], [names[2]], names[2], perm=[0, 2, 3, 1]),
            helper.make_node("Relu", [names[2]], [names[3]], names[3]),
        ]
        last = names[3]
    graph = helper.make_graph(
        nodes,
        "theirs",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 6, 5, 8])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, [1, 6, 5, 8])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, {"author": "they"})
    return model


def test_layouts_turned_round_and_back_again_go_and_activations_stand_next_to_their_convolutions() -> None:
    model = turned_round()
    found = folded(model)
    assert Counter(node.op_type for node in found.graph.node) == {"Conv": 3, "Relu": 3, "Transpose": 2}
    pixels = np.random.default_rng(1).normal(size=(1, 6, 5, 8)).astype(np.float32)
    (one,), (other,) = (run(graph, {"pixels": pixels}).values() for graph in (model, found))
    np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5)


def test_it_keeps_to_onnx_s_own_operators_and_to_what_the_file_says_of_itself() -> None:
    model = turned_round()
    found = folded(model)
    assert [(entry.domain, entry.version) for entry in found.opset_import] == [("", 20)]
    assert [(entry.key, entry.value) for entry in found.metadata_props] == [("author", "they")]
    names = [node.name for node in folded(foreign(size=("h", "w"))).graph.node]
    assert "" not in names
    assert len(set(names)) == len(names)
