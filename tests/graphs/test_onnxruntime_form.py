from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from trtparse.engines import Bundle
from trtparse.engines.base import Frames
from trtparse.engines.cpu import EXACT_INT8, CpuEngine
from trtparse.graphs.index import fresh_graph_copy
from trtparse.graphs.onnxruntime_form import MOST_CHANNELS, lean
from trtparse.networks.weights import FINDER_GRAPH

SIZE = (6, 10)


def _labelling(channels: int = 5, *, planes: bool = True, read: str = "Cast", **attributes: int) -> onnx.ModelProto:
    """Frames, scaled and moved; at each pixel the highest of channels that are stepped, so that several are as high."""
    shape = (1, 3, 1, 1) if planes else (1, 1, 1, 3)
    constants = {
        "scale": np.array([0.1, 0.7, 1.3], np.float32).reshape(shape),
        "offset": np.array([-3, 0.4, 7], np.float32).reshape(shape),
        "colours": np.array([1 if planes else 3], np.int64),
        "axis": np.array([1], np.int64),
        "steps": np.linspace(-1, 1, channels).reshape(1, channels, 1, 1).astype(np.float32),
    }
    nodes = [helper.make_node("Cast", ["frames"], ["float"], to=TensorProto.FLOAT)]
    if planes:
        nodes.append(helper.make_node("Transpose", ["float"], ["images"], perm=[0, 3, 1, 2]))
    kept = attributes.get("keepdims", 1)
    nodes += [
        helper.make_node("Mul", [nodes[-1].output[0], "scale"], ["scaled"]),
        helper.make_node("Add", ["offset", "scaled"], ["moved"]),
        helper.make_node("ReduceMean", ["moved", "colours"], ["mean"], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "axis"], ["grey"]),
        helper.make_node("Mul", ["grey", "steps"], ["sloped"]),
        helper.make_node("Cos", ["sloped"], ["waves"]),
        helper.make_node("Add", ["waves", "waves"], ["twice"]),
        helper.make_node("Round", ["twice"], ["stepped"]),
        helper.make_node("ArgMax", ["stepped"], ["best"], axis=1, **attributes),
        helper.make_node("Cast", ["best"], ["labels"], to=TensorProto.UINT8)
        if read == "Cast"
        else helper.make_node(read, ["best"], ["labels"]),
    ]
    graph = helper.make_graph(
        nodes,
        "labelling",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["N", *SIZE, 3])],
        [
            helper.make_tensor_value_info(
                "labels",
                TensorProto.UINT8 if read == "Cast" else TensorProto.INT64,
                ["N", *([1] if kept else []), *SIZE],
            ),
            helper.make_tensor_value_info("moved", TensorProto.FLOAT, ["N", 3, *SIZE] if planes else ["N", *SIZE, 3]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return onnx.shape_inference.infer_shapes(model)  # what is said of types must stay true


def _answers(model: onnx.ModelProto, frames: Frames) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(*EXACT_INT8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [np.asarray(one) for one in session.run(None, {"frames": frames})]


def _noise(count: int, height: int, width: int) -> Frames:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def _check_same(model: onnx.ModelProto, changed: int) -> onnx.ModelProto:
    other = fresh_graph_copy(model)
    assert lean(other) == changed
    onnx.checker.check_model(other, full_check=True)
    frames = _noise(2, *SIZE)
    for one, two in zip(_answers(model, frames), _answers(other, frames)):
        assert one.dtype == two.dtype
        np.testing.assert_array_equal(one, two)
    return other


@pytest.mark.parametrize("planes", [True, False])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("channels", [2, 5, MOST_CHANNELS])
def test_answers_are_the_same_to_the_bit(channels: int, keepdims: int, planes: bool) -> None:
    model = _check_same(_labelling(channels, planes=planes, keepdims=keepdims), 3)
    assert "ArgMax" not in {node.op_type for node in model.graph.node}
    numbers = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    wide = [1, 3, 1, SIZE[1]] if planes else [1, 1, SIZE[1], 3]
    assert [dims for name, dims in numbers.items() if name.endswith(".by_rows")] == [wide, wide]


def test_of_channels_that_are_as_high_the_first_counts() -> None:
    frames = np.zeros((1, *SIZE, 3), np.uint8)
    model = _labelling(4, keepdims=0)
    labels = _answers(model, frames)[0]
    assert lean(model) == 3
    np.testing.assert_array_equal(_answers(model, frames)[0], labels)
    assert set(np.unique(labels)) <= {0, 1}  # the outer ones are as high as each other, and so are the inner ones


@pytest.mark.parametrize(
    ("channels", "more"),
    [
        (1, {}),
        (MOST_CHANNELS + 1, {}),
        (5, {"select_last_index": 1}),
        (5, {"read": "Identity"}),
    ],
)
def test_what_chooses_otherwise_stays_as_it_is(channels: int, more: dict[str, int | str]) -> None:
    model = _labelling(channels, **more)  # type: ignore[arg-type]
    lean(model)
    assert "ArgMax" in {node.op_type for node in model.graph.node}


def test_before_opset_18_nothing_is_split_into_a_number_of_parts() -> None:
    model = _labelling()
    model.opset_import[0].version = 17
    assert lean(model) == 2
    assert "ArgMax" in {node.op_type for node in model.graph.node}


def test_a_scale_that_is_read_by_something_else_stays_what_it_is_there() -> None:
    model = _labelling(keepdims=0)
    model.graph.node.append(helper.make_node("Identity", ["scale"], ["told"]))
    model.graph.output.append(helper.make_tensor_value_info("told", TensorProto.FLOAT, [1, 3, 1, 1]))
    _check_same(model, 3)


def test_frames_of_an_open_width_are_scaled_as_before() -> None:
    model = _labelling(keepdims=0)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "W"
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    assert lean(model) == 1


def test_the_finder_that_comes_along_finds_the_same(tmp_path: Path) -> None:
    model = onnx.load(FINDER_GRAPH)
    with CpuEngine(model, "int8", threads=1) as engine:
        frames = _noise(1, *engine.input_size)
        found = engine.infer(frames)[0]
    np.testing.assert_array_equal(found, _answers(model, frames)[0])
    assert lean(model) == 2


def test_a_bundle_s_labels_are_the_same_to_the_bit(pristine_bundle: Bundle, frames: Frames) -> None:
    path = pristine_bundle.graph("int8-cpu")
    with CpuEngine(path, "int8", threads=1) as engine:
        found = engine.infer(frames[:2])
    np.testing.assert_array_equal(found[0], _answers(onnx.load(path), frames[:2])[0])
    assert lean(onnx.load(path)) == 3
