"""An ONNX file becomes a bundle where it has our input and outputs, and is refused in words where it has not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from trtparse.engines import open_bundle, open_engine
from trtparse.errors import BuildError, UsageError
from trtparse.graphs.interface import graph_precision
from trtparse.trt_builder.source import bundle_of_onnx


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    onnx.save(model, folder / "foreign.onnx")
    return folder / "foreign.onnx"


@pytest.mark.parametrize(
    ("half", "quantised", "precision"), [(False, False, "fp32"), (True, False, "fp16"), (True, True, "int8")]
)
@pytest.mark.parametrize("batch", [1, 3, None])
def test_a_foreign_graph_becomes_a_bundle(
    half: bool, quantised: bool, precision: str, batch: int | None, small: SimpleNamespace, tmp_path: Path
) -> None:
    model = small.model(half=half, quantised=quantised, batch=batch)
    assert graph_precision(model) == precision
    made = bundle_of_onnx(saved(model, tmp_path), tmp_path / "bundle")
    reopened = open_bundle(made.path)
    assert reopened.manifest == made.manifest
    assert (made.manifest.precisions, made.manifest.batch, made.manifest.input_size) == ((precision,), batch, (16, 24))
    assert made.manifest.options["source"] == "foreign.onnx"
    assert made.graph(precision).is_file()


def test_it_runs_and_takes_no_pytorch(small: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    made = bundle_of_onnx(saved(small.model(), tmp_path), tmp_path / "bundle")
    with open_engine(made, "cpu", "fp32", threads=1) as engine:
        (labels,) = engine.infer(np.random.default_rng(0).integers(0, 256, (1, 16, 24, 3), np.uint8))
    assert labels.shape == (1, 16, 24)
    assert labels.dtype == np.uint8
    assert len(np.unique(labels)) > 1


def test_fp16_is_made_of_fp32_and_int8_is_not(small: SimpleNamespace, tmp_path: Path) -> None:
    path = saved(small.model(), tmp_path)
    made = bundle_of_onnx(path, tmp_path / "bundle", "fp16")
    assert made.manifest.precisions == ("fp32", "fp16")
    assert graph_precision(onnx.load(made.graph("fp16"))) == "fp16"
    with pytest.raises(UsageError, match="INT8 without calibration is worth nothing") as caught:
        bundle_of_onnx(path, tmp_path / "other", "int8")
    assert "--data" in caught.value.hint
    assert not (tmp_path / "other").exists()


def test_precision_cannot_be_had_back(small: SimpleNamespace, tmp_path: Path) -> None:
    for options, asked in (
        ({"half": True}, "fp32"),
        ({"half": True, "quantised": True}, "fp32"),
        ({"half": True, "quantised": True}, "fp16"),
    ):
        with pytest.raises(UsageError, match="cannot be had back"):
            bundle_of_onnx(saved(small.model(**options), tmp_path), tmp_path / "bundle", asked)


def test_an_int8_graph_that_breaks_a_rule_is_refused_by_its_node(small: SimpleNamespace, tmp_path: Path) -> None:
    model = small.model(quantised=True)
    (zero,) = [tensor for tensor in model.graph.initializer if tensor.name == "three_zero"]
    zero.CopyFrom(onnx.numpy_helper.from_array(np.array(3, np.int8), "three_zero"))
    with pytest.raises(BuildError, match="three_q has a zero point other than 0"):
        bundle_of_onnx(saved(model, tmp_path), tmp_path / "bundle")


def rename_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = "pixels"
    model.graph.node[0].input[0] = "pixels"


def float_frames(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def channels_first(model: onnx.ModelProto) -> None:
    new = helper.make_tensor_value_info("frames", TensorProto.UINT8, [1, 3, 16, 24])
    model.graph.input[0].CopyFrom(new)
    model.graph.node[1].attribute[0].ints[:] = [0, 1, 2, 3]


def any_height(model: onnx.ModelProto) -> None:
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[1].dim_param = "height"


def other_outputs(model: onnx.ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 20, 16, 24]))


def no_labels(model: onnx.ModelProto) -> None:
    model.graph.node[-1].output[0] = model.graph.output[0].name = "answers"


def wide_labels(model: onnx.ModelProto) -> None:
    del model.graph.node[-1]
    model.graph.node[-1].attribute[0].i = TensorProto.INT64
    model.graph.node[-1].output[0] = "labels"
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (rename_input, "input must be called frames.*pixels .1, 16, 24, 3. uint8"),
        (float_frames, "must be uint8.*frames .1, 16, 24, 3. float"),
        (channels_first, r"frames must be \(N, H, W, 3\)"),
        (any_height, "fixed height and width"),
        (other_outputs, "outputs must be labels.*scores"),
        (no_labels, "outputs must be labels.*answers"),
        (wide_labels, "must be uint8.*int64"),
    ],
)
def test_other_inputs_and_outputs_are_refused_with_what_there_is_and_what_is_wanted(
    spoil: Callable[[onnx.ModelProto], None], told: str, small: SimpleNamespace, tmp_path: Path
) -> None:
    model = small.model()
    spoil(model)
    onnx.checker.check_model(model)
    with pytest.raises(UsageError, match=told) as caught:
        bundle_of_onnx(saved(model, tmp_path), tmp_path / "bundle")
    assert "foreign.onnx" in caught.value.message
    assert "wanted: frames (N, H, W, 3) uint8" in caught.value.message
    assert not (tmp_path / "bundle").exists()


def more_classes(model: onnx.ModelProto, count: int = 25) -> None:
    (head,) = [tensor for tensor in model.graph.initializer if tensor.name == "w3"]
    head.CopyFrom(onnx.numpy_helper.from_array(np.ones((count, 16, 1, 1), np.float32), "w3"))


def fewer_classes(model: onnx.ModelProto) -> None:
    more_classes(model, 18)


def named_anew(model: onnx.ModelProto) -> None:
    """Labels are looked up by what ArgMax found, as graphs do that rename their classes."""
    table = np.arange(20, dtype=np.uint8)[::-1].copy()
    model.graph.initializer.append(onnx.numpy_helper.from_array(table, "table"))
    del model.graph.node[-2:]
    model.graph.node.append(helper.make_node("Gather", ["table", "best"], ["labels"], "rename"))


def of_unknown_shape(model: onnx.ModelProto) -> None:
    """The scores go through a shape that is known only at run time, whatever the file says that it is."""
    model.graph.value_info.append(helper.make_tensor_value_info("shaped", TensorProto.FLOAT, [1, 20, 16, 24]))
    nodes = [
        helper.make_node("NonZero", ["scores"], ["where"], "where"),
        helper.make_node("Shape", ["where"], ["length"], "length"),
        helper.make_node("Slice", ["length", "from", "to"], ["last"], "last"),
        helper.make_node("Concat", ["first", "last", "rest"], ["shape"], "shape", axis=0),
        helper.make_node("Reshape", ["scores", "shape"], ["shaped"], "shaped"),
    ]
    values = {"from": [1], "to": [2], "first": [1], "rest": [16, 24]}
    for name, value in values.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(value, np.int64), name))
    position = next(index for index, node in enumerate(model.graph.node) if node.op_type == "ArgMax")
    model.graph.node[position].input[0] = "shaped"
    later = list(model.graph.node)[position:]
    del model.graph.node[position:]
    model.graph.node.extend([*nodes, *later])


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (more_classes, "tells 25 classes apart and does not say which"),
        (fewer_classes, "tells 18 classes apart"),
        (named_anew, "cannot be told, as labels does not come of an ArgMax"),
        (of_unknown_shape, "cannot be told, as the shape of shaped, which ArgMax reads, cannot be inferred"),
    ],
)
@pytest.mark.parametrize("precision", [None, "fp16"])
def test_a_graph_that_is_not_known_to_have_lip_s_classes_is_refused(
    spoil: Callable[[onnx.ModelProto], None],
    told: str,
    precision: str | None,
    small: SimpleNamespace,
    tmp_path: Path,
) -> None:
    model = small.model()
    spoil(model)
    with pytest.raises(UsageError, match=told):
        bundle_of_onnx(saved(model, tmp_path), tmp_path / "bundle", precision)
    assert not (tmp_path / "bundle").exists()


def test_classes_are_counted_through_whatever_moves_ids_and_along_any_axis(
    small: SimpleNamespace, tmp_path: Path
) -> None:
    model = small.model()
    position = next(index for index, node in enumerate(model.graph.node) if node.op_type == "ArgMax")
    del model.graph.node[position:]
    model.graph.node.extend(
        [
            helper.make_node("Transpose", ["scores"], ["last"], "turn_back", perm=[0, 2, 3, 1]),
            helper.make_node("ArgMax", ["last"], ["best"], "argmax", axis=-1, keepdims=1),
            helper.make_node("Cast", ["best"], ["best_uint8"], "to_uint8", to=TensorProto.UINT8),
            helper.make_node("Squeeze", ["best_uint8", "last_axis"], ["labels"], "squeeze"),
        ]
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([3], np.int64), "last_axis"))
    assert bundle_of_onnx(saved(model, tmp_path), tmp_path / "bundle").manifest.input_size == (16, 24)


def test_functions_of_the_file_s_own_are_written_out(small: SimpleNamespace, tmp_path: Path) -> None:
    model = small.model()
    (relu,) = [node for node in model.graph.node if node.name == "relu"]
    relu.op_type, relu.domain = "Positive", "own"
    inner = [helper.make_node("Relu", ["x"], ["y"], "inner")]
    model.functions.append(helper.make_function("own", "Positive", ["x"], ["y"], inner, model.opset_import))
    model.opset_import.append(helper.make_opsetid("own", 1))
    made = bundle_of_onnx(saved(model, tmp_path), tmp_path / "bundle", "fp16")
    assert "Relu" in {node.op_type for node in onnx.load(made.graph("fp16")).graph.node}


@pytest.mark.parametrize("content", [b"not protobuf \xff\xff", b"\x08\x0a"])
def test_a_file_that_is_no_onnx_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(UsageError, match=r"a\.onnx is not an ONNX graph"):
        bundle_of_onnx(tmp_path / "a.onnx", tmp_path / "bundle")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "an empty file, not an ONNX graph"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0d\nsize 19\n", "a pointer of Git LFS, not an ONNX"),
        (b"\x80\x02}q\x00.", r"a file of torch\.save, not an ONNX graph"),
    ],
)
def test_a_file_that_is_known_for_something_else_is_called_that(content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(UsageError, match=told):
        bundle_of_onnx(tmp_path / "a.onnx", tmp_path / "bundle")


def test_weights_that_did_not_come_along_are_named(small: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    onnx.save(small.model(), path, save_as_external_data=True, location="a.data", size_threshold=0)
    (tmp_path / "a.data").unlink()
    with pytest.raises(UsageError, match=r"a\.data"):
        bundle_of_onnx(path, tmp_path / "bundle")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no file .*a\.onnx"):
        bundle_of_onnx(tmp_path / "a.onnx", tmp_path / "bundle")


def test_weights_in_a_file_beside_it_are_taken_in(small: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    path = tmp_path / "source" / "a.onnx"
    onnx.save(small.model(), path, save_as_external_data=True, location="a.data", size_threshold=0)
    assert (tmp_path / "source" / "a.data").is_file()
    made = bundle_of_onnx(path, tmp_path / "bundle")
    (tmp_path / "source" / "a.data").unlink()
    with open_engine(made, "cpu", "fp32", threads=1) as engine:
        assert engine.infer(np.zeros((1, 16, 24, 3), np.uint8))[0].shape == (1, 16, 24)


def test_nodes_without_a_name_get_one(small: SimpleNamespace, tmp_path: Path) -> None:
    model = small.model()
    for node in model.graph.node:
        node.name = ""
    made = bundle_of_onnx(saved(model, tmp_path), tmp_path / "bundle")
    names = [node.name for node in onnx.load(made.graph("fp32")).graph.node]
    assert all(names)
    assert len(set(names)) == len(names)
