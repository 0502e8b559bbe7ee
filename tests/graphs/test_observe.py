from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from trtparse.errors import BuildError
from trtparse.graphs.observe import Observer, float_activations, input_size_of

NewGraph = Callable[..., Any]
Frames = NDArray[np.uint8]


def with_shapes(new_graph: NewGraph, batch: int) -> onnx.ModelProto:
    """A graph that has its batch in a Resize's size and in a Reshape's shape."""
    new = new_graph(batch=batch)
    small = new.conv(new.image(), "first", (3, 16), strides=[2, 2])
    sizes = new.constant("sizes", [batch, 16, 16, 16], np.int64)
    large = new.node("Resize", [small, "", "", sizes], "large", mode="linear")
    flat = new.node("Reshape", [large, new.constant("shape", [batch, 4, 4, 256], np.int64)], "folded")
    back = new.node("Reshape", [flat, new.constant("shape_back", [batch, 16, 16, 16], np.int64)], "unfolded")
    model: onnx.ModelProto = new.labels(new.conv(back, "second", (16, 16)), 16)
    return model


@pytest.mark.parametrize("batch", [2, 4, 16])
def test_a_graph_of_a_fixed_batch_is_run_one_frame_at_a_time(
    batch: int, new_graph: NewGraph, small_frames: Frames
) -> None:
    single, several = (with_shapes(new_graph, size) for size in (1, batch))
    names = float_activations(single)
    assert float_activations(several) == names
    assert {"large", "folded", "unfolded"} <= set(names)
    expected = Observer(single, names, (), 1).activations(small_frames[0])
    found = Observer(several, names, (), 1).activations(small_frames[0])
    for name, before, after in zip(names, expected, found):
        np.testing.assert_array_equal(after, before, err_msg=name)


def test_the_graph_is_left_as_it_was(new_graph: NewGraph) -> None:
    model = with_shapes(new_graph, 4)
    before = model.SerializeToString(deterministic=True)
    Observer(model, float_activations(model), ("ReduceMax",), 1)
    assert model.SerializeToString(deterministic=True) == before


def test_a_size_is_height_and_width(new_graph: NewGraph) -> None:
    assert input_size_of(with_shapes(new_graph, 1)) == (16, 16)


@pytest.mark.parametrize("axis", [1, 2])
def test_an_open_size_is_refused_with_the_input_s_shape(axis: int, new_graph: NewGraph) -> None:
    model = with_shapes(new_graph, 1)
    model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = "any"
    with pytest.raises(BuildError, match=r"input frames takes 1 x (any x 16|16 x any) x 3"):
        input_size_of(model)


def test_a_graph_that_the_runtime_refuses_is_a_build_error(new_graph: NewGraph, small_frames: Frames) -> None:
    model = with_shapes(new_graph, 1)
    sizes = next(tensor for tensor in model.graph.initializer if tensor.name == "shape_back")
    sizes.CopyFrom(onnx.numpy_helper.from_array(np.array([1, 16, 16, 17]), "shape_back"))
    with pytest.raises(BuildError, match="ONNX Runtime cannot run the graph small for calibration"):
        Observer(model, ["image"], (), 1).activations(small_frames[0])
