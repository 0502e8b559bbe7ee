from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from rich.console import Console

from trtparse.data.dataset import LabelMap, Sample
from trtparse.engines.base import Engine, Frames, LabelMaps
from trtparse.errors import DataError, UsageError
from trtparse.labels import CLASS_NAMES
from trtparse.validation.table import render, verdict
from trtparse.validation.validate import ValidationResult, validate

INPUT_SIZE = (64, 48)
Change = Callable[[LabelMaps], LabelMaps]


class BlueEngine(Engine):
    """Labels a pixel with its blue value divided by 10; ``change`` spoils the label maps."""

    target = "cpu"

    def __init__(
        self,
        name: str = "blue",
        batch: int | None = None,
        change: Change | None = None,
        precision: str = "fp32",
        input_size: tuple[int, int] = INPUT_SIZE,
    ) -> None:
        super().__init__()
        self.name, self.batch, self.precision, self.input_size = name, batch, precision, input_size
        self.change = change
        self.seen: list[Frames] = []

    def _run(self, frames: Frames) -> LabelMaps:
        self.seen.append(frames.copy())
        labels = (frames[..., 0] // 10).astype(np.uint8)
        return labels if self.change is None else self.change(labels)


class Blocks:
    """Images of four blocks whose labels a :class:`BlueEngine` finds without an error: they shrink by 1 or 2."""

    description = "blocks"

    def __init__(self, count: int = 5, labelled: bool = True, broken: Sequence[int] = (), border: int = 0) -> None:
        self.count, self.labelled, self.broken, self.border = count, labelled, broken, border

    @property
    def names(self) -> Sequence[str]:
        return [f"image [red]{index}" for index in range(self.count)]

    def __len__(self) -> int:
        return self.count

    def labels(self, index: int) -> LabelMap:
        height, width = (128, 96) if index % 2 else (64, 48 - self.border)
        labels = np.zeros((height, width), np.uint8)
        labels[: height // 2, width // 2 :] = 5
        labels[height // 2 :, : width // 2] = 13
        labels[height // 2 :, width // 2 :] = 1 + index % 4
        return labels

    def __getitem__(self, index: int) -> Sample:
        if index in self.broken:
            raise DataError(f"{index}.jpg is cut off.")
        labels = self.labels(index)
        image = np.zeros((*labels.shape, 3), np.uint8)
        image[..., 0] = labels * 10
        return Sample(self.names[index], image, labels if self.labelled else None)


def renamed(old: int, new: int) -> Change:
    return lambda labels: np.where(labels == old, new, labels).astype(np.uint8)


def compare(dataset: Blocks | None = None, change: Change | None = None, **options: object) -> ValidationResult:
    with BlueEngine("reference") as reference, BlueEngine("engine", change=change, precision="int8") as engine:
        return validate(reference, engine, Blocks() if dataset is None else dataset, **options)  # type: ignore[arg-type]


class TestScores:
    def test_an_engine_that_is_right_scores_1_and_loses_nothing(self) -> None:
        result = compare()
        assert result.reference is not None
        assert result.engine is not None
        assert result.reference.mean_iou == result.engine.mean_iou == 1.0
        assert result.agreement.pixel_accuracy == result.agreement.mean_iou == 1.0
        assert (result.loss, result.passed, result.images) == (0.0, True, 5)

    def test_the_loss_is_in_points_of_mean_iou(self) -> None:
        result = compare(Blocks(1), renamed(13, 0))
        # One image of four equal blocks: Face is lost, background doubles.
        assert result.engine is not None
        assert (result.engine.class_iou[13], result.engine.class_iou[0]) == (0.0, 0.5)
        assert result.loss == pytest.approx(100 * (1 - 2.5 / 4))
        assert not result.passed
        assert result.agreement.pixel_accuracy == 0.75

    @pytest.mark.parametrize(("tolerance", "passed"), [(37.5, True), (37.4, False), (0.0, False)])
    def test_the_tolerance_decides(self, tolerance: float, passed: bool) -> None:
        assert compare(Blocks(1), renamed(13, 0), tolerance=tolerance).passed is passed

    def test_an_engine_that_gains_passes(self) -> None:
        with BlueEngine(change=renamed(5, 0)) as reference, BlueEngine() as engine:
            result = validate(reference, engine, Blocks(), tolerance=0.0)
        assert result.loss is not None
        assert result.loss < 0
        assert result.passed

    def test_every_image_counts_at_its_own_size(self) -> None:
        result = compare(Blocks(2))
        assert result.reference is not None
        assert sum(result.reference.support) == 64 * 48 + 128 * 96

    def test_images_are_pooled_and_not_averaged(self) -> None:
        """The large image weighs four times the small one."""

        def spoil_the_large_one(labels: LabelMaps) -> LabelMaps:
            labels = labels.copy()
            labels[1][labels[1] == 13] = 0
            return labels

        result = compare(Blocks(2), spoil_the_large_one)
        assert result.engine is not None
        assert result.engine.class_iou[13] == 1 / (1 + 4)

    def test_agreement_leaves_out_the_border_of_the_letterbox(self) -> None:
        def spoil_border(labels: LabelMaps) -> LabelMaps:
            labels = labels.copy()
            labels[:, :, :4] = labels[:, :, -4:] = 9
            return labels

        # An image of 64x32 has 8 columns of border on both sides.
        assert compare(Blocks(1, border=16), spoil_border).agreement.pixel_accuracy == 1.0
        assert compare(Blocks(1), spoil_border).agreement.pixel_accuracy == pytest.approx(1 - 8 / 48)

    def test_without_labels_there_is_only_agreement_and_it_passes(self) -> None:
        result = compare(Blocks(labelled=False), renamed(13, 0), tolerance=0.0)
        assert (result.reference, result.engine, result.loss) == (None, None, None)
        assert result.passed
        assert not result.labelled
        assert result.agreement.pixel_accuracy == 0.75


class TestBatches:
    @pytest.mark.parametrize("reference", [None, 1, 2, 3, 8])
    @pytest.mark.parametrize("engine", [None, 1, 3, 4, 8])
    def test_any_two_batch_sizes_score_the_same_on_the_same_frames(
        self, reference: int | None, engine: int | None
    ) -> None:
        expected = compare(Blocks(7), renamed(5, 0))
        first, second = BlueEngine(batch=reference), BlueEngine(batch=engine, change=renamed(5, 0))
        with first, second:
            result = validate(first, second, Blocks(7))
        assert (result.reference, result.engine, result.agreement) == (
            expected.reference,
            expected.engine,
            expected.agreement,
        )
        one, other = (np.unique(np.concatenate(runner.seen), axis=0) for runner in (first, second))
        np.testing.assert_array_equal(one, other)

    def test_a_fixed_batch_is_filled_with_its_last_frame(self) -> None:
        reference, engine = BlueEngine(), BlueEngine(batch=4)
        with reference, engine:
            validate(reference, engine, Blocks(6))
        assert [len(frames) for frames in engine.seen] == [4, 4]
        np.testing.assert_array_equal(engine.seen[1][2:], engine.seen[1][[1, 1]])

    def test_what_is_held_does_not_grow_with_the_number_of_images(self) -> None:
        reference, engine = BlueEngine(batch=2), BlueEngine(batch=2)
        with reference, engine:
            validate(reference, engine, Blocks(20))
        assert {len(frames) for frames in reference.seen + engine.seen} == {2}

    def test_progress_ends_at_the_number_of_images(self) -> None:
        calls: list[tuple[int, int]] = []
        with BlueEngine(batch=2) as reference, BlueEngine(batch=2) as engine:
            validate(reference, engine, Blocks(5), progress=lambda done, total: calls.append((done, total)))
        assert calls == [(2, 5), (4, 5), (5, 5)]

    def test_a_limit_takes_the_first_images_and_says_so(self) -> None:
        result = compare(Blocks(9), limit=3)
        assert result.images == 3
        assert result.dataset == "blocks, the first 3 of them"
        assert compare(Blocks(2), limit=3).dataset == "blocks"


class TestUnreadableImages:
    def test_are_left_out_and_named(self) -> None:
        result = compare(Blocks(5, broken=[1, 4]))
        assert result.images == 3
        assert result.skipped == (("image [red]1", "1.jpg is cut off."), ("image [red]4", "4.jpg is cut off."))

    def test_stop_everything_when_strict(self) -> None:
        with pytest.raises(DataError, match=r"1\.jpg is cut off"):
            compare(Blocks(5, broken=[1]), strict=True)

    def test_are_an_error_where_no_other_is_left(self) -> None:
        with pytest.raises(DataError, match=r"No usable image in blocks.*0\.jpg is cut off"):
            compare(Blocks(2, broken=[0, 1]))
        with pytest.raises(DataError, match="No usable image"):
            compare(Blocks(0))

    def test_a_label_map_of_another_size_is_one_of_them(self) -> None:
        class Odd(Blocks):
            def __getitem__(self, index: int) -> Sample:
                sample = super().__getitem__(index)
                return dataclasses.replace(sample, labels=np.zeros((3, 3), np.uint8)) if index == 0 else sample

        assert [name for name, _ in compare(Odd(3)).skipped] == ["image [red]0"]


class TestRefusals:
    def test_engines_of_two_input_sizes(self) -> None:
        with (
            BlueEngine() as reference,
            BlueEngine("other", input_size=(32, 32)) as engine,
            pytest.raises(UsageError, match="other takes 32x32"),
        ):
            validate(reference, engine, Blocks())

    @pytest.mark.parametrize("tolerance", [-0.1, float("nan")])
    def test_a_tolerance_that_makes_no_sense(self, tolerance: float) -> None:
        with pytest.raises(UsageError, match="tolerance"):
            compare(tolerance=tolerance)

    def test_a_limit_of_nothing(self) -> None:
        with pytest.raises(UsageError, match="limit of 0"):
            compare(limit=0)

    def test_a_network_with_more_classes(self) -> None:
        with pytest.raises(UsageError, match="engine labels pixels 20"):
            compare(change=renamed(5, 20))


class TestResult:
    @pytest.mark.parametrize("labelled", [True, False])
    def test_survives_json(self, labelled: bool) -> None:
        result = compare(Blocks(5, labelled, broken=[2]), renamed(5, 0))
        values = json.loads(json.dumps(result.to_dict()))
        assert values["schema"] == 1
        assert ValidationResult.from_dict(values) == result

    def test_of_another_version_is_refused(self) -> None:
        with pytest.raises(DataError, match="schema 99"):
            ValidationResult.from_dict({**compare().to_dict(), "schema": 99})

    def test_says_what_ran_and_for_how_long(self) -> None:
        result = compare()
        assert (result.reference_run.name, result.engine_run.name) == ("reference", "engine")
        assert (result.reference_run.precision, result.engine_run.precision) == ("fp32", "int8")
        assert result.reference_run.seconds > 0
        assert result.engine_run.seconds > 0


def printed(result: ValidationResult, width: int = 80) -> list[str]:
    stream = io.StringIO()
    render(result, Console(file=stream, width=width, color_system=None))
    return stream.getvalue().splitlines()


class TestTable:
    @pytest.mark.parametrize("width", [80, 100])
    def test_has_every_class_and_fits(self, width: int) -> None:
        lines = printed(compare(change=renamed(5, 0)), width)
        for name in CLASS_NAMES:
            assert sum(line.split()[:1] == [name] for line in lines) == 1
        assert max(map(len, lines)) <= width
        assert not any("…" in line for line in lines)

    def test_shows_percent_and_points(self) -> None:
        lines = printed(compare(Blocks(1), renamed(13, 0)))
        mean = next(line.split() for line in lines if line.startswith("Mean IoU"))
        assert mean[2:] == ["100.00", "62.50", "+37.50", "62.50"]
        face = next(line.split() for line in lines if line.split()[:1] == ["Face"])
        assert face[1:] == ["1", "25.00", "100.00", "0.00", "+100.00", "0.00"]

    def test_marks_absent_classes_and_names_them(self) -> None:
        lines = printed(compare())
        assert next(line.split() for line in lines if line.split()[:1] == ["Scarf"])[1:] == ["0", "0.00", *"––––"]
        note = next(line for line in lines if "left out of the mean" in line)
        assert note.startswith("13 classes do not occur")

    def test_names_classes_that_are_only_predicted(self) -> None:
        lines = printed(compare(change=renamed(5, 11)))
        words = "1 class does not occur but is predicted, which counts as IoU 0 (engine, agreement): Scarf."
        assert words in " ".join(" ".join(lines).split())

    def test_ends_with_the_verdict(self) -> None:
        assert printed(compare())[-1].startswith("PASSED: 0.00 points of mean IoU lost, tolerance 1;")
        assert printed(compare(Blocks(1), renamed(13, 0)))[-1].startswith("FAILED: 37.50 points of mean IoU lost")

    def test_says_that_there_were_no_labels(self) -> None:
        result = compare(Blocks(labelled=False))
        assert verdict(result).startswith("PASSED: no labels")
        assert any(line.startswith("No labels:") for line in printed(result))

    def test_names_are_not_taken_for_markup(self) -> None:
        lines = printed(compare(Blocks(9, broken=[0, 1, 2, 3, 4])))
        assert "  skipped image [red]0: 0.jpg is cut off." in lines
        assert "  and 2 more" in lines
