from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from trtparse.calibration.quantise.equalisation import channel_groups, equalise
from trtparse.calibration.quantise.lint import check
from trtparse.calibration.quantise.placement import place
from trtparse.calibration.quantise.qdq import quantise
from trtparse.calibration.ranges import RangeCollector, Ranges
from trtparse.engines.base import Frames
from trtparse.errors import DataError
from trtparse.graphs.index import GraphIndex
from trtparse.graphs.observe import Observer

NewGraph = Callable[..., Any]
NewLadder = Callable[..., onnx.ModelProto]


def outputs_of(model: onnx.ModelProto, tensor: str, frames: Frames) -> NDArray[np.float32]:
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    opened.graph.output.append(onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(opened.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run([tensor], {"frames": frames})[0])


def channel_maxima(model: onnx.ModelProto, tensor: str, frames: Frames) -> NDArray[np.float64]:
    observer = Observer(model, [tensor], (), 1)
    found = [np.abs(observer.activations(frame)[0][0]).max(axis=(1, 2)) for frame in frames]
    return np.max(found, axis=0).astype(np.float64)


def unequal(new_graph: NewGraph) -> onnx.ModelProto:
    """Two convolutions, the channels between them of very different sizes, a depthwise one and a third."""
    new = new_graph()
    first = new.relu(new.conv(new.image(), "first", (3, 16)))
    depthwise = new.relu(new.conv(first, "depthwise", (16, 16), group=16))
    model = new.labels(new.relu(new.conv(depthwise, "last", (16, 16))), 16)
    for tensor in model.graph.initializer:
        if tensor.name in ("first.weight", "first.bias"):
            values = onnx.numpy_helper.to_array(tensor) * 3.0 ** np.linspace(-3, 3, 16).reshape(
                -1, *[1] * (len(tensor.dims) - 1)
            )
            tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), tensor.name))
    return model


class TestFunction:
    @given(strength=st.floats(0, 1), seed=st.integers(0, 3))
    @settings(max_examples=8, deadline=None)
    def test_the_graph_computes_the_same_bit_for_bit(
        self, strength: float, seed: int, new_ladder: NewLadder, small_frames: Frames
    ) -> None:
        model = new_ladder()
        rng = np.random.default_rng(seed)
        for tensor in model.graph.initializer:
            if tensor.name.endswith((".weight", ".bias")):
                values = onnx.numpy_helper.to_array(tensor)
                factors = np.exp(rng.normal(size=(len(values), *[1] * (values.ndim - 1)))).astype(np.float32)
                tensor.CopyFrom(onnx.numpy_helper.from_array(values * factors, tensor.name))
        result = equalise(model, small_frames, strength=strength, threads=1)
        assert result.SerializeToString() != model.SerializeToString()
        np.testing.assert_array_equal(
            outputs_of(result, "logits", small_frames), outputs_of(model, "logits", small_frames)
        )

    def test_the_student_computes_the_same_bit_for_bit(self, student: onnx.ModelProto, frames: Frames) -> None:
        result = equalise(student, frames[:2], threads=1)
        maker = next(node for node in student.graph.node if node.name == "head.logits").output[0]
        np.testing.assert_array_equal(outputs_of(result, maker, frames[:1]), outputs_of(student, maker, frames[:1]))

    def test_the_graph_that_is_given_stays_as_it_was(self, new_ladder: NewLadder, small_frames: Frames) -> None:
        model = new_ladder()
        before = model.SerializeToString(deterministic=True)
        equalise(model, small_frames, threads=1)
        assert model.SerializeToString(deterministic=True) == before


class TestChannels:
    def test_those_of_an_activation_come_nearer_to_each_other(self, new_graph: NewGraph, small_frames: Frames) -> None:
        model = unequal(new_graph)
        result = equalise(model, small_frames, strength=1, threads=1)
        for tensor in ("first.relu", "depthwise.relu"):
            before, after = (channel_maxima(graph, tensor, small_frames) for graph in (model, result))
            before, after = before[before > 0], after[after > 0]
            assert after.max() / after.min() < 0.2 * before.max() / before.min()

    def test_int8_comes_nearer_to_float(
        self, new_graph: NewGraph, small_frames: Frames, ranges_for: Callable[..., Ranges]
    ) -> None:
        model = unequal(new_graph)
        errors = []
        for graph in (model, equalise(model, small_frames, threads=1)):
            collector = RangeCollector(graph, threads=1)
            collector.update("all", small_frames)
            ranges = replace(ranges_for(graph), limits=collector.limits())
            int8 = quantise(graph, place(graph), ranges)
            check(int8)
            difference = outputs_of(int8, "logits", small_frames) - outputs_of(model, "logits", small_frames)
            errors.append(float(np.square(difference).mean()))
        assert errors[1] < 0.5 * errors[0]

    def test_no_factor_is_larger_than_16(self, new_graph: NewGraph, small_frames: Frames) -> None:
        model = unequal(new_graph)
        result = equalise(model, small_frames, strength=1, threads=1)
        ratio = GraphIndex(result.graph).array("first.bias") / GraphIndex(model.graph).array("first.bias")
        assert set(np.abs(np.log2(ratio))) <= {0, 1, 2, 3, 4}


class TestGroups:
    def test_a_residual_stream_is_one_group(self, new_ladder: NewLadder) -> None:
        groups = channel_groups(new_ladder())
        (stream,) = (group for group in groups if "block.add" in group.tensors)
        assert {node.name for node in stream.makers} == {"stem", "block.conv2"}
        assert {node.name for node in stream.readers} == {"block.conv1", "down.conv1", "down.project"}
        assert {"stem.relu", "pool", "block.add.relu"} <= stream.tensors

    def test_a_depthwise_convolution_reads_one_and_makes_another(self, new_ladder: NewLadder) -> None:
        groups = channel_groups(new_ladder())
        (made,) = (group for group in groups if any(node.name == "depthwise" for node in group.makers))
        assert [node.name for node in made.readers] == ["mix"]

    def test_what_a_concat_a_product_or_a_transposed_convolution_touches_is_in_none(
        self, new_ladder: NewLadder
    ) -> None:
        tensors = set().union(*(group.tensors for group in channel_groups(new_ladder())))
        assert tensors.isdisjoint({"left", "left.relu", "right", "concat", "fuse", "attention", "up", "down.add.relu"})

    def test_relu6_ties_nothing(self, new_graph: NewGraph) -> None:
        new = new_graph()
        first = new.conv(new.image(), "first", (3, 16))
        clipped = new.node("Clip", [first, new.constant("zero", 0), new.constant("six", 6)], "clip")
        model = new.labels(new.relu(new.conv(clipped, "second", (16, 16))), 16)
        assert [[node.name for node in group.makers] for group in channel_groups(model)] == [["second"]]

    def test_weights_that_two_layers_share_stay(self, new_graph: NewGraph) -> None:
        new = new_graph()
        first = new.relu(new.conv(new.image(), "first", (3, 20)))
        second = new.relu(new.conv(first, "second", (20, 20), 1, bias=False))
        model = new.labels(second, 20)
        next(node for node in model.graph.node if node.name == "logits").input[1] = "second.weight"
        assert channel_groups(model) == []

    def test_without_frames_it_is_refused(self, new_ladder: NewLadder) -> None:
        with pytest.raises(DataError, match="none to equalise on"):
            equalise(new_ladder(), [], threads=1)
