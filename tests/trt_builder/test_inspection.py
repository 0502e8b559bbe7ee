"""An engine is judged by what it is, and not by what was asked for."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtparse.errors import BuildError
from trtparse.trt_builder.inspection import (
    UNKNOWN,
    check,
    inspect_engine,
    inspect_network,
    layer_precision,
    told_of_layers,
    wanted_convolutions,
)
from trtparse.trt_builder.tensorrt_api import NetworkLayer

FORMATS = {
    # As NVIDIA's documentation and public reports show them, from 8.x to 10.x.
    "Row major linear FP32 format": "fp32",
    "Float": "fp32",
    "Row major linear FP16 format": "fp16",
    "Channel major FP16 format where channel % 4 == 0": "fp16",
    "Half": "fp16",
    "BFloat16": "bf16",
    "Thirty-two wide channel vectorized row major Int8 format.": "int8",
    "Int8": "int8",
    # Frames, labels, indices and masks are not what a layer computes in.
    "UInt8": UNKNOWN,
    "Row major linear UInt8 format": UNKNOWN,
    "Int32": UNKNOWN,
    "Int64": UNKNOWN,
    "Bool": UNKNOWN,
    "N/A due to dynamic shapes": UNKNOWN,
}


def layer(name: str, read: str, kind: str = "CaskConvolution", **more: Any) -> dict[str, Any]:
    tensor = {"Name": "t", "Dimensions": [1, 16, 8, 8], "Format/Datatype": read}
    return {"Name": name, "LayerType": kind, "Inputs": [tensor], "Outputs": [tensor], **more}


def inspector(*layers: dict[str, Any] | str) -> str:
    return json.dumps({"Layers": list(layers), "Bindings": ["frames", "labels"]})


@pytest.mark.parametrize(("told", "precision"), FORMATS.items())
def test_every_way_to_write_a_type_is_read(told: str, precision: str) -> None:
    assert layer_precision(layer("conv", told)) == precision
    assert layer_precision({"Inputs": [{"Format": "Linear", "Datatype": told}]}) == precision


def test_a_convolution_whose_type_depends_on_the_batch_is_known_by_its_weights() -> None:
    free = layer("conv", "N/A due to dynamic shapes", Weights={"Type": "Int8", "Count": 9})
    assert layer_precision(free) == "int8"
    assert layer_precision({"Name": "nothing"}) == UNKNOWN


@pytest.mark.parametrize(
    ("half", "quantised", "precision"), [(False, False, "fp32"), (True, False, "fp16"), (True, True, "int8")]
)
def test_the_graph_says_what_each_convolution_is_to_be(
    half: bool, quantised: bool, precision: str, small: SimpleNamespace
) -> None:
    assert wanted_convolutions(small.model(half=half, quantised=quantised)) == {
        "first": precision,
        "second": precision,
        # What makes the logits stays float.
        "head": "fp16" if half else "fp32",
    }


def tensor(told: str) -> dict[str, Any]:
    return {"Name": "t", "Location": "Device", "Dimensions": [1, 16, 8, 8], "Format/Datatype": told}


def test_the_first_tensor_does_not_decide_what_a_layer_computes_in() -> None:
    # A constant in Half before the activation in Int8; frames before either.
    fused = {"Inputs": [tensor("Half"), tensor("Int8")], "Outputs": [tensor("Half")]}
    assert layer_precision(fused) == "int8"
    first = {"Inputs": [tensor("UInt8")], "Outputs": [tensor("Half")]}
    assert layer_precision(first) == "fp16"
    masked = {"Inputs": [tensor("Bool"), tensor("Int32"), tensor("Float")], "Outputs": [tensor("Half")]}
    assert layer_precision(masked) == "fp32"


def test_int8_is_also_told_by_the_weights_and_by_the_kernel_s_name() -> None:
    outside = {"Inputs": [tensor("Half")], "Outputs": [tensor("Half")]}
    assert layer_precision({**outside, "Weights": {"Type": "Int8", "Count": 9}}) == "int8"
    # ConvActPool, which fuses the stem with its pool, has weights under a name of its own.
    assert layer_precision({**outside, "ConvWeights": {"Type": "Int8", "Count": 9}, "HasSparseWeights": 0}) == "int8"
    for kernel in ("sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32_tilesize64", "sm72_imma_small_nn_v1"):
        assert layer_precision({**outside, "TacticName": kernel}) == "int8"
    half = "sm80_xmma_fprop_implicit_gemm_f16f16_f16f16_f16_nhwckrsc_nhwc_tilesize128x64"
    assert layer_precision({**outside, "TacticName": half}) == "fp16"


def test_an_engine_of_8_6_is_read() -> None:
    wanted = {"conv1": "int8", "layer1.conv1": "int8", "head": "fp16"}
    told = inspector(
        layer("Reformatting CopyNode for Input Tensor 0 to conv1", "Row major linear FP16 format", "Reformat"),
        layer("network.conv1.weight + network.conv1.weight_q + conv1 + relu", "Four wide channel Int8 format"),
        layer("layer1.conv1.weight + layer1.conv1 + PWN(add, relu_1)", "Row major linear FP16 format"),
        layer("head", "Row major linear FP16 format"),
        layer("(Unnamed Layer* 9) [TopK]", "Row major linear FP16 format", "TopK"),
    )
    found = inspect_engine(told, wanted)
    assert found.judged_by == "engine"
    assert (found.layers, found.reformat_layers) == (5, 1)
    assert found.by_precision == {"fp16": 3, "int8": 1}
    assert found.convolutions == {"fp16": 2, "int8": 1}
    # The head is FP16 in the graph as well.
    assert found.higher_precision == ("layer1.conv1",)
    assert found.notes == ("1 of 3 convolutions run in a higher precision than the graph gives them: layer1.conv1.",)
    check(found, wanted, "int8")


def test_an_engine_of_10_is_read_by_its_metadata() -> None:
    told = inspector(
        layer("__myl_Cast_0", "UInt8", "kgen", Metadata="[ONNX Layer: cast]"),
        layer("conv_myl_1", "Int8", "kgen", Metadata="[ONNX Layer: layer1.conv1]\u001e[ONNX Layer: relu]"),
        layer("__myl_MulAdd_2", "Half", "kgen", Metadata=None),
    )
    wanted = {"layer1.conv1": "int8", "layer1.conv": "int8"}
    found = inspect_engine(told, wanted)
    assert found.convolutions == {"int8": 1, UNKNOWN: 1}


def test_what_went_into_myelin_s_kernels_is_told_by_their_metadata() -> None:
    told = told_of_layers(
        inspector(
            layer("__myl_Conv_myl0_3", "Int8", "kgen", Metadata="[ONNX Layer: conv1]\u001e[ONNX Layer: relu]"),
            layer("__myl_Add_4", "Half", "kgen", Metadata=None),
        )
    )
    assert told["__myl_Conv_myl0_3"] == "__myl_Conv_myl0_3 [ONNX Layer: conv1]\u001e[ONNX Layer: relu]"
    assert told["__myl_Add_4"] == "__myl_Add_4 "
    for broken in ("", "[]", "null", '{"Layers": 3}', '{"Layers": ["conv1"]}'):
        assert told_of_layers(broken) == {}


def test_what_is_fused_around_a_convolution_does_not_speak_for_it() -> None:
    told = inspector(layer("pre", "Half", "kgen", Metadata="[ONNX Layer: conv]"), layer("conv", "Int8"))
    assert inspect_engine(told, {"conv": "int8"}).convolutions == {"int8": 1}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("{ForeignNode[layer2.conv1...layer2.conv9]}", "Myelin"),
        ("{ForeignNode[layer2.conv1...layer2.conv9]}", "DLA"),
        ("{ForeignNode[layer2.conv1.weight + layer2.conv1...layer2.conv9]}", ""),
    ],
)
def test_a_layer_that_hides_others_says_nothing_of_them(name: str, kind: str) -> None:
    wanted = {f"layer2.conv{number}": "int8" for number in range(1, 10)}
    # What goes into such a network is FP16, and inside it may quantise.
    told = inspector(layer(name, "Half", kind), layer("conv1", "Int8"))
    found = inspect_engine(told, {**wanted, "conv1": "int8"})
    assert found.convolutions == {"int8": 1, UNKNOWN: 9}
    assert found.notes == ("9 of 10 convolutions could not be judged: the engine does not tell their precision.",)
    check(found, {**wanted, "conv1": "int8"}, "int8")
    alone = inspect_engine(inspector(layer(name, "Half", kind)), wanted)
    check(alone, wanted, "int8")
    assert alone.notes[0].startswith("9 of 9 convolutions could not be judged")


@pytest.mark.parametrize(("higher", "refused"), [(1, False), (4, False), (5, True), (8, True)])
def test_beside_layers_that_tell_nothing_those_that_do_must_be_wrong_for_the_most_part(
    higher: int, refused: bool
) -> None:
    wanted = {f"conv{number}": "int8" for number in range(8)}
    known = [layer(f"conv{number}", "Half") for number in range(higher)]
    found = inspect_engine(inspector(layer("{ForeignNode[conv6...relu9]}", "Int8", "Myelin"), *known), wanted)
    assert len(found.higher_precision) == higher
    if refused:
        with pytest.raises(BuildError, match=f"convolutions {higher} in fp16"):
            check(found, wanted, "int8")
    else:
        check(found, wanted, "int8")
        assert f"{8 - higher} of 8 convolutions could not be judged" in found.notes[0]
        assert found.notes[1].endswith("than the graph gives them: " + ", ".join(list(wanted)[:higher]) + ".")


@given(
    st.lists(st.sampled_from(["fp32", "fp16", "int8", UNKNOWN]), min_size=1, max_size=12),
    st.sampled_from(["fp32", "fp16", "int8"]),
)
def test_an_engine_passes_unless_a_known_convolution_is_lower_or_most_of_all_are_known_to_be_higher(
    delivered: list[str], asked: str
) -> None:
    words = {"fp32": "Float", "fp16": "Half", "int8": "Int8", UNKNOWN: "N/A due to dynamic shapes"}
    names = {f"conv{number}": asked for number in range(len(delivered))}
    found = inspect_engine(
        inspector(*(layer(name, words[precision]) for name, precision in zip(names, delivered))), names
    )
    order = ["fp32", "fp16", "int8"]
    known = [order.index(precision) for precision in delivered if precision != UNKNOWN]
    lower = any(precision > order.index(asked) for precision in known)
    higher = [name for name, told in zip(names, delivered) if told in order[: order.index(asked)]]
    assert found.higher_precision == tuple(higher)
    if 2 * len(higher) <= len(delivered) and not lower:
        check(found, names, asked)
    else:
        with pytest.raises(BuildError, match=f"Asked for {asked}"):
            check(found, names, asked)


def test_int8_that_came_out_in_fp32_is_refused_and_counted() -> None:
    wanted = {"a": "int8", "b": "int8", "head": "fp16"}
    found = inspect_engine(inspector(*(layer(name, "Float") for name in wanted)), wanted)
    with pytest.raises(BuildError, match="convolutions 3 in fp32; the graph types 2 in int8") as caught:
        check(found, wanted, "int8")
    assert caught.value.exit_code == 5


def test_where_no_name_is_ours_the_layers_that_convolve_are_judged_as_such() -> None:
    wanted = {"a": "int8", "b": "int8", "head": "fp16"}
    right = inspector(layer("conv_0", "Int8"), layer("conv_1", "Int8"), layer("conv_2", "Half"))
    check(inspect_engine(right, wanted), wanted, "int8")
    wrong = inspector(*(layer(f"conv_{number}", "Half") for number in range(3)))
    with pytest.raises(BuildError, match="3 layers in fp16"):
        check(inspect_engine(wrong, wanted), wanted, "int8")
    lower = {"a": "fp32"}
    with pytest.raises(BuildError, match="1 layers in fp16"):
        check(inspect_engine(inspector(layer("conv_0", "Half")), lower), lower, "fp32")


@pytest.mark.parametrize(
    "told",
    [
        '{"Layers": []}',
        '{"Layers": ["conv1", "relu"]}',
        '{"Layers": null}',
        '{"Layers": {"conv1": {}}}',
        "{}",
        "[]",
        "null",
        "",
        '{"Layers": [{"Name": "conv1", "Inp',
    ],
)
def test_an_inspector_that_tells_nothing_is_no_fault_of_the_engine(told: str) -> None:
    found = inspect_engine(told, {"conv1": "fp16"})
    assert found.convolutions == {UNKNOWN: 1}
    assert found.notes[0].startswith("TensorRT's inspector")
    assert found.notes[1].startswith("1 of 1 convolutions could not be judged")
    check(found, {"conv1": "fp16"}, "fp16")


def test_one_odd_layer_does_not_take_the_others_with_it() -> None:
    odd = [
        {"Name": "a", "LayerType": "NoOp", "Inputs": None, "Outputs": None},
        {"Name": None, "LayerType": None, "Inputs": "none", "Outputs": [None], "Weights": None, "Metadata": None},
        {},
    ]
    told = json.dumps({"Layers": ["shape_call", None, 3, *odd, layer("conv1", "Int8")]})
    found = inspect_engine(told, {"conv1": "int8"})
    assert (found.layers, found.convolutions) == (7, {"int8": 1})
    assert found.by_precision == {"int8": 1, UNKNOWN: 3}


def test_a_graph_without_the_precision_that_was_asked_for_is_refused() -> None:
    with pytest.raises(BuildError, match="the graph types 0 in int8") as caught:
        check(inspect_engine("", {"conv1": "fp16"}), {"conv1": "fp16"}, "int8")
    assert "trtparse build CHECKPOINT" in caught.value.hint


def test_a_network_is_judged_where_the_engine_cannot_be_loaded() -> None:
    layers = [NetworkLayer("a", "CONVOLUTION", "int8"), NetworkLayer("head", "CONVOLUTION", "fp16")]
    wanted = {"a": "int8", "head": "fp16"}
    found = inspect_network(layers, wanted)
    assert found.judged_by == "network"
    assert found.higher_precision == ()
    check(found, wanted, "int8")
    unquantised = inspect_network([NetworkLayer("a", "CONVOLUTION", "fp16")], {"a": "int8"})
    assert unquantised.higher_precision == ("a",)
    with pytest.raises(BuildError, match="network that TensorRT read"):
        check(unquantised, {"a": "int8"}, "int8")
