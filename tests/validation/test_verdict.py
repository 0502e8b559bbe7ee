from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtparse.validation.result import EngineRun, ValidationResult
from trtparse.validation.verdict import (
    engine_labels,
    headline,
    most_lost,
    notes,
    reference_label,
    row_agreement,
    signed,
    verdict,
    verdict_word,
    worst_engine,
)

MadeUp = Callable[..., ValidationResult]


RUNS = st.builds(
    EngineRun,
    st.just(""),
    st.sampled_from(["cpu", "tensorrt"]),
    st.sampled_from(["fp16", "int8"]),
    bundle=st.sampled_from(["", "a/b", "b/b", "a #2"]),
)


@dataclasses.dataclass(frozen=True)
class _Only:
    """As much of a comparison as labels need."""

    run: EngineRun


def of_runs(runs: list[EngineRun]) -> ValidationResult:
    """A result of which only the engines' runs are there."""
    values = {field.name: None for field in dataclasses.fields(ValidationResult)}
    return ValidationResult(**{**values, "engines": tuple(map(_Only, runs))})


class TestLabels:
    @given(runs=st.lists(RUNS, min_size=1, max_size=6))
    def test_are_never_alike(self, runs: list[EngineRun]) -> None:
        labels = engine_labels(of_runs(runs))
        assert len(set(labels)) == len(runs)

    def test_say_what_is_between_int8_layers(self) -> None:
        runs = [EngineRun("", "openvino", "int8", between=between) for between in ("f32", "bf16")]
        assert engine_labels(of_runs(runs)) == ("INT8 (openvino, f32 between)", "INT8 (openvino, bf16 between)")
        assert [run.word for run in runs] == ["openvino-int8-f32", "openvino-int8-bf16"]

    def test_name_the_bundle_only_where_it_takes_that(self) -> None:
        runs = [EngineRun("", "cpu", "int8", bundle="build/a"), EngineRun("", "cpu", "fp16", bundle="build/a")]
        assert engine_labels(of_runs(runs)) == ("INT8 (cpu)", "FP16 (cpu)")
        runs = [*runs, EngineRun("", "cpu", "int8", bundle="build/b")]
        assert engine_labels(of_runs(runs)) == ("INT8 (cpu) a", "FP16 (cpu)", "INT8 (cpu) b")
        assert engine_labels(of_runs([runs[0], runs[0]])) == ("INT8 (cpu) a #1", "INT8 (cpu) a #2")

    def test_of_the_reference_is_no_engines(self, made_up: MadeUp) -> None:
        assert reference_label(made_up()) == "PyTorch"
        result = made_up(precisions=("fp32",) * 3)
        result = dataclasses.replace(result, reference_run=EngineRun("", "cpu", "fp32"))
        assert engine_labels(result) == ("FP32 (cpu)",)
        assert reference_label(result) == "FP32 (cpu) reference"


class TestWords:
    @pytest.mark.parametrize(
        ("points", "words"),
        [
            (0.42, "loses 0.42 points"),
            (-0.42, "gains 0.42 points"),
            (0.001, "loses nothing"),
            (-0.004, "loses nothing"),
        ],
    )
    def test_a_loss_is_told_as_it_is_rounded(self, points: float, words: str, made_up: MadeUp) -> None:
        assert headline(made_up((points,))) == f"INT8 (cpu) {words} of mean IoU"

    def test_the_worst_engine_is_the_one_that_loses_most(self, made_up: MadeUp) -> None:
        assert worst_engine(made_up((0.1, 0.9, 0.3))) == 1
        result = made_up((0.1, 0.9, 0.3), labelled=False)
        shares = [engine.agreement.pixel_accuracy for engine in result.engines]
        assert worst_engine(result) == shares.index(min(shares))

    def test_passing_engines_are_counted(self, made_up: MadeUp) -> None:
        assert headline(made_up((0.1, 0.2))).startswith("2 engines within the tolerance; at worst FP16 (cpu)")
        assert headline(made_up((1.1, 1.2, 0.1))).startswith("2 of 3 engines lose too much; at worst FP16 (cpu)")

    def test_the_word_is_of_one_engine_or_of_all(self, made_up: MadeUp) -> None:
        result = made_up((0.1, 1.2))
        assert verdict_word(result) == "FAILED"
        assert [verdict_word(result, engine) for engine in result.engines] == ["PASSED", "FAILED"]
        assert verdict_word(made_up(labelled=False)) == "AGREEMENT ONLY"

    def test_the_line_begins_with_the_word_that_the_exit_code_stands_for(self, made_up: MadeUp) -> None:
        for result in (made_up(), made_up((3.0,)), made_up(labelled=False), made_up((0.1, 3.0)), made_up(partial=True)):
            assert verdict(result).startswith("PASSED" if result.passed else "FAILED")

    def test_a_class_that_is_only_predicted_is_named(self, made_up: MadeUp) -> None:
        result = made_up()
        iou = (0.0 if i == 10 else value for i, value in enumerate(result.first.scores.class_iou))
        scores = dataclasses.replace(result.first.scores, class_iou=tuple(iou))
        lines = notes(result, dataclasses.replace(result.first, scores=scores))
        assert lines[0].startswith("1 class does not occur and is left out of the mean (reference)")
        assert lines[1] == (
            "1 class does not occur but is predicted, which counts as IoU 0 in the mean IoU (engine) and in no loss: "
            "Jumpsuits."
        )

    def test_what_the_agreement_leaves_out_is_named_and_what_is_invented_counted(self, made_up: MadeUp) -> None:
        result = made_up()
        told = (
            "The agreement is the mean over the 19 classes with at least 0.02 % of PyTorch's pixels, without Jumpsuits."
        )
        assert notes(result, result.first)[-1] == f"{told} The engine invents nothing."
        pixels = tuple(34_000 if label == 10 else 0 for label in range(20))
        inventive = dataclasses.replace(
            result.first, agreement=dataclasses.replace(result.first.agreement, invented=pixels)
        )
        assert notes(result, inventive)[-1] == f"{told} The engine invents 34,000 pixels of Jumpsuits."
        assert verdict(dataclasses.replace(result, engines=(inventive,))).endswith(
            f"agreement {100 * result.first.agreement.mean_iou:.2f}; invents 34,000 pixels of Jumpsuits"
        )

    def test_the_agreement_on_a_class_that_does_not_count_is_in_brackets(self, made_up: MadeUp) -> None:
        found = made_up().first.agreement
        assert row_agreement(found, 10) == "n/a"
        assert row_agreement(found, 1) == f"{100 * found.class_iou[1]:.2f}"
        support = tuple(7 if label == 1 else pixels for label, pixels in enumerate(found.support))
        assert row_agreement(dataclasses.replace(found, support=support), 1) == f"({100 * found.class_iou[1]:.2f})"

    def test_most_lost_holds_losses_only_and_the_largest_first(self, made_up: MadeUp) -> None:
        engine = made_up((0.1,)).first
        points = [engine.loss.rows[index].points for index in most_lost(engine, 20)]
        assert points == sorted(points, reverse=True)
        assert min(points) > 0
        assert len(points) < 19
        assert most_lost(made_up(labelled=False).first, 5) == []

    def test_numbers_have_a_sign_unless_they_are_zero(self) -> None:
        assert [signed(value) for value in (1.0, -1.0, -0.001, 0.0, None)] == ["+1.00", "−1.00", "0.00", "0.00", "n/a"]
