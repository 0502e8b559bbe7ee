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
    "UInt8": "uint8",
    "Row major linear UInt8 format": "uint8",
    "Int32": "int32",
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


def test_an_engine_of_8_6_is_read() -> None:
    wanted = {"conv1": "int8", "layer1.conv1": "int8", "head": "fp16"}
    told = inspector(
        layer("Reformatting CopyNode for Input Tensor 0 to conv1", "Row major linear FP16 format", "Reformat"),
        layer("network.conv1.weight + network.conv1.weight_q + conv1 + relu", "Four wide channel Int8 format"),
        layer("layer1.conv1.weight + layer1.conv1 + PWN(add, relu_1)", "Row major linear FP16 format"),
        layer("head", "Row major linear FP16 format"),
        layer("(Unnamed Layer* 9) [TopK]", "Row major linear FP16 format", "TopK"),
    )
    found = inspect_engine(told, wanted, "int8")
    assert found.judged_by == "engine"
    assert (found.layers, found.reformat_layers) == (5, 1)
    assert found.by_precision == {"fp16": 3, "int8": 1}
    assert found.convolutions == {"fp16": 2, "int8": 1}
    assert found.higher_precision == ("layer1.conv1", "head")
    check(found, wanted, "int8")


def test_an_engine_of_10_is_read_by_its_metadata() -> None:
    told = inspector(
        layer("__myl_Cast_0", "UInt8", "kgen", Metadata="[ONNX Layer: cast]"),
        layer("conv_myl_1", "Int8", "kgen", Metadata="[ONNX Layer: layer1.conv1]\u001e[ONNX Layer: relu]"),
        layer("{ForeignNode[layer2.conv1...layer2.conv9]}", "Half", "Myelin"),
    )
    wanted = {"layer1.conv1": "int8", "layer1.conv": "int8", "layer2.conv1": "fp16"}
    found = inspect_engine(told, wanted, "int8")
    assert found.convolutions == {"fp16": 1, "int8": 1, UNKNOWN: 1}


def test_what_is_fused_around_a_convolution_does_not_speak_for_it() -> None:
    told = inspector(layer("pre", "Half", "kgen", Metadata="[ONNX Layer: conv]"), layer("conv", "Int8"))
    assert inspect_engine(told, {"conv": "int8"}, "int8").convolutions == {"int8": 1}


@given(
    st.lists(st.sampled_from(["fp32", "fp16", "int8"]), min_size=1, max_size=12),
    st.sampled_from(["fp32", "fp16", "int8"]),
)
def test_an_engine_passes_only_where_most_convolutions_are_as_asked_and_none_is_lower(
    delivered: list[str], asked: str
) -> None:
    words = {"fp32": "Float", "fp16": "Half", "int8": "Int8"}
    names = {f"conv{number}": asked for number in range(len(delivered))}
    found = inspect_engine(
        inspector(*(layer(name, words[precision]) for name, precision in zip(names, delivered))), names, asked
    )
    order = ["fp32", "fp16", "int8"]
    lower = any(order.index(precision) > order.index(asked) for precision in delivered)
    enough = 2 * delivered.count(asked) >= len(delivered)
    if enough and not lower:
        check(found, names, asked)
    else:
        with pytest.raises(BuildError, match=f"Asked for {asked}"):
            check(found, names, asked)


def test_int8_that_came_out_in_fp32_is_refused_and_counted() -> None:
    wanted = {"a": "int8", "b": "int8", "head": "fp16"}
    found = inspect_engine(inspector(*(layer(name, "Float") for name in wanted)), wanted, "int8")
    with pytest.raises(BuildError, match="convolutions 3 in fp32; the graph types 2 in int8") as caught:
        check(found, wanted, "int8")
    assert caught.value.exit_code == 5


def test_where_no_name_is_ours_the_layers_as_such_are_judged() -> None:
    wanted = {"a": "fp16", "b": "fp16"}
    check(inspect_engine(inspector(layer("dla_0", "Half", "DLA")), wanted, "fp16"), wanted, "fp16")
    with pytest.raises(BuildError, match="1 layers in fp32"):
        check(inspect_engine(inspector(layer("dla_0", "Float", "DLA")), wanted, "fp16"), wanted, "fp16")


@pytest.mark.parametrize("told", ['{"Layers": []}', '{"Layers": ["conv1", "relu"]}', "{}"])
def test_an_inspector_that_tells_names_alone_proves_nothing(told: str) -> None:
    with pytest.raises(BuildError, match="tells nothing"):
        inspect_engine(told, {"conv1": "fp16"}, "fp16")


def test_a_network_is_judged_where_the_engine_cannot_be_loaded() -> None:
    layers = [NetworkLayer("a", "CONVOLUTION", "int8"), NetworkLayer("head", "CONVOLUTION", "fp16")]
    wanted = {"a": "int8", "head": "fp16"}
    found = inspect_network(layers, wanted, "int8")
    assert found.judged_by == "network"
    assert found.higher_precision == ("head",)
    check(found, wanted, "int8")
    unquantised = inspect_network([NetworkLayer("a", "CONVOLUTION", "fp16")], {"a": "fp16"}, "int8")
    with pytest.raises(BuildError, match="network that TensorRT read"):
        check(unquantised, {"a": "fp16"}, "int8")
