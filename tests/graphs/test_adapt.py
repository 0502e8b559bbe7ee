"""Somebody else's graph gets our input and outputs, and computes what it computed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from trtparse.errors import UsageError
from trtparse.graphs.adapt import LEAST_OPSET, adapt
from trtparse.graphs.computed import run
from trtparse.graphs.conventions import Said
from trtparse.graphs.facts import opset_of
from trtparse.graphs.front import made_up_frames
from trtparse.graphs.index import property_of
from trtparse.graphs.interface import check_interface, label_set_of, read_onnx
from trtparse.graphs.observe import framing_of
from trtparse.graphs.raw import find_raw
from trtparse.graphs.tails.parsing import factor_for
from trtparse.specs.label_set import label_set
from trtparse.tests.graphs.foreign_graphs import MEAN, STD, foreign

HERE = Path("theirs.onnx")

BY_HAND = Said(labels=label_set("atr"), order="RGB", mean=MEAN, std=STD, align_corners=True)


def normalised(frames: np.ndarray, order: str = "RGB", layout: str = "NCHW") -> np.ndarray:
    """What their own programs feed."""
    channels = frames[..., ::-1] if order == "RGB" else frames
    pixels = ((channels / 255 - np.asarray(MEAN)) / np.asarray(STD)).astype(np.float32)
    return pixels.transpose(0, 3, 1, 2) if layout == "NCHW" else pixels


def raised(scores: np.ndarray, size: tuple[int, int], align_corners: bool) -> np.ndarray:
    """(N, C, H, W) of ``size``, bilinear, from the definition of each alignment."""
    result = scores.astype(np.float64)
    for axis, length in ((2, size[0]), (3, size[1])):
        cells = result.shape[axis]
        at = np.arange(length)
        where = at * (cells - 1) / (length - 1) if align_corners else (at + 0.5) * cells / length - 0.5
        where = where.clip(0, cells - 1)
        low = np.floor(where).astype(int)
        high = np.minimum(low + 1, cells - 1)
        shape = [1] * 4
        shape[axis] = length
        part = (where - low).reshape(shape)
        result = result.take(low, axis) * (1 - part) + result.take(high, axis) * part
    return result


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("order", ["RGB", "BGR"])
@pytest.mark.parametrize("opset", [11, 17, 20])
def test_frames_in_and_labels_out_are_what_their_own_program_makes(
    layout: str, order: str, align_corners: bool, opset: int
) -> None:
    model = foreign(layout=layout, opset=opset)
    made = adapt(model, replace(BY_HAND, order=order, align_corners=align_corners), HERE, logits=True)
    frames = made_up_frames(1, (32, 24))
    theirs = run(model, {"pixels": np.ascontiguousarray(normalised(frames, order, layout))})["scores"]
    theirs = theirs if layout == "NCHW" else theirs.transpose(0, 3, 1, 2)
    wanted = raised(theirs, (32, 24), align_corners)
    ours = run(made, {"frames": frames})
    np.testing.assert_allclose(ours["logits"], wanted, atol=1e-4 * np.abs(wanted).max())
    assert (ours["labels"] == wanted.argmax(1)).mean() > 0.999
    assert len(np.unique(ours["labels"])) > 3
    assert check_interface(made, HERE) == 1
    assert opset_of(made) >= LEAST_OPSET


def test_it_says_of_itself_what_was_said_of_it() -> None:
    made = adapt(foreign(), replace(BY_HAND, stretch=1.5, returns="logits"), HERE)
    framing = framing_of(made)
    assert (framing.order, framing.mean, framing.stretch, framing.returns) == ("RGB", MEAN, 1.5, "logits")
    assert label_set_of(made, None, HERE) == label_set("atr")
    assert find_raw(made) == "logits"
    assert json.loads(property_of(made, "adapted")) == {"source": "theirs.onnx", "preset": ""}
    # Logits that go back are an output, as are those that were asked for.
    assert [output.name for output in made.graph.output] == ["labels", "logits"]
    assert [output.name for output in adapt(foreign(), BY_HAND, HERE).graph.output] == ["labels"]


@pytest.mark.parametrize("batch", [3, None])
def test_an_open_batch_and_size_are_fixed_or_stay_open(batch: int | None) -> None:
    model = foreign(size=("height", "width"), batch="n")
    made = adapt(model, replace(BY_HAND, input_size=(36, 20), batch=batch), HERE)
    assert check_interface(made, HERE) == batch
    frames = made_up_frames(3, (36, 20))
    labels = run(made, {"frames": frames})["labels"]
    assert labels.shape == (3, 36, 20)
    one = adapt(model, replace(BY_HAND, input_size=(36, 20)), HERE)
    for frame, expected in zip(frames, labels):
        assert (run(one, {"frames": frame[None]})["labels"][0] == expected).mean() > 0.999


@pytest.mark.parametrize("name", ["ids64", "ids_float"])
def test_of_labels_the_scores_behind_them_are_found(name: str) -> None:
    model = foreign(outputs=(name,), stride=1)
    made = adapt(model, replace(BY_HAND, align_corners=None), HERE)
    frames = made_up_frames(1, (32, 24))
    theirs = run(model, {"pixels": normalised(frames)})[name]
    np.testing.assert_array_equal(run(made, {"frames": frames})["labels"], theirs.astype(np.uint8))
    with pytest.raises(UsageError, match=r"tells 18 classes apart, and the label set is LIP-20 \(20 classes\)"):
        adapt(model, replace(BY_HAND, labels=label_set("lip")), HERE)


@pytest.mark.parametrize("dtype", [TensorProto.INT32, TensorProto.UINT8])
def test_whole_numbers_are_fed_as_they_are(dtype: int) -> None:
    model = foreign(dtype=dtype, layout="NHWC")
    said = replace(BY_HAND, mean=(0.0, 0.0, 0.0), std=(1 / 255, 1 / 255, 1 / 255))
    made = adapt(model, said, HERE, logits=True)
    assert not {"Mul", "Add", "Round"} & {node.op_type for node in made.graph.node if node.name.startswith("front")}
    frames = made_up_frames(1, (32, 24))
    kind = helper.tensor_dtype_to_np_dtype(dtype)
    theirs = run(model, {"pixels": np.ascontiguousarray(frames[..., ::-1]).astype(kind)})["scores"]
    wanted = raised(theirs.transpose(0, 3, 1, 2), (32, 24), True)
    np.testing.assert_allclose(
        run(made, {"frames": frames})["logits"], wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max()
    )


def test_of_several_outputs_one_is_named_and_the_others_go() -> None:
    model = foreign(outputs=("edges", "coarse", "scores"))
    with pytest.raises(UsageError, match="2 outputs that could be its scores: coarse, scores") as caught:
        adapt(model, BY_HAND, HERE)
    assert "--output-name" in caught.value.hint
    made = {name: adapt(model, replace(BY_HAND, output=name), HERE) for name in ("coarse", "scores")}
    frames = made_up_frames(1, (32, 24))
    one, other = (run(graph, {"frames": frames})["labels"] for graph in made.values())
    assert (one != other).any()
    assert {node.name for node in made["scores"].graph.node}.isdisjoint({"coarse", "edges"})
    assert not {"w4", "w5"} & {tensor.name for tensor in made["scores"].graph.initializer}
    with pytest.raises(UsageError, match="has no output parsing; it gives edges"):
        adapt(model, replace(BY_HAND, output="parsing"), HERE)


def test_names_that_are_ours_are_freed() -> None:
    model = foreign()
    new = {"pixels": "frames", "four": "labels", "scores": "logits"}
    for node in model.graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
    model.graph.input[0].name, model.graph.output[0].name = "frames", "logits"
    frames = made_up_frames(1, (32, 24))
    expected = run(adapt(foreign(), BY_HAND, HERE), {"frames": frames})["labels"]
    np.testing.assert_array_equal(run(adapt(model, BY_HAND, HERE), {"frames": frames})["labels"], expected)


def person_and_parts() -> onnx.ModelProto:
    """As BodyPix: parts, and whether there is a person at all."""
    model = foreign(24, layout="NHWC", size=("h", "w"), outputs=("scores", "edges"), stride=8)
    for node in model.graph.node:
        node.output[:] = ["part_heatmaps" if name == "scores" else name for name in node.output]
    graph = model.graph
    graph.output[0].name = "part_heatmaps"
    (w5,) = [tensor for tensor in graph.initializer if tensor.name == "w5"]
    w5.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(w5)[:1].copy(), "w5"))
    graph.node.append(helper.make_node("Transpose", ["edges"], ["segments"], "segments", perm=[0, 2, 3, 1]))
    graph.output[1].name = "segments"
    return model


def test_a_person_and_its_parts_become_one_label_map() -> None:
    model = person_and_parts()
    made = adapt(model, Said(preset="bodypix", input_size=(33, 49)), HERE)
    frames = made_up_frames(1, (33, 49))
    pixels = (frames[..., ::-1] / 127.5 - 1).astype(np.float32)
    theirs = run(model, {"pixels": np.ascontiguousarray(pixels)})
    parts, person = (
        raised(theirs[name].transpose(0, 3, 1, 2), (33, 49), True) for name in ("part_heatmaps", "segments")
    )
    wanted = np.where(person[:, 0] > 0, parts.argmax(1) + 1, 0)
    found = run(made, {"frames": frames})["labels"]
    assert 0.02 < (wanted == 0).mean() < 0.9
    assert (found == wanted).mean() > 0.999
    with pytest.raises(UsageError, match=r"16k \+ 1 pixels, not 32x48") as caught:
        adapt(model, Said(preset="bodypix", input_size=(32, 48)), HERE)
    assert "--input-size 33x49" in caught.value.hint


def test_parts_alone_are_refused_by_their_number() -> None:
    model = person_and_parts()
    del model.graph.output[1]
    with pytest.raises(UsageError, match=r"has no output segments"):
        adapt(model, Said(preset="bodypix", input_size=(33, 49)), HERE)
    with pytest.raises(UsageError, match=r"part_heatmaps tells 24 classes apart, and the label set is .*25 classes"):
        adapt(model, Said(preset="bodypix", output="part_heatmaps", input_size=(33, 49)), HERE)


@pytest.mark.parametrize(("cells", "side"), [(119, 473), (96, 384), (3, 64), (7, 500), (41, 321), (129, 513)])
def test_a_factor_raises_so_many_cells_to_a_side_exactly(cells: int, side: int) -> None:
    factor = np.float32(factor_for(cells, side))
    assert int(np.floor(np.float32(cells) * factor)) == side


# What is refused


def control_flow(model: onnx.ModelProto) -> None:
    branch = helper.make_graph(
        [helper.make_node("Identity", ["four"], ["same"])],
        "branch",
        [],
        [helper.make_tensor_value_info("same", TensorProto.FLOAT, None)],
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    node = helper.make_node("If", ["yes"], ["chosen"], "decide", then_branch=branch, else_branch=branch)
    position = next(number for number, one in enumerate(model.graph.node) if one.name == "head")
    model.graph.node[position].input[0] = "chosen"
    model.graph.node.insert(position, node)


def custom(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    (relu,) = [node for node in model.graph.node if node.name == "relu1"]
    relu.op_type, relu.domain = "Gelu", "com.microsoft"


def quantised(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0.1), "scale"))
    nodes = [
        helper.make_node("QuantizeLinear", ["four", "scale"], ["q"], "quantise"),
        helper.make_node("DequantizeLinear", ["q", "scale_u8"], ["dq"], "dequantise"),
    ]
    nodes[1].input[1] = "scale"
    position = next(number for number, one in enumerate(model.graph.node) if one.name == "head")
    model.graph.node[position].input[0] = "dq"
    for node in reversed(nodes):
        model.graph.node.insert(position, node)


def two_inputs(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("sizes", TensorProto.FLOAT, [1, 2]))


def no_image(model: onnx.ModelProto) -> None:
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 3, 768]))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (control_flow, r"holds If \(decide\)"),
        (custom, r"holds com\.microsoft\.Gelu \(relu1\)"),
        (quantised, "came quantised: 2 of its nodes"),
        (two_inputs, r"pixels \(1, 3, 32, 24\) float; sizes \(1, 2\) float: one input is wanted"),
        (no_image, "wanted are images, four axes"),
    ],
)
def test_what_nothing_sees_into_is_refused_by_its_node(spoil: Any, told: str) -> None:
    model = foreign()
    spoil(model)
    with pytest.raises(UsageError, match=told):
        adapt(model, BY_HAND, HERE)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"labels": None}, "does not say what its classes mean"),
        ({"order": None, "std": None}, "nobody said: --input-order rgb|bgr, --std"),
        ({"align_corners": None}, "scores of 8x6 cells for frames of 32x24 pixels"),
        ({"input_size": (64, 48)}, r"32x24 pixels \(height x width\), which are fixed, and not 64x48"),
        ({"batch": None}, "takes 1 frame a call, which is fixed, and not any number of"),
        ({"layout": "NHWC"}, "which is not NHWC with three channels"),
        ({"labels": "pascal"}, "gives neither scores of the 7 classes of Pascal-7 nor labels"),
        ({"labels": "pascal", "output": "scores"}, "scores tells 18 classes apart, and the label set is Pascal-7"),
        ({"preset": "segformer-clothes", "labels": None}, "32x24 pixels, not 512x512.*has no output logits"),
        ({"preset": "segformer"}, "There is no preset 'segformer'"),
        ({"preset": "yolox", "labels": None, "align_corners": None}, "not 32k; its output has 4 axes, not 3"),
    ],
)
def test_nothing_is_guessed(change: dict[str, Any], told: str) -> None:
    if isinstance(change.get("labels"), str):
        change = {**change, "labels": label_set(change["labels"])}
    with pytest.raises(UsageError, match=told) as caught:
        adapt(foreign(), replace(BY_HAND, **change), HERE)
    assert caught.value.hint


def test_an_open_size_has_to_be_said() -> None:
    with pytest.raises(UsageError, match="nobody said: --input-size HEIGHTxWIDTH"):
        adapt(foreign(size=("h", "w")), BY_HAND, HERE)


def test_means_of_values_to_255_are_told_what_they_are() -> None:
    with pytest.raises(UsageError, match=r"--mean 123\.675,116\.28,103\.53 is of values from 0 to 255") as caught:
        Said(mean=(123.675, 116.28, 103.53))
    assert "--mean 0.485,0.456,0.406" in caught.value.hint


def test_a_file_of_weights_that_did_not_come_along_is_named(tmp_path: Path) -> None:
    model = foreign()
    path = tmp_path / "theirs.onnx"
    for number, tensor in enumerate(model.graph.initializer):
        onnx.external_data_helper.set_external_data(tensor, f"part{number % 2}.bin")
        (tmp_path / f"part{number % 2}.bin").touch()
    onnx.save(model, path)
    assert check_interface(adapt(read_onnx(path), BY_HAND, path), path) == 1
    (tmp_path / "part1.bin").unlink()
    with pytest.raises(UsageError, match=r"in 2 files beside it, and part1\.bin is not there"):
        read_onnx(path)


def test_a_file_of_weights_that_is_cut_short_is_named(tmp_path: Path) -> None:
    path = tmp_path / "theirs.onnx"
    onnx.save_model(foreign(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    whole = (tmp_path / "weights.bin").read_bytes()
    (tmp_path / "weights.bin").write_bytes(whole[:100])
    with pytest.raises(UsageError, match=rf"weights\.bin beside it, which has 100 bytes where {len(whole)} are wanted"):
        read_onnx(path)


def test_weights_that_no_single_file_takes_are_refused_before_they_are_read(tmp_path: Path) -> None:
    model = foreign()
    large = model.graph.initializer.add(name="large", data_type=TensorProto.FLOAT, dims=[2**29 + 1])
    large.external_data.add(key="location", value="weights.bin")
    large.data_location = TensorProto.EXTERNAL
    onnx.save(model, tmp_path / "theirs.onnx")
    with (tmp_path / "weights.bin").open("wb") as file:
        file.truncate(2**31 + 4)  # a hole: it takes no room
    with pytest.raises(UsageError, match=r"has 2\.0 GiB of weights"):
        read_onnx(tmp_path / "theirs.onnx")


def test_an_operator_that_nobody_knows_is_told_by_its_node(tmp_path: Path) -> None:
    model = foreign()
    (relu,) = [node for node in model.graph.node if node.name == "relu1"]
    relu.op_type = "Reloo"
    onnx.save(model, tmp_path / "theirs.onnx")
    with pytest.raises(UsageError, match=r"No Op registered for Reloo .* \(node relu1, Reloo\)"):
        read_onnx(tmp_path / "theirs.onnx")
