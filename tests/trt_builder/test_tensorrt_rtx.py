"""A real TensorRT build, on a machine with no GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed: pip install 'trtparse[rtx]'")

from trtparse.calibration.quantise.placement import place
from trtparse.calibration.quantise.qdq import quantise
from trtparse.engines import Bundle, open_bundle
from trtparse.engines.manifest import engine_manifests
from trtparse.errors import BuildError, UsageError
from trtparse.graphs.adapt import adapt
from trtparse.graphs.conventions import Said
from trtparse.graphs.half import to_half
from trtparse.specs.label_set import label_set
from trtparse.tests.calibration.conftest import limits_everywhere
from trtparse.tests.graphs.foreign_graphs import MEAN, STD, foreign, foreign_boxes, foreign_joints
from trtparse.trt_builder.compile import build_engines
from trtparse.trt_builder.engine_spec import COMPUTE_CAPABILITIES, EngineSpec
from trtparse.trt_builder.source import bundle_of_onnx
from trtparse.trt_builder.tensorrt_api import Built, TensorRT

RTX = "tensorrt-rtx"


def version() -> str:
    return TensorRT.load(RTX).version


def compile_engine(model: onnx.ModelProto, capability: str = "8.6") -> Built:
    return TensorRT.load(RTX).build(model, EngineSpec(target=RTX, compute_capabilities=(capability,)), capability)


def test_nvidia_s_parser_takes_every_graph_of_the_student_and_the_engine_has_its_precision(bundle: Bundle) -> None:
    sizes = {}
    for precision in ("int8", "fp16", "fp32"):
        bundle, (facts,) = build_engines(bundle, EngineSpec(precision, RTX, ("8.6",)))
        engine = bundle.path / facts.engine
        short = ".".join(version().split(".")[:2])
        assert facts.engine == f"engines/tensorrt-rtx-{short}-sm86-{precision}.engine"
        assert facts.inspection["judged_by"] == "network"
        assert facts.inspection["convolutions"][precision] >= 30
        sizes[precision] = engine.stat().st_size
        assert sizes[precision] == facts.bytes
    assert 10_000_000 < sizes["int8"] < sizes["fp16"] < sizes["fp32"]
    reopened = open_bundle(bundle.path)
    assert {manifest.precision for manifest in engine_manifests(reopened)} == {"int8", "fp16", "fp32"}


def test_a_foreign_graph_is_built_without_pytorch(small: SimpleNamespace, tmp_path: Path) -> None:
    onnx.save(small.model(half=True, quantised=True), tmp_path / "small.onnx")
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path\n"
        "from trtparse.trt_builder.compile import build_engines\n"
        "from trtparse.trt_builder.engine_spec import EngineSpec\n"
        "from trtparse.trt_builder.source import bundle_of_onnx\n"
        "bundle = bundle_of_onnx(Path('small.onnx'), Path('bundle'))\n"
        "build_engines(bundle, EngineSpec('int8', 'tensorrt-rtx', ('8.6', '12.0')))\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path)
    manifests = engine_manifests(open_bundle(tmp_path / "bundle"))
    assert {manifest.compute_capability for manifest in manifests} == {"8.6", "12.0"}
    assert all(manifest.inspection["convolutions"] == {"fp16": 1, "int8": 2} for manifest in manifests)


OTHERS = {
    "parser": (foreign(), Said(labels=label_set("atr"), order="RGB", mean=MEAN, std=STD, align_corners=True)),
    "labels": (foreign(outputs=("ids64",), stride=1), Said(labels=label_set("atr"), order="BGR", mean=MEAN, std=STD)),
    "movenet": (foreign_joints(), Said(preset="movenet", input_size=(32, 24))),
    "rtmpose": (foreign_joints("simcc"), Said(preset="rtmpose", input_size=(32, 24))),
    "yolox": (foreign_boxes(), Said(preset="yolox")),
    "decoded yolox": (foreign_boxes(decoded=True, batch="n"), Said(preset="yolox", batch=None)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_networks_of_others_are_built_with_what_is_put_around_them(name: str) -> None:
    theirs, said = OTHERS[name]
    model = adapt(theirs, said, Path("theirs.onnx"))
    placement = place(model)
    half = to_half(quantise(model, placement, limits_everywhere(model)))
    spec = EngineSpec("int8", RTX, ("8.6",), (1, 2, 4) if said.batch is None else None)
    built = TensorRT.load(RTX).build(half, spec, "8.6")
    found = [layer.precision for layer in built.layers if layer.kind == "CONVOLUTION"]
    assert built.content
    assert found.count("int8") == sum(len(site.layers) for site in placement.weights) > 0


@pytest.mark.parametrize("capability", COMPUTE_CAPABILITIES)
def test_the_same_graph_serves_every_gpu_generation_it_can_build_for(capability: str, small: SimpleNamespace) -> None:
    engine = compile_engine(small.model(half=True, quantised=True), capability)
    assert sum(layer.kind == "QUANTIZE" for layer in engine.layers) == 4
    assert engine.content


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_every_option_that_it_has_is_taken(precision: str, small: SimpleNamespace) -> None:
    model = small.model(half=precision != "fp32", quantised=precision == "int8", batch=None)
    spec = EngineSpec(precision, RTX, ("8.9",), (1, 2, 4), 64, 5, sparsity=True)
    built = TensorRT.load(RTX).build(model, spec, "8.9")
    assert built.content
    assert {layer.name: layer.precision for layer in built.layers if layer.kind == "CONVOLUTION"} == {
        "first": precision,
        "second": precision,
        "head": "fp16" if precision == "int8" else precision,
    }


def test_the_recorded_names_are_those_of_the_installed_bindings() -> None:
    folder = Path(__file__).with_name("declared")
    recorded = json.loads((folder / "tensorrt-rtx-1.7.1.json").read_text())
    if recorded["version"] != version():
        pytest.skip(f"recorded from {recorded['version']}, and {version()} is installed")
    script = [sys.executable, str(folder / "record.py"), "tensorrt_rtx_bindings"]
    assert json.loads(subprocess.run(script, check=True, capture_output=True, text=True).stdout) == recorded


def test_another_compute_capability_is_refused_with_the_ones_there_are(small: SimpleNamespace) -> None:
    with pytest.raises(UsageError, match=r"compute capability 5\.3") as caught:
        compile_engine(small.model(half=True), "5.3")
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


def test_a_graph_without_q_dq_is_not_delivered_as_int8(small: SimpleNamespace, tmp_path: Path) -> None:
    onnx.save(small.model(half=True, quantised=True), tmp_path / "small.onnx")
    bundle = bundle_of_onnx(tmp_path / "small.onnx", tmp_path / "bundle")
    # The INT8 graph's place is taken by an FP16 one, as a careless script might do it.
    onnx.save(small.model(half=True), bundle.graph("int8"))
    with pytest.raises(BuildError, match=r"Asked for int8.*convolutions 3 in fp16"):
        build_engines(bundle, EngineSpec("int8", RTX))
    assert not list(bundle.path.glob("engines/*.engine"))


def test_types_that_do_not_fit_are_refused_by_the_parser() -> None:
    weight = helper.make_tensor("w", TensorProto.FLOAT16, [1], np.ones(1, np.float16).tobytes(), raw=True)
    frames = helper.make_tensor_value_info("frames", TensorProto.FLOAT, [1, 4])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 4])
    node = helper.make_node("Mul", ["frames", "w"], ["out"], "mixed")
    graph = helper.make_graph([node], "g", [frames], [out], [weight])
    with pytest.raises(BuildError, match="mixed"):
        compile_engine(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]))
