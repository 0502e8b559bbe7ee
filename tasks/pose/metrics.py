"""How right joints are: PCK, and MPII's PCKh.

numpy alone. Joints are (N, K, 3) with x and y in pixels of the image; in the truth the third is COCO's visibility
(0: not labelled), in an answer its score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import UsageError
from ...specs.skeleton import Skeleton

LIMB_JOINTS = tuple(
    f"{side}_{joint}" for side in ("left", "right") for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
)
"""What PCK counts: the joints that COCO, MPII and LSP have alike."""

NOT_IN_PCKH = ("pelvis", "thorax")
"""Of MPII's joints: its evaluation leaves them out."""

_DIAGONALS = (("left_shoulder", "right_hip"), ("right_shoulder", "left_hip"))

_LEAST_DIAGONAL = 10.0
"""Pixels. Of a person who lies towards the camera nothing is left of the trunk, and nobody is right within nothing."""


@dataclass(frozen=True)
class Pck:
    """The percentage of correct keypoints.

    Args:
        value: share of the joints counted that are right, 0 to 1; None where none was counted.
        joints: the same of each joint by name, of those that were counted.
        counted: joints.
        people: who had a diagonal to measure by.
    """

    value: float | None
    joints: dict[str, float]
    counted: int
    people: int


@dataclass(frozen=True, eq=False)
class Judged:
    """Which joints are right, person by person: what figures and their intervals are made of.

    Args:
        names: of the J joints that may count.
        right, counts: (N, J) bool; a joint that is right counts.
        people: who had something to measure by.
    """

    names: tuple[str, ...]
    right: NDArray[np.bool_]
    counts: NDArray[np.bool_]
    people: int

    def pooled(self) -> Pck:
        """The percentage over all joints of all people."""
        right, counted = self.right.sum(0), self.counts.sum(0)
        joints = {name: float(right[i] / counted[i]) for i, name in enumerate(self.names) if counted[i]}
        value = float(right.sum() / counted.sum()) if counted.any() else None
        return Pck(value, joints, int(counted.sum()), self.people)


def judge(
    truth: NDArray[np.float32],
    answers: NDArray[np.float32],
    truth_skeleton: Skeleton,
    answer_skeleton: Skeleton,
    *,
    threshold: float = 0.2,
    names: Sequence[str] = LIMB_JOINTS,
) -> Judged:
    """A joint is right within ``threshold`` of the person's longer shoulder-hip diagonal, which is 10 pixels or more.

    Counted are the labelled ones among ``names``, of people with a diagonal whose two ends are labelled.

    Args:
        truth: (N, K, 3) float, visibility last.
        answers: (N, J, 3) float, score last; an answer that is not finite is none, and a miss.
        truth_skeleton, answer_skeleton: of the K and J joints.
        threshold: of the diagonal.
        names: joints that count, where both skeletons have them.

    Raises:
        UsageError: the truth's skeleton has no shoulders and hips to measure by.
    """
    lengths = threshold * diagonals(truth, truth_skeleton)
    return _within(truth, answers, truth_skeleton, answer_skeleton, lengths, names)


def pck(
    truth: NDArray[np.float32],
    answers: NDArray[np.float32],
    truth_skeleton: Skeleton,
    answer_skeleton: Skeleton,
    *,
    threshold: float = 0.2,
    names: Sequence[str] = LIMB_JOINTS,
) -> Pck:
    """The percentage of joints that are right; arguments and errors as of :func:`judge`."""
    return judge(truth, answers, truth_skeleton, answer_skeleton, threshold=threshold, names=names).pooled()


def judge_by_heads(
    truth: NDArray[np.float32],
    answers: NDArray[np.float32],
    truth_skeleton: Skeleton,
    answer_skeleton: Skeleton,
    heads: NDArray[np.float64],
    *,
    threshold: float = 0.5,
) -> Judged:
    """MPII's PCKh: a joint is right within ``threshold`` of the person's head; pelvis and thorax do not count.

    Args:
        truth, answers, truth_skeleton, answer_skeleton: as of :func:`judge`.
        heads: (N,) pixels, as :mod:`~trtparse.tasks.pose.mpii` reads them.
        threshold: of the head.
    """
    names = [name for name in truth_skeleton.joints if name not in NOT_IN_PCKH]
    return _within(truth, answers, truth_skeleton, answer_skeleton, threshold * heads, names)


def _within(
    truth: NDArray[np.float32],
    answers: NDArray[np.float32],
    truth_skeleton: Skeleton,
    answer_skeleton: Skeleton,
    lengths: NDArray[np.float64],
    names: Sequence[str],
) -> Judged:
    """Which joints are within (N,) lengths; nobody of a length of NaN counts."""
    if len(truth) != len(answers):
        raise ValueError(f"{len(truth)} people and {len(answers)} answers")
    names = [name for name in names if name in truth_skeleton.joints and name in answer_skeleton.joints]
    measured = np.isfinite(lengths)
    theirs = truth[:, [truth_skeleton.index(name) for name in names]]
    ours = answers[:, [answer_skeleton.index(name) for name in names]]
    counts = (theirs[..., 2] > 0) & measured[:, None]
    with np.errstate(invalid="ignore"):
        distance = np.linalg.norm(theirs[..., :2] - ours[..., :2], axis=-1)
        right = (distance <= lengths[:, None]) & counts
    return Judged(tuple(names), right, counts, int(measured.sum()))


def has_diagonals(skeleton: Skeleton) -> bool:
    """Whether the joints are there that PCK measures by."""
    return all(joint in skeleton.joints for pair in _DIAGONALS for joint in pair)


def diagonals(truth: NDArray[np.float32], skeleton: Skeleton) -> NDArray[np.float64]:
    """The longer shoulder-hip diagonal of each person.

    Args:
        truth: (N, K, 3) float, visibility last.
        skeleton: of the K joints.

    Returns:
        (N,) float64 pixels, at least 10; NaN where neither diagonal has both ends labelled.

    Raises:
        UsageError: the skeleton has no shoulders and hips.
    """
    if not has_diagonals(skeleton):
        raise UsageError(
            f"PCK cannot be measured on {skeleton.name}, which has no left and right shoulder and hip.",
            "Give annotations of people that have them.",
        )
    lengths = np.full((2, len(truth)), np.nan)
    for row, (shoulder, hip) in enumerate(_DIAGONALS):
        one, other = truth[:, skeleton.index(shoulder)], truth[:, skeleton.index(hip)]
        both = (one[:, 2] > 0) & (other[:, 2] > 0)
        lengths[row, both] = np.linalg.norm(one[both, :2] - other[both, :2], axis=1)
    longer = np.fmax(lengths[0], lengths[1])
    return np.where(np.isnan(longer), np.nan, np.maximum(longer, _LEAST_DIAGONAL))
