"""A calibration cache of TensorRT's becomes Q/DQ with its scales; what does not match is named."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from trtparse.calibration.cache import calibration_cache, is_cache, read_cache
from trtparse.calibration.foreign import ranges_of_cache
from trtparse.calibration.int8 import Int8Spec
from trtparse.calibration.quantise.cpu import quantise_for_cpu
from trtparse.calibration.quantise.placement import place
from trtparse.calibration.quantise.qdq import activation_scales, quantise
from trtparse.calibration.ranges import Ranges
from trtparse.errors import UsageError

NewLadder = Callable[..., onnx.ModelProto]
RangesFor = Callable[..., Ranges]


def written(path: Path, scales: dict[str, float], first: str = "TRT-8601-EntropyCalibration2") -> Path:
    """A cache as TensorRT writes it."""
    lines = [f"{name}: {struct.pack('>f', scale).hex()}" for name, scale in scales.items()]
    path.write_text("\n".join([first, *lines]) + "\n")
    return path


@pytest.fixture(scope="module")
def model(new_ladder: NewLadder) -> onnx.ModelProto:
    return new_ladder()


@pytest.fixture(scope="module")
def tensors(model: onnx.ModelProto) -> dict[str, float]:
    """A scale of every tensor of the graph, exact in FP16, as TensorRT has one of each of its network's."""
    names = [name for node in model.graph.node for name in node.output]
    return {name: (number + 1) / 64 for number, name in enumerate(names)}


@pytest.mark.parametrize(
    ("first", "version"),
    [
        ("TRT-8601-EntropyCalibration2", "8.6.1"),
        ("TRT-8502-MinMaxCalibration", "8.5.2"),
        ("TRT-100300-EntropyCalibration2", "10.3.0"),
        ("TRT-101601-EntropyCalibration2", "10.16.1"),
    ],
)
def test_a_cache_of_8_or_10_is_read(first: str, version: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.cache", {"image": 0.5, "(Unnamed Layer* 3) [Convolution]_output: 0": 0.0}, first)
    cache = read_cache(path)
    assert (cache.version, cache.calibrator) == (version, first.rpartition("-")[2])
    assert cache.scales == {"image": 0.5, "(Unnamed Layer* 3) [Convolution]_output: 0": 0.0}
    assert is_cache(path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("TRT-7103-EntropyCalibration2\na: 3f000000\n", r"is of TensorRT 7\.1\.3; caches of 8 to 10"),
        ("TRT-110000-EntropyCalibration2\na: 3f000000\n", r"is of TensorRT 11\.0\.0"),
        ("TRT-8601-EntropyCalibration2\na: 7fc00000\n", r"the scale of a is nan \(line 2\)"),
        ("TRT-8601-EntropyCalibration2\na: ff800000\n", "the scale of a is -inf"),
        ("TRT-8601-EntropyCalibration2\na: bf000000\n", "the scale of a is -0.5"),
        ("TRT-8601-EntropyCalibration2\na: 3f000000\nb: 3f00", "is damaged in line 3: 'b: 3f00'"),
        ("TRT-8601-EntropyCalibration2\n", "holds no scale"),
        ("TRT-8601\n", "begins with 'TRT-8601'"),
        ("", "is no calibration cache that can be read"),
        ("TRT-8601-EntropyCalibration2\n\udc80", "is no calibration cache that can be read"),
    ],
)
def test_what_is_no_cache_or_a_damaged_one_is_refused(content: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "a.cache"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError, match=told) as caught:
        read_cache(path)
    assert "--data" in caught.value.hint


def test_a_calibration_file_of_ours_is_no_cache(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    assert not is_cache(tmp_path / "a.json")
    assert not is_cache(tmp_path / "missing")


def test_the_scales_of_the_cache_are_those_of_the_graph(
    model: onnx.ModelProto, tensors: dict[str, float], tmp_path: Path
) -> None:
    matched = ranges_of_cache(written(tmp_path / "a.cache", tensors), model, place(model))
    assert matched.placement == place(model)
    assert matched.ranges.warnings == ()
    scales = activation_scales(matched.placement, matched.ranges)
    shared = {name for group in matched.placement.shared for name in group}
    assert {name: scale for name, scale in scales.items() if name not in shared} == {
        name: tensors[name] for name in scales.keys() - shared
    }
    constants = {tensor.name: tensor for tensor in quantise(model, *_pair(matched)).graph.initializer}
    assert float(onnx.numpy_helper.to_array(constants["image_scale"])) == tensors["image"]
    quantise_for_cpu(model, *_pair(matched))


def _pair(matched: Any) -> tuple[Any, Any]:
    return matched.placement, matched.ranges


def test_a_cache_that_we_wrote_gives_the_same_graph_again(
    model: onnx.ModelProto, ranges_for: RangesFor, tmp_path: Path
) -> None:
    placement, ranges = place(model), ranges_for(model)
    path = tmp_path / "a.cache"
    path.write_text(calibration_cache(ranges, placement, "10.3.0"))
    matched = ranges_of_cache(path, model, placement)
    assert quantise(model, *_pair(matched)) == quantise(model, placement, ranges)


def test_what_is_nowhere_negative_keeps_the_whole_of_uint8(
    model: onnx.ModelProto, tensors: dict[str, float], tmp_path: Path
) -> None:
    limits = ranges_of_cache(written(tmp_path / "a.cache", tensors), model, place(model)).ranges.limits
    assert limits["stem.relu"] == (0.0, 127 * tensors["stem.relu"])
    assert limits["pool"] == (0.0, 127 * tensors["pool"])
    assert limits["stem"] == (-127 * tensors["stem"], 127 * tensors["stem"])
    assert limits["concat"][0] == 0


def test_tensors_of_other_names_are_told_and_layers_without_a_scale_stay_in_fp16(
    model: onnx.ModelProto, tensors: dict[str, float], tmp_path: Path
) -> None:
    scales = {f"{name}_renamed" if name.startswith("depthwise") else name: scale for name, scale in tensors.items()}
    matched = ranges_of_cache(written(tmp_path / "a.cache", scales), model, place(model))
    others, lacking = matched.ranges.warnings
    renamed = "depthwise.relu_renamed, depthwise_renamed"
    assert others == f"2 of the cache's {len(scales)} tensors are none of the graph's: {renamed}."
    assert lacking == "2 layers stay in FP16, as the cache has no scale of depthwise.relu."
    assert set(place(model).layers) - set(matched.placement.layers) == {"depthwise", "mix"}
    assert "a.cache has no scale" in matched.placement.higher_precision["depthwise"]
    quantise(model, *_pair(matched))
    quantise_for_cpu(model, *_pair(matched))


def test_a_cache_of_another_network_is_refused_with_names_of_both(model: onnx.ModelProto, tmp_path: Path) -> None:
    path = written(tmp_path / "a.cache", {f"resnet/{number}": 0.1 for number in range(9)})
    with pytest.raises(UsageError, match=r"of another network: of its 9 tensors \(resnet/0, .* and 4 more\)"):
        ranges_of_cache(path, model, place(model))


def test_corrections_are_not_learnt_from_a_cache(tensors: dict[str, float], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a cache has none"):
        Int8Spec(ranges=written(tmp_path / "a.cache", tensors), corrections=("bias",))


def test_a_bundle_is_built_from_a_graph_and_its_cache_without_any_image_of_one_s_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trtparse.engines import open_bundle, open_engine
    from trtparse.tests.calibration.conftest import SmallDataset
    from trtparse.tests.trt_builder.conftest import small_model
    from trtparse.trt_builder.build import BuildSpec, build_bundle

    model = small_model()
    onnx.save(model, tmp_path / "small.onnx")
    cache = written(tmp_path / "a.cache", {name: 0.5 for node in model.graph.node for name in node.output})
    photograph = np.full((40, 30, 3), 90, np.uint8)
    spec = BuildSpec(tmp_path / "small.onnx", "int8", int8=Int8Spec(ranges=cache), validate=False, threads=1)
    built = build_bundle(spec, SmallDataset([photograph]), tmp_path / "student")  # type: ignore[arg-type]
    calibration = built.bundle.manifest.calibration
    assert calibration["method"] == "TensorRT 8.6.1's cache, EntropyCalibration2"
    assert (calibration["images"], calibration["dataset"]) == (0, "a.cache")
    with open_engine(open_bundle(tmp_path / "student"), "simulated", "int8", threads=1) as engine:
        assert engine.infer(np.zeros((1, 16, 24, 3), np.uint8))[0].shape == (1, 16, 24)
