"""How right joints are: PCK.

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


def pck(
    truth: NDArray[np.float32],
    answers: NDArray[np.float32],
    truth_skeleton: Skeleton,
    answer_skeleton: Skeleton,
    *,
    threshold: float = 0.2,
    names: Sequence[str] = LIMB_JOINTS,
) -> Pck:
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
    if len(truth) != len(answers):
        raise ValueError(f"{len(truth)} people and {len(answers)} answers")
    names = [name for name in names if name in truth_skeleton.joints and name in answer_skeleton.joints]
    diagonal = diagonals(truth, truth_skeleton)
    measured = np.isfinite(diagonal)
    theirs = truth[:, [truth_skeleton.index(name) for name in names]]
    ours = answers[:, [answer_skeleton.index(name) for name in names]]
    counts = (theirs[..., 2] > 0) & measured[:, None]
    with np.errstate(invalid="ignore"):
        distance = np.linalg.norm(theirs[..., :2] - ours[..., :2], axis=-1)
        right = (distance <= threshold * diagonal[:, None]) & counts
    joints = {name: float(right[:, i].sum() / counts[:, i].sum()) for i, name in enumerate(names) if counts[:, i].any()}
    value = float(right.sum() / counts.sum()) if counts.any() else None
    return Pck(value, joints, int(counts.sum()), int(measured.sum()))


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
