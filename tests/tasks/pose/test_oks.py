from __future__ import annotations

import numpy as np
import pytest

from trtparse.tasks.pose.oks import distinct, of_joints, person_scores, similarity

SIGMAS = np.array([0.05, 0.1])


def pose(*joints: tuple[float, float, float]) -> np.ndarray:
    return np.array([joints], np.float32)


def test_a_joint_two_of_its_sigmas_of_the_root_of_the_area_away_is_worth_the_root_of_e() -> None:
    truth = pose((0, 0, 2), (0, 0, 2))
    answers = pose((2 * 0.05 * 100, 0, 1), (0, 2 * 0.1 * 100, 1))
    assert of_joints(truth, answers, SIGMAS, np.array([100.0**2])) == pytest.approx(np.full((1, 2), np.exp(-0.5)))


def test_only_labelled_joints_count_and_what_is_not_finite_is_wrong() -> None:
    answers = pose((0, 0, 1), (np.nan, 0, 1))
    areas = np.array([100.0])
    assert similarity(pose((0, 0, 2), (0, 0, 0)), answers, SIGMAS, areas) == pytest.approx([1])
    assert similarity(pose((0, 0, 2), (0, 0, 1)), answers, SIGMAS, areas) == pytest.approx([0.5])
    assert np.isnan(similarity(pose((0, 0, 0), (0, 0, 0)), answers, SIGMAS, areas)).all()


def test_a_person_s_score_is_the_box_s_times_the_mean_of_the_joints_above_a_fifth() -> None:
    answers = np.concatenate(
        [pose((0, 0, 0.9), (0, 0, 0.1)), pose((0, 0, 0.5), (0, 0, 0.7)), pose((0, 0, 0), (0, 0, 0))]
    )
    assert person_scores(answers, np.array([0.5, 1, 1])) == pytest.approx([0.45, 0.6, 0])


def test_the_lower_of_two_answers_that_are_the_same_person_falls_away() -> None:
    one, near, far = pose((0, 0, 1), (9, 9, 1)), pose((0.2, 0, 1), (9, 9.2, 1)), pose((0, 30, 1), (9, 40, 1))
    answers = np.concatenate([near, one, far])
    areas = np.full(3, 400.0)
    assert distinct(answers, np.array([0.5, 0.9, 0.1]), SIGMAS, areas) == [1, 2]
    assert distinct(answers, np.array([0.5, 0.4, 0.1]), SIGMAS, areas) == [0, 2]
    assert distinct(answers, np.array([0.5, 0.4, 0.1]), SIGMAS, areas, threshold=1) == [0, 1, 2]
    assert distinct(answers[:0], np.zeros(0), SIGMAS, areas[:0]) == []
