"""Two graphs of one task side by side: by the task's figure, the worst class, and the first layer that differs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from trtparse.engines.cpu import CpuEngine
from trtparse.errors import UsageError
from trtparse.graphs.adapt import adapt
from trtparse.graphs.conventions import Said
from trtparse.graphs.front import made_up_frames
from trtparse.graphs.half import to_half
from trtparse.specs.label_set import label_set
from trtparse.tests.graphs.foreign_graphs import MEAN, STD, foreign
from trtparse.trt_builder.layers_apart import layers_apart

Run = Callable[..., tuple[int, str, str]]


def ours() -> onnx.ModelProto:
    said = Said(labels=label_set("atr"), order="RGB", mean=MEAN, std=STD, align_corners=True)
    return adapt(foreign(size=(64, 48)), said, Path("theirs.onnx"), logits=True)


def disturbed(name: str, by: float) -> onnx.ModelProto:
    """The same with other weights in one layer."""
    model = ours()
    (weight,) = [tensor for tensor in model.graph.initializer if tensor.name == name]
    values = numpy_helper.to_array(weight)
    noise = np.random.default_rng(1).normal(size=values.shape) * values.std() * by
    weight.CopyFrom(numpy_helper.from_array((values + noise).astype(np.float32), name))
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graphs")
    for name, model in {
        "a": ours(),
        "b": disturbed("w2", 0.3),
        "half": to_half(ours()),
        "theirs": foreign(size=(64, 48)),
    }.items():
        onnx.save(model, path / f"{name}.onnx")
    random = np.random.default_rng(0)
    (path / "photographs").mkdir()
    for number in range(4):
        small = random.integers(0, 256, (12, 9, 3), np.uint8)
        cv2.imwrite(str(path / "photographs" / f"{number}.png"), cv2.resize(small, (90, 120)))
    return path


def test_the_worst_class_and_the_first_layer_that_differs_are_named(folder: Path, run: Run) -> None:
    words = (folder / "a.onnx", folder / "b.onnx", "--data", folder / "photographs", "--threads", "1")
    code, told, _ = run("compare", *words, "--layers")
    assert code == 0
    assert "Worst class: " in told
    assert "The first layer that differs is conv2: its three is off by 0." in told
    assert "a.onnx" in told
    assert told.strip().splitlines()[-1].startswith("PASSED")
    code, told, _ = run("compare", *words, "--layers", "--json")
    found = json.loads(told)
    assert (found["layers"]["first"], found["task"]) == ("conv2", "parsing")
    assert found["layers"]["layers"][0]["error"] < 1e-5
    assert 0.3 < found["engines"][0]["agreement"]["pixel_accuracy"] < 1


def test_fp16_of_a_graph_differs_by_rounding_alone(folder: Path, run: Run) -> None:
    words = (folder / "a.onnx", folder / "half.onnx", "--data", folder / "photographs", "--threads", "1")
    code, told, _ = run("compare", *words, "--layers")
    assert code == 0
    assert "No layer differs: " in told
    assert "fp16" in told


def test_what_was_opened_is_closed_where_another_graph_cannot_be(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    monkeypatch.setattr(CpuEngine, "close", lambda engine: closed.append(engine.name.partition(",")[0]))
    assert run("compare", folder / "a.onnx", folder / "theirs.onnx", "--threads", "1")[0] == 2
    assert closed == ["a.onnx"]


def test_a_layer_alone_is_found_and_those_behind_it_follow() -> None:
    apart = layers_apart(ours(), disturbed("w3", 0.5), made_up_frames(1, (64, 48)))
    assert apart.first is not None
    assert apart.first.layer == "head"
    before = [one.error for one in apart.layers if one.layer in ("conv1", "relu1", "conv2", "relu2")]
    assert len(before) == 4
    assert max(before) < 1e-6


def test_graphs_without_a_name_in_common_cannot_be_set_side_by_side() -> None:
    other = ours()
    weights = {tensor.name for tensor in other.graph.initializer} | {"frames", "labels", ""}
    for node in other.graph.node:
        node.output[:] = [name if name in weights else f"{name}_" for name in node.output]
        node.input[:] = [name if name in weights else f"{name}_" for name in node.input]
    del other.graph.output[1]
    del other.metadata_props[:]
    with pytest.raises(UsageError, match="no tensor by the same name"):
        layers_apart(ours(), other, made_up_frames(1, (64, 48)))


def test_layers_of_other_shapes_are_named_and_not_passed_over() -> None:
    narrow = ours()
    for tensor in narrow.graph.initializer:
        if tensor.name in ("w1", "w2", "w3"):
            values = numpy_helper.to_array(tensor)
            cut = values[:, :8] if tensor.name == "w3" else values[:8, : min(values.shape[1], 8)]
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(cut), tensor.name))
    del narrow.graph.value_info[:]
    apart = layers_apart(ours(), narrow, made_up_frames(1, (64, 48)))
    assert apart.other_shapes == ("conv1", "relu1", "conv2", "relu2")
    assert "Of 4 more of one name the shapes differ, first at conv1." in apart.told()
    nothing = replace(apart, layers=())
    assert (nothing.first, nothing.to_dict()["largest_step"]) == (None, None)
    assert nothing.told() == "Of 4 more of one name the shapes differ, first at conv1."


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("a.onnx",), "Graphs are compared with graphs"),
        (("a.onnx", "bundle"), "Graphs are compared with graphs"),
        (("a.onnx", "b.onnx", "--report", "r"), "--report goes with bundles"),
        (("a.onnx", "theirs.onnx"), "the one input must be called frames"),
        (("bundle", "--layers"), "--layers and --preset are for ONNX files"),
    ],
)
def test_what_cannot_be_compared_is_told(words: tuple[str, ...], told: str, folder: Path, run: Run) -> None:
    paths = [str(folder / word) if word.endswith(".onnx") else word for word in words]
    code, _, error = run("compare", *paths, "--data", folder / "photographs")
    assert code == 2
    assert told in " ".join(error.split())
