from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from trtparse.calibration.quantise.cpu import quantise_for_cpu
from trtparse.calibration.quantise.placement import place
from trtparse.calibration.quantise.qdq import quantise
from trtparse.calibration.quantise.weights import Int8Weights
from trtparse.calibration.ranges import RangeCollector, Ranges, scale_of
from trtparse.engines import Bundle
from trtparse.engines.base import Frames
from trtparse.engines.bundle import CALIBRATION_NAME
from trtparse.engines.cpu import CpuEngine
from trtparse.errors import BuildError
from trtparse.graphs.index import GraphIndex

NewLadder = Callable[..., onnx.ModelProto]


@pytest.fixture(scope="module")
def ladder(new_ladder: NewLadder) -> onnx.ModelProto:
    return new_ladder()


@pytest.fixture(scope="module")
def ladder_ranges(ladder: onnx.ModelProto, small_frames: Frames, ranges_for: Callable[..., Ranges]) -> Ranges:
    collector = RangeCollector(ladder, threads=1)
    for number, frame in enumerate(small_frames):
        collector.update(f"image_{number}", frame[None])
    return replace(ranges_for(ladder), limits=collector.limits())


@pytest.fixture(scope="module")
def small(ladder: onnx.ModelProto, ladder_ranges: Ranges) -> onnx.ModelProto:
    return quantise_for_cpu(ladder, place(ladder), ladder_ranges)


@pytest.fixture(scope="module")
def whole(pristine_bundle: Bundle) -> onnx.ModelProto:
    """The student's, as the build wrote it."""
    return onnx.load(pristine_bundle.graph("int8-cpu"))


def dequantised(index: GraphIndex, node: onnx.NodeProto, position: int) -> onnx.NodeProto | None:
    """The DequantizeLinear that makes an input."""
    maker = index.producer(node.input[position])
    return maker if maker is not None and maker.op_type == "DequantizeLinear" else None


def quantised_convolutions(
    model: onnx.ModelProto,
) -> Iterator[tuple[GraphIndex, onnx.NodeProto, onnx.NodeProto, onnx.NodeProto]]:
    """(index, convolution, what dequantises its input, what dequantises its weight)."""
    index = GraphIndex(model.graph)
    for node in index.convolutions():
        sides = dequantised(index, node, 0), dequantised(index, node, 1)
        if sides[1] is not None:
            assert sides[0] is not None, f"{node.name} has a quantised weight and a float input"
            yield index, node, sides[0], sides[1]


def outputs_of(model: onnx.ModelProto, tensor: str, frames: Frames) -> NDArray[np.float32]:
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    opened.graph.output.append(onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(opened.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run([tensor], {"frames": frames})[0])


def logits_of(model: onnx.ModelProto, frames: Frames) -> NDArray[np.float32]:
    """What the logit convolution computes."""
    return outputs_of(model, "logits", frames)


@pytest.fixture(params=["small", "whole"])
def graph(request: pytest.FixtureRequest) -> onnx.ModelProto:
    """A graph by hand and the student's."""
    model: onnx.ModelProto = request.getfixturevalue(request.param)
    return model


class TestForm:
    def test_activations_are_uint8(self, graph: onnx.ModelProto) -> None:
        index = GraphIndex(graph.graph)
        written = [node for node in index.nodes if node.op_type == "QuantizeLinear"]
        assert written
        for node in written:
            zero = index.array(node.input[2])
            assert (zero.dtype, zero.shape) == (np.uint8, ())
            assert index.array(node.input[1]).shape == ()

    def test_weights_are_int8_symmetric_and_per_channel(self, graph: onnx.ModelProto) -> None:
        convolutions = list(quantised_convolutions(graph))
        assert convolutions
        for index, node, _, weight in convolutions:
            values, scale, zero = (index.array(name) for name in weight.input)
            assert values.dtype == np.int8
            assert scale.shape == (values.shape[0],)
            assert not zero.any()
            assert [attribute.i for attribute in weight.attribute if attribute.name == "axis"] == [0], node.name

    def test_biases_are_int32_in_units_of_input_times_weight(self, graph: onnx.ModelProto) -> None:
        seen = 0
        for index, node, activation, weight in quantised_convolutions(graph):
            if len(node.input) < 3:
                continue
            bias = dequantised(index, node, 2)
            assert bias is not None, f"{node.name} has a float bias"
            assert index.array(bias.input[0]).dtype == np.int32
            units = index.array(activation.input[1]) * index.array(weight.input[1])
            np.testing.assert_allclose(index.array(bias.input[1]), units, rtol=1e-6)
            seen += 1
        assert seen

    def test_it_is_topologically_sorted(self, graph: onnx.ModelProto) -> None:
        known = {tensor.name for tensor in (*graph.graph.initializer, *graph.graph.input)} | {""}
        for node in graph.graph.node:
            assert set(node.input) <= known, node.name
            known |= set(node.output)

    def test_it_passes_the_checker(self, graph: onnx.ModelProto) -> None:
        onnx.checker.check_model(graph, full_check=True)

    def test_no_relu_is_left_behind_a_quantised_convolution(self, graph: onnx.ModelProto) -> None:
        index = GraphIndex(graph.graph)
        written = {node.input[0] for node in index.nodes if node.op_type == "QuantizeLinear"}
        relus = [node for node in index.nodes if node.op_type == "Relu"]
        for node in relus:
            maker = dequantised(index, node, 0)
            if maker is not None:
                source = index.producer(index.producer(maker.input[0]).input[0])  # type: ignore[union-attr]
                assert source is None or source.op_type != "Conv", f"{node.name} clips what {source.name} had rounded"
        folded = [node.output[0] for node in index.convolutions() if "relu" in node.output[0]]
        assert len(folded) > 5
        assert written.issuperset(folded)

    def test_a_convolution_whose_relu_is_folded_reaches_down_to_zero(self, small: onnx.ModelProto) -> None:
        index = GraphIndex(small.graph)
        assert int(index.array("head.relu_zero_point")) == 0
        assert [node.output[0] for node in index.convolutions() if node.name == "head"] == ["head.relu"]

    def test_a_relu_that_shares_its_convolution_with_another_reader_stays(
        self, new_graph: Callable[..., Any], ranges_for: Callable[..., Ranges]
    ) -> None:
        new = new_graph()
        first = new.conv(new.image(), "first", (3, 16))
        both = new.node("Mul", [first, new.relu(first)], "both")
        model = new.labels(both, 16)
        result = quantise_for_cpu(model, place(model), ranges_for(model))
        assert "Relu" in {node.op_type for node in result.graph.node}

    def test_relu6_folds_as_well(self, new_graph: Callable[..., Any], ranges_for: Callable[..., Ranges]) -> None:
        new = new_graph()
        first = new.conv(new.image(), "first", (3, 16))
        clipped = new.node("Clip", [first, new.constant("zero", 0), new.constant("six", 6)], "clip")
        model = new.labels(new.relu(new.conv(clipped, "second", (16, 16))), 16)
        ranges = ranges_for(model)
        result = quantise_for_cpu(model, place(model), replace(ranges, limits={**ranges.limits, "clip": (0.0, 6.0)}))
        assert "Clip" not in {node.op_type for node in result.graph.node}
        np.testing.assert_allclose(GraphIndex(result.graph).array("clip_scale"), 6 / 255, rtol=1e-6)


class TestWeights:
    """They are those of TensorRT's graph, number for number."""

    @pytest.mark.parametrize("method", ["max", "mse"])
    def test_scales_and_integers_are_the_same(
        self, method: str, ladder: onnx.ModelProto, ladder_ranges: Ranges
    ) -> None:
        weights = Int8Weights(method)
        placement, original = place(ladder), GraphIndex(ladder.graph)
        result = quantise_for_cpu(ladder, placement, ladder_ranges, weights=weights)
        sites = {name: site for site in placement.weights for name in site.layers}
        seen = 0
        for index, node, _, weight in quantised_convolutions(result):
            site = sites[node.name]
            values = original.array(site.tensor)
            np.testing.assert_array_equal(index.array(weight.input[0]), weights.integers_of(values, site))
            np.testing.assert_array_equal(index.array(weight.input[1]), weights.scales(values, site))
            seen += 1
        assert seen > 10

    def test_learned_integers_and_moved_biases_are_in_it(self, ladder: onnx.ModelProto, ladder_ranges: Ranges) -> None:
        learned = {"head.weight": np.full((32, 32, 3, 3), 5, np.int8)}
        shift = np.linspace(-1, 1, 32, dtype=np.float32)
        weights = Int8Weights(integers=learned, bias_shifts={"head": shift})
        result = quantise_for_cpu(ladder, place(ladder), ladder_ranges, weights=weights)
        (found,) = (entry for entry in quantised_convolutions(result) if entry[1].name == "head")
        index, node, activation, weight = found
        np.testing.assert_array_equal(index.array(weight.input[0]), 5)
        bias = dequantised(index, node, 2)
        assert bias is not None
        moved = index.array(bias.input[0]) * index.array(bias.input[1])
        units = index.array(activation.input[1]) * index.array(weight.input[1])
        assert (np.abs(moved - GraphIndex(ladder.graph).array("head.bias") - shift) <= units).all()

    def test_a_convolution_without_a_bias_gets_one(
        self, new_graph: Callable[..., Any], ranges_for: Callable[..., Ranges], small_frames: Frames
    ) -> None:
        new = new_graph()
        model = new.labels(new.relu(new.conv(new.image(), "first", (3, 16), bias=False)), 16)
        ranges = ranges_for(model, 0.0, 1.0)
        shift = np.full(16, 0.25, np.float32)
        moved = Int8Weights(bias_shifts={"first": shift})
        graphs = [quantise_for_cpu(model, place(model), ranges, weights=weights) for weights in (Int8Weights(), moved)]
        onnx.checker.check_model(graphs[1], full_check=True)
        first, second = (outputs_of(graph, "first.relu", small_frames) for graph in graphs)
        inside = (first > 0.01) & (second < 0.9)
        assert inside.any()
        np.testing.assert_allclose((second - first)[inside], 0.25, atol=0.01)

    def test_a_channel_of_next_to_nothing_keeps_its_bias(
        self, new_graph: Callable[..., Any], ranges_for: Callable[..., Ranges], small_frames: Frames
    ) -> None:
        new = new_graph()
        model = new.labels(new.relu(new.conv(new.image(), "first", (3, 16))), 16)
        for tensor in model.graph.initializer:
            values = onnx.numpy_helper.to_array(tensor).copy()
            if tensor.name == "first.weight":
                values[0] = 1e-9
            if tensor.name == "first.bias":
                values[0] = 7.5
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        ranges = ranges_for(model, 0.0, 8.0)
        ranges = replace(ranges, limits={**ranges.limits, "image": (0.0, 1.0)})
        result = quantise_for_cpu(model, place(model), ranges)
        np.testing.assert_allclose(outputs_of(result, "first.relu", small_frames)[:, 0], 7.5, atol=0.05)


class TestPlacement:
    def test_the_convolutions_of_the_placement_are_quantised_and_no_others(
        self, small: onnx.ModelProto, ladder: onnx.ModelProto
    ) -> None:
        names = {node.name for _, node, _, _ in quantised_convolutions(small)}
        placed = {site.tensor.removesuffix(".weight") for site in place(ladder).weights}
        # The runtime has no INT8 kernel for a transposed convolution.
        assert names == placed - {"up"}

    def test_all_33_of_the_student_are_quantised_and_nine_stay_float(
        self, whole: onnx.ModelProto, student: onnx.ModelProto
    ) -> None:
        assert len(list(quantised_convolutions(whole))) == 33
        index = GraphIndex(whole.graph)
        kept = place(student).higher_precision
        assert len(kept) == 9
        for node in index.convolutions():
            if node.name in kept:
                assert dequantised(index, node, 1) is None, node.name
                assert index.array(node.input[1]).dtype == np.float32

    def test_residual_additions_read_both_sides_dequantised(self, whole: onnx.ModelProto) -> None:
        index = GraphIndex(whole.graph)
        adds = [node for node in index.nodes if node.op_type == "Add" and dequantised(index, node, 0) is not None]
        assert len(adds) == 8
        assert all(dequantised(index, node, 1) is not None for node in adds)

    def test_what_decides_the_label_stays_float(self, graph: onnx.ModelProto) -> None:
        index = GraphIndex(graph.graph)
        for node in index.nodes:
            if node.op_type in ("ArgMax", "Sigmoid"):
                assert dequantised(index, node, 0) is None, node.name
        (argmax,) = (node for node in index.nodes if node.op_type == "ArgMax")
        resize = index.producer(argmax.input[0])
        assert resize is not None
        assert resize.op_type == "Resize"
        assert dequantised(index, resize, 0) is None


class TestRanges:
    def test_each_uint8_scale_spans_its_range_and_zero(self, small: onnx.ModelProto, ladder_ranges: Ranges) -> None:
        index = GraphIndex(small.graph)
        seen = 0
        for name, (low, high) in ladder_ranges.limits.items():
            if f"{name}_scale" in index.initializers:
                span = max(high, 0.0) - min(low, 0.0)
                np.testing.assert_allclose(index.array(f"{name}_scale"), span / 255, rtol=1e-5, err_msg=name)
                seen += 1
        assert seen > 15

    def test_a_range_of_its_own_for_uint8_is_taken(self, ladder: onnx.ModelProto, ladder_ranges: Ranges) -> None:
        relu = next(node.output[0] for node in ladder.graph.node if node.op_type == "Relu")
        high = 3 * ladder_ranges.limits[relu][1]
        graph = quantise_for_cpu(ladder, place(ladder), replace(ladder_ranges, unsigned={relu: high}))
        np.testing.assert_allclose(GraphIndex(graph.graph).array(f"{relu}_scale"), high / 255, rtol=1e-5)

    def test_both_int8_graphs_of_a_bundle_come_from_the_ranges_beside_them(
        self, pristine_bundle: Bundle, whole: onnx.ModelProto, student: onnx.ModelProto
    ) -> None:
        content = json.loads((pristine_bundle.path / CALIBRATION_NAME).read_text())
        limits, unsigned = content["ranges"], content["unsigned"]
        cpu = GraphIndex(whole.graph)
        tensorrt = GraphIndex(onnx.load(pristine_bundle.graph("int8")).graph)
        common = [name for name in place(student).activations if f"{name}_scale" in cpu.initializers]
        assert len(common) > 25
        for name in common:
            low, high = limits[name]
            assert float(tensorrt.array(f"{name}_scale")) == scale_of(max(abs(low), abs(high)), name)
            span = max(unsigned.get(name, high), 0.0) - min(low, 0.0)
            np.testing.assert_allclose(cpu.array(f"{name}_scale"), span / 255, rtol=1e-5, err_msg=name)

    def test_a_max_pool_has_the_range_of_its_input(self, small: onnx.ModelProto) -> None:
        index = GraphIndex(small.graph)
        (pool,) = (node for node in index.nodes if node.op_type == "MaxPool")
        before = dequantised(index, pool, 0)
        assert before is not None
        (after,) = (node for node, _ in index.consumers(pool.output[0]))
        assert float(index.array(before.input[1])) == float(index.array(after.input[1]))

    def test_a_missing_range_is_a_build_error(self, ladder: onnx.ModelProto, ladder_ranges: Ranges) -> None:
        limits = {name: pair for name, pair in ladder_ranges.limits.items() if name != "image"}
        with pytest.raises(BuildError, match="image"):
            quantise_for_cpu(ladder, place(ladder), replace(ladder_ranges, limits=limits))


class TestSideEffects:
    def test_the_fp32_graph_is_left_as_it_was(self, new_ladder: NewLadder, ladder_ranges: Ranges) -> None:
        model = new_ladder()
        before = model.SerializeToString(deterministic=True)
        quantise_for_cpu(model, place(model), ladder_ranges)
        assert model.SerializeToString(deterministic=True) == before

    @pytest.mark.parametrize("fails", [False, True])
    def test_the_root_logger_keeps_its_level(self, fails: bool, ladder: onnx.ModelProto, ladder_ranges: Ranges) -> None:
        root = logging.getLogger()
        before = root.level
        root.setLevel(logging.INFO)
        try:
            if fails:
                with pytest.raises(BuildError):
                    quantise_for_cpu(ladder, place(ladder), replace(ladder_ranges, limits={}))
            else:
                quantise_for_cpu(ladder, place(ladder), ladder_ranges)
            assert root.level == logging.INFO
        finally:
            root.setLevel(before)


class TestLabels:
    @pytest.mark.parametrize("form", ["cpu", "tensorrt"])
    def test_the_runtime_runs_a_graph_by_hand_and_its_logits_are_close_to_fp32_s(
        self,
        form: str,
        small: onnx.ModelProto,
        ladder: onnx.ModelProto,
        ladder_ranges: Ranges,
        small_frames: Frames,
    ) -> None:
        expected = logits_of(ladder, small_frames)
        model = small if form == "cpu" else quantise(ladder, place(ladder), ladder_ranges)
        error = logits_of(model, small_frames) - expected
        moved = expected - expected.mean(axis=(0, 2, 3), keepdims=True)
        # 0.08 measured: each logit is a product of three quantised branches. A wrong scale makes it 1 and more.
        assert np.sqrt((error**2).mean()) < 0.15 * moved.std()

    def test_the_student_s_agree_with_fp32_on_95_percent_of_the_pixels(
        self, pristine_bundle: Bundle, frames: Frames
    ) -> None:
        labels = []
        for name in ("fp32", "int8-cpu"):
            with CpuEngine(pristine_bundle.graph(name), name.split("-")[0]) as engine:
                labels.append(engine.infer(frames)[0])
        assert len(np.unique(labels[0])) > 3
        assert (labels[0] == labels[1]).mean() >= 0.95
