from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import pytest

from trtparse.calibration.quantise.placement import Placement, WeightSite, place
from trtparse.errors import UsageError

NewGraph = Callable[..., Any]


def tensors_read(placement: Placement, node: str) -> set[tuple[str, int]]:
    """(tensor, position) of what a node reads quantised."""
    return {
        (tensor, position)
        for tensor, sites in placement.activations.items()
        for name, position in sites
        if name == node
    }


class TestConvolutions:
    def test_one_reads_its_input_and_its_weight_quantised_and_nothing_else(self, new_graph: NewGraph) -> None:
        new = new_graph()
        new.conv(new.relu(new.conv(new.image(), "first", (3, 16))), "second", (16, 32))
        placement = place(new.labels(new.relu("second"), 32))
        assert tensors_read(placement, "second") == {("first.relu", 0)}
        assert WeightSite("second.weight", 0, ("second",)) in placement.weights

    def test_outputs_and_biases_stay_float(self, new_graph: NewGraph) -> None:
        new = new_graph()
        new.conv(new.image(), "first", (3, 16))
        placement = place(new.labels(new.relu("first"), 16))
        assert set(placement.activations) == {"image"}
        assert [site.tensor for site in placement.weights] == ["first.weight"]

    def test_the_first_is_quantised_although_it_has_three_channels(self, new_graph: NewGraph) -> None:
        new = new_graph()
        new.conv(new.image(), "first", (3, 16))
        placement = place(new.labels(new.relu("first"), 16))
        assert tensors_read(placement, "first") == {("image", 0)}

    @pytest.mark.parametrize("channels", [(16, 15), (15, 16), (32, 1), (4, 2)])
    def test_one_with_fewer_than_16_channels_on_a_side_stays_float_and_says_so(
        self, channels: tuple[int, int], new_graph: NewGraph
    ) -> None:
        new = new_graph()
        narrow = new.conv(new.conv(new.image(), "first", (3, channels[0])), "narrow", channels)
        placement = place(new.labels(new.conv(narrow, "last", (channels[1], 16)), 16))
        assert tensors_read(placement, "narrow") == set()
        assert "narrow.weight" not in {site.tensor for site in placement.weights}
        assert placement.higher_precision["narrow"] == f"{channels[0]} to {channels[1]} channels: fewer than 16"

    def test_one_with_16_channels_on_both_sides_is_quantised(self, new_graph: NewGraph) -> None:
        new = new_graph()
        new.conv(new.conv(new.image(), "first", (3, 16)), "second", (16, 16))
        assert tensors_read(place(new.labels("second", 16)), "second")

    @pytest.mark.parametrize("group", [4, 32])
    def test_grouped_and_depthwise_ones_count_all_their_channels(self, group: int, new_graph: NewGraph) -> None:
        new = new_graph()
        new.conv(new.conv(new.image(), "first", (3, 32)), "grouped", (32, 32), group=group)
        placement = place(new.labels("grouped", 32))
        assert tensors_read(placement, "grouped") == {("first", 0)}
        assert WeightSite("grouped.weight", 0, ("grouped",)) in placement.weights

    @pytest.mark.parametrize("group", [1, 2])
    def test_a_transposed_one_is_quantised_along_axis_1(self, group: int, new_graph: NewGraph) -> None:
        new = new_graph()
        new.transposed_conv(new.conv(new.image(), "first", (3, 16)), "up", (16, 32), group)
        placement = place(new.labels("up", 32))
        assert tensors_read(placement, "up") == {("first", 0)}
        assert WeightSite("up.weight", 1, ("up",)) in placement.weights

    def test_a_transposed_one_to_few_channels_stays_float(self, new_graph: NewGraph) -> None:
        new = new_graph()
        up = new.transposed_conv(new.conv(new.image(), "first", (3, 32)), "up", (32, 8))
        placement = place(new.labels(new.conv(up, "last", (8, 16)), 16))
        assert placement.higher_precision["up"] == "32 to 8 channels: fewer than 16"

    def test_the_one_that_makes_the_logits_stays_float(self, new_graph: NewGraph) -> None:
        new = new_graph()
        placement = place(new.labels(new.conv(new.image(), "first", (3, 16)), 16))
        assert placement.higher_precision == {"logits": "it makes the logits"}
        assert tensors_read(placement, "logits") == set()

    def test_one_whose_weight_is_computed_stays_float(self, new_graph: NewGraph) -> None:
        new = new_graph()
        new.conv(new.conv(new.image(), "first", (3, 16)), "second", (16, 16))
        new.nodes.insert(0, onnx.helper.make_node("Neg", ["second.weight"], ["computed"], "computed"))
        new.nodes[-1].input[1] = "computed"
        placement = place(new.labels("second", 16))
        assert placement.higher_precision["second"] == "its weight is computed at run time"
        assert tensors_read(placement, "second") == set()

    def test_a_tensor_that_several_read_is_quantised_once(self, new_graph: NewGraph) -> None:
        new = new_graph()
        first = new.relu(new.conv(new.image(), "first", (3, 16)))
        left, right = new.conv(first, "left", (16, 16)), new.conv(first, "right", (16, 16))
        placement = place(new.labels(new.node("Mul", [left, right], "product"), 16))
        assert set(placement.activations["first.relu"]) == {("left", 0), ("right", 0)}


class TestResidualAdditions:
    @pytest.mark.parametrize("shortcut_first", [False, True])
    def test_only_the_shortcut_is_quantised(self, shortcut_first: bool, new_graph: NewGraph) -> None:
        new = new_graph()
        shortcut = new.relu(new.conv(new.image(), "first", (3, 16)))
        sides = [new.conv(shortcut, "branch", (16, 16)), shortcut]
        new.node("Add", sides[::-1] if shortcut_first else sides, "add")
        placement = place(new.labels(new.relu("add"), 16))
        assert tensors_read(placement, "add") == {("first.relu", 0 if shortcut_first else 1)}

    @pytest.mark.parametrize("projection_first", [False, True])
    def test_where_both_sides_are_convolutions_it_is_the_projection(
        self, projection_first: bool, new_graph: NewGraph
    ) -> None:
        new = new_graph()
        first = new.relu(new.conv(new.image(), "first", (3, 16)))
        sides = [new.conv(first, "branch", (16, 32), strides=[2, 2])]
        sides.append(new.conv(first, "projection", (16, 32), 1, strides=[2, 2]))
        new.node("Add", sides[::-1] if projection_first else sides, "add")
        placement = place(new.labels(new.relu("add"), 32))
        assert tensors_read(placement, "add") == {("projection", 0 if projection_first else 1)}

    def test_where_both_kernels_are_alike_it_is_one_of_the_two(self, new_graph: NewGraph) -> None:
        new = new_graph()
        first = new.relu(new.conv(new.image(), "first", (3, 16)))
        new.node("Add", [new.conv(first, "left", (16, 16)), new.conv(first, "right", (16, 16))], "add")
        assert len(tensors_read(place(new.labels("add", 16)), "add")) == 1

    def test_a_convolution_that_others_read_as_well_is_no_bare_branch(self, new_graph: NewGraph) -> None:
        new = new_graph()
        first = new.relu(new.conv(new.image(), "first", (3, 16)))
        branch = new.conv(first, "branch", (16, 16))
        added = new.node("Add", [branch, first], "add")
        placement = place(new.labels(new.node("Mul", [added, branch], "product"), 16))
        assert tensors_read(placement, "add") == set()

    def test_an_addition_of_a_constant_is_none(self, new_graph: NewGraph) -> None:
        new = new_graph()
        new.node("Add", [new.conv(new.image(), "first", (3, 16)), new.constant("offset", 1)], "add")
        assert tensors_read(place(new.labels("add", 16)), "add") == set()

    def test_an_addition_without_a_convolution_s_side_is_none(self, new_graph: NewGraph) -> None:
        new = new_graph()
        first = new.relu(new.conv(new.image(), "first", (3, 16)))
        new.node("Add", [first, new.node("Sigmoid", [first], "sigmoid")], "add")
        assert tensors_read(place(new.labels("add", 16)), "add") == set()


class TestPoolsAndResizes:
    def test_a_max_pool_reads_in_float(self, new_graph: NewGraph) -> None:
        new = new_graph()
        pool = new.node("MaxPool", [new.relu(new.conv(new.image(), "first", (3, 16)))], "pool", kernel_shape=[1, 1])
        placement = place(new.labels(new.conv(pool, "second", (16, 16)), 16))
        assert tensors_read(placement, "pool") == set()

    def test_what_carries_on_a_max_pool_is_added_in_float_until_a_convolution_begins_another_stream(
        self, new_graph: NewGraph
    ) -> None:
        new = new_graph()
        stream = new.node("MaxPool", [new.conv(new.image(), "first", (3, 16))], "pool", kernel_shape=[1, 1])
        for number in (1, 2):
            inner = new.conv(stream, f"inner{number}", (16, 16))
            stream = new.relu(new.node("Add", [inner, stream], f"add{number}"))
        inner = new.conv(stream, "inner3", (16, 16))
        stream = new.relu(new.node("Add", [inner, new.conv(stream, "project", (16, 16), 1)], "add3"))
        new.node("Add", [new.conv(stream, "inner4", (16, 16)), stream], "add4")
        placement = place(new.labels(new.conv(new.relu("add4"), "last", (16, 16)), 16))
        read = {name: tensors_read(placement, name) for name in ("add1", "add2", "add3", "add4")}
        assert read == {"add1": set(), "add2": set(), "add3": {("project", 1)}, "add4": {("add3.relu", 1)}}

    @pytest.mark.parametrize("beside_a_convolution", [False, True])
    def test_an_average_pool_reads_quantised_what_a_convolution_does_and_nothing_else(
        self, beside_a_convolution: bool, new_graph: NewGraph
    ) -> None:
        new = new_graph()
        first = new.relu(new.conv(new.image(), "first", (3, 16)))
        pooled = new.node("AveragePool", [first], "pool", kernel_shape=[1, 1])
        other = new.conv(first, "second", (16, 16)) if beside_a_convolution else first
        placement = place(new.labels(new.node("Mul", [pooled, other], "product"), 16))
        assert tensors_read(placement, "pool") == ({("first.relu", 0)} if beside_a_convolution else set())

    @pytest.mark.parametrize("activation", [None, "Relu", "Clip"])
    def test_a_resize_that_a_convolution_feeds_reads_quantised(
        self, activation: str | None, new_graph: NewGraph
    ) -> None:
        new = new_graph()
        tensor = first = new.conv(new.image(), "first", (3, 16))
        if activation is not None:
            bounds = [new.constant(name, value) for name, value in (("low", 0), ("high", 6))]
            tensor = new.node(activation, [first, *(bounds if activation == "Clip" else [])], "active")
        new.conv(new.resize(tensor, "resize"), "second", (16, 16))
        assert tensors_read(place(new.labels("second", 16)), "resize") == {(tensor, 0)}

    @pytest.mark.parametrize(("float_reader", "fits"), [(None, True), ("Mul", False), ("output", False)])
    def test_a_resize_with_a_float_reader_stays_float(
        self, float_reader: str | None, fits: bool, new_graph: NewGraph
    ) -> None:
        new = new_graph()
        resized = new.resize(new.conv(new.image(), "first", (3, 16)), "resize")
        second = new.conv(resized, "second", (16, 16))
        end = new.node("Mul", [second, resized], "product") if float_reader == "Mul" else second
        model = new.labels(end, 16)
        if float_reader == "output":
            model.graph.output.append(onnx.helper.make_tensor_value_info(resized, onnx.TensorProto.FLOAT, None))
        assert bool(tensors_read(place(model), "resize")) == fits

    @pytest.mark.parametrize("reader", ["convolution", "Sigmoid"])
    def test_a_resize_is_read_through_a_concat(self, reader: str, new_graph: NewGraph) -> None:
        new = new_graph()
        first = new.conv(new.image(), "first", (3, 16))
        both = new.node("Concat", [new.resize(first, "resize"), new.resize(first, "other")], "both", axis=1)
        end = new.conv(both, "second", (32, 16)) if reader == "convolution" else new.node("Sigmoid", [both], "end")
        placement = place(new.labels(end, 16 if reader == "convolution" else 32))
        assert bool(tensors_read(placement, "resize")) == (reader == "convolution")

    def test_a_resize_that_something_else_feeds_stays_float(self, new_graph: NewGraph) -> None:
        new = new_graph()
        sigmoid = new.node("Sigmoid", [new.conv(new.image(), "first", (3, 16))], "sigmoid")
        new.conv(new.resize(sigmoid, "resize"), "second", (16, 16))
        assert tensors_read(place(new.labels("second", 16)), "resize") == set()

    def test_a_resize_that_a_float_convolution_feeds_stays_float(self, new_graph: NewGraph) -> None:
        new = new_graph()
        narrow = new.conv(new.conv(new.image(), "first", (3, 16)), "narrow", (16, 4))
        new.conv(new.resize(narrow, "resize"), "last", (4, 16))
        assert tensors_read(place(new.labels("last", 16)), "resize") == set()

    def test_the_last_resize_and_argmax_stay_float(self, new_graph: NewGraph) -> None:
        new = new_graph()
        placement = place(new.labels(new.conv(new.image(), "first", (3, 16)), 16))
        assert tensors_read(placement, "last_resize") == tensors_read(placement, "argmax") == set()

    @pytest.mark.parametrize("operator", ["Sigmoid", "Softmax"])
    def test_sigmoid_and_softmax_stay_float(self, operator: str, new_graph: NewGraph) -> None:
        new = new_graph()
        new.node(operator, [new.conv(new.image(), "first", (3, 16))], "pointwise")
        new.conv("pointwise", "second", (16, 16))
        assert tensors_read(place(new.labels("second", 16)), "pointwise") == set()


class TestConcats:
    def test_quantised_tensors_that_meet_in_one_share_a_scale(self, new_graph: NewGraph) -> None:
        new = new_graph()
        first = new.relu(new.conv(new.image(), "first", (3, 16)))
        left, right = new.relu(new.conv(first, "left", (16, 16))), new.relu(new.conv(first, "right", (16, 16)))
        both = new.node("Concat", [left, right], "concat", axis=1)
        ends = [new.conv(left, "a", (16, 16)), new.conv(right, "b", (16, 16)), new.conv(both, "c", (32, 16))]
        product = new.node("Mul", [new.node("Mul", ends[:2], "product"), ends[2]], "triple")
        assert place(new.labels(product, 16)).shared == (frozenset({"left.relu", "right.relu", "concat"}),)

    def test_groups_with_a_tensor_in_common_are_one(self, new_graph: NewGraph) -> None:
        new = new_graph()
        first = new.relu(new.conv(new.image(), "first", (3, 16)))
        parts = [new.relu(new.conv(first, name, (16, 16))) for name in ("a", "b", "c")]
        for part in parts:
            new.conv(part, f"{part}.conv", (16, 16))
        new.node("Concat", parts[:2], "ab", axis=1)
        new.node("Concat", parts[1:], "bc", axis=1)
        placement = place(new.labels(new.node("Mul", ["ab", "bc"], "product"), 32))
        assert placement.shared == (frozenset(parts),)

    def test_a_concat_of_float_tensors_shares_nothing(self, new_graph: NewGraph) -> None:
        new = new_graph()
        first = new.conv(new.image(), "first", (3, 16))
        both = new.node("Concat", [new.node("Neg", [first], "negative"), first], "concat", axis=1)
        assert place(new.labels(both, 32)).shared == ()


class TestQuantisedGraphs:
    def test_one_with_pairs_is_refused_and_the_first_of_them_is_named(self, quantised_ladder: onnx.ModelProto) -> None:
        pairs = [node.name for node in quantised_ladder.graph.node if node.op_type.endswith("uantizeLinear")]
        with pytest.raises(UsageError) as caught:
            place(quantised_ladder)
        wanted = f"small_int8 is quantised already: it holds QuantizeLinear {pairs[0]} and {len(pairs) - 1} more"
        assert wanted in caught.value.message
        assert "FP32 graph" in caught.value.hint

    @pytest.mark.parametrize("operator", ["DynamicQuantizeLinear", "QLinearConv", "ConvInteger"])
    def test_one_with_integer_operators_is_refused(
        self, operator: str, new_ladder: Callable[..., onnx.ModelProto]
    ) -> None:
        model = new_ladder()
        place(model)
        next(node for node in model.graph.node if node.name == "mix").op_type = operator
        with pytest.raises(UsageError, match=f"holds {operator} mix and 0 more"):
            place(model)


class TestStudent:
    def test_33_weights_and_30_activations_are_quantised(self, student: onnx.ModelProto) -> None:
        placement = place(student)
        assert (len(placement.weights), len(placement.activations)) == (33, 30)

    def test_nine_convolutions_stay_float_each_with_its_reason(self, student: onnx.ModelProto) -> None:
        reasons = place(student).higher_precision
        attention = {f"fuse{stride}.attention.{layer}" for stride in (4, 8, 16, 32) for layer in (0, 3)}
        assert set(reasons) == {*attention, "head.logits"}
        assert all("fewer than 16" in reasons[name] for name in attention)
        assert reasons["head.logits"] == "it makes the logits"

    def test_every_convolution_is_either_quantised_or_explained(self, student: onnx.ModelProto) -> None:
        placement = place(student)
        quantised = {site.tensor for site in placement.weights}
        for node in student.graph.node:
            if node.op_type == "Conv":
                assert (node.input[1] in quantised) != (node.name in placement.higher_precision)

    def test_six_of_eight_residual_blocks_have_one_quantised_side(self, student: onnx.ModelProto) -> None:
        placement = place(student)
        adds = [node.name for node in student.graph.node if node.op_type == "Add"]
        sides = [len(tensors_read(placement, name)) for name in adds]
        assert sum(sides) == 6  # the first two carry on the pool
        assert max(sides) == 1

    def test_no_resize_is_quantised_as_additions_and_the_attention_read_them_in_float(
        self, student: onnx.ModelProto
    ) -> None:
        placement = place(student)
        resizes = [node.name for node in student.graph.node if node.op_type == "Resize"]
        assert len(resizes) == 8
        assert not any(tensors_read(placement, name) for name in resizes)
