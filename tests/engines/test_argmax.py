from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper

from trtparse.engines import Bundle
from trtparse.engines.argmax import SCORES, argmax, scores_graph
from trtparse.engines.base import Frames
from trtparse.engines.cpu import CpuEngine

FEW_VALUES = st.sampled_from([-np.inf, -1.5, 0.0, 0.25, 7.0])


@given(
    arrays.arrays(np.float32, arrays.array_shapes(min_dims=4, max_dims=4, min_side=1, max_side=7), elements=FEW_VALUES)
)
def test_it_is_numpy_s_where_scores_are_equal_too(scores: np.ndarray) -> None:
    labels = argmax(scores)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, scores.argmax(1))


def test_256_classes_fit() -> None:
    scores = np.zeros((1, 256, 2, 3), np.float32)
    scores[0, 255, 1, 2] = scores[0, 128, 0, 1] = 1
    np.testing.assert_array_equal(argmax(scores), scores.argmax(1))


def graph_with(**options: int) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Cast", ["frames"], ["values"], to=TensorProto.FLOAT16),
        helper.make_node("ArgMax", ["values"], ["classes"], **options),
        helper.make_node("Cast", ["classes"], ["labels"], to=TensorProto.UINT8),
    ]
    frames = helper.make_tensor_value_info("frames", TensorProto.UINT8, [None, 4, 5, 6])
    labels = helper.make_tensor_value_info("labels", TensorProto.UINT8, None)
    return helper.make_model(helper.make_graph(nodes, "g", [frames], [labels]))


@pytest.mark.parametrize(
    "options",
    [
        {"axis": 1},
        {"axis": 3, "keepdims": 0},
        {"axis": 1, "keepdims": 0, "select_last_index": 1},
        {"keepdims": 0},
    ],
)
def test_any_other_argmax_is_left_to_the_runtime(options: dict[str, int]) -> None:
    assert scores_graph(graph_with(**options)) is None


def test_labels_that_are_no_argmax_are_left_to_the_runtime() -> None:
    model = graph_with(axis=1, keepdims=0)
    assert scores_graph(model) is not None
    model.graph.node[1].op_type = "ArgMin"
    assert scores_graph(model) is None
    del model.graph.node[2]
    assert scores_graph(model) is None


def test_the_graph_is_left_as_it_was(pristine_bundle: Bundle) -> None:
    model = onnx.load(pristine_bundle.graph("fp32"))
    before = model.SerializeToString(deterministic=True)
    cut = scores_graph(model)
    assert cut is not None
    assert [output.name for output in cut.graph.output] == [SCORES, "logits"]
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("name", ["fp32", "fp16", "int8", "int8-cpu"])
def test_every_graph_of_a_bundle_is_labelled_as_the_runtime_labels_it(
    name: str, pristine_bundle: Bundle, frames: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    precision = name.split("-")[0]

    def labels() -> np.ndarray:
        with CpuEngine(pristine_bundle.graph(name), precision, threads=1, simulate=name == "int8") as engine:
            return engine.infer(frames[:2])

    found = labels()
    monkeypatch.setattr("trtparse.engines.cpu.scores_graph", lambda model: None)
    np.testing.assert_array_equal(found, labels())
    assert len(np.unique(found)) > 3
