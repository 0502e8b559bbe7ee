from __future__ import annotations

import numpy as np
import pytest

from trtparse.errors import UsageError
from trtparse.specs.skeleton import Skeleton, load_skeleton
from trtparse.tasks.pose.metrics import LIMB_JOINTS, diagonals, pck

COCO, LSP = load_skeleton("coco17"), load_skeleton("lsp14")


@pytest.fixture
def truth() -> np.ndarray:
    """One person of LSP with a diagonal of 50 pixels from the right shoulder, one of 30 from the left."""
    joints = np.zeros((1, 14, 3), np.float32)
    joints[..., 2] = 2
    joints[0, :, 0] = 500 + 10 * np.arange(14)
    for name, point in (
        ("right_shoulder", (0, 0)),
        ("left_hip", (30, 40)),
        ("left_shoulder", (30, 0)),
        ("right_hip", (30, 30)),
    ):
        joints[0, LSP.index(name), :2] = point
    return joints


def answered(truth: np.ndarray) -> np.ndarray:
    answers = np.full((len(truth), 17, 3), np.nan, np.float32)
    for name in LIMB_JOINTS:
        answers[:, COCO.index(name)] = truth[:, LSP.index(name)]
    return answers


def test_the_longer_diagonal_measures_and_it_is_ten_pixels_or_more(truth: np.ndarray) -> None:
    assert diagonals(truth, LSP).tolist() == [50.0]
    assert diagonals(truth / [100, 100, 1], LSP).tolist() == [10.0]


def test_one_labelled_diagonal_is_enough_and_without_any_nobody_counts(truth: np.ndarray) -> None:
    truth[0, LSP.index("left_hip"), 2] = 0
    assert diagonals(truth, LSP).tolist() == [30.0]
    truth[0, LSP.index("left_shoulder"), 2] = 0
    assert np.isnan(diagonals(truth, LSP)[0])
    score = pck(truth, answered(truth), LSP, COCO)
    assert (score.value, score.people, score.counted) == (None, 0, 0)


def test_a_fifth_of_the_diagonal_is_right_and_more_is_not(truth: np.ndarray) -> None:
    answers = answered(truth)
    answers[0, COCO.index("left_wrist"), 0] += 10
    assert pck(truth, answers, LSP, COCO).value == 1
    answers[0, COCO.index("left_wrist"), 0] += 0.1
    score = pck(truth, answers, LSP, COCO)
    assert score.value == pytest.approx(11 / 12)
    assert score.joints["left_wrist"] == 0
    assert pck(truth, answers, LSP, COCO, threshold=0.3).value == 1


def test_no_answer_is_a_miss_and_an_unlabelled_joint_is_nothing(truth: np.ndarray) -> None:
    answers = answered(truth)
    answers[0, COCO.index("left_wrist")] = np.nan
    truth[0, LSP.index("right_wrist"), 2] = 0
    score = pck(truth, answers, LSP, COCO)
    assert (score.value, score.counted) == (pytest.approx(10 / 11), 11)
    assert "right_wrist" not in score.joints


def test_without_shoulders_and_hips_there_is_no_pck(truth: np.ndarray, stick: Skeleton) -> None:
    with pytest.raises(UsageError, match="cannot be measured on stick"):
        pck(truth[:, :3], truth[:, :3], stick, stick)
