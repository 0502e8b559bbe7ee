"""What each layer saves in INT8, from the times of engines that fuse them in their own ways."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest

from trtparse.calibration import int8 as calibration_int8
from trtparse.calibration.int8 import Int8Spec
from trtparse.data.dataset import Dataset, Subset
from trtparse.engines.base import LayerTime
from trtparse.errors import BuildError, MachineError, TrtparseError, UsageError
from trtparse.graphs.index import quantised_nodes
from trtparse.tests.predicting import LIP
from trtparse.tests.trt_builder.recorded_gpu import ORIN, RecordedGpu, install
from trtparse.trt_builder.build import BuildSpec, build_bundle
from trtparse.trt_builder.engine_spec import EngineSpec
from trtparse.trt_builder.layer_times import GraphTimer, estimated, saved_by_int8

LAYERS = ("first", "second")


@pytest.fixture
def int8(small: SimpleNamespace) -> onnx.ModelProto:
    model: onnx.ModelProto = small.model(half=True, quantised=True)
    return model


@pytest.fixture
def half(small: SimpleNamespace) -> onnx.ModelProto:
    model: onnx.ModelProto = small.model(half=True)
    return model


def _times(**layers: float) -> list[LayerTime]:
    return [LayerTime(name, time) for name, time in layers.items()]


def test_a_layer_saves_what_its_kernel_its_copies_and_its_quantisation_take_less(
    int8: onnx.ModelProto, half: onnx.ModelProto
) -> None:
    first = [
        LayerTime("images_q", 0.05),
        LayerTime("w1 + w1_q + first + relu", 0.10),
        LayerTime("Reformatting CopyNode for Input Tensor 0 to w2 + w2_q + second", 0.20),
        LayerTime("w2 + w2_q + second", 0.10),
        LayerTime("head", 0.5),
    ]
    second = [LayerTime("first + relu", 0.4), LayerTime("second", 0.25), LayerTime("head", 0.1)]
    saved = saved_by_int8(LAYERS, int8, first, half, second)
    # The pair on the pixels is the first one's; the copy before the second makes it slower than in FP16.
    assert saved.milliseconds == pytest.approx({"first": 0.4 - 0.15, "second": 0.25 - 0.3})
    assert saved.untimed == ()


def test_layers_that_one_engine_fuses_share_what_they_save_by_their_work(
    int8: onnx.ModelProto, half: onnx.ModelProto
) -> None:
    first, second = _times(**{"first + second": 1.0}), _times(first=2.0, second=3.0)
    saved = saved_by_int8(LAYERS, int8, first, half, second).milliseconds
    # 16·3 and 16·16 products a pixel and kernel place
    assert saved == pytest.approx({"first": 4 * 3 / 19, "second": 4 * 16 / 19})


def test_what_a_foreign_node_hides_is_estimated_by_its_work_and_named(
    int8: onnx.ModelProto, half: onnx.ModelProto
) -> None:
    hidden = LayerTime("{ForeignNode[second...head]}", 3.0)
    saved = saved_by_int8(LAYERS, int8, [*_times(first=1.0), hidden], half, [*_times(first=1.3), hidden])
    assert saved.milliseconds == pytest.approx({"first": 0.3})
    assert saved.untimed == ("second",)
    assert estimated(saved, half) == pytest.approx({"first": 0.3, "second": 0.3 * 16 / 3})


def test_nothing_is_estimated_from_nothing(int8: onnx.ModelProto, half: onnx.ModelProto) -> None:
    hidden = [LayerTime("{ForeignNode[first...head]}", 3.0)]
    saved = saved_by_int8(LAYERS, int8, hidden, half, hidden)
    assert (saved.milliseconds, saved.untimed) == ({}, LAYERS)
    with pytest.raises(ValueError, match="no layer was timed"):
        estimated(saved, half)


# On a GPU whose times were recorded


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, declared: Callable[[str], Any]) -> RecordedGpu:
    layers = {"int8": [("first", 0.1), ("second", 0.4)], "fp16": [("first", 0.3), ("second", 0.2)]}
    times = {"int8": 0.5, "fp16": 0.6}
    return install(monkeypatch, declared, lambda model, spec: (times[spec.precision], layers[spec.precision]))


def _timer(folder: Path, told: list[str]) -> GraphTimer:
    return GraphTimer(EngineSpec("int8"), folder / "student", LIP, told.append, ORIN)


def test_a_timer_builds_both_engines_times_them_and_leaves_their_kernels_alone(
    gpu: RecordedGpu, tmp_path: Path, int8: onnx.ModelProto, half: onnx.ModelProto
) -> None:
    savings = _timer(tmp_path, []).savings(LAYERS, int8, half)
    assert savings is not None
    assert (savings.int8, savings.fp16, savings.gpu) == (0.5, pytest.approx(0.6), "Orin")
    assert savings.layers == pytest.approx({"first": 0.2, "second": -0.2})
    assert gpu.graphs() == ["int8", "fp16"]
    assert gpu.cuda.left() == []
    left = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()]
    assert [name for name in left if not name.endswith(".lock")] == ["timing/tensorrt-10.3.0-sm87.cache"]


def test_kernels_of_myelin_are_known_by_what_the_inspector_tells_of_them(
    monkeypatch: pytest.MonkeyPatch,
    declared: Callable[[str], Any],
    tmp_path: Path,
    int8: onnx.ModelProto,
    half: onnx.ModelProto,
) -> None:
    layers = {"int8": [("__myl_a", 0.1), ("__myl_b", 0.4)], "fp16": [("__myl_a", 0.3), ("__myl_b", 0.2)]}
    gpu = install(monkeypatch, declared, lambda model, spec: (0.5, layers[spec.precision]))
    gpu.kernels = [
        {"Name": "__myl_a", "LayerType": "kgen", "Metadata": "[ONNX Layer: first]\u001e[ONNX Layer: relu]"},
        {"Name": "__myl_b", "LayerType": "kgen", "Metadata": "[ONNX Layer: second]"},
    ]
    savings = _timer(tmp_path, []).savings(LAYERS, int8, half)
    assert savings is not None
    assert savings.layers == pytest.approx({"first": 0.2, "second": -0.2})
    assert savings.untimed == ()


@pytest.mark.parametrize("kind", [BuildError, MachineError, UsageError])
def test_a_graph_that_no_engine_comes_of_is_told_and_not_guessed(
    kind: type[TrtparseError], gpu: RecordedGpu, tmp_path: Path, int8: onnx.ModelProto, half: onnx.ModelProto
) -> None:
    gpu.refuses["fp16"] = kind("Nothing fits.")
    told: list[str] = []
    assert _timer(tmp_path, told).savings(LAYERS, int8, half) is None
    assert told[-1].startswith("FP16 cannot be timed, so multiply-adds stand for it: Nothing fits.")
    assert _timer(tmp_path, told).milliseconds(int8) == 0.5


def test_a_build_on_a_gpu_leaves_what_int8_makes_slower_in_fp16(
    monkeypatch: pytest.MonkeyPatch,
    declared: Callable[[str], Any],
    small: SimpleNamespace,
    people: Dataset,
    tmp_path: Path,
) -> None:
    def recorded(model: onnx.ModelProto, spec: EngineSpec) -> tuple[float, list[tuple[str, float]]]:
        names = {node.name for node in quantised_nodes(model.graph)}
        first, second = 0.1 if names else 0.4, 0.5 if "w2_q" in names else 0.2
        return first + second, [("first + relu", first), ("second + relu_2", second)]

    gpu = install(monkeypatch, declared, recorded)
    onnx.save(small.model(), tmp_path / "small.onnx")
    spec = BuildSpec(
        tmp_path / "small.onnx", "int8", int8=Int8Spec("max"), validate=False, threads=1, engine=EngineSpec("int8")
    )
    bundle = build_bundle(spec, Subset(people, (0, 1)), tmp_path / "student").bundle
    timed = bundle.manifest.calibration["timed"]
    assert timed["slower"] == ["second"]
    assert timed["saved"] == pytest.approx({"first": 0.3, "second": -0.3})
    assert (timed["int8"], timed["fp16"], timed["without_slower"]) == pytest.approx((0.6, 0.6, 0.3))
    assert "slower in INT8" in bundle.manifest.calibration["higher_precision"]["second"]
    assert gpu.graphs() == ["int8", "fp16", "int8"]
    left = {node.name for node in quantised_nodes(onnx.load(bundle.graph("int8")).graph)}
    assert left == {"images_q", "images_dq", "w1_q", "w1_dq"}
    assert not list(tmp_path.glob(".student.*")), "no record stays"


def test_a_budget_goes_by_the_milliseconds_that_were_measured(
    monkeypatch: pytest.MonkeyPatch,
    declared: Callable[[str], Any],
    small: SimpleNamespace,
    people: Dataset,
    tmp_path: Path,
) -> None:
    def recorded(model: onnx.ModelProto, spec: EngineSpec) -> tuple[float, list[tuple[str, float]]]:
        first, second = (0.1, 0.2) if quantised_nodes(model.graph) else (0.4, 0.7)
        return first + second, [("first + relu", first), ("second + relu_2", second)]

    install(monkeypatch, declared, recorded)
    seen: list[Any] = []
    real = calibration_int8.meet_budget

    def searched(*arguments: Any, milliseconds: Any = None, **options: Any) -> Any:
        seen.append(milliseconds)
        return real(*arguments, milliseconds=milliseconds, **options)

    monkeypatch.setattr(calibration_int8, "meet_budget", searched)
    onnx.save(small.model(), tmp_path / "small.onnx")
    spec = BuildSpec(
        tmp_path / "small.onnx", int8=Int8Spec("max", min_agreement=0), threads=1, engine=EngineSpec("int8")
    )
    built = build_bundle(spec, Subset(people, (0, 1)), tmp_path / "student", held_out=Subset(people, (2, 3)))
    assert seen == [pytest.approx({"first": 0.3, "second": 0.5})]
    (point,) = built.bundle.manifest.calibration["search"]["points"]
    assert point["saved"] == 1
