from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import ArrayLike
from onnx import helper, numpy_helper

from trtparse.calibration.quantise.lint import check, problems_of
from trtparse.engines import Bundle
from trtparse.errors import BuildError
from trtparse.graphs.half import to_half

Break = Callable[[onnx.ModelProto], Any]


def node(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.name == name)


def put(model: onnx.ModelProto, name: str, value: ArrayLike, dtype: type = np.float32) -> str:
    """Set an initializer."""
    kept = [tensor for tensor in model.graph.initializer if tensor.name != name]
    del model.graph.initializer[:]
    model.graph.initializer.extend([*kept, numpy_helper.from_array(np.asarray(value, dtype), name)])
    return name


def quantise_input(
    model: onnx.ModelProto, name: str, position: int, scale: ArrayLike = 0.5, dtype: type = np.int8
) -> None:
    """Put a Q/DQ pair on one input of a node; per channel along axis 0 where ``scale`` is a list."""
    reader = node(model, name)
    tensor = f"{name}_{position}"
    scale_name = put(model, f"{tensor}_scale", scale)
    zero = put(model, f"{tensor}_zero_point", np.zeros_like(scale), dtype)
    axis = {"axis": 0} if np.ndim(scale) else {}
    inputs = [reader.input[position], scale_name, zero]
    pair = [
        helper.make_node("QuantizeLinear", inputs, [f"{tensor}_quantised"], f"{tensor}_q", **axis),
        helper.make_node(
            "DequantizeLinear", [f"{tensor}_quantised", *inputs[1:]], [f"{tensor}_y"], f"{tensor}_dq", **axis
        ),
    ]
    reader.input[position] = f"{tensor}_y"
    at = next(number for number, other in enumerate(model.graph.node) if other.name == name)
    nodes = [*model.graph.node[:at], *pair, *model.graph.node[at:]]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def bare(model: onnx.ModelProto, name: str, position: int) -> None:
    """Let a node read past the pair on one of its inputs."""
    reader = node(model, name)
    reader.input[position] = reader.input[position].removesuffix("_dequantised")


def set_opset(model: onnx.ModelProto, version: int) -> None:
    model.opset_import[0].version = version


def without_zero_point(model: onnx.ModelProto) -> None:
    del node(model, "pool_q").input[2:]


def computed_scale(model: onnx.ModelProto, tensor: str) -> None:
    for end in ("q", "dq"):
        node(model, f"{tensor}_{end}").input[1] = "computed"
    model.graph.node.insert(0, helper.make_node("Identity", [f"{tensor}_scale"], ["computed"], "computed"))


def per_channel_activation(model: onnx.ModelProto) -> None:
    put(model, "pool_scale", np.full(16, 0.5))
    put(model, "pool_zero_point", np.zeros(16), np.int8)


def quantised_read_by_another(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Identity", ["pool_quantised"], ["spy"], "spy"))


def quantised_read_by_none(model: onnx.ModelProto) -> None:
    node(model, "pool_dq").input[0] = "stem.relu_quantised"


def per_tensor_weight(model: onnx.ModelProto) -> None:
    put(model, "left.weight_scale", 0.5)
    put(model, "left.weight_zero_point", 0, np.int8)


def set_axis(model: onnx.ModelProto, tensor: str, axis: int) -> None:
    for end in ("q", "dq"):
        node(model, f"{tensor}_{end}").attribute[0].i = axis


def quantise_conv(model: onnx.ModelProto, name: str, channels: int) -> None:
    quantise_input(model, name, 0)
    quantise_input(model, name, 1, [0.5] * channels)


def no_convolution(model: onnx.ModelProto) -> None:
    for reader in model.graph.node:
        if reader.op_type in ("Conv", "ConvTranspose"):
            bare(model, reader.name, 0)
            bare(model, reader.name, 1)


def quantise_softmax(model: onnx.ModelProto) -> None:
    node(model, "sigmoid").op_type = "Softmax"
    quantise_input(model, "sigmoid", 0)


def quantise_concat(model: onnx.ModelProto, left: float, right: float) -> None:
    quantise_input(model, "concat", 0, left)
    quantise_input(model, "concat", 1, right)


BROKEN: dict[str, tuple[Break, str]] = {
    "no zero point": (without_zero_point, "pool_q has no zero point"),
    "a computed scale of an activation": (lambda m: computed_scale(m, "pool"), "pool_d?q: scale .* must be constants"),
    "a computed scale of a weight": (lambda m: computed_scale(m, "mix.weight"), "mix.weight_d?q: .* must be constants"),
    "uint8": (lambda m: put(m, "pool_zero_point", 0, np.uint8), "pool_d?q is uint8, not int8"),
    "a zero point of an activation": (
        lambda m: put(m, "pool_zero_point", 3, np.int8),
        "pool_d?q has a zero point other",
    ),
    "a zero point of one channel": (
        lambda m: put(m, "mix.weight_zero_point", [0] * 15 + [1], np.int8),
        "mix.weight_d?q has a zero point other",
    ),
    "a scale of 0": (lambda m: put(m, "pool_scale", 0), "pool_d?q has a scale that is not finite and positive"),
    "a negative scale": (lambda m: put(m, "pool_scale", -1), "pool_d?q has a scale that is not finite and positive"),
    "an infinite scale": (lambda m: put(m, "pool_scale", np.inf), "pool_d?q has a scale that is not finite"),
    "a scale that is no number": (lambda m: put(m, "pool_scale", np.nan), "pool_d?q has a scale that is not finite"),
    "one channel's scale": (
        lambda m: put(m, "mix.weight_scale", [1.0] * 15 + [np.inf]),
        "mix.weight_d?q has a scale that is not finite and positive",
    ),
    "the opset": (lambda m: set_opset(m, 12), "opset 12 is too old"),
    "scales in double": (lambda m: put(m, "pool_scale", 1, np.float64), "pool_d?q: opset 20 is too old for a scale of"),
    "an activation per channel": (per_channel_activation, "pool_d?q quantises an activation per channel"),
    "another reader of the quantised": (quantised_read_by_another, "pool_q is not followed by DequantizeLinear alone"),
    "no reader of the quantised": (quantised_read_by_none, "pool_q is not followed by DequantizeLinear alone"),
    "a float weight": (lambda m: bare(m, "mix", 1), "mix: its weight is not quantised, the other is"),
    "a float input": (lambda m: bare(m, "mix", 0), "mix: its input is not quantised, the other is"),
    "a quantised bias": (lambda m: quantise_input(m, "mix", 2, [0.5] * 16), "mix has a quantised bias"),
    "an int32 bias": (
        lambda m: quantise_input(m, "mix", 2, [0.5] * 16, np.int32),
        "mix_2_d?q is int32, not int8|mix has a quantised bias",
    ),
    "a weight per tensor": (per_tensor_weight, "left: its weight must be quantised per channel along axis 0"),
    "the axis of a convolution": (lambda m: set_axis(m, "left.weight", 1), "left: .* per channel along axis 0"),
    "the axis of a transposed one": (lambda m: set_axis(m, "up.weight", 0), "up: .* per channel along axis 1"),
    "the logits": (lambda m: quantise_conv(m, "logits", 20), "logits makes the logits and must stay float"),
    "few channels": (lambda m: quantise_conv(m, "attention", 1), "attention has fewer than 16 channels"),
    "no convolution": (no_convolution, "no convolution is quantised"),
    "ArgMax": (lambda m: quantise_input(m, "argmax", 0), "ArgMax argmax reads a quantised tensor"),
    "Sigmoid": (lambda m: quantise_input(m, "sigmoid", 0), "Sigmoid sigmoid reads a quantised tensor"),
    "Softmax": (quantise_softmax, "Softmax sigmoid reads a quantised tensor"),
    "the last resize": (lambda m: quantise_input(m, "last_resize", 0), "the last Resize last_resize reads a quantised"),
    "both sides of an addition": (
        lambda m: quantise_input(m, "down.add", 0),
        "both inputs of down.add are quantised",
    ),
    "a concat's scales": (lambda m: quantise_concat(m, 0.5, 0.25), "the inputs of concat have different scales"),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_broken_rule_is_named_and_no_other(rule: str, quantised_ladder: onnx.ModelProto) -> None:
    spoil, wanted = BROKEN[rule]
    spoil(quantised_ladder)
    problems = list(problems_of(quantised_ladder))
    assert problems
    assert [problem for problem in problems if not re.search(wanted, problem)] == []
    with pytest.raises(BuildError, match=wanted):
        check(quantised_ladder)


def test_a_good_graph_passes(quantised_ladder: onnx.ModelProto) -> None:
    assert list(problems_of(quantised_ladder)) == []


def test_it_passes_typed_in_fp16_as_well(quantised_ladder: onnx.ModelProto) -> None:
    assert list(problems_of(to_half(quantised_ladder))) == []


def test_fp16_scales_want_opset_19(quantised_ladder: onnx.ModelProto) -> None:
    typed = to_half(quantised_ladder)
    set_opset(typed, 18)
    problems = list(problems_of(typed))
    assert problems
    assert all("opset 18 is too old for a scale of this type" in problem for problem in problems)


@pytest.mark.parametrize("opset", [13, 19])
def test_the_oldest_opsets_that_do_pass(opset: int, quantised_ladder: onnx.ModelProto) -> None:
    model = to_half(quantised_ladder) if opset == 19 else quantised_ladder
    set_opset(model, opset)
    assert list(problems_of(model)) == []


def test_a_concat_of_equal_scales_passes(quantised_ladder: onnx.ModelProto) -> None:
    quantise_concat(quantised_ladder, 0.5, 0.5)
    assert list(problems_of(quantised_ladder)) == []


def test_a_concat_with_a_computed_scale_is_named(quantised_ladder: onnx.ModelProto) -> None:
    quantise_concat(quantised_ladder, 0.5, 0.5)
    computed_scale(quantised_ladder, "concat_1")
    problems = list(problems_of(quantised_ladder))
    assert len(problems) == 2
    assert all("concat_1" in problem and "must be constants" in problem for problem in problems)


def test_a_graph_without_pairs_is_not_int8(new_ladder: Callable[..., onnx.ModelProto]) -> None:
    with pytest.raises(BuildError, match="not an INT8 graph"):
        check(new_ladder())


def test_weights_stored_in_int8_alone_make_no_int8_graph(new_ladder: Callable[..., onnx.ModelProto]) -> None:
    model = new_ladder()
    put(model, "left.weight_int8", np.ones((16, 16, 3, 3)), np.int8)
    put(model, "s", np.ones(16))
    put(model, "z", np.zeros(16), np.int8)
    stored = helper.make_node("DequantizeLinear", ["left.weight_int8", "s", "z"], ["left.y"], "left.dq", axis=0)
    model.graph.node.insert(0, stored)
    node(model, "left").input[1] = "left.y"
    with pytest.raises(BuildError, match="holds no QuantizeLinear"):
        check(model)


def test_the_first_three_problems_are_named_and_the_rest_counted(quantised_ladder: onnx.ModelProto) -> None:
    put(quantised_ladder, "pool_scale", 0)
    put(quantised_ladder, "mix.weight_scale", np.zeros(16))
    with pytest.raises(BuildError) as caught:
        check(quantised_ladder)
    assert caught.value.message.count("not finite and positive") == 3
    assert caught.value.message.endswith("(and 1 more).")


def test_a_logit_weight_that_is_quantised_alone_is_named(quantised_ladder: onnx.ModelProto) -> None:
    quantise_input(quantised_ladder, "logits", 1, [0.5] * 20)
    problems = list(problems_of(quantised_ladder))
    assert "logits: its input is not quantised, the other is" in problems
    assert "logits makes the logits and must stay float" in problems


def test_the_bundle_s_int8_graph_passes_and_the_others_do_not(pristine_bundle: Bundle) -> None:
    check(onnx.load(pristine_bundle.graph("int8")))
    for name in ("fp32", "fp16"):
        with pytest.raises(BuildError, match="not an INT8 graph"):
            check(onnx.load(pristine_bundle.graph(name)))
    with pytest.raises(BuildError, match="not int8"):
        check(onnx.load(pristine_bundle.graph("int8-cpu")))
