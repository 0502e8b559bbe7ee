from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from trtparse.calibration.quantise.lint import check
from trtparse.calibration.quantise.placement import WeightSite, place, restrict
from trtparse.calibration.quantise.qdq import activation_scales, quantise
from trtparse.calibration.quantise.weights import Int8Weights
from trtparse.calibration.ranges import Ranges
from trtparse.errors import BuildError
from trtparse.graphs.half import to_half
from trtparse.graphs.index import GraphIndex
from trtparse.graphs.simulated import simulated_graph

NewGraph = Callable[..., Any]
RangesFor = Callable[..., Ranges]


def scales_of(model: onnx.ModelProto) -> dict[str, NDArray[np.generic]]:
    """Quantised tensor to its scale."""
    index = GraphIndex(model.graph)
    return {node.input[0]: index.array(node.input[1]) for node in index.nodes if node.op_type == "QuantizeLinear"}


def round_trip(weight: NDArray[np.float32], scale: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """A weight after QuantizeLinear and DequantizeLinear, as the runtime computes them."""
    make = onnx.helper.make_node
    nodes = [
        make("QuantizeLinear", ["w", "s", "z"], ["q"], axis=axis),
        make("DequantizeLinear", ["q", "s", "z"], ["y"], axis=axis),
    ]
    constants = {"w": weight, "s": scale, "z": np.zeros(scale.shape, np.int8)}
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, weight.shape)
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = onnx.helper.make_graph(nodes, "round_trip", [], [output], tensors)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {})[0])


def integers_in(model: onnx.ModelProto) -> dict[str, NDArray[np.int8]]:
    """Quantised weight to the integers that QuantizeLinear makes of it, in the graph's own types."""
    index = GraphIndex(model.graph)
    pairs = [node for node in index.nodes if node.op_type == "QuantizeLinear" and node.input[0] in index.initializers]
    names = {name for node in pairs for name in node.input}
    outputs = [onnx.helper.make_tensor_value_info(node.output[0], onnx.TensorProto.INT8, None) for node in pairs]
    graph = onnx.helper.make_graph(pairs, "weights", [], outputs, [index.initializers[name] for name in sorted(names)])
    part = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=10)
    content = simulated_graph(part).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return dict(zip((node.input[0] for node in pairs), session.run(None, {})))


class TestActivationScales:
    def test_each_is_the_largest_absolute_value_over_127_up_to_fp16_s_rounding(
        self, new_ladder: Callable[..., onnx.ModelProto], ranges_for: RangesFor
    ) -> None:
        model = new_ladder()
        placement, ranges = place(model), ranges_for(model, -7.3, 1.1)
        shared = set().union(*placement.shared)
        scales = activation_scales(placement, ranges)
        assert set(scales) == set(placement.activations)
        for tensor in set(scales) - shared:
            exact = max(abs(limit) for limit in ranges.limits[tensor]) / 127
            assert exact <= scales[tensor] <= exact * (1 + 2**-10)

    def test_a_concat_s_tensors_share_the_largest_of_theirs(
        self, new_ladder: Callable[..., onnx.ModelProto], ranges_for: RangesFor
    ) -> None:
        model = new_ladder()
        placement, ranges = place(model), ranges_for(model)
        (group,) = (group for group in placement.shared if "concat" in group)
        assert group == {"left.relu", "right.relu", "concat"}
        assert len({ranges.absolute_maximum(tensor) for tensor in group}) == 3
        scales = scales_of(quantise(model, placement, ranges))
        largest = max(ranges.absolute_maximum(tensor) for tensor in group)
        assert {float(scales[tensor]) for tensor in group} == {activation_scales(placement, ranges)["concat"]}
        assert float(scales["concat"]) * 127 >= largest

    def test_a_missing_range_names_the_tensor(
        self, new_ladder: Callable[..., onnx.ModelProto], ranges_for: RangesFor
    ) -> None:
        model = new_ladder()
        ranges = ranges_for(model)
        limits = {name: limit for name, limit in ranges.limits.items() if name != "pool"}
        with pytest.raises(BuildError, match=r"range for pool \(1 in all\)"):
            quantise(model, place(model), replace(ranges, limits=limits))

    def test_a_range_too_large_for_fp16_names_the_tensor(
        self, new_ladder: Callable[..., onnx.ModelProto], ranges_for: RangesFor
    ) -> None:
        model = new_ladder()
        ranges = ranges_for(model)
        with pytest.raises(BuildError, match=r"pool reaches 1e\+07"):
            quantise(model, place(model), replace(ranges, limits={**ranges.limits, "pool": (0.0, 1e7)}))


class TestWeights:
    @pytest.mark.parametrize("axis", [0, 1])
    @pytest.mark.parametrize("magnitude", [1e-6, 1e-3, 1.0, 1e3])
    def test_there_and_back_is_off_by_half_a_scale_at_the_most(self, axis: int, magnitude: float) -> None:
        rng = np.random.default_rng(1)
        weight = (rng.normal(size=(8, 8, 3, 3)) * magnitude).astype(np.float32)
        weight *= rng.uniform(0.01, 1, size=(8, 8, 1, 1)).astype(np.float32)
        scale = Int8Weights().scales(weight, WeightSite("w", axis, ("layer",)))
        shape = [1] * 4
        shape[axis] = 8
        error = np.abs(round_trip(weight, scale, axis) - weight)
        assert (error <= scale.reshape(shape) * 0.50001).all()

    def test_each_channel_has_the_scale_of_its_own_largest_weight(self) -> None:
        weight = np.zeros((4, 2, 1, 1), np.float32)
        weight[:, 0, 0, 0] = [127, -254, 0.127, 0]
        np.testing.assert_allclose(
            Int8Weights().scales(weight, WeightSite("w", 0, ("layer",))), [1, 2, 0.001, 1], rtol=2**-10
        )

    def test_a_dead_channel_stays_zero(self) -> None:
        weight = np.zeros((2, 3, 1, 1), np.float32)
        weight[0] = 0.5
        scale = Int8Weights().scales(weight, WeightSite("w", 0, ("layer",)))
        assert (round_trip(weight, scale, 0)[1] == 0).all()

    @pytest.mark.parametrize("value", [np.nan, np.inf, 1e7])
    def test_a_weight_that_has_no_scale_is_named(self, value: float) -> None:
        weight = np.ones((2, 3, 1, 1), np.float32)
        weight[1, 2] = value
        with pytest.raises(BuildError, match=r"layer\.weight"):
            Int8Weights().scales(weight, WeightSite("layer.weight", 0, ("layer",)))

    def test_the_channel_axis_is_in_the_graph(self, quantised_ladder: onnx.ModelProto) -> None:
        axes = {
            node.input[0]: attribute.i
            for node in quantised_ladder.graph.node
            if node.op_type == "QuantizeLinear"
            for attribute in node.attribute
        }
        assert axes["up.weight"] == 1
        assert {axis for name, axis in axes.items() if name != "up.weight"} == {0}
        scales = scales_of(quantised_ladder)
        assert scales["up.weight"].shape == (16,)
        assert scales["depthwise.weight"].shape == (32,)

    def test_one_that_a_float_convolution_shares_is_float_there(
        self, new_graph: NewGraph, ranges_for: RangesFor
    ) -> None:
        new = new_graph()
        first = new.conv(new.image(), "first", (3, 20))
        second = new.relu(new.conv(first, "second", (20, 20), 1, bias=False))
        model = new.labels(second, 20)
        by_name = {node.name: node for node in model.graph.node}
        by_name["logits"].input[1] = "second.weight"
        result = quantise(model, place(model), ranges_for(model))
        by_name = {node.name: node for node in result.graph.node}
        assert by_name["second"].input[1] == "second.weight_dequantised"
        assert by_name["logits"].input[1] == "second.weight"
        check(result)

    def test_learned_ones_are_exactly_those_that_the_graph_rounds_to(
        self, new_ladder: Callable[..., onnx.ModelProto], ranges_for: RangesFor
    ) -> None:
        model = new_ladder()
        placement, index = place(model), GraphIndex(model.graph)
        rng = np.random.default_rng(3)
        learned = {
            site.tensor: rng.integers(-127, 128, index.array(site.tensor).shape).astype(np.int8)
            for site in placement.weights
        }
        result = quantise(model, placement, ranges_for(model), weights=Int8Weights("mse", learned))
        for graph in (result, to_half(result)):
            found = integers_in(graph)
            assert len(found) == len(learned)
            for tensor, integers in learned.items():
                np.testing.assert_array_equal(found[tensor], integers, err_msg=tensor)

    def test_clipped_ones_end_at_127_on_both_sides(self, new_graph: NewGraph, ranges_for: RangesFor) -> None:
        new = new_graph()
        model = new.labels(new.conv(new.image(), "first", (3, 16)), 16)
        weight = next(tensor for tensor in model.graph.initializer if tensor.name == "first.weight")
        values = numpy_helper.to_array(weight).copy()
        values[:, 0, 0, 0] = -20 * np.abs(values).max()
        values[:, 1] = values[:, 2] = values[:, 0] / 40
        weight.CopyFrom(numpy_helper.from_array(values, weight.name))
        integers = integers_in(quantise(model, place(model), ranges_for(model), weights=Int8Weights("mse")))
        assert integers["first.weight"].min() == -127

    def test_a_float_convolution_that_shares_a_learned_one_reads_it_as_it_was(
        self, new_graph: NewGraph, ranges_for: RangesFor
    ) -> None:
        new = new_graph()
        first = new.conv(new.image(), "first", (3, 20))
        second = new.relu(new.conv(first, "second", (20, 20), 1, bias=False))
        model = new.labels(second, 20)
        by_name = {node.name: node for node in model.graph.node}
        by_name["logits"].input[1] = "second.weight"
        before = GraphIndex(model.graph).array("second.weight")
        learned = {"second.weight": np.ones(before.shape, np.int8)}
        result = quantise(model, place(model), ranges_for(model), weights=Int8Weights(integers=learned))
        np.testing.assert_array_equal(GraphIndex(result.graph).array("second.weight"), before)
        np.testing.assert_array_equal(integers_in(result)["second.weight_int8"], 1)
        check(result)

    def test_learned_ones_of_another_shape_are_refused(
        self, new_ladder: Callable[..., onnx.ModelProto], ranges_for: RangesFor
    ) -> None:
        model = new_ladder()
        wrong = Int8Weights(integers={"head.weight": np.ones((2, 2), np.int8)})
        with pytest.raises(BuildError, match=r"rounding of head\.weight is int8 of the shape \(2, 2\)"):
            quantise(model, place(model), ranges_for(model), weights=wrong)


class TestBiases:
    def test_one_moves_while_its_layer_is_in_int8_and_no_longer(
        self, new_ladder: Callable[..., onnx.ModelProto], ranges_for: RangesFor
    ) -> None:
        model = new_ladder()
        before = GraphIndex(model.graph).array("head.bias")
        shift = np.arange(32, dtype=np.float32)
        moved = Int8Weights(bias_shifts={"head": shift})
        placement = place(model)
        in_int8 = quantise(model, placement, ranges_for(model), weights=moved)
        np.testing.assert_array_equal(GraphIndex(in_int8.graph).array("head.bias"), before + shift)
        others = restrict(placement, [layer for layer in placement.layers if layer != "head"])
        in_float = quantise(model, others, ranges_for(model), weights=moved)
        np.testing.assert_array_equal(GraphIndex(in_float.graph).array("head.bias"), before)

    def test_a_convolution_without_one_gets_one(self, new_graph: NewGraph, ranges_for: RangesFor) -> None:
        new = new_graph()
        model = new.labels(new.conv(new.image(), "first", (3, 16), bias=False), 16)
        shift = np.full(16, 0.5, np.float32)
        result = quantise(model, place(model), ranges_for(model), weights=Int8Weights(bias_shifts={"first": shift}))
        onnx.checker.check_model(result, full_check=True)
        (node,) = (node for node in result.graph.node if node.name == "first")
        np.testing.assert_array_equal(GraphIndex(result.graph).array(node.input[2]), shift)

    def test_two_layers_that_share_one_move_it_each_for_itself(
        self, new_ladder: Callable[..., onnx.ModelProto], ranges_for: RangesFor
    ) -> None:
        model = new_ladder()
        by_name = {node.name: node for node in model.graph.node}
        by_name["right"].input[2] = "left.bias"
        before = GraphIndex(model.graph).array("left.bias")
        shifts = {"left": np.full(16, 1, np.float32), "right": np.full(16, 2, np.float32)}
        result = quantise(model, place(model), ranges_for(model), weights=Int8Weights(bias_shifts=shifts))
        index = GraphIndex(result.graph)
        for node in result.graph.node:
            if node.name in shifts:
                np.testing.assert_array_equal(index.array(node.input[2]), before + shifts[node.name])

    def test_a_shift_of_another_size_is_refused(
        self, new_ladder: Callable[..., onnx.ModelProto], ranges_for: RangesFor
    ) -> None:
        model = new_ladder()
        wrong = Int8Weights(bias_shifts={"head": np.ones(3, np.float32)})
        with pytest.raises(BuildError, match="bias of head has 32 values, and its correction 3"):
            quantise(model, place(model), ranges_for(model), weights=wrong)


class TestGraph:
    def test_it_passes_the_checker_and_the_lint(self, quantised_ladder: onnx.ModelProto) -> None:
        onnx.checker.check_model(quantised_ladder, full_check=True)
        check(quantised_ladder)

    def test_exactly_the_placed_inputs_are_quantised(
        self, new_ladder: Callable[..., onnx.ModelProto], quantised_ladder: onnx.ModelProto
    ) -> None:
        placement = place(new_ladder())
        found = {
            (node.name, position, name.removesuffix("_dequantised"))
            for node in quantised_ladder.graph.node
            for position, name in enumerate(node.input)
            if name.endswith("_dequantised")
        }
        activations = {
            (name, position, tensor) for tensor, sites in placement.activations.items() for name, position in sites
        }
        weights = {(site.tensor.removesuffix(".weight"), 1, site.tensor) for site in placement.weights}
        assert found == activations | weights

    def test_zero_points_are_zero_and_int8(self, quantised_ladder: onnx.ModelProto) -> None:
        zeros = [tensor for tensor in quantised_ladder.graph.initializer if tensor.name.endswith("_zero_point")]
        assert len(zeros) == len(scales_of(quantised_ladder))
        for tensor in zeros:
            values = numpy_helper.to_array(tensor)
            assert values.dtype == np.int8
            assert not values.any()

    def test_scales_are_exact_in_fp16(self, quantised_ladder: onnx.ModelProto) -> None:
        for scale in scales_of(quantised_ladder).values():
            np.testing.assert_array_equal(scale.astype(np.float16).astype(np.float32), scale)

    def test_the_fp32_graph_is_left_as_it_was(
        self, new_ladder: Callable[..., onnx.ModelProto], ranges_for: RangesFor
    ) -> None:
        model = new_ladder()
        before = model.SerializeToString(deterministic=True)
        quantise(model, place(model), ranges_for(model))
        assert model.SerializeToString(deterministic=True) == before

    def test_weights_keep_their_float_values(
        self, new_ladder: Callable[..., onnx.ModelProto], quantised_ladder: onnx.ModelProto
    ) -> None:
        kept = {tensor.name: tensor for tensor in quantised_ladder.graph.initializer}
        for tensor in new_ladder().graph.initializer:
            assert kept[tensor.name] == tensor

    def test_an_activation_at_the_end_of_its_range_does_not_saturate(
        self, new_graph: NewGraph, ranges_for: RangesFor
    ) -> None:
        new = new_graph(size=4)
        model = new.labels(new.conv(new.image(), "first", (3, 16)), 16)
        ranges = ranges_for(model)
        result = quantise(model, place(model), replace(ranges, limits={**ranges.limits, "image": (0.0, 1.0)}))
        result.graph.output.append(
            onnx.helper.make_tensor_value_info("image_dequantised", onnx.TensorProto.FLOAT, None)
        )
        session = onnxruntime.InferenceSession(result.SerializeToString(), providers=["CPUExecutionProvider"])
        frames = np.full((1, 4, 4, 3), 255, np.uint8)
        (image,) = session.run(["image_dequantised"], {"frames": frames})
        scale = float(scales_of(result)["image"])
        assert (np.abs(image - 1.0) <= scale / 2).all()

    def test_the_student_s_has_a_pair_for_each_place(self, student: onnx.ModelProto, ranges_for: RangesFor) -> None:
        result = quantise(student, place(student), ranges_for(student))
        counts = [
            sum(node.op_type == kind for node in result.graph.node) for kind in ("QuantizeLinear", "DequantizeLinear")
        ]
        assert counts == [33 + 30, 33 + 30]
        check(result)
