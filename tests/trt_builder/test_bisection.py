"""The first layer of an engine that differs from its graph, found by builds that read one tensor out each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from trtparse.engines import open_bundle
from trtparse.engines.bundle import finish
from trtparse.errors import BuildError
from trtparse.tests.engines import recording
from trtparse.tests.trt_builder.recorded_gpu import ORIN, RecordedGpu, install
from trtparse.trt_builder import compile
from trtparse.trt_builder.bisection import Point, bisect, expected_of, points_of, relative_error, with_output
from trtparse.trt_builder.compile import HowToBuild, build_engines
from trtparse.trt_builder.engine_spec import EngineSpec
from trtparse.trt_builder.parity import save_parity
from trtparse.trt_builder.source import bundle_of_onnx

POINTS = [Point(f"t{number}", f"layer{number}") for number in range(100)]


@pytest.mark.parametrize("first", [0, 1, 37, 98, 99])
def test_the_first_that_differs_is_found_in_a_handful_of_builds(first: int) -> None:
    asked: list[Point] = []

    def error_at(point: Point) -> float:
        asked.append(point)
        return 0.9 if int(point.tensor[1:]) >= first else 0.05

    told = bisect(POINTS, error_at)
    assert f"The first layer that differs is layer{first}: its t{first} is off by 0.90 times its size" in told
    assert (f"layer{first - 1} before it agrees" in told) is (first > 0)
    assert len(asked) <= 8
    assert f"({len(asked)} builds)" in told


def test_values_that_are_none_differ() -> None:
    assert relative_error(np.array([1.0, np.nan]), np.array([1.0, 2.0], np.float32)) == float("inf")
    assert relative_error(np.zeros(2), np.zeros(2, np.float32)) == 0
    assert "differs is layer0" in bisect(POINTS, lambda _: float("nan"))


def test_a_fault_that_goes_away_when_it_is_looked_at_is_called_that() -> None:
    assert "agrees up to there: the fault is behind it, or goes away" in bisect(POINTS, lambda _: 0.01)
    assert bisect([], lambda _: 0.0) == "No layer of it can be read out."


@pytest.mark.parametrize("options", [{}, {"half": True}, {"half": True, "quantised": True}])
def test_a_tensor_can_be_read_out_of_a_graph_of_any_precision(options: dict[str, Any], small: SimpleNamespace) -> None:
    model = small.model(**options)
    points = points_of(model)
    assert [point.layer for point in points] == ["first", "relu", "second", "relu_2", "head"]
    onnx.checker.check_model(with_output(model, "four"), full_check=True)
    frames = np.random.default_rng(0).integers(0, 256, (1, 16, 24, 3), np.uint8)
    found, plain = expected_of(model, "four", frames), expected_of(small.model(), "four", frames)
    assert found.shape == (1, 16, 16, 24)
    assert relative_error(found, plain) < 0.1


def test_pools_and_pairs_are_read_out_where_they_are_float(small: SimpleNamespace) -> None:
    tensors = {point.tensor for point in points_of(small.model(half=True, quantised=True))}
    assert not any(name.endswith(("_q", "_dq")) for name in tensors)


# On a GPU that is recorded


@pytest.fixture
def wrong_from(
    monkeypatch: pytest.MonkeyPatch, declared: Callable[[str], Any], small: SimpleNamespace, tmp_path: Path
) -> Callable[[str], RecordedGpu]:
    """A GPU whose engines compute something else from a tensor on."""

    def make(tensor: str) -> RecordedGpu:
        gpu = install(monkeypatch, declared, lambda model, spec: (1.0, []))
        model = small.model(half=True, quantised=True)
        order = [point.tensor for point in points_of(model)]

        def answer(name: str) -> Callable[[Any], Any]:
            def of(frames: Any) -> Any:
                if name == "labels":
                    return np.full(frames.shape[:3], 7, np.uint8)
                right = expected_of(model, name, frames)
                return right if order.index(name) < order.index(tensor) else np.roll(right, 5, axis=1)

            return of

        for name in ("labels", *order):
            monkeypatch.setitem(recording.ANSWERS, name, answer(name))
        return gpu

    return make


def _bundle(small: SimpleNamespace, folder: Path) -> Any:
    onnx.save(small.model(half=True, quantised=True), folder / "small.onnx")
    made = bundle_of_onnx(folder / "small.onnx", folder / "student")
    frames = np.random.default_rng(0).integers(0, 256, (3, 16, 24, 3), np.uint8)
    save_parity(made.path, frames, {"labels": np.zeros((3, 16, 24), np.uint8)})
    finish(made.path, made.manifest)
    return open_bundle(made.path)


@pytest.mark.parametrize(("tensor", "layer"), [("one", "first"), ("four", "second"), ("scores", "head")])
def test_an_engine_that_answers_wrongly_is_refused_with_the_layer_where_it_begins(
    tensor: str, layer: str, wrong_from: Callable[[str], RecordedGpu], small: SimpleNamespace, tmp_path: Path
) -> None:
    gpu = wrong_from(tensor)
    stages: list[str] = []
    bundle = _bundle(small, tmp_path)
    with pytest.raises(
        BuildError, match=rf"0\.00 %.*failed\. The first layer that differs is {layer}: its {tensor} is off"
    ):
        build_engines(bundle, EngineSpec("int8"), stages.append, machine=ORIN, how=HowToBuild(bisect=True))
    assert any("Looking for the first layer that differs" in stage for stage in stages)
    assert len(gpu.built) <= 1 + 4
    assert gpu.cuda.left() == []
    left = {path.name for path in (bundle.path / "engines" / "failed").iterdir()}
    assert left == {f"tensorrt-10.3-sm87-int8.{kind}" for kind in ("engine", "inspector.json", "log")}
    open_bundle(bundle.path)


def test_a_search_that_fails_hides_nothing_of_why_the_engine_was_refused(
    wrong_from: Callable[[str], RecordedGpu],
    small: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = wrong_from("four")
    real = gpu.build

    def build(*arguments: Any, **options: Any) -> Any:
        gpu.refuses = {"int8": BuildError("Out of memory.")} if gpu.built else {}
        return real(*arguments, **options)

    monkeypatch.setattr(compile, "build_in_process", build)
    with pytest.raises(BuildError, match=r"agrees with .*could not be found: Out of memory\."):
        build_engines(_bundle(small, tmp_path), EngineSpec("int8"), machine=ORIN, how=HowToBuild(bisect=True))


def test_ctrl_c_while_it_looks_leaves_the_evidence(
    wrong_from: Callable[[str], RecordedGpu], small: SimpleNamespace, tmp_path: Path
) -> None:
    wrong_from("four")

    def stage(text: str) -> None:
        if "Looking" in text:
            raise KeyboardInterrupt

    bundle = _bundle(small, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        build_engines(bundle, EngineSpec("int8"), stage, machine=ORIN, how=HowToBuild(bisect=True))
    assert (bundle.path / "engines" / "failed" / "tensorrt-10.3-sm87-int8.engine").is_file()
