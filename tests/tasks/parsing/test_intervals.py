from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from trtparse.tasks.parsing.intervals import class_counts, loss_interval
from trtparse.tasks.parsing.metrics import Counts


def image(right: int, wrong: int, label: int = 1, found: int = 0, background: int = 100) -> Counts:
    """A confusion matrix of an image: ``right`` and ``wrong`` pixels of one class among background."""
    counts = np.zeros((20, 20), np.int64)
    counts[0, 0] = background
    counts[label, label], counts[label, found] = right, wrong
    return counts


def random_images(seed: int, number: int) -> list[Counts]:
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(number):
        counts = rng.integers(0, 50, (20, 20)) * (rng.random((20, 20)) < 0.2)
        counts[np.diag_indices(20)] *= 10
        counts[0, 0] += 100
        images.append(counts)
    return images


def interval(reference: list[Counts], engine: list[Counts], **options: object) -> tuple[float, float, float]:
    loss = loss_interval([class_counts(c) for c in reference], [class_counts(c) for c in engine], **options)  # type: ignore[arg-type]
    return loss.low, loss.points, loss.high


def mean_iou(images: list[Counts]) -> float:
    """Over the classes that the truth holds, by the definition."""
    pooled = np.sum(images, axis=0)
    union = pooled.sum(axis=0) + pooled.sum(axis=1) - np.diag(pooled)
    return float(np.mean([pooled[label, label] / union[label] for label in range(20) if pooled[label].any()]))


class TestLossInterval:
    @settings(max_examples=15, deadline=None)
    @given(st.integers(0, 1000), st.integers(1, 12))
    def test_the_point_is_the_difference_of_the_pooled_scores(self, seed: int, number: int) -> None:
        reference, engine = random_images(seed, number), random_images(seed + 5000, number)
        for one, other in zip(reference, engine):
            # Both are of the same labels: the same pixels of every class.
            other[:] = np.diag(one.sum(axis=1)) * 3 // 4
            other[:, 0] += one.sum(axis=1) - other.sum(axis=1)
        _, points, _ = interval(reference, engine)
        assert points == pytest.approx(100 * (mean_iou(reference) - mean_iou(engine)))

    @settings(max_examples=15, deadline=None)
    @given(st.integers(0, 1000), st.integers(1, 12))
    def test_of_two_engines_that_are_the_same_it_is_0_to_0(self, seed: int, number: int) -> None:
        images = random_images(seed, number)
        assert interval(images, images) == (0.0, 0.0, 0.0)

    def test_of_one_image_it_is_a_point(self) -> None:
        low, points, high = interval([image(100, 0)], [image(50, 50)])
        assert low == points == high
        # Class 1: 1 to 1/2. Background: 1 to 100/150.
        assert points == pytest.approx(100 * (1 - (1 / 2 + 2 / 3) / 2))

    def test_a_loss_in_every_image_is_significant_and_in_one_of_ten_it_is_not(self) -> None:
        perfect, spoilt = [image(100, 0)] * 10, [image(90, 10)] * 10
        low, points, _ = interval(perfect, spoilt)
        assert 0 < low <= points
        low, points, high = interval(perfect, [*perfect[:9], image(0, 100)])
        assert low == 0.0
        assert low < points < high

    def test_a_gain_in_some_and_a_loss_in_others_is_noise(self) -> None:
        one, other = [image(90, 10), image(60, 40)] * 20, [image(60, 40), image(90, 10)] * 20
        low, points, high = interval(one, other)
        assert points == pytest.approx(0)
        assert low < 0 < high

    def test_more_images_make_it_narrower(self) -> None:
        few = interval(random_images(1, 10), [image(100, 20)] * 10)
        many = interval(random_images(1, 10) * 16, [image(100, 20)] * 160)
        assert many[1] == pytest.approx(few[1])
        assert (many[2] - many[0]) / (few[2] - few[0]) == pytest.approx(1 / 4, rel=0.25)

    def test_reference_and_engine_are_drawn_together(self) -> None:
        # The images differ much from each other, and the engine loses the same in each of them.
        reference = [image(right, 100 - right) for right in range(10, 100, 3)]
        engine = [image(right - 5, 105 - right) for right in range(10, 100, 3)]
        low, _, high = interval(reference, engine)
        apart, _, _ = interval(reference, list(reversed(engine)))
        assert high - low < 1
        assert apart < low - 1

    def test_is_the_same_every_time_and_another_with_another_seed(self) -> None:
        reference, engine = random_images(0, 20), [image(50, 50)] * 20
        assert interval(reference, engine) == interval(reference, engine)
        assert interval(reference, engine) != interval(reference, engine, seed=1)

    def test_holds_the_true_loss_in_most_samples_of_a_population(self) -> None:
        rng = np.random.default_rng(0)
        right = rng.integers(40, 100, 4000)
        lost = rng.integers(-5, 15, 4000)
        reference = np.stack([class_counts(image(int(r), 120 - int(r))) for r in right])
        engine = np.stack([class_counts(image(int(r), 120 - int(r))) for r in right - lost])
        truth = loss_interval(list(reference), list(engine), resamples=1).points
        held = 0
        for _ in range(60):
            some = rng.integers(0, 4000, 60)
            loss = loss_interval(list(reference[some]), list(engine[some]), resamples=200)
            held += loss.low <= truth <= loss.high
        assert 50 <= held <= 60

    def test_classes_have_intervals_of_their_own(self) -> None:
        reference = [image(100, 0), image(100, 0, label=5)]
        engine = [image(50, 50), image(100, 0, label=5)]
        loss = loss_interval([class_counts(c) for c in reference], [class_counts(c) for c in engine])
        assert loss.rows[1] is not None
        assert loss.rows[1].points == 50.0
        # It is in one image: drawings without it say nothing about it.
        assert (loss.rows[1].low, loss.rows[1].high) == (50.0, 50.0)
        assert loss.rows[1].significant
        assert loss.rows[5] is not None
        assert (loss.rows[5].points, loss.rows[5].significant) == (0.0, False)
        assert [label for label, one in enumerate(loss.rows) if one is not None] == [0, 1, 5]
        assert (loss.confidence, loss.resamples) == (0.95, 1000)

    @pytest.mark.parametrize("who", ["engine", "reference", "both"])
    def test_a_class_that_is_only_predicted_is_in_no_loss_whoever_predicts_it(self, who: str) -> None:
        stray = image(100, 0)
        stray[0, 0], stray[0, 11] = 90, 10
        reference = image(100, 0) if who == "engine" else stray
        engine = image(100, 0) if who == "reference" else stray
        loss = loss_interval([class_counts(reference)], [class_counts(engine)])
        assert loss.rows[11] is None
        # Only the background's IoU is 90 of 100 instead of 1: class 11 is nobody's 0.
        assert loss.points == pytest.approx({"engine": 5, "reference": -5, "both": 0}[who])

    @pytest.mark.parametrize("who", ["engine", "reference"])
    def test_one_stray_pixel_of_a_class_that_is_nowhere_moves_neither_loss_nor_interval(self, who: str) -> None:
        clean = [image(90, 10, background=10_000)] * 24
        stray = [*clean[:-1], image(90, 10, background=9_999)]
        stray[-1][0, 14] = 1
        low, points, high = interval(*((clean, stray) if who == "engine" else (stray, clean)))
        assert max(abs(low), abs(points), abs(high)) < 0.01

    @settings(max_examples=15, deadline=None)
    @given(st.integers(0, 1000), st.integers(1, 12))
    def test_the_loss_is_the_mean_of_the_losses_of_the_classes(self, seed: int, number: int) -> None:
        reference = random_images(seed, number)
        engine = [counts.copy() for counts in reference]
        for counts in engine:
            counts[0, 0], counts[0, 17] = counts[0, 0] // 2, counts[0, 17] + counts[0, 0] - counts[0, 0] // 2
        loss = loss_interval([class_counts(c) for c in reference], [class_counts(c) for c in engine])
        assert loss.points == pytest.approx(np.mean([one.points for one in loss.rows if one is not None]))

    def test_images_without_a_labelled_pixel_do_no_harm(self) -> None:
        empty = np.zeros((20, 20), np.int64)
        low, points, high = interval([image(100, 0), empty, empty], [image(50, 50), empty, empty])
        assert low == points == high


def test_a_stray_pixel_of_a_class_that_a_drawing_lacks_does_not_widen_the_interval() -> None:
    # 40 images; one holds class 5. Only the engine predicts a pixel of it elsewhere. In a third of the drawings the
    # image with class 5 is missing, and then an IoU of 0 for the engine alone would look like a loss of 25 points.
    def counted(stray: int, with_five: bool) -> NDArray[np.uint32]:
        counts = np.zeros((3, 20), np.uint32)
        counts[:, 0] = counts[:, 1] = 1000
        if with_five:
            counts[:, 5] = 1000
        counts[2, 5] += stray
        return counts

    reference = [counted(0, number == 0) for number in range(40)]
    engine = [counted(1, number == 0) for number in range(40)]
    loss = loss_interval(reference, engine)
    assert 0 <= loss.low <= loss.points <= loss.high < 2
