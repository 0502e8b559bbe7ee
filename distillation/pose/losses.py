"""What a pose student is trained with: pure functions of heatmaps, targets and a teacher's heatmaps.

All compute in float32, whatever the heatmaps' type: a softmax over 3,072 cells in bfloat16 sums to anything. A joint of
weight 0 changes neither a loss nor its gradient, and a batch of such joints alone gives 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def joint_mse(heatmaps: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """HRNet's loss: the mean over joints of half the squared error of weighted heatmaps.

    Args:
        heatmaps, targets: (N, K, h, w) float.
        weights: (N, K) float, 0 for a joint that does not count.

    Returns:
        () float32.
    """
    return per_joint_mse(heatmaps, targets, weights).mean()


def per_joint_mse(heatmaps: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """(N, K) float32: half the mean squared error over the cells of each weighted heatmap."""
    _check(heatmaps, targets, weights)
    weight = weights.float()[..., None, None]
    return 0.5 * ((heatmaps.float() - targets.float()) * weight).square().mean((2, 3))


def hard_joints_mse(heatmaps: Tensor, targets: Tensor, weights: Tensor, hardest: int = 8) -> Tensor:
    """Online hard keypoint mining: the mean over each person's joints of largest loss (Chen et al., CVPR 2018).

    Args:
        heatmaps, targets, weights: as of :func:`joint_mse`.
        hardest: joints a person.

    Returns:
        () float32.
    """
    if not 1 <= hardest <= heatmaps.shape[1]:
        raise ValueError(f"hardest must lie between 1 and {heatmaps.shape[1]} joints, not {hardest}")
    return per_joint_mse(heatmaps, targets, weights).topk(hardest, dim=1).values.mean()


def spatial_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy of each joint's cells: where is it, as a choice among all of them.

    With few images it learns where a mean squared error still answers nothing everywhere: most cells of a heatmap are
    0, and so is the easiest answer.

    Args:
        logits: (N, K, h, w) float.
        targets: (N, K, h, w) float, each joint's summing to 1.
        weights: (N, K) float.

    Returns:
        () float32: the weighted mean over joints.
    """
    _check(logits, targets, weights)
    logarithms = logits.float().flatten(2).log_softmax(2)
    losses = -(targets.float().flatten(2) * logarithms).sum(2)
    weights = weights.float()
    return (losses * weights).sum() / weights.sum().clamp(min=torch.finfo(torch.float32).tiny)


def heatmap_kl(student: Tensor, teacher: Tensor, weights: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(teacher || student) of each joint's cells, times temperature², the weighted mean over joints.

    With heatmaps that peak at 1 a temperature of 1 makes the softmax almost flat (e against 1 over 3,072 cells) and the
    gradient vanishes; 0.1 does not.

    Args:
        student, teacher: (N, K, h, w) float; the teacher gets no gradient.
        weights: (N, K) float.
        temperature: divides both.

    Returns:
        () float32, 0 or more.
    """
    _check(student, teacher, weights)
    log_p = (student.float().flatten(2) / temperature).log_softmax(2)
    log_q = (teacher.detach().float().flatten(2) / temperature).log_softmax(2)
    losses = (log_q.exp() * (log_q - log_p)).sum(2) * temperature**2
    weights = weights.float()
    return (losses * weights).sum() / weights.sum().clamp(min=torch.finfo(torch.float32).tiny)


def dual_teachers(
    heatmaps: Tensor,
    teachers: Sequence[Tensor],
    weights: Tensor,
    *,
    shares: Sequence[float] = (0.5, 0.5),
    mse: float = 1.0,
    kl: float = 1.0,
    temperature: float = 0.1,
) -> Tensor:
    """What one or two teachers ask for: MSE to their mean, KL to each.

    With one teacher and no KL it is the teacher's part of FPD (Zhang, Zhu and Ye, CVPR 2019).

    The teachers' heatmaps must be alike in peak and width, or their mean is of neither's form.

    Args:
        heatmaps: (N, K, h, w) float, the student's.
        teachers: heatmaps of each teacher, of the same shape.
        weights: (N, K) float.
        shares: of each teacher, in sum 1.
        mse, kl: weights of the two terms.
        temperature: of the KL.

    Returns:
        () float32.
    """
    if not teachers or len(teachers) != len(shares) or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"{len(teachers)} teachers with shares {list(shares)}: give one share each, in sum 1")
    mean = sum((share * teacher.detach().float() for share, teacher in zip(shares, teachers)), torch.zeros(()))
    total = mse * joint_mse(heatmaps, mean, weights)
    for share, teacher in zip(shares, teachers):
        total = total + kl * share * heatmap_kl(heatmaps, teacher, weights, temperature)
    return total


def _check(heatmaps: Tensor, targets: Tensor, weights: Tensor) -> None:
    """Without this, maps of another size would be broadcast silently."""
    if heatmaps.shape != targets.shape or tuple(weights.shape) != tuple(heatmaps.shape[:2]):
        shapes = (tuple(heatmaps.shape), tuple(targets.shape), tuple(weights.shape))
        raise ValueError(f"heatmaps, targets and weights do not go together: {shapes}")
