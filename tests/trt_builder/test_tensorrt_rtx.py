"""A real TensorRT build, on a machine with no GPU."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed: pip install 'trtparse[rtx]'")

from trtparse.engines import Bundle, open_bundle
from trtparse.errors import BuildError, UsageError
from trtparse.trt_builder.build import build_engines
from trtparse.trt_builder.tensorrt_rtx import COMPUTE_CAPABILITIES, compile_engine, version


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_nvidia_s_parser_takes_every_graph_and_the_engine_has_its_precision(precision: str, bundle: Bundle) -> None:
    bundle, (facts,) = build_engines(bundle, precision, ("8.6",))
    engine = bundle.path / facts["engine"]
    assert facts["engine"] == f"engines/tensorrt-rtx-{version()}-sm86-{precision}.engine"
    assert engine.stat().st_size == facts["bytes"] > 10_000_000
    assert (facts["quantise_layers"] > 0) == (precision == "int8")
    assert json.loads(engine.with_suffix(".json").read_text()) == facts
    assert open_bundle(bundle.path).manifest.files[facts["engine"]]


def test_int8_engines_are_smaller_than_fp16_and_fp16_than_fp32(pristine_bundle: Bundle) -> None:
    sizes = [len(compile_engine(onnx.load(pristine_bundle.graph(name))).content) for name in ("int8", "fp16", "fp32")]
    assert sizes == sorted(sizes)


def test_the_same_graph_serves_every_gpu_generation_it_can_build_for(pristine_bundle: Bundle) -> None:
    model = onnx.load(pristine_bundle.graph("int8"))
    for capability in COMPUTE_CAPABILITIES:
        engine = compile_engine(model, capability)
        assert engine.compute_capability == capability
        assert engine.quantise_layers >= 38


def test_another_compute_capability_is_refused_with_the_ones_there_are(pristine_bundle: Bundle) -> None:
    with pytest.raises(UsageError, match=r"compute capability 5\.3") as caught:
        compile_engine(onnx.load(pristine_bundle.graph("fp16")), "5.3")
    assert "8.6" in caught.value.hint


def test_a_node_that_the_parser_does_not_know_is_named() -> None:
    node = helper.make_node("Mystery", ["frames"], ["labels"], "the_culprit", domain="")
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("frames", "labels")]
    model = helper.make_model(
        helper.make_graph([node], "g", value[:1], value[1:]), opset_imports=[helper.make_opsetid("", 20)]
    )
    with pytest.raises(BuildError, match=r"Mystery.*the_culprit"):
        compile_engine(model)


def test_a_transpose_of_uint8_is_refused_which_is_why_the_cast_comes_first() -> None:
    nodes = [
        helper.make_node("Transpose", ["frames"], ["turned"], "early", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["turned"], ["out"], "late", to=TensorProto.FLOAT),
    ]
    frames = helper.make_tensor_value_info("frames", TensorProto.UINT8, [1, 8, 8, 3])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 3, 8, 8])
    model = helper.make_model(
        helper.make_graph(nodes, "g", [frames], [out]), opset_imports=[helper.make_opsetid("", 20)]
    )
    with pytest.raises(BuildError):
        compile_engine(model)


def test_a_graph_without_q_dq_is_not_delivered_as_int8(bundle: Bundle) -> None:
    # The INT8 graph's place is taken by the FP16 one, as a careless script might do it.
    (bundle.path / "student.int8.onnx").write_bytes((bundle.path / "student.fp16.onnx").read_bytes())
    with pytest.raises(BuildError, match="0 quantise layers"):
        build_engines(bundle, "int8", ("8.6",))
    assert not list(bundle.path.glob("engines/*.engine"))


def test_types_that_do_not_fit_are_refused_by_the_parser() -> None:
    weight = helper.make_tensor("w", TensorProto.FLOAT16, [1], np.ones(1, np.float16).tobytes(), raw=True)
    frames = helper.make_tensor_value_info("frames", TensorProto.FLOAT, [1, 4])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 4])
    node = helper.make_node("Mul", ["frames", "w"], ["out"], "mixed")
    graph = helper.make_graph([node], "g", [frames], [out], [weight])
    with pytest.raises(BuildError, match="mixed"):
        compile_engine(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]))
