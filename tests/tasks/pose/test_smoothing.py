from __future__ import annotations

import numpy as np
import pytest

from trtparse.tasks.pose.smoothing import JitterMeter, JointSmoothing

FPS = 25


def pose(x: float, y: float = 50, score: float = 0.9) -> np.ndarray:
    return np.array([[x, y, score]], np.float32)


def test_a_joint_at_rest_is_held_and_a_moving_one_is_not_late() -> None:
    rng = np.random.default_rng(0)
    smoothing = JointSmoothing()
    shown = [smoothing.apply(1, pose(100 + noise), 200, n / FPS)[0, 0] for n, noise in enumerate(rng.normal(0, 1, 100))]
    assert np.std(shown[20:]) < 0.5

    moving = JointSmoothing()
    late = [400 * n / FPS - moving.apply(1, pose(400 * n / FPS), 200, n / FPS)[0, 0] for n in range(50)]
    assert abs(late[-1]) < 8  # pixels at 400 a second: a fiftieth of a second


def test_people_do_not_pull_at_each_other_and_a_joint_that_was_gone_begins_anew() -> None:
    smoothing = JointSmoothing()
    smoothing.apply(1, pose(0), 200, 0)
    assert smoothing.apply(2, pose(500), 200, 0.04)[0, 0] == 500
    assert 0 < smoothing.apply(1, pose(10), 200, 0.04)[0, 0] < 10
    assert smoothing.apply(1, pose(300), 200, 2.0)[0, 0] == 300
    smoothing.keep(set(), 3.0)
    assert smoothing.apply(1, pose(7), 200, 3.0)[0, 0] == 7


def test_a_joint_that_is_not_seen_is_left_as_it_is() -> None:
    smoothing = JointSmoothing()
    smoothing.apply(1, pose(100), 200, 0)
    assert smoothing.apply(1, pose(900, score=0.1), 200, 0.04)[0, 0] == 900
    assert smoothing.apply(1, pose(100), 200, 0.08)[0, 0] == pytest.approx(100)


def test_jitter_is_what_joints_move_where_the_picture_stands_still() -> None:
    meter = JitterMeter()
    still = np.full((100, 200), 255, np.uint8)
    still[:, 100:] = 0
    for n in range(5):
        found, drawn = pose(50 + 2 * (n % 2)), pose(50 + (n % 2))
        meter.add(still, {1: (found, drawn), 2: (pose(150 + 9 * n), pose(150 + 9 * n))}, {1: 100, 2: 100})
    assert meter.jitter.joints == 4
    assert (meter.jitter.before, meter.jitter.after) == (pytest.approx(0.02), pytest.approx(0.01))
    assert JitterMeter().jitter.joints == 0
