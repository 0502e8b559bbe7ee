from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from trtparse.errors import DataError, UsageError
from trtparse.specs.label_set import LabelSet
from trtparse.tasks.parsing.metrics import (
    Agreement,
    ConfusionMatrix,
    Counts,
    Scores,
    agreement,
    count_pixels,
    iou_of_classes,
    mean_iou,
    mean_true_iou,
)
from trtparse.tests.predicting import HANDS, LIP

HAT, SCARF, SKIRT = LIP.id_of("Hat"), LIP.id_of("Scarf"), LIP.id_of("Skirt")

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def score(*pairs: tuple[list[list[int]], list[list[int]]]) -> Scores:
    matrix = ConfusionMatrix(LIP)
    for truth, prediction in pairs:
        matrix.update(np.asarray(truth, np.uint8), np.asarray(prediction, np.uint8))
    return matrix.scores()


@st.composite
def pairs(draw: st.DrawFn) -> Pair:
    """A label map with some ignored pixels, and a prediction that is right about half of the time."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    shape = (draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    classes = draw(st.integers(1, 20))
    truth = rng.integers(0, classes, shape, np.uint8)
    prediction = np.where(rng.random(shape) < 0.5, truth, rng.integers(0, classes, shape)).astype(np.uint8)
    truth[rng.random(shape) < 0.2] = 255
    truth[0, 0] = 0
    return truth, prediction


def total(list_of_pairs: list[Pair]) -> ConfusionMatrix:
    matrix = ConfusionMatrix(LIP)
    for truth, prediction in list_of_pairs:
        matrix.update(truth, prediction)
    return matrix


def by_definition(list_of_pairs: list[Pair]) -> dict[str, float]:
    """LIP's formulas written down as sets of pixels."""
    truth = np.concatenate([pair[0].ravel() for pair in list_of_pairs])
    prediction = np.concatenate([pair[1].ravel() for pair in list_of_pairs])
    truth, prediction = truth[truth < 20], prediction[truth < 20]
    ious, accuracies, weighted = [], [], 0.0
    for label in range(20):
        is_true, is_predicted = truth == label, prediction == label
        union = np.count_nonzero(is_true | is_predicted)
        if union:
            ious.append(np.count_nonzero(is_true & is_predicted) / union)
            weighted += ious[-1] * np.count_nonzero(is_true) / truth.size
        if is_true.any():
            accuracies.append(float(np.mean(is_predicted[is_true])))
    return {
        "pixel_accuracy": float(np.mean(truth == prediction)),
        "mean_accuracy": sum(accuracies) / len(accuracies),
        "mean_iou": sum(ious) / len(ious),
        "frequency_weighted_iou": weighted,
    }


class TestByHand:
    def test_two_classes(self) -> None:
        scores = score(([[0, 0, 0, 1]], [[0, 0, 1, 1]]))
        assert scores.class_iou[:2] == (2 / 3, 1 / 2)
        assert scores.pixel_accuracy == 3 / 4
        assert scores.mean_accuracy == pytest.approx((2 / 3 + 1) / 2)
        assert scores.mean_iou == pytest.approx((2 / 3 + 1 / 2) / 2)
        assert scores.frequency_weighted_iou == pytest.approx(3 / 4 * 2 / 3 + 1 / 4 * 1 / 2)
        assert scores.support[:3] == (3, 1, 0)

    def test_counts_are_true_class_by_predicted_class(self) -> None:
        matrix = ConfusionMatrix(LIP)
        matrix.update(np.array([[4, 4, 7]], np.uint8), np.array([[4, 9, 7]], np.uint8))
        expected = np.zeros((20, 20), np.int64)
        expected[4, 4] = expected[4, 9] = expected[7, 7] = 1
        np.testing.assert_array_equal(matrix.counts, expected)
        assert matrix.counts.dtype == np.int64

    def test_pixels_to_ignore_are_dropped_whatever_is_predicted_there(self) -> None:
        assert score(([[0, 1, 255, 20, 254]], [[0, 1, 5, 6, 7]])).class_iou == (1.0, 1.0, *[None] * 18)

    def test_absent_classes_have_no_iou_and_are_in_no_mean(self) -> None:
        scores = score(([[0, 19]], [[0, 19]]))
        assert scores.class_iou[1:19] == (None,) * 18
        assert (scores.mean_iou, scores.mean_accuracy) == (1.0, 1.0)
        assert len(scores.absent) == 18
        assert HAT in scores.absent

    def test_a_class_that_is_only_predicted_counts_as_0_in_the_iou_and_not_in_the_accuracy(self) -> None:
        scores = score(([[0, 0, 0, 0]], [[0, 0, 0, 11]]))
        assert scores.class_iou[11] == 0.0
        assert scores.mean_iou == pytest.approx((3 / 4 + 0) / 2)
        assert scores.mean_accuracy == pytest.approx(3 / 4)
        assert scores.frequency_weighted_iou == pytest.approx(3 / 4)
        assert scores.only_predicted == (SCARF,)

    def test_images_are_pooled_and_not_averaged(self) -> None:
        # One image all right and one all wrong but for background. Averaged image by image, the mean IoU would
        # be (1 + 1/4) / 2 with the small image as heavy as the large one.
        right = ([[0, 1]], [[0, 1]])
        wrong = ([[0, 1, 1, 1]], [[0, 0, 1, 0]])
        scores = score(right, wrong)
        per_image = [score(pair).mean_iou for pair in (right, wrong)]
        assert scores.class_iou[:2] == (2 / 4, 2 / 4)
        assert scores.mean_iou == 1 / 2
        assert sum(per_image) / 2 == pytest.approx((1 + 1 / 3) / 2)
        assert scores.mean_iou < sum(per_image) / 2

    def test_twenty_classes_of_which_three_occur(self) -> None:
        # Counted with a pencil. Truth: 6 background, 4 Hat, 2 Face.
        truth = [[0, 0, 0, 0], [0, 0, 1, 1], [1, 1, 13, 13]]
        found = [[0, 0, 0, 0], [0, 1, 1, 1], [1, 0, 13, 1]]
        scores = score((truth, found))
        assert scores.class_iou[0] == 5 / 7
        assert scores.class_iou[1] == 3 / 6
        assert scores.class_iou[13] == 1 / 2
        assert scores.classes == 3
        assert scores.pixel_accuracy == 9 / 12
        assert scores.mean_accuracy == pytest.approx((5 / 6 + 3 / 4 + 1 / 2) / 3)
        assert scores.mean_iou == pytest.approx((5 / 7 + 1 / 2 + 1 / 2) / 3)
        assert scores.frequency_weighted_iou == pytest.approx((6 * 5 / 7 + 4 / 2 + 2 / 2) / 12)

    def test_the_mean_says_over_how_many_classes_it_goes(self) -> None:
        assert score(([[0, 0]], [[0, 0]])).classes == 1
        assert score(([[0, 0]], [[0, 7]])).classes == 2
        assert score(([[0, 7]], [[0, 0]])).to_dict()["classes"] == 2

    def test_support_counts_pixels_and_images(self) -> None:
        scores = score(([[0, 3]], [[0, 0]]), ([[3, 3]], [[3, 3]]), ([[0, 255]], [[0, 3]]))
        assert (scores.support[0], scores.support[3]) == (2, 3)
        assert (scores.image_support[0], scores.image_support[3]) == (2, 2)
        assert scores.images == 3


class TestTraps:
    """What public code gets wrong, and by how much; see ``networks.md`` and the module's docstring."""

    def test_the_mean_of_the_images_mean_ious_is_another_number(self) -> None:
        # Many small people without Scarf, all right, and a large one whose Scarf is missed.
        easy = [(np.array([[0, 13]], np.uint8),) * 2] * 9
        hard = np.array([[0, 0, 13, 13, 11, 11]], np.uint8), np.array([[0, 0, 13, 13, 0, 0]], np.uint8)
        samples = [*easy, hard]
        averaged = float(np.mean([total([sample]).scores().mean_iou for sample in samples]))
        ours = total(samples).scores().mean_iou
        assert averaged == pytest.approx((9 * 1 + (1 / 2 + 1 + 0) / 3) / 10)
        assert ours == pytest.approx((11 / 13 + 1 + 0) / 3)
        assert averaged - ours > 0.3

    def test_labels_that_were_resized_give_another_number(self) -> None:
        # Thin things vanish when labels are shrunk, and with them what was wrong about them.
        truth = np.zeros((8, 8), np.uint8)
        truth[:, 3] = 11
        found = np.zeros((8, 8), np.uint8)
        ours = total([(truth, found)]).scores()
        shrunk = total([(truth[::2, ::2], found[::2, ::2])]).scores()
        assert (ours.class_iou[11], shrunk.class_iou[11]) == (0.0, None)
        assert shrunk.mean_iou == 1.0
        assert ours.mean_iou == pytest.approx((56 / 64 + 0) / 2)

    def test_leaving_the_background_out_gives_another_number(self) -> None:
        scores = score(([[0, 0, 0, 13]], [[0, 0, 0, 0]]))
        assert scores.mean_iou == pytest.approx((3 / 4 + 0) / 2)

    def test_right_for_left_is_an_error(self) -> None:
        assert score(([[14, 15]], [[15, 14]])).pixel_accuracy == 0


class TestAlways:
    @settings(max_examples=40, deadline=None)
    @given(st.lists(pairs(), min_size=1, max_size=4))
    def test_the_scores_are_those_of_the_definition(self, samples: list[Pair]) -> None:
        scores = total(samples).scores()
        for key, value in by_definition(samples).items():
            assert math.isclose(getattr(scores, key), value, abs_tol=1e-12), key

    @settings(max_examples=40, deadline=None)
    @given(pairs())
    def test_a_perfect_prediction_scores_1(self, pair: Pair) -> None:
        truth = pair[0]
        scores = total([(truth, np.where(truth < 20, truth, 0).astype(np.uint8))]).scores()
        assert scores.pixel_accuracy == scores.mean_accuracy == scores.mean_iou == 1.0
        assert scores.frequency_weighted_iou == pytest.approx(1.0)

    @settings(max_examples=40, deadline=None)
    @given(
        st.lists(pairs(), min_size=2, max_size=5).flatmap(lambda some: st.tuples(st.just(some), st.permutations(some)))
    )
    def test_the_order_of_images_does_not_matter(self, orders: tuple[list[Pair], list[Pair]]) -> None:
        assert total(orders[0]).scores() == total(orders[1]).scores()

    @settings(max_examples=40, deadline=None)
    @given(pairs())
    def test_what_is_a_class_elsewhere_keeps_its_scores(self, pair: Pair) -> None:
        renamed = np.arange(256)
        renamed[:20] = np.random.default_rng(0).permutation(20)
        before, after = (
            total([pair]).scores(),
            total([(renamed[pair[0]].astype(np.uint8), renamed[pair[1]].astype(np.uint8))]).scores(),
        )
        assert after.mean_iou == pytest.approx(before.mean_iou)
        assert after.frequency_weighted_iou == pytest.approx(before.frequency_weighted_iou)
        for label in range(20):
            assert after.class_iou[renamed[label]] == before.class_iou[label]

    @settings(max_examples=40, deadline=None)
    @given(pairs())
    def test_the_functions_agree_with_the_scores(self, pair: Pair) -> None:
        counts, scores = count_pixels(*pair, LIP), total([pair]).scores()
        assert mean_iou(counts) == pytest.approx(scores.mean_iou)
        iou = iou_of_classes(np.diag(counts), counts.sum(axis=1), counts.sum(axis=0))
        assert [None if math.isnan(value) else value for value in iou] == list(scores.class_iou)

    @settings(max_examples=40, deadline=None)
    @given(pairs())
    def test_absent_classes_do_not_change_the_mean(self, pair: Pair) -> None:
        scores = total([pair]).scores()
        present = [iou for iou in scores.class_iou if iou is not None]
        assert scores.mean_iou == pytest.approx(sum(present) / len(present))
        assert len(present) + len(scores.absent) == 20
        assert scores.classes == len(present)

    @settings(max_examples=40, deadline=None)
    @given(st.lists(pairs(), min_size=1, max_size=3))
    def test_scores_survive_json(self, samples: list[Pair]) -> None:
        scores = total(samples).scores()
        assert Scores.from_dict(json.loads(json.dumps(scores.to_dict()))) == scores


class TestRefusals:
    @pytest.mark.parametrize("value", [20, 255])
    def test_a_prediction_that_is_no_class(self, value: int) -> None:
        with pytest.raises(UsageError, match=f"the value {value}"):
            score(([[0, 255]], [[0, value]]))

    def test_a_prediction_beyond_the_last_class_of_a_small_set_names_the_set(self) -> None:
        with pytest.raises(UsageError, match="the value 4; Hands-4 ends at 3"):
            count_pixels(np.zeros((1, 1), np.uint8), np.full((1, 1), 4, np.uint8), HANDS)

    def test_maps_of_two_shapes(self) -> None:
        with pytest.raises(ValueError, match="one shape"):
            score(([[0, 1]], [[0], [1]]))

    def test_maps_that_are_not_uint8(self) -> None:
        labels = np.zeros((2, 2), np.int64)
        with pytest.raises(ValueError, match="uint8"):
            ConfusionMatrix(LIP).update(labels, labels)  # type: ignore[arg-type]

    def test_scores_of_nothing(self) -> None:
        with pytest.raises(DataError, match="no labelled pixel"):
            ConfusionMatrix(LIP).scores()
        with pytest.raises(DataError, match="no labelled pixel"):
            score(([[255]], [[0]]))


@pytest.mark.parametrize("classes", [2, 4, 255])
def test_a_matrix_has_a_row_for_every_class_of_its_set_and_drops_what_is_none(classes: int) -> None:
    names = tuple(f"class {number}" for number in range(classes))
    labels = LabelSet("Any", names, ((1, 2, 3),) * classes)
    matrix = ConfusionMatrix(labels)
    last = classes - 1
    matrix.update(np.array([[last, last, 255, 0]], np.uint8), np.array([[last, 0, last, 0]], np.uint8))
    expected = np.zeros((classes, classes), np.int64)
    expected[last, last], expected[last, 0], expected[0, 0] = 1, 1, 1
    np.testing.assert_array_equal(matrix.counts, expected)
    assert len(matrix.scores().class_iou) == classes
    assert matrix.scores().mean_iou == pytest.approx(0.5)


def test_counts_pass_what_32_bits_hold() -> None:
    matrix = ConfusionMatrix(LIP)
    matrix._counts[1, 1] = 2**40
    matrix.update(np.array([[1]], np.uint8), np.array([[1]], np.uint8))
    assert matrix.counts[1, 1] == 2**40 + 1


def test_the_mean_iou_of_nothing_is_none() -> None:
    assert mean_iou(np.zeros((20, 20), np.int64)) is None


def agreeing(changes: dict[tuple[int, int], int]) -> Agreement:
    """Of a reference that sees 1,000,000 pixels, most of them background, and an engine that differs in these."""
    counts: Counts = np.zeros((20, 20), np.int64)
    counts[5, 5] = 200_000
    for (seen, found), pixels in changes.items():
        counts[seen, found] = pixels
    counts[0, 0] = 1_000_000 - counts.sum()
    return agreement(counts, (counts.sum(axis=1) > 0).astype(np.int64), 1)


class TestAgreement:
    @pytest.mark.parametrize("pixels", [1, 10, 199])
    def test_a_class_of_few_of_the_references_pixels_is_in_no_mean_however_little_of_it_is_found(
        self, pixels: int
    ) -> None:
        found = agreeing({(11, 0): pixels})
        assert found.class_iou[11] == 0.0
        assert found.mean_iou > 0.999
        assert found.mean_accuracy == 1.0
        assert SCARF in found.left_out
        assert found.invented_total == 0

    def test_a_class_counts_from_two_pixels_in_ten_thousand_on(self) -> None:
        assert agreeing({(11, 0): 200}).mean_iou == pytest.approx(2 / 3, abs=1e-3)
        assert agreeing({(11, 0): 200}).classes == 3
        assert agreeing({(11, 0): 199}).classes == 2

    def test_the_classes_are_the_references_whatever_an_engine_finds(self) -> None:
        plain, inventive = agreeing({}), agreeing({(0, 11): 100_000, (5, 12): 1})
        assert plain.left_out == inventive.left_out
        assert len(plain.left_out) == 18
        assert plain.classes == inventive.classes == 2

    def test_what_an_engine_invents_is_told_in_pixels_and_classes_and_is_missing_elsewhere(self) -> None:
        found = agreeing({(0, 11): 400, (5, 12): 50_000})
        assert (found.invented[11], found.invented[12], found.invented_total) == (400, 50_000, 50_400)
        assert found.invented_rows == (SCARF, SKIRT)
        # The pixels of class 5 that became Skirt.
        assert found.class_iou[5] == pytest.approx(0.8, abs=1e-3)
        assert found.mean_iou == pytest.approx((0.8 + 1) / 2, abs=1e-3)

    def test_pixels_of_a_class_that_the_reference_sees_ten_of_are_invented_where_it_sees_another(self) -> None:
        found = agreeing({(11, 11): 4, (11, 0): 6, (0, 11): 30})
        assert (found.invented_total, found.invented_rows) == (30, (SCARF,))

    def test_a_wrong_pixel_of_a_class_that_counts_is_no_invention(self) -> None:
        assert agreeing({(0, 5): 5000}).invented_total == 0

    def test_where_every_class_counts_it_is_lips_mean_iou(self) -> None:
        counts = np.full((20, 20), 10, np.int64) + np.diag(np.full(20, 500))
        found = agreement(counts, np.ones(20, np.int64), 1)
        assert found.mean_iou == pytest.approx(mean_iou(counts))
        assert (found.left_out, found.classes) == ((), 20)

    def test_comes_back_from_json(self) -> None:
        found = agreeing({(0, 11): 400})
        values = json.loads(json.dumps(found.to_dict()))
        assert Agreement.from_dict(values) == found
        assert values["classes"] == 2

    def test_of_nothing_is_refused(self) -> None:
        with pytest.raises(DataError, match="no labelled pixel"):
            ConfusionMatrix(LIP).agreement()


def test_to_compare_two_networks_by_only_the_classes_of_the_truth_count() -> None:
    counts: Counts = np.zeros((20, 20), np.int64)
    counts[0, 0], counts[0, 11] = 99, 1
    assert mean_iou(counts) == pytest.approx(0.99 / 2)
    assert mean_true_iou(counts) == pytest.approx(0.99)
    assert mean_true_iou(np.zeros((20, 20), np.int64)) is None
