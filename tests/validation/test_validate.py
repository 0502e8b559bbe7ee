from __future__ import annotations

import contextlib
import dataclasses
import struct
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest

from trtparse.data.dataset import LabelMap, Sample
from trtparse.data.images import write_png
from trtparse.engines.base import Arrays, Engine, Frames, Ticket
from trtparse.errors import DataError, UsageError
from trtparse.specs.label_set import LabelSet
from trtparse.tasks.parsing.files import open_dataset
from trtparse.tasks.parsing.task import LabelMaps, Logits, Parsing
from trtparse.tasks.protocol import Protocol
from trtparse.tests.predicting import HANDS, LIP, label_maps, predicting
from trtparse.validation.result import SkippedImage, ValidationResult
from trtparse.validation.validate import RecordFile
from trtparse.validation.validate import validate as validate_predictors

INPUT_SIZE = (64, 48)
Change = Callable[[LabelMaps], LabelMaps]


@pytest.fixture
def short_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """As few images at a time as the engines allow: a handful of images then makes several batches."""
    monkeypatch.setattr("trtparse.validation.validate._BATCH", 1)


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
        stretch: float = 1.0,
    ) -> None:
        super().__init__()
        self.name, self.batch, self.precision, self.input_size = name, batch, precision, input_size
        self.stretch, self.outputs = stretch, label_maps(input_size)
        self.change = change
        self.seen: list[Frames] = []

    def _run(self, frames: Frames) -> Arrays:
        self.seen.append(frames.copy())
        labels = (frames[..., 0] // 10).astype(np.uint8)
        return (labels if self.change is None else self.change(labels),)


class Blocks:
    """Images of four blocks whose labels a :class:`BlueEngine` finds without an error: they shrink by 1 or 2."""

    description = "blocks"
    label_set: LabelSet = LIP

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


def validate(
    reference: BlueEngine, engines: BlueEngine | Sequence[BlueEngine], dataset: Blocks, **options: Any
) -> ValidationResult:
    """A validation of engines whose label maps are LIP's."""
    one = isinstance(engines, BlueEngine)
    judged = [predicting(engine, engine.stretch) for engine in ([engines] if one else engines)]
    return validate_predictors(
        predicting(reference, reference.stretch), judged[0] if one else judged, dataset, **options
    )


def renamed(old: int, new: int) -> Change:
    return lambda labels: np.where(labels == old, new, labels).astype(np.uint8)


def points(result: ValidationResult) -> float:
    assert result.first.loss is not None
    return result.first.loss.points


def compare(dataset: Blocks | None = None, change: Change | None = None, **options: object) -> ValidationResult:
    with BlueEngine("reference") as reference, BlueEngine("engine", change=change, precision="int8") as engine:
        return validate(reference, engine, Blocks() if dataset is None else dataset, **options)  # type: ignore[arg-type]


class TestScores:
    def test_an_engine_that_is_right_scores_1_and_loses_nothing(self) -> None:
        result = compare()
        assert result.reference is not None
        assert result.first.scores is not None
        assert result.reference.mean_iou == result.first.scores.mean_iou == 1.0
        assert result.first.agreement.pixel_accuracy == result.first.agreement.mean_iou == 1.0
        assert (points(result), result.passed, result.images, result.total) == (0.0, True, 5, 5)
        assert not result.partial

    @pytest.mark.parametrize("labelled", [True, False])
    def test_a_stray_pixel_of_a_class_that_is_nowhere_is_invented_and_moves_no_gate(self, labelled: bool) -> None:
        def stray(labels: LabelMap) -> LabelMap:
            labels = labels.copy()
            labels[..., 0, 0] = 17
            return labels

        result = compare(Blocks(labelled=labelled), stray)
        first = result.first
        assert first.agreement.mean_iou > 0.99
        assert (first.agreement.invented[17], first.agreement.invented_rows) == (5, (17,))
        assert 17 in first.agreement.left_out
        if first.loss is not None and first.scores is not None:
            # LIP's own mean counts the class as 0.
            assert first.scores.mean_iou < 0.9
            assert -0.01 < first.loss.low <= first.loss.points <= first.loss.high < 1
            assert result.passed
            assert first.worst[0].engine is not None
            assert first.worst[0].engine > 0.95

    def test_the_loss_is_in_points_of_mean_iou(self) -> None:
        result = compare(Blocks(1), renamed(13, 0))
        # One image of four equal blocks: Face is lost, background doubles.
        assert result.first.scores is not None
        assert (result.first.scores.class_iou[13], result.first.scores.class_iou[0]) == (0.0, 0.5)
        assert points(result) == pytest.approx(100 * (1 - 2.5 / 4))
        assert not result.passed
        assert result.first.agreement.pixel_accuracy == 0.75

    @pytest.mark.parametrize(("tolerance", "passed"), [(37.5, True), (37.4, False), (0.0, False)])
    def test_the_tolerance_decides(self, tolerance: float, passed: bool) -> None:
        assert compare(Blocks(1), renamed(13, 0), tolerance=tolerance).passed is passed

    def test_an_engine_that_gains_passes(self) -> None:
        with BlueEngine(change=renamed(5, 0)) as reference, BlueEngine() as engine:
            result = validate(reference, engine, Blocks(), tolerance=0.0)
        assert points(result) < 0
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
        assert result.first.scores is not None
        assert result.first.scores.class_iou[13] == 1 / (1 + 4)

    def test_agreement_leaves_out_the_border_of_the_letterbox(self) -> None:
        def spoil_border(labels: LabelMaps) -> LabelMaps:
            labels = labels.copy()
            labels[:, :, :4] = labels[:, :, -4:] = 9
            return labels

        # An image of 64x32 has 8 columns of border on both sides.
        assert compare(Blocks(1, border=16), spoil_border).first.agreement.pixel_accuracy == 1.0
        assert compare(Blocks(1), spoil_border).first.agreement.pixel_accuracy == pytest.approx(1 - 8 / 48)

    def test_without_labels_there_is_only_agreement_and_it_passes(self) -> None:
        result = compare(Blocks(labelled=False), renamed(13, 0), tolerance=0.0)
        assert (result.reference, result.reference_confusion) == (None, None)
        assert (result.first.scores, result.first.confusion, result.first.loss) == (None, None, None)
        assert result.passed
        assert not result.labelled
        assert result.first.agreement.pixel_accuracy == 0.75


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
        assert (result.reference, result.first.scores, result.first.agreement) == (
            expected.reference,
            expected.first.scores,
            expected.first.agreement,
        )
        assert (result.first.loss, result.first.worst) == (expected.first.loss, expected.first.worst)
        one, other = (np.unique(np.concatenate(runner.seen), axis=0) for runner in (first, second))
        np.testing.assert_array_equal(one, other)

    def test_a_fixed_batch_is_filled_with_its_last_frame(self) -> None:
        reference, engine = BlueEngine(), BlueEngine(batch=4)
        with reference, engine:
            validate(reference, engine, Blocks(6))
        assert [len(frames) for frames in engine.seen] == [4, 4]
        np.testing.assert_array_equal(engine.seen[1][2:], engine.seen[1][[1, 1]])

    def test_an_engine_gets_several_calls_in_a_row(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("trtparse.validation.validate._BATCH", 5)
        order: list[str] = []

        class Told(BlueEngine):
            def submit(self, frames: Frames) -> Ticket:
                order.append(f"{self.batch}")
                return super().submit(frames)

        with Told(batch=1) as reference, Told(batch=2) as engine:
            validate(reference, engine, Blocks(8))
        assert order == ["1"] * 6 + ["2"] * 3 + ["1"] * 2 + ["2"]

    def test_what_is_held_does_not_grow_with_the_number_of_images(self) -> None:
        reference, engine = BlueEngine(batch=2), BlueEngine(batch=2)
        with reference, engine:
            validate(reference, engine, Blocks(20))
        assert {len(frames) for frames in reference.seen + engine.seen} == {2}

    @pytest.mark.usefixtures("short_batches")
    def test_progress_ends_at_the_number_of_images(self) -> None:
        calls: list[tuple[int, int]] = []
        with BlueEngine(batch=2) as reference, BlueEngine(batch=2) as engine:
            validate(reference, engine, Blocks(5), progress=lambda done, total: calls.append((done, total)))
        # Scoring runs ahead of whoever is told, so a batch may be told of together with the next.
        done = [images for images, _ in calls]
        assert done == sorted(set(done))
        assert set(done) <= {2, 4, 5}
        assert calls[-1] == (5, 5)
        assert {total for _, total in calls} == {5}

    def test_a_limit_takes_the_first_images_and_says_so(self) -> None:
        result = compare(Blocks(9), limit=3)
        assert result.images == 3
        assert result.dataset == "blocks, the first 3 of them"
        assert compare(Blocks(2), limit=3).dataset == "blocks"


class TestUnreadableImages:
    def test_are_left_out_and_named(self) -> None:
        result = compare(Blocks(5, broken=[1, 4]))
        assert result.images == 3
        assert result.skipped == (
            SkippedImage("image [red]1", "1.jpg is cut off."),
            SkippedImage("image [red]4", "4.jpg is cut off."),
        )
        assert result.total == 5

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

        (skipped,) = compare(Odd(3)).skipped
        assert skipped == SkippedImage(
            "image [red]0",
            "image [red]0 is 64 x 48 pixels (height x width), but its label map is 3 x 3.",
        )


class TestRefusals:
    def test_engines_of_two_input_sizes(self) -> None:
        with (
            BlueEngine() as reference,
            BlueEngine("other", input_size=(32, 32)) as engine,
            pytest.raises(UsageError, match="other takes 32x32"),
        ):
            validate(reference, engine, Blocks())

    def test_engines_of_two_label_sets(self) -> None:
        told = r"reference has the label set LIP-20 \(20 classes\), and engine has Hands-4 \(4 classes\); id 0 is Back"
        with (
            predicting(BlueEngine("reference")) as reference,
            predicting(BlueEngine("engine"), label_set=HANDS) as engine,
            pytest.raises(UsageError, match=told),
        ):
            validate_predictors(reference, engine, Blocks())

    def test_label_maps_of_another_set_than_the_engines(self) -> None:
        told = r"reference has the label set Hands-4 \(4 classes\), and blocks has LIP-20"
        with (
            predicting(BlueEngine("reference"), label_set=HANDS) as reference,
            predicting(BlueEngine("engine"), label_set=HANDS) as engine,
            pytest.raises(UsageError, match=told),
        ):
            validate_predictors(reference, engine, Blocks())

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

    def test_an_order_that_does_not_exist(self) -> None:
        with pytest.raises(UsageError, match=r"Unknown order 'jppnet'.*\n.*ce2p, logits, hrnet"):
            compare(protocol=Protocol("jppnet"))

    @pytest.mark.parametrize("protocol", [Protocol("hrnet"), Protocol(flip=True), Protocol(scales=(0.5, 1.0))])
    def test_an_engine_without_logits_where_the_protocol_needs_them(self, protocol: Protocol) -> None:
        with pytest.raises(UsageError, match=r"reference gives label maps alone.*\n.*build --logits"):
            compare(protocol=protocol)

    @pytest.mark.parametrize("engines", [(), []])
    def test_no_engine(self, engines: Sequence[Engine]) -> None:
        with BlueEngine() as reference, pytest.raises(UsageError, match="no engine"):
            validate(reference, engines, Blocks())

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            (
                lambda labels: labels[:, :-1],
                r"engine returned \(5, 63, 48\) uint8 instead of \(5, 64, 48\) uint8 label",
            ),
            (lambda labels: labels[:1], r"engine returned \(1, 64, 48\)"),
            (lambda labels: labels[..., None], r"engine returned \(5, 64, 48, 1\)"),
            (lambda labels: labels.astype(np.int64), "engine returned .* int64"),
            (lambda labels: labels.tolist(), "engine returned list"),
        ],
    )
    def test_an_engine_that_returns_something_else(self, change: Change, told: str) -> None:
        with pytest.raises(UsageError, match=told):
            compare(change=change)


class Hands(Blocks):
    """Blocks whose four classes are a small label set's."""

    description = "hands"
    label_set: LabelSet = HANDS

    def labels(self, index: int) -> LabelMap:
        return (super().labels(index) % len(HANDS)).astype(np.uint8)


class TestAnotherLabelSet:
    def test_is_what_every_figure_and_name_is_of(self) -> None:
        with (
            predicting(BlueEngine("reference"), label_set=HANDS) as reference,
            predicting(BlueEngine("engine", change=renamed(3, 2)), label_set=HANDS) as engine,
        ):
            result = validate_predictors(reference, engine, Hands(8), tolerance=100)
        assert result.task.spec == HANDS
        assert result.reference is not None
        assert result.first.loss is not None
        assert result.reference.class_iou == (1.0, 1.0, 1.0, 1.0)
        assert [loss is not None and loss.points > 0 for loss in result.first.loss.rows] == [
            False,
            False,
            True,
            True,
        ]
        assert np.shape(result.first.confusion) == np.shape(result.first.agreement_confusion) == (4, 4)
        assert ValidationResult.from_dict(result.to_dict()).task.spec == HANDS

    def test_mirrors_by_its_own_pairs(self) -> None:
        class LeftIsTwo(BlueEngine):
            gives_raw = True

            def raw(self, frames: Frames) -> Logits:
                height, width = self.input_size
                logits = np.zeros((len(frames), len(HANDS), height, width), np.float32)
                logits[:, 2, :, : width // 2] = logits[:, 3, :, width // 2 :] = 1
                return logits

        with (
            predicting(LeftIsTwo("reference"), label_set=HANDS) as reference,
            predicting(LeftIsTwo("engine"), label_set=HANDS) as engine,
        ):
            result = validate_predictors(reference, engine, Hands(1), protocol=Protocol(flip=True))
        # Mirrored, the left half is the right one, and its class the partner's: all views say the same.
        halves = [row[column] for row in result.first.agreement_confusion for column in (2, 3)]
        assert sum(halves) == INPUT_SIZE[0] * INPUT_SIZE[1]


class TestSeveralEngines:
    def test_see_every_image_once_and_score_as_if_alone(self) -> None:
        class Counted(Blocks):
            read: ClassVar[list[int]] = []

            def __getitem__(self, index: int) -> Sample:
                self.read.append(index)
                return super().__getitem__(index)

        changes = [None, renamed(5, 0), renamed(13, 0)]
        with contextlib.ExitStack() as stack:
            reference = stack.enter_context(BlueEngine())
            engines = [stack.enter_context(BlueEngine(f"engine {n}", n, change)) for n, change in enumerate(changes, 1)]
            result = validate(reference, engines, Counted(7), tolerance=10)
        assert sorted(Counted.read) == list(range(7))
        assert [engine.run.name for engine in result.engines] == ["engine 1", "engine 2", "engine 3"]
        for engine, change in zip(result.engines, changes):
            alone = compare(Blocks(7), change).first
            assert (engine.scores, engine.loss, engine.agreement) == (alone.scores, alone.loss, alone.agreement)
        assert [engine.passes(10) for engine in result.engines] == [True, False, False]
        assert not result.passed

    def test_no_two_are_at_work_at_a_time(self) -> None:
        at_work, together = [0], [0]

        def busy(labels: LabelMaps) -> LabelMaps:
            at_work[0] += 1
            together[0] = max(together[0], at_work[0])
            time.sleep(0.001)
            at_work[0] -= 1
            return labels

        with BlueEngine(batch=1, change=busy) as reference, BlueEngine(batch=1, change=busy) as engine:
            validate(reference, engine, Blocks(20))
        assert together == [1]


class TestOneClass:
    """Nothing but background, and an engine that sees nothing else."""

    class Empty(Blocks):
        def labels(self, index: int) -> LabelMap:
            return np.zeros((64, 48), np.uint8)

    def test_scores_1_over_one_class(self) -> None:
        result = compare(self.Empty(3))
        assert result.reference is not None
        assert (result.reference.classes, result.reference.mean_iou) == (1, 1.0)
        assert (points(result), result.first.disagreement.boundary_area) == (0.0, 0.0)
        assert result.first.disagreement.boundary_rate is None

    def test_that_is_lost_is_a_loss(self) -> None:
        result = compare(self.Empty(3), renamed(0, 4))
        assert points(result) == 100.0
        assert result.first.disagreement.interior_rate == 1.0


def test_label_maps_without_a_labelled_pixel_are_refused() -> None:
    class Ignored(Blocks):
        def labels(self, index: int) -> LabelMap:
            return np.full((64, 48), 255, np.uint8)

        def __getitem__(self, index: int) -> Sample:
            return dataclasses.replace(super().__getitem__(index), image=np.zeros((64, 48, 3), np.uint8))

    with pytest.raises(DataError, match="no labelled pixel"):
        compare(Ignored(2))


class TestDisagreement:
    def test_at_the_edges_alone(self) -> None:
        def thicker(labels: LabelMaps) -> LabelMaps:
            # Face grows by a pixel upwards: what it gains lies at its edge.
            labels = labels.copy()
            labels[:, :-1][labels[:, 1:] == 13] = 13
            return labels

        found = compare(Blocks(4), thicker).first.disagreement
        assert found.share == pytest.approx(24 / (64 * 48))
        assert (found.boundary_share, found.interior_rate) == (1.0, 0.0)
        # The band: two rows and two columns on each side of the cross of edges.
        assert found.boundary_area == pytest.approx((4 * 48 + 4 * 64 - 16) / (64 * 48))
        assert found.boundary_rate == pytest.approx(found.share / found.boundary_area)

    def test_the_worst_images_come_first_with_what_was_seen(self) -> None:
        def spoil(labels: LabelMaps) -> LabelMaps:
            # By how much depends on the image: on the class of its lower right block.
            labels = labels.copy()
            for one in labels:
                one[: 4 * one[-1, -1]] = 9
            return labels

        result = compare(Blocks(12), spoil)
        worst = result.first.worst
        assert len(worst) == 8
        assert [image.name for image in worst[:4]] == [f"image [red]{index}" for index in (3, 7, 11, 2)]
        assert worst[0].disagreement == 16 / 64
        assert worst[0].disagreement > worst[3].disagreement > worst[6].disagreement
        assert worst[0].reference == 1.0
        assert worst[0].engine is not None
        assert worst[0].engine < 1.0
        picture = worst[0].picture
        assert picture is not None
        np.testing.assert_array_equal(picture.photo[..., 0] // 10, picture.reference)
        np.testing.assert_array_equal(picture.truth, picture.reference)
        assert float((picture.engine != picture.reference).mean()) == worst[0].disagreement

    def test_pictures_are_without_the_border_of_the_letterbox(self) -> None:
        picture = compare(Blocks(1, border=16), renamed(13, 0)).first.worst[0].picture
        assert picture is not None
        assert picture.photo.shape == (64, 32, 3)
        assert picture.engine.shape == picture.reference.shape == (64, 32)
        assert picture.image_size == (64, 32)

    def test_an_engine_that_always_agrees_has_no_worst_images(self) -> None:
        assert compare().first.worst == ()


class Faces(Blocks):
    """Images of nothing but Face; every second one is of twice the network's input size."""

    def labels(self, index: int) -> LabelMap:
        return np.full_like(super().labels(index), 13)


class LogitEngine(BlueEngine):
    """A blue engine that gives logits: the better, the nearer the blue value is to the class's."""

    gives_raw = True

    def __init__(self) -> None:
        super().__init__()
        self.looked: list[Frames] = []

    def raw(self, frames: Frames) -> Logits:
        self.looked.append(frames.copy())
        blue = frames[:, None, :, :, 0].astype(np.float32) / 10
        return -np.abs(blue - np.arange(20, dtype=np.float32)[:, None, None])


class PeakEngine(LogitEngine):
    """Hat in the left half, Scarf in the right half, and Hair nearly as likely everywhere."""

    def raw(self, frames: Frames) -> Logits:
        logits = np.zeros((len(frames), 20, *INPUT_SIZE), np.float32)
        logits[:, 1, :, :24] = logits[:, 11, :, 24:] = 1.0
        logits[:, 2] = 0.9
        return logits

    def _run(self, frames: Frames) -> Arrays:
        return (self.raw(frames).argmax(axis=1).astype(np.uint8),)


class TestOrders:
    def test_the_reference_sees_the_image_letterboxed_or_squashed(self) -> None:
        for order, columns in (("ce2p", 8), ("hrnet-labels", 0)):
            with BlueEngine() as reference, BlueEngine() as engine:
                # All of the image is Face, and it is 64x32.
                result = validate(reference, engine, Faces(1, border=16), protocol=Protocol(order))
            black = (reference.seen[0][0, 0, :, 0] == 0).sum()
            assert black == 2 * columns
            assert result.protocol.order == order
            assert result.method.startswith(Parsing.orders[order])

    def test_a_network_sees_images_stretched_as_in_its_training_and_hrnet_s_orders_fill_the_input(self) -> None:
        for order, columns in (("ce2p", 4), ("hrnet-labels", 0)):
            with BlueEngine(stretch=1.25) as reference, BlueEngine(stretch=1.25) as engine:
                result = validate(reference, engine, Faces(1, border=16), protocol=Protocol(order))
            assert (reference.seen[0][0, 0, :, 0] == 0).sum() == 2 * columns
            assert result.stretch == 1.25
            assert ("stretched up to 1.25 times" in result.method) == (order == "ce2p")

    def test_engines_that_want_other_shapes_are_not_compared(self) -> None:
        told = r"wide .* 1\.5 times, narrow up to 1 times"
        with (
            BlueEngine("wide", stretch=1.5) as reference,
            BlueEngine("narrow") as engine,
            pytest.raises(UsageError, match=told),
        ):
            validate(reference, engine, Faces(1))

    def test_both_of_hrnet_s_score_at_the_image_s_own_size(self) -> None:
        for order in ("hrnet", "hrnet-labels"):
            with LogitEngine() as reference, LogitEngine() as engine:
                result = validate(reference, engine, Blocks(2), protocol=Protocol(order))
            assert result.reference is not None
            assert sum(result.reference.support) == 64 * 48 + 128 * 96
            assert result.reference.mean_iou == pytest.approx(1.0)

    def test_hrnet_takes_argmax_after_resizing_and_the_others_before(self) -> None:
        def found(order: str) -> set[int]:
            with PeakEngine() as reference, PeakEngine() as engine:
                result = validate(reference, engine, Faces(2), protocol=Protocol(order))
            assert result.reference_confusion is not None
            return set(np.flatnonzero(np.sum(result.reference_confusion, axis=0)).tolist())

        # Hat and Scarf side by side with Hair a close second in both: between the two, Hair is first.
        assert found("ce2p") == found("hrnet-labels") == {1, 11}
        assert found("hrnet") == {1, 2, 11}

    def test_a_wrong_shape_of_logits_is_refused(self) -> None:
        class Nineteen(LogitEngine):
            def raw(self, frames: Frames) -> Logits:
                return super().raw(frames)[:, :19]

        told = r"blue returned \(2, 19, 64, 48\) float32 instead of \(2, 20, 64, 48\) float32 logits"
        with Nineteen() as reference, LogitEngine() as engine, pytest.raises(UsageError, match=told):
            validate(reference, engine, Blocks(), protocol=Protocol("hrnet"))


class TestAugmentation:
    def test_is_for_reference_and_engines_alike_and_named_in_the_result(self) -> None:
        protocol = Protocol(flip=True, scales=(0.75, 1.0))
        with LogitEngine() as reference, LogitEngine() as engine:
            result = validate(reference, engine, Blocks(2), protocol=protocol)
            plain = validate(reference, engine, Blocks(2))
        assert (len(reference.looked), len(engine.looked)) == (4, 4)
        assert (result.first.agreement.pixel_accuracy, points(result)) == (1.0, 0.0)
        assert "flipped as well, scales 0.75, 1" in result.method
        assert (plain.protocol.augmented, result.protocol.augmented) == (False, True)
        assert len(reference.seen) == 1


@pytest.mark.usefixtures("short_batches")
class TestInterruptions:
    @staticmethod
    def interrupted(at: int) -> Callable[[int, int], None]:
        def progress(done: int, total: int) -> None:
            if done >= at:
                raise KeyboardInterrupt

        return progress

    def test_ctrl_c_gives_the_result_so_far_marked_partial(self) -> None:
        with BlueEngine(batch=1) as reference, BlueEngine(batch=1, change=renamed(5, 0)) as engine:
            result = validate(reference, engine, Blocks(50), progress=self.interrupted(3))
        assert result.partial
        assert result.total == 50
        assert 3 <= result.images <= 6
        # It is the result of as many images as it says.
        whole = compare(Blocks(result.images), renamed(5, 0))
        assert (result.reference, result.first.scores, result.first.loss) == (
            whole.reference,
            whole.first.scores,
            whole.first.loss,
        )

    def test_ctrl_c_after_the_last_image_is_the_whole_result(self) -> None:
        with BlueEngine(batch=1) as reference, BlueEngine(batch=1) as engine:
            result = validate(reference, engine, Blocks(5), progress=self.interrupted(5))
        assert (result.images, result.partial) == (5, False)

    def test_ctrl_c_before_the_first_image_ends_it(self) -> None:
        def stop(labels: LabelMaps) -> LabelMaps:
            raise KeyboardInterrupt

        with BlueEngine(change=stop) as reference, BlueEngine() as engine, pytest.raises(KeyboardInterrupt):
            validate(reference, engine, Blocks(5))

    def test_whatever_ends_a_run_no_thread_is_left(self) -> None:
        def threads() -> set[str]:
            kinds = ("reader", "scoring", "inference")
            return {thread.name for thread in threading.enumerate() if thread.name.startswith(kinds)}

        with BlueEngine(batch=1) as reference, BlueEngine(batch=1) as engine:
            validate(reference, engine, Blocks(9))
            validate(reference, engine, Blocks(9), progress=self.interrupted(2))
            with pytest.raises(DataError):
                validate(reference, engine, Blocks(9, broken=[4]), strict=True)
        assert threads() == set()


@pytest.mark.usefixtures("short_batches")
class TestResume:
    """A run that is killed leaves its record; another one goes on with it."""

    @staticmethod
    def run(record: Path, resume: bool, *, images: int = 20, **options: Any) -> tuple[ValidationResult, list[int]]:
        """The result, and how many images the engine was shown."""
        options = {"protocol": Protocol(), "progress": None, "name": "engine", "label_set": LIP, **options}
        label_set = options.pop("label_set")
        change = renamed(5, 0)
        with BlueEngine("reference", 1) as reference, BlueEngine(options.pop("name"), 1, change) as engine:
            dataset = Blocks(images, broken=[1, 11])
            dataset.label_set = label_set
            one, other = (predicting(each, label_set=label_set) for each in (reference, engine))
            result = validate_predictors(one, other, dataset, record=RecordFile(record, resume), **options)
            return result, [len(engine.seen)]

    def test_a_killed_run_goes_on_to_the_same_result(self, tmp_path: Path) -> None:
        path = tmp_path / "record.jsonl"
        whole, _ = self.run(tmp_path / "other.jsonl", False)
        first, (seen,) = self.run(path, False, progress=TestInterruptions.interrupted(5))
        assert first.partial
        assert seen < 18
        # A kill in the middle of a line.
        with path.open("a") as file:
            file.write('{"scores":[[13,"ima')
        result, (rest,) = self.run(path, True)
        assert not result.partial
        assert (result.images, result.skipped) == (18, whole.skipped)
        # The worst images of the killed run are looked at once more, for their pictures.
        assert 18 - seen <= rest <= 18 - seen + 8
        assert (result.reference, result.engines[0].scores) == (whole.reference, whole.engines[0].scores)
        assert dataclasses.replace(result.first, run=whole.first.run) == whole.first
        assert all(image.picture is not None for image in result.first.worst)
        assert result.first.run.latency is not None
        assert result.first.run.latency.calls == 17

    def test_a_run_that_had_ended_gives_its_result_again_without_looking(self, tmp_path: Path) -> None:
        path = tmp_path / "record.jsonl"
        whole, _ = self.run(path, False)
        result, (seen,) = self.run(path, True)
        assert seen <= 8
        assert result.first.scores == whole.first.scores
        assert result.first.run == whole.first.run

    def test_progress_begins_where_the_killed_run_ended(self, tmp_path: Path) -> None:
        path = tmp_path / "record.jsonl"
        self.run(path, False, progress=TestInterruptions.interrupted(5))
        calls: list[int] = []
        self.run(path, True, progress=lambda done, total: calls.append(done))
        assert calls == sorted(calls)
        assert calls[0] >= 5
        assert calls[-1] == 20

    @pytest.mark.parametrize(
        ("changed", "field"),
        [
            ({"images": 21}, "images"),
            ({"limit": 19}, "images"),
            ({"name": "another"}, "engines"),
            ({"protocol": Protocol("hrnet-labels")}, "protocol"),
            ({"label_set": dataclasses.replace(LIP, name="Renamed")}, "spec"),
        ],
    )
    def test_a_record_of_another_run_is_refused_by_the_field(
        self, changed: dict[str, Any], field: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "record.jsonl"
        self.run(path, False)
        before = path.read_bytes()
        with pytest.raises(DataError, match=rf"record\.jsonl is a record of something else: its {field} is"):
            self.run(path, True, **changed)
        assert path.read_bytes() == before

    def test_without_a_record_there_is_nothing_to_go_on_with(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"no run to go on with.*record\.jsonl"):
            self.run(tmp_path / "record.jsonl", True)

    def test_without_resume_a_record_starts_anew(self, tmp_path: Path) -> None:
        path = tmp_path / "record.jsonl"
        self.run(path, False, images=30)
        _, (seen,) = self.run(path, False)
        assert seen == 18
        assert len(path.read_text().splitlines()) == 1 + 18


class TestLatency:
    def test_is_measured_per_image_and_belongs_to_its_engine(self) -> None:
        def slow(labels: LabelMaps) -> LabelMaps:
            time.sleep(0.02)
            return labels

        with BlueEngine(batch=2) as reference, BlueEngine(batch=4, change=slow) as engine:
            result = validate(reference, engine, Blocks(12))
        timed = result.first.run.latency
        assert timed is not None
        assert (timed.batch, timed.calls) == (4, 2)
        assert timed.p50 >= 5
        assert result.first.run.seconds >= 0.06
        assert result.reference_run.latency is not None
        assert sum(timed.counts) + timed.beyond == timed.calls
        assert result.seconds >= result.first.run.seconds


class TestLipOnDisk:
    """Bad input as it lies on disks, through the loader that people use."""

    @pytest.fixture
    def lip(self, tmp_path: Path) -> Path:
        for kind in ("val_images", "val_segmentations"):
            (tmp_path / kind).mkdir()
        for index in range(3):
            sample = Blocks()[index]
            write_png(tmp_path / "val_images" / f"{index}.png", sample.image)
            assert sample.labels is not None
            write_png(tmp_path / "val_segmentations" / f"{index}.png", sample.labels)
        (tmp_path / "val_id.txt").write_text("0\n1\n2\n")
        return tmp_path

    @staticmethod
    def validated(lip: Path) -> ValidationResult:
        with BlueEngine() as reference, BlueEngine() as engine:
            return validate(reference, engine, open_dataset(lip))

    def test_as_it_should_be_scores_1(self, lip: Path) -> None:
        result = self.validated(lip)
        assert result.reference is not None
        assert (result.images, result.reference.mean_iou) == (3, 1.0)

    def test_a_label_map_of_another_size_leaves_its_image_out(self, lip: Path) -> None:
        write_png(lip / "val_segmentations" / "1.png", np.zeros((5, 7), np.uint8))
        (skipped,) = self.validated(lip).skipped
        assert skipped.name == "1"
        assert "1.png is 96x128 pixels" in skipped.reason
        assert "is 7x5" in skipped.reason

    def test_labels_outside_the_classes_leave_their_image_out(self, lip: Path) -> None:
        labels = Blocks().labels(1)
        labels[3, 4] = 20
        write_png(lip / "val_segmentations" / "1.png", labels)
        (skipped,) = self.validated(lip).skipped
        assert "1.png holds the value 20, which is no class" in skipped.reason

    def test_of_a_mask_with_a_palette_the_indices_count(self, lip: Path) -> None:
        path = lip / "val_segmentations" / "1.png"
        write_palette_png(path, Blocks().labels(1))
        assert cv2.imread(str(path)).max() == 255  # its colours are far from its indices
        result = self.validated(lip)
        assert result.reference is not None
        assert (result.skipped, result.reference.mean_iou) == ((), 1.0)

    @pytest.mark.parametrize(
        ("ids", "told"), [("0\n1\n0\n", "val_id.txt, line 3: '0' was on line 1"), ("0\n7\n", "1 of 2 ids .*: 7")]
    )
    def test_ids_that_are_there_twice_or_name_nothing_are_refused(self, ids: str, told: str, lip: Path) -> None:
        (lip / "val_id.txt").write_text(ids)
        with pytest.raises(DataError, match=told):
            self.validated(lip)

    def test_no_images_at_all_are_refused(self, lip: Path) -> None:
        for path in (lip / "val_images").iterdir():
            path.unlink()
        with pytest.raises(DataError, match="No images"):
            self.validated(lip)


def write_palette_png(path: Path, labels: LabelMap) -> None:
    """A PNG of colour type 3 with a palette of bright colours, as drawing programs write label maps."""
    height, width = labels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in labels)
    palette = bytes(255 - index // 3 for index in range(3 * 256))
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", palette),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    data = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
