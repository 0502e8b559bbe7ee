from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from trtparse.calibration.key import CalibrationKey
from trtparse.calibration.quantise.lint import check
from trtparse.calibration.quantise.placement import place
from trtparse.calibration.quantise.qdq import quantise
from trtparse.calibration.ranges import Ranges
from trtparse.engines import Bundle
from trtparse.engines.base import Frames
from trtparse.engines.cpu import CpuEngine
from trtparse.errors import BuildError
from trtparse.graphs.half import to_half
from trtparse.graphs.raw import end_of, find_raw, name_raw


def small(weight: float = 1.0, scales: str = "initializer", factor: float = 0.5, opset: int = 20) -> onnx.ModelProto:
    """Frames times a factor, a 1x1 convolution, a resize by ``scales``; labels and logits out.

    Args:
        weight: the largest of the convolution.
        scales: whence the resize has its factors: ``initializer``, ``Constant`` or ``Cast``.
        factor: what the frames are multiplied with, a Constant.
    """
    weights = np.linspace(-abs(weight), weight, 4 * 3).reshape(4, 3, 1, 1).astype(np.float32)
    tensors = [numpy_helper.from_array(weights, "conv.weight")]
    factors = np.array([1, 1, 2, 2], np.float32)
    nodes = [
        helper.make_node("Constant", [], ["factor"], "factor", value=numpy_helper.from_array(np.float32(factor))),
        helper.make_node("Cast", ["frames"], ["float"], "float", to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], "planes", perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["planes", "factor"], ["image"], "image"),
        helper.make_node("Conv", ["image", "conv.weight"], ["conv"], "conv"),
        helper.make_node("Resize", ["conv", "", "scales"], ["logits"], "resize", mode="nearest"),
        helper.make_node("ArgMax", ["logits"], ["argmax"], "argmax", axis=1, keepdims=0),
        helper.make_node("Cast", ["argmax"], ["labels"], "labels", to=TensorProto.UINT8),
    ]
    if scales == "initializer":
        tensors.append(numpy_helper.from_array(factors, "scales"))
    elif scales == "Constant":
        nodes.insert(0, helper.make_node("Constant", [], ["scales"], "scales", value=numpy_helper.from_array(factors)))
    else:
        tensors.append(numpy_helper.from_array(factors.astype(np.int64), "whole_scales"))
        nodes.insert(0, helper.make_node("Cast", ["whole_scales"], ["scales"], "scales", to=TensorProto.FLOAT))
    frames = helper.make_tensor_value_info("frames", TensorProto.UINT8, [1, 4, 4, 3])
    outputs = [
        helper.make_tensor_value_info("labels", TensorProto.UINT8, [1, 8, 8]),
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 4, 8, 8]),
    ]
    graph = helper.make_graph(nodes, "small", [frames], outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    """Every tensor's type, inferred anew from the operators."""
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    del plain.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(plain, check_type=True, strict_mode=True).graph
    values = (*inferred.value_info, *inferred.input, *inferred.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {tensor.name: tensor.data_type for tensor in inferred.initializer}


def run(model: onnx.ModelProto, frames: Frames) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs: list[np.ndarray] = session.run(None, {"frames": frames})
    return outputs


@pytest.fixture(scope="module")
def student(pristine_bundle: Bundle) -> onnx.ModelProto:
    return onnx.load(pristine_bundle.graph("fp32"))


@pytest.fixture(scope="module")
def quantised(student: onnx.ModelProto) -> onnx.ModelProto:
    names = [name for node in student.graph.node for name in node.output]
    limits = {name: (-0.37 * number, 0.61 * number) for number, name in enumerate(names, 1)}
    ranges = Ranges(limits, ("a",), (), "by hand", 0, {}, CalibrationKey("", "", ""))
    return quantise(student, place(student), ranges)


class TestTypes:
    def test_every_float_becomes_half_except_the_ends(self, student: onnx.ModelProto) -> None:
        before, after = types_of(student), types_of(to_half(student))
        floats = {name for name, kind in before.items() if kind == TensorProto.FLOAT}
        assert len(floats) > 100
        assert {name for name in floats if after[name] != TensorProto.FLOAT16} == {"logits"}
        assert all(after[name] == kind for name, kind in before.items() if name not in floats)

    def test_frames_and_labels_stay_uint8_and_logits_float(self, student: onnx.ModelProto) -> None:
        half = to_half(student)
        ends = {value.name: value.type.tensor_type.elem_type for value in (*half.graph.input, *half.graph.output)}
        assert ends == {"frames": TensorProto.UINT8, "labels": TensorProto.UINT8, "logits": TensorProto.FLOAT}

    def test_the_argmax_reads_half_where_logits_are_an_output(self) -> None:
        half = to_half(small())
        (argmax,) = (node for node in half.graph.node if node.op_type == "ArgMax")
        assert types_of(half)[argmax.input[0]] == TensorProto.FLOAT16

    @pytest.mark.parametrize("scales", ["initializer", "Constant", "Cast"])
    def test_a_resize_s_factors_stay_float(self, scales: str) -> None:
        half = to_half(small(scales=scales))
        types = types_of(half)
        assert types["scales"] == TensorProto.FLOAT
        assert types["conv"] == types["image"] == types["factor"] == TensorProto.FLOAT16
        frames = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)
        np.testing.assert_array_equal(run(half, frames)[0], run(small(), frames)[0])

    def test_a_constant_that_is_factor_and_value_at_once_is_refused_by_name(self) -> None:
        model = small()
        model.graph.node.append(helper.make_node("Neg", ["scales"], ["negative"], "negative"))
        with pytest.raises(BuildError, match="scales is used both"):
            to_half(model)

    def test_the_types_noted_in_the_graph_are_those_it_has(self) -> None:
        half = to_half(small())
        noted = {value.name: value.type.tensor_type.elem_type for value in half.graph.value_info}
        assert noted["conv"] == TensorProto.FLOAT16
        assert noted.items() <= types_of(half).items()

    def test_the_fp32_graph_is_left_as_it_was(self) -> None:
        model = small()
        before = model.SerializeToString(deterministic=True)
        to_half(model)
        assert model.SerializeToString(deterministic=True) == before


class TestValues:
    def test_they_are_the_nearest_in_fp16(self) -> None:
        model = small(weight=0.3)
        before, after = (
            next(numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.name == "conv.weight")
            for graph in (model.graph, to_half(model).graph)
        )
        np.testing.assert_array_equal(after, before.astype(np.float16))

    @pytest.mark.parametrize("value", [1e5, -1e5, np.inf, np.nan])
    def test_a_weight_that_fp16_cannot_hold_is_named(self, value: float) -> None:
        model = small()
        weight = numpy_helper.to_array(model.graph.initializer[0]).copy()
        weight[2, 1] = value
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "conv.weight"))
        with pytest.raises(BuildError, match=r"conv\.weight holds") as caught:
            to_half(model)
        assert "--fp32" in caught.value.hint

    def test_the_message_says_how_large_it_is(self) -> None:
        with pytest.raises(BuildError, match=r"conv\.weight holds 100000, which FP16 cannot \(65504 at the most\)"):
            to_half(small(weight=1e5))

    def test_a_constant_that_fp16_cannot_hold_is_named(self) -> None:
        with pytest.raises(BuildError, match="factor holds 100000"):
            to_half(small(factor=1e5))

    def test_fp16_s_largest_number_is_held(self) -> None:
        half = to_half(small(weight=65504))
        weight = next(tensor for tensor in half.graph.initializer if tensor.name == "conv.weight")
        assert numpy_helper.to_array(weight).max() == 65504

    def test_an_operator_without_a_half_version_is_a_build_error(self) -> None:
        model = small()
        model.graph.node.append(helper.make_node("Constant", [], ["one"], "one", value_float=1.0))
        model.graph.node.append(helper.make_node("Add", ["conv", "one"], ["sum"], "sum"))
        with pytest.raises(BuildError, match="cannot be typed in FP16"):
            to_half(model)


class TestLabels:
    def test_the_runtime_runs_it_and_logits_come_out_in_float(self) -> None:
        frames = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 3)).astype(np.uint8)
        labels, logits = run(to_half(small()), frames)
        expected_labels, expected_logits = run(small(), frames)
        assert (labels.dtype, logits.dtype) == (np.uint8, np.float32)
        np.testing.assert_array_equal(labels, expected_labels)
        np.testing.assert_allclose(logits, expected_logits, rtol=2e-3, atol=0.2)

    def test_the_student_s_agree_with_fp32_on_99_5_percent_of_the_pixels(
        self, pristine_bundle: Bundle, frames: Frames
    ) -> None:
        labels = []
        for name in ("fp32", "fp16"):
            with CpuEngine(pristine_bundle.graph(name), name) as engine:
                labels.append(engine.infer(frames)[0])
        assert len(np.unique(labels[0])) > 3
        assert (labels[0] == labels[1]).mean() >= 0.995


class TestQuantisedGraphs:
    def test_no_scale_changes_its_value(self, quantised: onnx.ModelProto) -> None:
        after = {tensor.name: tensor for tensor in to_half(quantised).graph.initializer}
        names = {node.input[1] for node in quantised.graph.node if node.op_type == "QuantizeLinear"}
        assert len(names) == 33 + 30
        for tensor in quantised.graph.initializer:
            if tensor.name in names:
                assert after[tensor.name].data_type == TensorProto.FLOAT16
                np.testing.assert_array_equal(
                    numpy_helper.to_array(after[tensor.name]).astype(np.float32), numpy_helper.to_array(tensor)
                )

    def test_zero_points_stay_int8(self, quantised: onnx.ModelProto) -> None:
        zeros = [tensor for tensor in to_half(quantised).graph.initializer if tensor.name.endswith("_zero_point")]
        assert len(zeros) == 33 + 30
        assert {tensor.data_type for tensor in zeros} == {TensorProto.INT8}

    def test_they_stay_good_int8_graphs(self, quantised: onnx.ModelProto) -> None:
        check(to_half(quantised))

    def test_an_opset_without_fp16_scales_is_refused(self, quantised: onnx.ModelProto) -> None:
        old = onnx.ModelProto()
        old.CopyFrom(quantised)
        old.opset_import[0].version = 18
        with pytest.raises(BuildError, match="cannot be typed in FP16"):
            to_half(old)


def decoded(raw_is_output: bool = False) -> onnx.ModelProto:
    """Frames to heatmaps by a 1x1 convolution; their highest value, over 1e-10 and its logarithm, as float answers.

    The factor that scales the frames is one that the decoding reads as well.
    """
    tensors = [
        numpy_helper.from_array(np.linspace(-1, 1, 6).reshape(2, 3, 1, 1).astype(np.float32), "conv.weight"),
        numpy_helper.from_array(np.float32(0.5), "factor"),
        numpy_helper.from_array(np.float32(1e-10), "least"),
        numpy_helper.from_array(np.array([2, 3]), "axes"),
    ]
    nodes = [
        helper.make_node("Cast", ["frames"], ["float"], "float", to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], "planes", perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["planes", "factor"], ["image"], "image"),
        helper.make_node("Conv", ["image", "conv.weight"], ["heatmaps"], "conv"),
        helper.make_node("Max", ["heatmaps", "least"], ["above"], "above"),
        helper.make_node("Log", ["above"], ["log"], "log"),
        helper.make_node("Mul", ["log", "factor"], ["halved"], "halved"),
        helper.make_node("ReduceMax", ["halved", "axes"], ["keypoints"], "keypoints", keepdims=0),
    ]
    frames = helper.make_tensor_value_info("frames", TensorProto.UINT8, [1, 4, 4, 3])
    outputs = [helper.make_tensor_value_info("keypoints", TensorProto.FLOAT, [1, 2])]
    if raw_is_output:
        outputs.append(helper.make_tensor_value_info("heatmaps", TensorProto.FLOAT, [1, 2, 4, 4]))
    graph = helper.make_graph(nodes, "small", [frames], outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    name_raw(model, "heatmaps")
    return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)


@pytest.mark.parametrize("raw_is_output", [False, True])
def test_float_answers_are_decoded_in_single_precision(raw_is_output: bool) -> None:
    model = decoded(raw_is_output)
    half = to_half(model)
    types = types_of(half)
    assert types["image"] == types["heatmaps_half"] == TensorProto.FLOAT16
    assert {types[name] for name in ("heatmaps", "above", "log", "halved")} == {TensorProto.FLOAT}
    # Black frames: nothing but 1e-10, whose logarithm is infinite in FP16.
    frames = np.zeros((1, 4, 4, 3), np.uint8)
    (expected, *_), (found, *_) = (
        onnxruntime.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            None, {"frames": frames}
        )
        for m in (model, half)
    )
    np.testing.assert_allclose(found, expected)
    assert find_raw(half) == "heatmaps"
    assert "keypoints" in end_of(half)
