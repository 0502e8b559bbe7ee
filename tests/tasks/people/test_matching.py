from __future__ import annotations

import numpy as np
import pytest

from trtparse.tasks.people.boxes import Detections
from trtparse.tasks.people.matching import at_threshold, best_threshold, matches
from trtparse.tasks.people.rows import without_doubles

NOBODY = np.zeros((0, 4))
A, B, C = [0, 0, 10, 20.0], [30, 0, 40, 20.0], [60, 0, 70, 20.0]


def found(*scored: tuple[float, list[float]]) -> Detections:
    return Detections(
        np.array([box for _, box in scored]).reshape(-1, 4), np.array([score for score, _ in scored], np.float64)
    )


def test_the_best_threshold_leaves_the_wrong_boxes_out() -> None:
    best = best_threshold([found((0.9, A), (0.6, B), (0.2, C))], [np.array([A, B])], [NOBODY])
    assert (best.threshold, best.recall, best.precision, best.f1) == (0.6, 1, 1, 1)


def test_a_second_box_of_somebody_is_wrong() -> None:
    near = [0, 0, 10, 18.0]
    _, right = matches([found((0.9, A), (0.8, near))], [np.array([A])], [NOBODY])
    assert right.tolist() == [True, False]


def test_a_box_over_somebody_doubtful_counts_neither_way() -> None:
    doubtful = np.array([C])
    assert at_threshold([found((0.9, A), (0.8, C))], [np.array([A])], [doubtful], 0.5).precision == 1
    assert at_threshold([found((0.9, A), (0.8, C))], [np.array([A])], [NOBODY], 0.5).precision == 0.5


def test_who_is_missed_lowers_recall_and_an_image_without_anybody_precision() -> None:
    shares = at_threshold(
        [found((0.9, A)), found((0.7, B))], [np.array([A, C]), NOBODY], [NOBODY, NOBODY], threshold=0.5
    )
    assert (shares.recall, shares.precision, shares.f1) == (0.5, 0.5, 0.5)


def test_nothing_found_and_nobody_there_is_no_division_by_nothing() -> None:
    assert best_threshold([found()], [np.array([A])], [NOBODY]).f1 == 0
    assert best_threshold([found((0.9, A))], [NOBODY], [NOBODY]).f1 == 0


def test_boxes_of_one_score_count_together() -> None:
    best = best_threshold([found((0.5, A), (0.5, C))], [np.array([A])], [NOBODY])
    assert best.precision == 0.5


def test_rows_become_one_box_a_person_without_what_is_no_number() -> None:
    rows = np.array([[*A, 0.9], [0, 0, 10, 19, 0.8], [*B, 0.7], [*C, np.nan], [np.nan, 0, 1, 1, 0.9], [*C, 0.01]])
    people = without_doubles(rows.astype(np.float32))
    assert people.boxes.tolist() == [A, B]
    assert people.scores == pytest.approx([0.9, 0.7])


def test_average_precision_is_cocos() -> None:
    pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is not installed")
    from trtparse.tasks.people.average_precision import average_precision

    there = [np.array([A, B], float), np.array([C], float)]
    nobody = [NOBODY, NOBODY]
    perfect = average_precision([found((0.9, A), (0.8, B)), found((0.7, C))], there, nobody)
    assert (perfect.ap, perfect.ap50) == pytest.approx((1, 1))
    loose = [0, 0, 10, 13.0]  # IoU 0.65 with A: right at four of ten thresholds
    half = average_precision([found((0.9, loose)), found()], [np.array([A], float), NOBODY], nobody)
    assert (half.ap, half.ap50) == pytest.approx((0.4, 1.0))
    assert average_precision([found(), found()], there, nobody).ap50 == 0
    doubted = average_precision([found((0.9, C), (0.8, A))], [np.array([A], float)], [np.array([C], float)])
    assert doubted.ap50 == pytest.approx(1)
