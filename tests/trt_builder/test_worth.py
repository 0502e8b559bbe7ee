"""INT8 against FP16, on a GPU whose times were recorded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from trtparse.engines import Bundle, open_bundle
from trtparse.engines.bundle import add_files
from trtparse.engines.manifest import EngineManifest, engine_manifests
from trtparse.errors import BuildError, MachineError
from trtparse.tests.trt_builder.recorded_gpu import ORIN, RecordedGpu, install
from trtparse.trt_builder.compile import HowToBuild, build_engines
from trtparse.trt_builder.engine_spec import EngineSpec
from trtparse.trt_builder.source import bundle_of_onnx
from trtparse.trt_builder.worth import Race, medians

INT8, FP16 = "engines/tensorrt-10.3-sm87-int8.engine", "engines/tensorrt-10.3-sm87-fp16.engine"


@pytest.fixture
def bundle(tmp_path: Path, small: SimpleNamespace) -> Callable[..., Bundle]:
    """An INT8 bundle, with its FP16 graph or without."""

    def make(half: bool = True) -> Bundle:
        model = small.model(half=True, quantised=True)
        onnx.save(model, tmp_path / "small.onnx")
        made = bundle_of_onnx(tmp_path / "small.onnx", tmp_path / "built" / "student")
        if half:
            add_files(made, {"student.fp16.onnx": small.model(half=True).SerializeToString()})
        return open_bundle(made.path)

    return make


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, declared: Callable[[str], Any]) -> Callable[..., RecordedGpu]:
    """A GPU on which INT8 and FP16 take what is told."""

    def make(int8: float, fp16: float) -> RecordedGpu:
        times = {"int8": int8, "fp16": fp16}
        return install(monkeypatch, declared, lambda model, spec: (times[spec.precision], []))

    return make


def _build(bundle: Bundle, **how: Any) -> tuple[Bundle, list[EngineManifest]]:
    return build_engines(bundle, EngineSpec("int8"), machine=ORIN, how=HowToBuild(timed=True, **how))


def test_an_int8_engine_is_timed_against_fp16_and_both_get_in_with_the_times(
    bundle: Callable[..., Bundle], gpu: Callable[..., RecordedGpu]
) -> None:
    recorded = gpu(0.5, 0.8)
    made, facts = _build(bundle())
    assert recorded.graphs() == ["int8", "fp16"]
    assert [one.engine for one in facts] == [FP16, INT8]
    assert [manifest.engine for manifest in engine_manifests(open_bundle(made.path))] == [INT8, FP16]
    for manifest in engine_manifests(made):
        assert manifest.milliseconds == {"int8": 0.5, "fp16": 0.8, "frames": 1}
        assert manifest.settings["notes"] == []
    assert recorded.cuda.left() == []


@pytest.mark.parametrize(("int8", "fp16", "told"), [(0.9, 0.8, "slower"), (0.79, 0.8, "hardly faster")])
def test_where_int8_is_no_faster_the_build_says_so(
    int8: float, fp16: float, told: str, bundle: Callable[..., Bundle], gpu: Callable[..., RecordedGpu]
) -> None:
    gpu(int8, fp16)
    made, facts = _build(bundle())
    (note,) = facts[1].settings["notes"]
    assert f"INT8 takes {int8:.3f} ms and FP16 {fp16:.3f} ms a call of 1: INT8 is {told} here" in note
    assert "ship FP16" in note
    assert "--fastest" in note
    assert len(engine_manifests(open_bundle(made.path))) == 2


@pytest.mark.parametrize(("int8", "kept"), [(0.5, INT8), (0.9, FP16)])
def test_the_faster_one_alone_gets_in_where_that_is_asked_for(
    int8: float, kept: str, bundle: Callable[..., Bundle], gpu: Callable[..., RecordedGpu]
) -> None:
    gpu(int8, 0.8)
    made, facts = _build(bundle(), fastest=True)
    assert [one.engine for one in facts] == [kept]
    assert [manifest.engine for manifest in engine_manifests(open_bundle(made.path))] == [kept]
    assert sorted(path.name for path in (made.path / "engines").iterdir()) == [
        Path(kept).name,
        Path(kept).with_suffix(".json").name,
    ]
    if kept == FP16:
        assert facts[0].settings["notes"][0].startswith("Taken in place of INT8. INT8 takes 0.900 ms")


def test_an_older_int8_engine_does_not_outlive_the_fp16_that_beat_it(
    bundle: Callable[..., Bundle], gpu: Callable[..., RecordedGpu]
) -> None:
    gpu(0.5, 0.8)
    made, _ = _build(bundle(), fastest=True)
    gpu(0.9, 0.8)
    made, _ = _build(made, fastest=True)
    assert [manifest.engine for manifest in engine_manifests(open_bundle(made.path))] == [FP16]
    assert not (made.path / INT8).exists()


def test_a_bundle_without_an_fp16_graph_says_that_nobody_knows(
    bundle: Callable[..., Bundle], gpu: Callable[..., RecordedGpu]
) -> None:
    recorded = gpu(0.9, 0.8)
    _, (facts,) = _build(bundle(half=False))
    assert recorded.graphs() == ["int8"]
    assert facts.settings["notes"] == ["The bundle has no FP16 graph, so nobody knows whether INT8 is faster."]
    assert facts.milliseconds == {}


@pytest.mark.parametrize("error", [BuildError("No kernel."), MachineError("The GPU is gone.")])
def test_an_int8_engine_is_not_lost_where_fp16_fails(
    error: Any, bundle: Callable[..., Bundle], gpu: Callable[..., RecordedGpu]
) -> None:
    gpu(0.5, 0.8).refuses["fp16"] = error
    made, (facts,) = _build(bundle())
    assert facts.engine == INT8
    assert facts.settings["notes"][0].startswith(f"INT8 was not timed against FP16: {error.message}")
    assert (made.path / INT8).is_file()


def test_a_gpu_that_disappears_while_it_times_loses_no_engine(
    bundle: Callable[..., Bundle], gpu: Callable[..., RecordedGpu]
) -> None:
    recorded = gpu(0.5, 0.8)
    recorded.cuda._fail = {"execute": 9}
    made, (facts,) = _build(bundle())
    assert "INT8 was not timed against FP16: The GPU" in facts.settings["notes"][0]
    assert open_bundle(made.path).manifest.files.keys() >= {INT8}


def test_nothing_is_timed_where_that_is_not_asked_for(
    bundle: Callable[..., Bundle], gpu: Callable[..., RecordedGpu]
) -> None:
    recorded = gpu(0.5, 0.8)
    build_engines(bundle(), EngineSpec("int8"), machine=ORIN)
    assert recorded.graphs() == ["int8"]


def test_engines_take_turns_and_the_first_round_does_not_count() -> None:
    asked: list[str] = []

    class Clocked:
        def __init__(self, name: str, times: list[float]) -> None:
            self.name, self.times = name, iter(times)

        def engine_times(self, frames: Any, calls: int) -> list[float]:
            asked.append(self.name)
            return [next(self.times)] * calls

        def layer_times(self, frames: Any, calls: int) -> Any:
            raise AssertionError

    cold, steady = Clocked("a", [9, 1, 1, 1, 1, 5]), Clocked("b", [7, 2, 2, 3, 2, 2])
    assert medians((cold, steady), np.zeros((1, 2, 2, 3), np.uint8)) == (1, 2)
    assert asked == ["a", "b"] * 6


def test_the_verdict_names_both_times() -> None:
    assert Race(0.5, 1.0, 8).verdict == "INT8 takes 0.500 ms and FP16 1.000 ms a call of 8: INT8 is 2.00 × as fast."
