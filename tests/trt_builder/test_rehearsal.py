"""Graphs of other people's exporters: raised and compared, or refused before a single image is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from trtparse.calibration.int8 import Int8Spec
from trtparse.data.dataset import Dataset, Subset
from trtparse.engines import open_engine
from trtparse.errors import UsageError
from trtparse.graphs.facts import opset_of
from trtparse.graphs.interface import read_onnx
from trtparse.trt_builder.build import BuildSpec, Listener, build_bundle
from trtparse.trt_builder.rehearsal import frames_for, prepare_for_int8


def old_graph(opset: int = 13, ir_version: int = 7, batch: int | str = 1) -> onnx.ModelProto:
    """A parsing graph of three convolutions as an exporter of that time wrote it, without a name on any node."""
    random = np.random.default_rng(1)
    weights = {
        "w1": random.normal(size=(16, 3, 3, 3)) / 60,
        "w2": random.normal(size=(16, 16, 3, 3)) / 10,
        "w3": random.normal(size=(20, 16, 1, 1)) / 4,
    }
    nodes = [
        helper.make_node("Cast", ["frames"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["images"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["images", "w1"], ["one"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["one"], ["two"]),
        helper.make_node("Conv", ["two", "w2"], ["three"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["three"], ["four"]),
        helper.make_node("Conv", ["four", "w3"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["best"], axis=1, keepdims=0),
        helper.make_node("Cast", ["best"], ["labels"], to=TensorProto.UINT8),
    ]
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    inputs = [helper.make_tensor_value_info("frames", TensorProto.UINT8, [batch, 16, 24, 3])]
    if ir_version < 4:
        inputs += [helper.make_tensor_value_info(one.name, one.data_type, one.dims) for one in constants]
    outputs = [helper.make_tensor_value_info("labels", TensorProto.UINT8, [batch, 16, 24])]
    graph = helper.make_graph(nodes, "old", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))  # exporters name domains that they do not use
    helper.set_model_props(model, {"preprocessing": '{"stretch": 1.5}'})
    return model


def test_nodes_of_one_name_and_of_none_get_names_of_their_own_and_int8_is_made_of_them(tmp_path: Path) -> None:
    model = old_graph(19)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    convolutions[0].name = convolutions[1].name = "conv"
    next(node for node in model.graph.node if node.op_type == "Relu").name = "Conv_6"  # the last one's, by its number
    read = read_onnx(written(model, tmp_path))
    names = [node.name for node in read.graph.node]
    assert (names[2:5], names[6]) == (["conv", "Conv_6", "conv_4"], "Conv_6_6")
    assert len(set(names)) == len(names)
    prepare_for_int8(read, "old.onnx")


def written(model: onnx.ModelProto, folder: Path) -> Path:
    onnx.save(model, folder / "old.onnx")
    return folder / "old.onnx"


def labels_of(model: onnx.ModelProto, frames: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(model.SerializeToString()).run(["labels"], {"frames": frames})[0]


@pytest.mark.parametrize(
    ("opset", "ir_version", "batch"), [(9, 3, 1), (11, 6, "batch"), (13, 7, 3), (17, 8, 1), (18, 8, "batch")]
)
def test_an_older_opset_is_raised_and_answers_the_same(
    opset: int, ir_version: int, batch: int | str, tmp_path: Path
) -> None:
    model = read_onnx(written(old_graph(opset, ir_version, batch), tmp_path))
    raised = prepare_for_int8(model, "old.onnx")
    assert (opset_of(raised), raised.metadata_props[0].value) == (20, '{"stretch": 1.5}')
    assert len({node.name for node in raised.graph.node}) == len(raised.graph.node)
    frames = frames_for(model)
    assert len(np.unique(labels_of(model, frames))) > 3
    np.testing.assert_array_equal(labels_of(raised, frames), labels_of(model, frames))


def test_a_graph_that_is_new_enough_stays_as_it_is(tmp_path: Path) -> None:
    model = read_onnx(written(old_graph(19, 9), tmp_path))
    assert prepare_for_int8(model, "old.onnx") is model


def converter_that(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[onnx.ModelProto, int], onnx.ModelProto]:
    """onnx's version converter with a fault: it changes the last convolution's weights."""
    real = onnx.version_converter.convert_version

    def convert(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
        raised = real(model, version)
        for tensor in raised.graph.initializer:
            if tensor.name == "w3":
                tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)), "w3"))
        return raised

    return convert


def test_a_conversion_that_changes_the_answers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnx.version_converter.convert_version", converter_that(lambda weights: weights[::-1].copy()))
    with pytest.raises(UsageError, match=r"old\.onnx has 13, and raised to 20 it answers differently: \d") as caught:
        prepare_for_int8(old_graph(), "old.onnx")
    assert "opset_version=20" in caught.value.hint


def test_a_conversion_that_rounds_a_tie_the_other_way_is_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    model = old_graph()
    alike = np.ones((20, 16, 1, 1), np.float32)
    model.graph.initializer[2].CopyFrom(numpy_helper.from_array(alike, "w3"))
    alike = alike.copy()
    alike[7] += np.float32(1e-5)
    monkeypatch.setattr("onnx.version_converter.convert_version", converter_that(lambda _: alike))
    raised = prepare_for_int8(model, "old.onnx")
    frames = frames_for(model)
    assert (labels_of(raised, frames) == 7).mean() > 0.5
    assert not labels_of(model, frames).any()


def test_a_converter_that_gives_up_says_which_opset_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
        raise RuntimeError("No Adapter From Version $15 for Celu")

    monkeypatch.setattr("onnx.version_converter.convert_version", refuse)
    with pytest.raises(UsageError, match=r"INT8 needs opset 19, old\.onnx has 13, and it cannot be raised: No Adapter"):
        prepare_for_int8(old_graph(), "old.onnx")


def of_a_runtime(model: onnx.ModelProto) -> None:
    model.graph.node[2].op_type, model.graph.node[2].domain, model.graph.node[2].name = (
        "FusedConv",
        "com.microsoft",
        "a",
    )
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    del model.graph.node[3]
    model.graph.node[2].output[0] = "two"


def beyond_half(model: onnx.ModelProto) -> None:
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.full((16, 16, 3, 3), 1e6, np.float32), "w2"))


def that_no_runtime_knows(model: onnx.ModelProto) -> None:
    model.graph.node[3].op_type = "Relu6"


class Unread:
    """A dataset of which nobody may look at an image."""

    description, names, labelled = "unread/", ("a", "b"), False

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Any:
        raise AssertionError("an image was read")

    labels = __getitem__


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (of_a_runtime, r"holds com\.microsoft\.FusedConv \(a\), which is none of ONNX's own"),
        (beyond_half, "INT8 cannot be made of .*1e.06, which FP16 cannot"),
        (that_no_runtime_knows, "Relu6"),
    ],
)
@pytest.mark.parametrize("opset", [13, 20])
def test_what_would_refuse_the_graph_after_calibrating_refuses_it_before_an_image_is_read(
    opset: int, spoil: Callable[[onnx.ModelProto], None], told: str, tmp_path: Path
) -> None:
    model = old_graph(opset, 9)
    spoil(model)
    spec = BuildSpec(written(model, tmp_path), "int8", int8=Int8Spec("max"))
    with pytest.raises(UsageError, match=told):
        build_bundle(spec, Unread(), tmp_path / "bundle")  # type: ignore[arg-type]
    assert not (tmp_path / "bundle").exists()


def test_an_old_graph_becomes_int8_whole(people: Dataset, tmp_path: Path) -> None:
    spec = BuildSpec(written(old_graph(), tmp_path), "int8", int8=Int8Spec("max"), validate=False, threads=1)
    stages: list[str] = []
    built = build_bundle(spec, Subset(people, (0, 1)), tmp_path / "bundle", Listener(stages.append))
    assert "Raised from opset 13 to 20, with the same answers" in stages
    assert built.bundle.manifest.precisions == ("fp32", "fp16", "int8")
    assert built.bundle.manifest.stretch == 1.5
    with open_engine(built.bundle, "simulated", "int8", threads=1) as engine:
        assert engine.infer(np.zeros((1, 16, 24, 3), np.uint8))[0].shape == (1, 16, 24)
