from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import Tensor  # noqa: E402

from trtparse.distillation.pose.losses import (  # noqa: E402
    dual_teachers,
    hard_joints_mse,
    heatmap_kl,
    joint_mse,
    spatial_cross_entropy,
)


@pytest.fixture
def maps() -> tuple[Tensor, Tensor, Tensor]:
    """Heatmaps, targets and weights of two people with three joints; one joint does not count."""
    generator = torch.Generator().manual_seed(0)
    heatmaps, targets = (torch.rand(2, 3, 4, 5, generator=generator) for _ in range(2))
    weights = torch.ones(2, 3)
    weights[1, 2] = 0
    return heatmaps.requires_grad_(), targets, weights


def test_mse_is_half_the_mean_square_over_joints_of_the_batch(maps: tuple[Tensor, Tensor, Tensor]) -> None:
    heatmaps, targets, weights = maps
    by_hand = sum(
        0.5 * ((heatmaps[:, k] - targets[:, k]) * weights[:, k, None, None]).square().mean() for k in range(3)
    )
    assert torch.allclose(joint_mse(heatmaps, targets, weights), by_hand / 3)


def test_the_hardest_joints_of_each_person_are_kept() -> None:
    heatmaps, targets = torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)
    targets[0, 1], targets[0, 2] = 2, 4
    assert hard_joints_mse(heatmaps, targets, torch.ones(1, 3), 1) == 8
    assert hard_joints_mse(heatmaps, targets, torch.ones(1, 3), 2) == 5
    with pytest.raises(ValueError, match="between 1 and 3"):
        hard_joints_mse(heatmaps, targets, torch.ones(1, 3), 4)


def test_cross_entropy_is_least_at_the_target_and_ignores_the_scale_of_its_sum() -> None:
    target = torch.rand(1, 1, 3, 3)
    target /= target.sum()
    right = spatial_cross_entropy(target.log() + 5, target, torch.ones(1, 1))
    assert torch.allclose(right, -(target * target.log()).sum())
    assert right < spatial_cross_entropy(torch.zeros(1, 1, 3, 3), target, torch.ones(1, 1))


@pytest.mark.parametrize("loss", [joint_mse, spatial_cross_entropy, heatmap_kl, hard_joints_mse])
def test_a_joint_of_no_weight_changes_neither_loss_nor_gradient(loss, maps: tuple[Tensor, Tensor, Tensor]) -> None:
    heatmaps, targets, weights = maps
    options = {"hardest": 2} if loss is hard_joints_mse else {}
    value = loss(heatmaps, targets, weights, **options)
    value.backward()
    assert not heatmaps.grad[1, 2].any()
    changed = targets.clone()
    changed[1, 2] = 7
    assert loss(heatmaps, changed, weights, **options) == value
    assert loss(heatmaps, targets, torch.zeros(2, 3), **options) == 0


def test_kl_is_zero_at_the_teacher_and_gives_the_teacher_no_gradient(maps: tuple[Tensor, Tensor, Tensor]) -> None:
    heatmaps, teacher, weights = maps
    teacher.requires_grad_()
    assert heatmap_kl(teacher.detach(), teacher, weights, 0.1) == pytest.approx(0, abs=1e-7)
    heatmap_kl(heatmaps, teacher, weights, 0.1).backward()
    assert teacher.grad is None
    assert heatmaps.grad.any()


def test_a_peak_at_one_moves_kl_at_a_tenth_of_the_temperature_and_hardly_at_one() -> None:
    student, teacher = torch.zeros(1, 1, 64, 48, requires_grad=True), torch.zeros(1, 1, 64, 48)
    teacher[0, 0, 10, 10] = 1
    (cold,) = torch.autograd.grad(heatmap_kl(student, teacher, torch.ones(1, 1), 0.1), student)
    (warm,) = torch.autograd.grad(heatmap_kl(student, teacher, torch.ones(1, 1), 1.0), student)
    assert cold.abs().max() > 50 * warm.abs().max()


def test_two_teachers_are_met_in_their_mean_and_in_each_one_s_distribution(maps: tuple[Tensor, Tensor, Tensor]) -> None:
    heatmaps, one, weights = maps
    other = torch.rand(2, 3, 4, 5)
    mean = joint_mse(heatmaps, 0.25 * one + 0.75 * other, weights)
    each = 0.25 * heatmap_kl(heatmaps, one, weights, 0.1) + 0.75 * heatmap_kl(heatmaps, other, weights, 0.1)
    total = dual_teachers(heatmaps, [one, other], weights, shares=(0.25, 0.75), mse=2.0, kl=3.0)
    assert torch.allclose(total, 2 * mean + 3 * each)
    with pytest.raises(ValueError, match="in sum 1"):
        dual_teachers(heatmaps, [one, other], weights, shares=(0.5, 0.6))


def test_maps_of_other_shapes_are_refused(maps: tuple[Tensor, Tensor, Tensor]) -> None:
    heatmaps, targets, weights = maps
    with pytest.raises(ValueError, match="do not go together"):
        joint_mse(heatmaps, targets[:, :1], weights)
    with pytest.raises(ValueError, match="do not go together"):
        spatial_cross_entropy(heatmaps, targets, weights[:, :1])
