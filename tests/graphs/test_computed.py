from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from trtparse.graphs.computed import difference, run
from trtparse.graphs.front import made_up_frames
from trtparse.tests.trt_builder.conftest import small_model


def test_tensors_within_a_graph_are_read_out_beside_its_outputs_and_it_stays_as_it_is() -> None:
    model, frames = small_model(half=True), made_up_frames(1, (16, 24))
    before = model.SerializeToString()
    found = run(model, {"frames": frames}, ["labels", "scores", "best"])
    assert [array.dtype.name for array in found.values()] == ["uint8", "float16", "int64"]
    np.testing.assert_array_equal(found["labels"], found["scores"].argmax(1))
    np.testing.assert_array_equal(found["labels"], run(model, {"frames": frames})["labels"])
    assert model.SerializeToString() == before


def test_q_dq_is_computed_as_it_stands_where_that_is_asked_for() -> None:
    model, frames = small_model(quantised=True), made_up_frames(1, (16, 24))
    rounded = run(model, {"frames": frames}, ["three_dq"], as_float=True)["three_dq"] / 3.0
    np.testing.assert_allclose(rounded, np.rint(rounded), atol=1e-5)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (np.array([1.0, -2.0]), np.array([1.0, -2.001]), ""),
        (np.array([1.0, -2.0]), np.array([1.0, -2.1]), "by 0.1, where the largest value is 2"),
        (np.array([1.0]), np.array([np.nan]), "by nan, where the largest value is 1"),
        (np.arange(10), np.array([0, *range(9)]), "90.00 % of its values"),
        (np.zeros(2), np.zeros(3), "(2,) float64 became (3,) float64"),
        (np.zeros(2), np.zeros(2, np.float32), "(2,) float64 became (2,) float32"),
    ],
)
def test_what_differs_by_more_than_rounding_is_told(before: np.ndarray, after: np.ndarray, told: str) -> None:
    assert difference(before, after) == told


def test_what_the_runtime_refuses_is_its_own_error() -> None:
    model = small_model()
    model.graph.node.append(helper.make_node("Unknown", ["five"], ["six"], to=TensorProto.FLOAT))
    with pytest.raises(Exception, match="Unknown"):
        run(model, {"frames": made_up_frames(1, (16, 24))}, ["six"])
