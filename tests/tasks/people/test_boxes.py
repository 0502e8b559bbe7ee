from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trtparse.tasks.people.boxes import overlap, suppress

corners = st.integers(0, 40)
boxes = st.lists(st.tuples(corners, corners, corners, corners), min_size=1, max_size=8).map(
    lambda rows: np.array([(left, top, left + width, top + height) for left, top, width, height in rows], float)
)


def painted(box: np.ndarray) -> np.ndarray:
    canvas = np.zeros((100, 100), bool)
    left, top, right, bottom = box.astype(int)
    canvas[top:bottom, left:right] = True
    return canvas


@given(boxes)
@settings(max_examples=30, deadline=None)
def test_overlaps_are_those_of_counted_pixels(some: np.ndarray) -> None:
    shares = overlap(some, some)
    for row, one in enumerate(some):
        for column, other in enumerate(some):
            a, b = painted(one), painted(other)
            both, either = (a & b).sum(), (a | b).sum()
            assert shares[row, column] == pytest.approx(both / either if either else 0)


@given(boxes, st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_suppression_keeps_the_best_of_those_that_overlap_and_all_others(some: np.ndarray, random: object) -> None:
    scores = np.array([random.random() for _ in some])  # type: ignore[attr-defined]
    shares = overlap(some, some)
    kept = suppress(some, scores, shares, 0.5)
    assert list(kept.scores) == sorted(kept.scores, reverse=True)
    assert kept.scores[0] == scores.max()
    among = overlap(kept.boxes, kept.boxes)
    np.fill_diagonal(among, 0)
    assert (among <= 0.5).all()
    for box, score in zip(some, scores):
        better = kept.boxes[kept.scores >= score]
        is_kept = any(np.array_equal(box, one) and score == its for one, its in zip(kept.boxes, kept.scores))
        assert is_kept or overlap(box[None], better).max() > 0.5


def test_no_boxes_stay_no_boxes() -> None:
    nothing = np.zeros((0, 4))
    assert overlap(nothing, np.ones((3, 4))).shape == (0, 3)
    assert len(suppress(nothing, np.zeros(0), np.zeros((0, 0)), 0.5)) == 0
