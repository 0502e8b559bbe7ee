from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
import onnx
import pytest

from trtparse.data.dataset import Image
from trtparse.engines import Bundle, open_bundle
from trtparse.engines.cpu import CpuEngine
from trtparse.errors import UsageError
from trtparse.graphs.weakly_typed import OPSET
from trtparse.trt_builder.calibration_cache import add_calibration_cache


def test_its_scales_are_those_of_the_int8_graph_and_its_tensors_those_of_the_graph_beside_it(bundle: Bundle) -> None:
    bundle, written = add_calibration_cache(bundle, "8.6.1")
    first, *lines = written.cache.read_text().splitlines()
    assert first == "TRT-8601-EntropyCalibration2"
    scales = {name: struct.unpack(">f", bytes.fromhex(digits))[0] for name, digits in (x.split(": ") for x in lines)}
    graph = onnx.load(written.graph)
    assert graph.opset_import[0].version == OPSET
    assert scales.keys() <= {"frames"} | {output for node in graph.graph.node for output in node.output}
    int8 = {
        tensor.name.removesuffix("_scale"): float(onnx.numpy_helper.to_array(tensor).reshape(-1)[0])
        for tensor in onnx.load(bundle.graph("int8")).graph.initializer
        if tensor.name.removesuffix("_scale") in scales
    }
    assert len(int8) > 25
    assert {name: scales[name] for name in int8} == int8


def test_the_graph_beside_it_answers_as_the_bundle_s_own(bundle: Bundle, frames: list[Image]) -> None:
    bundle, written = add_calibration_cache(bundle, "10.3.0")
    batch = np.stack(frames[:1])
    with (
        CpuEngine(written.graph, "fp32", threads=1) as older,
        CpuEngine(bundle.graph("fp32"), "fp32", threads=1) as own,
    ):
        np.testing.assert_array_equal(older.infer(batch)[0], own.infer(batch)[0])


def test_the_bundle_stays_whole(bundle: Bundle) -> None:
    _, written = add_calibration_cache(bundle, "8.6.1")
    assert open_bundle(bundle.path).manifest.files.keys() >= {
        str(path.relative_to(bundle.path)) for path in (written.cache, written.graph)
    }


def test_layers_that_a_budget_keeps_in_fp16_are_told(bundle: Bundle) -> None:
    calibration = {**bundle.manifest.calibration, "search": {"given_back": ["conv1"]}}
    _, written = add_calibration_cache(
        replace(bundle, manifest=replace(bundle.manifest, calibration=calibration)), "8.6.1"
    )
    assert written.in_float == ("conv1",)


def test_a_bundle_that_was_not_calibrated_is_refused(bundle: Bundle) -> None:
    files = {name: digest for name, digest in bundle.manifest.files.items() if name != "calibration.json"}
    with pytest.raises(UsageError, match="was not calibrated"):
        add_calibration_cache(replace(bundle, manifest=replace(bundle.manifest, files=files)), "8.6.1")
