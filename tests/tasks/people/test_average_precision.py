from __future__ import annotations

import numpy as np
import pytest

from trtparse.tasks.people.average_precision import average_precision, matched, precision_of
from trtparse.tasks.people.boxes import Detections

Scene = tuple[Detections, np.ndarray, np.ndarray]


def scenes(count: int, seed: int = 0, digits: int = 1) -> list[Scene]:
    """People, groups that are not asked about, and boxes more or less around them, some around nobody."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        corners = rng.uniform(0, 80, (int(rng.integers(0, 5)), 2))
        there = np.concatenate([corners, corners + rng.uniform(10, 40, corners.shape)], axis=1)
        groups = np.array([[60.0, 0.0, 110.0, 50.0]])[: int(rng.integers(0, 2))]
        around = np.repeat(there, 2, axis=0)
        nobody = np.tile([50.0, 5.0, 70.0, 45.0], (2, 1))
        boxes = np.concatenate([around + rng.normal(0, 3, around.shape), nobody + rng.normal(0, 4, nobody.shape)])
        scores = np.sort(rng.uniform(0.1, 1, len(boxes)).round(digits))[::-1]  # to one digit many are alike
        made.append((Detections(boxes, scores), there, groups))
    return made


def by_the_library(some: list[Scene]) -> tuple[float, float]:
    pytest.importorskip("faster_coco_eval")
    found = average_precision(*(list(column) for column in zip(*some)))  # type: ignore[arg-type]
    return found.ap50, found.ap


def counted_here(some: list[Scene], weights: np.ndarray, overlap: float) -> np.ndarray:
    return precision_of([matched(*scene, overlap) for scene in some], weights)


def test_what_is_drawn_over_images_is_what_the_library_counts() -> None:
    some = scenes(12)
    once = np.ones((1, 12), np.int64)
    ap50, ap = by_the_library(some)
    assert 0.2 < ap < ap50 < 0.95
    overlaps = np.linspace(0.5, 0.95, 10)
    counted = [float(counted_here(some, once, overlap)[0]) for overlap in overlaps]
    assert counted[0] == pytest.approx(ap50, abs=1e-9)
    assert np.mean(counted) == pytest.approx(ap, abs=1e-9)


def test_an_image_that_is_drawn_twice_counts_twice_and_one_that_is_not_never() -> None:
    some = scenes(6, seed=3, digits=6)
    weights = np.array([[2, 0, 1, 3, 0, 1], [1, 1, 1, 1, 1, 1]])
    repeated = [scene for scene, times in zip(some, weights[0]) for _ in range(times)]
    assert counted_here(some, weights, 0.5) == pytest.approx([by_the_library(repeated)[0], by_the_library(some)[0]])


def test_where_nobody_is_there_is_no_precision_and_where_nothing_is_found_it_is_0() -> None:
    nothing, nobody = Detections(np.zeros((0, 4)), np.zeros(0)), np.zeros((0, 4))
    somebody = np.array([[0.0, 0.0, 10.0, 20.0]])
    weights = np.array([[1, 0], [0, 1]])
    found = counted_here([(nothing, somebody, nobody), (nothing, nobody, nobody)], weights, 0.5)
    assert found[0] == 0
    assert np.isnan(found[1])
