"""INT8 in a build: which ranges, which layers, and what was measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.calibration.int8 import Int8Spec, Records
from trtparse.data.dataset import Dataset, Sample, Subset
from trtparse.engines import Bundle
from trtparse.engines.bundle import CALIBRATION_NAME
from trtparse.errors import AccuracyError, DataError, UsageError
from trtparse.trt_builder.build import BuildSpec, BuiltBundle, build_bundle

Build = Callable[..., BuiltBundle]


@pytest.fixture(scope="module")
def exported(
    people: Dataset, tmp_path_factory: pytest.TempPathFactory, small_weights: Path, quick_builds: Any
) -> BuiltBundle:
    """By every method, measured on labelled people."""
    spec = BuildSpec(small_weights, "int8", calibration_images=6, threads=1)
    with quick_builds():
        return build_bundle(spec, people, tmp_path_factory.mktemp("exported") / "student")


@pytest.fixture
def build(quick_builds: Any, small_weights: Path, people: Dataset, tmp_path: Path) -> Iterator[Build]:
    """Builds of the small student, which take no second."""

    def build(dataset: Dataset = people, held_out: Dataset | None = None, **options: object) -> BuiltBundle:
        wanted = {"calibration_images": 6, "int8": Int8Spec("max"), "validate": False, "threads": 1, **options}
        spec = BuildSpec(small_weights, "int8", **wanted)  # type: ignore[arg-type]
        return build_bundle(spec, dataset, tmp_path / "built", held_out=held_out)

    with quick_builds():
        yield build


def test_all_methods_are_tried_and_the_one_that_agrees_best_is_kept(exported: BuiltBundle) -> None:
    calibration = exported.bundle.manifest.calibration
    scores = calibration["methods"]
    assert set(scores) == {"max", "percentile:99.99", "entropy", "mse"}
    assert calibration["method"] == max(scores, key=lambda name: scores[name]["agreement"])
    assert calibration["key"]["method"] == calibration["method"]


def test_the_manifest_has_the_loss_of_both_forms_on_images_that_did_not_calibrate(exported: BuiltBundle) -> None:
    manifest = exported.bundle.manifest
    assert manifest.calibration["validated"]
    assert set(manifest.accuracy) == {"simulated-int8", "onnxruntime-int8"}
    for figures in manifest.accuracy.values():
        assert figures.images == 12 - 6
        assert figures.loss is not None
        assert 0.5 < figures.share <= 1
        assert (figures.figure, figures.unit) == ("mIoU", "points of mean IoU")
    assert exported.result is not None
    assert exported.result.labelled


def test_a_fifth_is_kept_from_calibrating_where_all_images_are_asked_for(people: Dataset, build: Build) -> None:
    built = build(validate=True, calibration_images=500)
    assert built.bundle.manifest.calibration["images"] == len(people) - len(people) // 5
    assert built.result is not None
    assert built.result.images == len(people) // 5


def test_other_images_can_be_given_to_judge_on(people: Dataset, build: Build) -> None:
    built = build(Subset(people, tuple(range(6))), Subset(people, (9, 10)), validate=True)
    assert built.bundle.manifest.calibration["images"] == 6
    assert built.result is not None
    assert built.result.images == 2


def test_images_that_calibrate_never_judge(people: Dataset, build: Build) -> None:
    some = Subset(people, (0, 1))
    with pytest.raises(DataError, match="none is left to judge") as caught:
        build(some, some, validate=True)
    assert "--held-out" in caught.value.hint
    with pytest.raises(DataError, match="no second image"):
        build(Subset(people, (0,)), validate=True)


def test_without_validation_the_bundle_says_that_nobody_measured(build: Build) -> None:
    built = build(int8=Int8Spec())
    assert built.result is None
    assert built.bundle.manifest.calibration["validated"] is False
    assert built.bundle.manifest.calibration["method"] == "mse"
    assert built.bundle.manifest.accuracy == {}


def test_a_large_budget_leaves_everything_in_int8(build: Build) -> None:
    built = build(validate=True, int8=Int8Spec("max", max_drop=50.0))
    search = built.bundle.manifest.calibration["search"]
    assert search["given_back"] == []
    assert search["points"]


def test_a_budget_that_nothing_meets_exits_with_4_and_leaves_the_old_bundle(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = build().bundle.manifest
    from trtparse.calibration.budget.judge import GraphJudge

    judged = GraphJudge.__call__
    monkeypatch.setattr(GraphJudge, "__call__", lambda self, model: replace(judged(self, model), loss=7.0))
    with pytest.raises(AccuracyError, match="7"):
        build(validate=True, int8=Int8Spec("max", max_drop=0.3))
    assert Bundle(tmp_path / "built", old).graph("int8").is_file()
    assert json.loads((tmp_path / "built" / "bundle.json").read_text())["calibration"] == old.calibration


def test_a_budget_without_held_out_images_is_refused_before_any_work() -> None:
    with pytest.raises(UsageError, match="held-out images"):
        BuildSpec(Path("best.safetensors"), int8=Int8Spec("max", max_drop=1.0), validate=False)


def test_ranges_of_an_earlier_build_serve_the_same_request_and_no_other(
    exported: BuiltBundle, build: Build, people: Dataset, tmp_path: Path
) -> None:
    first = build().bundle
    kept = tmp_path / "kept.json"
    kept.write_bytes((first.path / CALIBRATION_NAME).read_bytes())
    again = build(int8=Int8Spec(ranges=kept)).bundle
    assert again.graph("int8").read_bytes() == (first.path / "student.int8.onnx").read_bytes()
    assert json.loads((again.path / CALIBRATION_NAME).read_text()) == json.loads(kept.read_text())
    with pytest.raises(UsageError, match="another set of calibration images"):
        build(int8=Int8Spec(ranges=kept), calibration_images=5)
    with pytest.raises(UsageError, match="another calibration method"):
        build(int8=Int8Spec("entropy", ranges=kept))


def test_a_killed_build_s_records_serve_the_next_one_and_go_when_it_is_whole(build: Build, tmp_path: Path) -> None:
    records = Records.beside(tmp_path / "built")
    records.search.write_text('{"schema": 1, "model": "of something else"}\n')
    build(validate=True, int8=Int8Spec("max", max_drop=50.0))
    assert not records.search.exists()
    assert not records.calibration.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["built"]


def test_an_fp32_graph_is_calibrated_without_pytorch(exported: BuiltBundle, people: Dataset, tmp_path: Path) -> None:
    spec = BuildSpec(exported.bundle.graph("fp32"), "int8", calibration_images=6, int8=Int8Spec("max"), threads=1)
    built = build_bundle(spec, people, tmp_path / "built")
    assert built.bundle.manifest.network == "onnx"
    assert built.bundle.manifest.precisions == ("fp32", "fp16", "int8")
    assert built.bundle.manifest.parity["fp32"]["pixel_agreement"] == 1
    assert not built.bundle.weights.exists()


def test_a_graph_of_another_precision_is_no_source(exported: BuiltBundle, people: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="made from an FP32 graph"):
        build_bundle(BuildSpec(exported.bundle.graph("int8"), "int8"), people, tmp_path / "built")


def test_an_unknown_method_is_refused_before_any_work() -> None:
    with pytest.raises(UsageError, match="Did you mean entropy"):
        Int8Spec("entropie")
    with pytest.raises(UsageError, match="no method 'least' for the scales of weights"):
        Int8Spec(weights="least")


def test_a_budget_of_agreement_needs_no_label_maps(build: Build, people: Dataset) -> None:
    class Unlabelled(Subset):
        labelled = False

        def __getitem__(self, index: int) -> Sample:
            return replace(super().__getitem__(index), labels=None)

    everyone = Unlabelled(people, tuple(range(len(people))))
    built = build(everyone, validate=True, int8=Int8Spec("max", min_agreement=20.0))
    search = built.bundle.manifest.calibration["search"]
    assert search["max_drop"] == 80
    assert search["score"]["loss"] is None
    measured = built.bundle.manifest.accuracy["simulated-int8"].agreement_value
    assert measured == pytest.approx(search["score"]["agreement"])


def test_two_budgets_or_one_that_makes_no_sense_are_refused() -> None:
    with pytest.raises(UsageError, match="two budgets"):
        Int8Spec(max_drop=0.3, min_agreement=98.0)
    with pytest.raises(UsageError, match="An agreement of 101"):
        Int8Spec(min_agreement=101.0)
    with pytest.raises(UsageError, match="A budget of -1 points"):
        Int8Spec(max_drop=-1.0)


def test_every_correction_can_be_asked_for_and_is_named(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    from trtparse.calibration.quantise import rounding

    monkeypatch.setattr(rounding, "learn_rounding", partial(rounding.learn_rounding, steps=1))
    plain = build().bundle.graph("int8").read_bytes()
    spec = Int8Spec("max", weights="mse", corrections=("equalisation", "rounding", "bias"))
    built = build(int8=spec)
    calibration = built.bundle.manifest.calibration
    assert calibration["weights"] == "mse"
    assert calibration["corrections"] == ["equalisation", "rounding", "bias"]
    assert built.bundle.graph("int8").read_bytes() != plain
    assert built.bundle.manifest.parity["fp32"]["pixel_agreement"] > 0.999
    with pytest.raises(UsageError, match="no correction 'luck'"):
        Int8Spec(corrections=("luck",))
