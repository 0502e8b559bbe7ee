from __future__ import annotations

import numpy as np
import pytest

from trtparse.specs.skeleton import Skeleton
from trtparse.tasks.pose.draw import draw_pose


@pytest.fixture
def canvas() -> np.ndarray:
    return np.zeros((120, 160, 3), np.uint8)


def test_joints_have_their_colours_and_limbs_run_between_them(canvas: np.ndarray, stick: Skeleton) -> None:
    draw_pose(canvas, np.array([[80, 20, 1], [20, 100, 1], [140, 100, 1]], np.float32), stick, thickness=4)
    assert canvas[20, 80].tolist() == [255, 255, 255]
    assert canvas[100, 20].tolist() == [0, 0, 255]
    assert canvas[100, 140].tolist() == [255, 0, 0]
    assert canvas[60, 50].any()
    assert canvas[60, 110].any()
    assert not canvas[100, 80].any()


def test_a_joint_of_a_low_score_is_left_out_with_its_limbs(canvas: np.ndarray, stick: Skeleton) -> None:
    draw_pose(canvas, np.array([[80, 20, 1], [20, 100, 0.1], [np.nan, 100, 1]], np.float32), stick)
    assert canvas[20, 80].any()
    assert not canvas[60:].any()


def test_joints_far_outside_of_the_frame_are_cut_off_at_its_edge(canvas: np.ndarray, stick: Skeleton) -> None:
    draw_pose(canvas, np.array([[80, 60, 1], [-1e9, 60, 1], [1e9, 60, 1]], np.float32), stick, thickness=3)
    assert canvas[60, 5].any()
    assert canvas[60, 155].any()
