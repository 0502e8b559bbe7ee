"""The graph for versions whose precision comes from flags answers like the one that it was made from."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from trtparse.errors import BuildError
from trtparse.graphs.simulated import simulated_graph
from trtparse.graphs.weakly_typed import float_graph, implicit_graph


def run(model: onnx.ModelProto, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    content = simulated_graph(model).SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    labels: NDArray[np.uint8] = session.run(["labels"], {"frames": frames})[0]
    return labels


def some_frames(batch: int = 1) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (batch, 16, 24, 3), np.uint8)


@pytest.mark.parametrize("quantised", [False, True])
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("batch", [1, None])
def test_the_float_graph_answers_like_its_source(
    half: bool, quantised: bool, batch: int | None, small: SimpleNamespace
) -> None:
    model = small.model(half=half, quantised=quantised, batch=batch)
    before = model.SerializeToString()
    told = float_graph(model)
    assert model.SerializeToString() == before
    assert told.opset_import[0].version == 17
    assert TensorProto.FLOAT16 not in {tensor.data_type for tensor in told.graph.initializer}
    # FP16 rounds where FP32 does not, so that a pixel or two may change sides.
    assert (run(told, some_frames()) == run(model, some_frames())).mean() > (0.98 if half else 0.9999)


def test_a_mean_over_one_axis_stays_over_one_axis(small: SimpleNamespace) -> None:
    # In opset 20 the axes are an input, of which TensorRT 8.6 takes no notice: it would reduce over all of them.
    (mean,) = [node for node in float_graph(small.model()).graph.node if node.op_type == "ReduceMean"]
    assert list(mean.input) == ["two"]
    assert {attribute.name: helper.get_attribute_value(attribute) for attribute in mean.attribute} == {
        "axes": [1],
        "keepdims": 1,
    }


def one_node(node: onnx.NodeProto, *constants: onnx.TensorProto) -> onnx.ModelProto:
    shape = [1, 2, 4, 4]
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "c", "h", "w"])],
        list(constants),
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_what_opset_17_cannot_say_is_refused_with_its_node() -> None:
    sizes = numpy_helper.from_array(np.array([1, 2, 2, 2], np.int64), "sizes")
    resize = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], "shrink", mode="linear", antialias=1)
    with pytest.raises(BuildError, match=r"antialias for Resize, which shrink asks for"):
        float_graph(one_node(resize, sizes))
    pool = helper.make_node("AveragePool", ["x"], ["y"], "sparse_pool", kernel_shape=[2, 2], dilations=[2, 2])
    with pytest.raises(BuildError, match="sparse_pool"):
        float_graph(one_node(pool))
    axes = numpy_helper.from_array(np.array([], np.int64), "axes")
    nothing = helper.make_node("ReduceMax", ["x", "axes"], ["y"], "nothing", noop_with_empty_axes=1)
    with pytest.raises(BuildError, match="nothing asks for noop_with_empty_axes"):
        float_graph(one_node(nothing, axes))


def test_an_operator_that_opset_17_does_not_have_is_refused() -> None:
    with pytest.raises(BuildError, match="Gelu"):
        float_graph(one_node(helper.make_node("Gelu", ["x"], ["y"], "too_new")))


def test_the_implicit_graph_is_the_float_graph_and_its_ranges(small: SimpleNamespace) -> None:
    told, ranges = implicit_graph(float_graph(small.model(half=True, quantised=True)))
    assert ranges == {"images": 254.0, "three": 381.0}
    plain = float_graph(small.model(half=True))
    assert [node.op_type for node in told.graph.node] == [node.op_type for node in plain.graph.node]
    assert np.array_equal(run(told, some_frames()), run(plain, some_frames()))


def test_what_is_added_and_rectified_on_the_way_shares_the_range_of_its_result() -> None:
    scale = numpy_helper.from_array(np.array(0.5, np.float32), "scale")
    zero = numpy_helper.from_array(np.array(0, np.int8), "zero")
    one = numpy_helper.from_array(np.ones((1, 2, 4, 4), np.float32), "one")
    nodes = [
        helper.make_node("Sigmoid", ["x"], ["branch"], "branch"),
        helper.make_node("Add", ["branch", "one"], ["sum"], "sum"),
        helper.make_node("Relu", ["sum"], ["positive"], "relu"),
        helper.make_node("QuantizeLinear", ["positive", "scale", "zero"], ["q"], "q"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["dq"], "dq"),
        helper.make_node("Sigmoid", ["dq"], ["y"], "end"),
    ]
    model = one_node(nodes[0], scale, zero, one)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    told, ranges = implicit_graph(float_graph(model))
    assert ranges == {"positive": 63.5, "sum": 63.5, "branch": 63.5}
    assert list(told.graph.node[-1].input) == ["positive"]
    assert {tensor.name for tensor in told.graph.initializer} == {"one"}


def test_weights_that_are_stored_as_int8_are_refused() -> None:
    weight = numpy_helper.from_array(np.ones((2, 2, 1, 1), np.int8), "w")
    scale = numpy_helper.from_array(np.array(0.5, np.float32), "scale")
    zero = numpy_helper.from_array(np.array(0, np.int8), "zero")
    model = one_node(helper.make_node("DequantizeLinear", ["w", "scale", "zero"], ["y"], "stored"), weight, scale, zero)
    with pytest.raises(BuildError, match="stored"):
        implicit_graph(model)
