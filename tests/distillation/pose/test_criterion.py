from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import Tensor  # noqa: E402

from trtparse.distillation.pose.criterion import PoseCriterion  # noqa: E402
from trtparse.distillation.pose.loader import Batch  # noqa: E402
from trtparse.distillation.pose.losses import hard_joints_mse, joint_mse, spatial_cross_entropy  # noqa: E402
from trtparse.distillation.pose.recipe import PoseDistillation, PoseLoss  # noqa: E402
from trtparse.tasks.pose.grid import Grid  # noqa: E402
from trtparse.tasks.pose.targets import distributions, gaussians  # noqa: E402

GRID = Grid((8, 6))
WEIGHTS = (0.25, 0.25, 0.25, 1.0)


@pytest.fixture
def batch() -> Batch:
    """Two people with three joints; the second's last one lies beyond the crop."""
    places = np.random.default_rng(0).uniform(2, 20, (2, 3, 2, 2)).astype(np.float32)
    places[1, 2] = 90
    masses = np.tile(np.array([1, 0], np.float32), (2, 3, 1))
    frames = np.zeros((2, 32, 24, 3), np.uint8)
    return Batch(("a", "b"), frames, places, masses, np.ones((2, 3), np.float32))


def targets(batch: Batch, make, sigma: float) -> tuple[Tensor, Tensor]:
    weights = torch.ones(2, 3)
    weights[1, 2] = 0
    masses = torch.from_numpy(batch.masses) * weights[..., None]
    return make(torch.from_numpy(batch.places), masses, GRID, sigma), weights


def heatmaps(*stages: int) -> list[list[Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [[torch.rand(2, 3, 8, 6, generator=generator) for _ in range(units)] for units in stages]


def test_one_heatmap_is_compared_with_the_gaussians_of_the_joints_in_the_crop(batch: Batch) -> None:
    ((output,),) = outputs = heatmaps(1)
    for kind, make, loss in (
        ("cross-entropy", distributions, spatial_cross_entropy),
        ("mse", gaussians, joint_mse),
    ):
        found = PoseCriterion(PoseLoss(kind), PoseDistillation())(outputs, batch, 1.5, (1.0,))
        assert torch.allclose(found, loss(output, *targets(batch, make, 1.5)))


def test_mspn_s_targets_get_finer_from_unit_to_unit_and_in_the_last_stage_by_one_more_step(batch: Batch) -> None:
    outputs = heatmaps(4, 4)
    found = PoseCriterion(PoseLoss("ohkm", hardest=2), PoseDistillation())(outputs, batch, 1.1, WEIGHTS)

    wanted = torch.zeros(())
    for stage, sigmas in enumerate([(2.6, 2.0, 1.7, 1.4), (2.0, 1.7, 1.4, 1.1)]):
        for output, sigma, weight in zip(outputs[stage], sigmas, WEIGHTS):
            maps, counts = targets(batch, gaussians, sigma)
            term = hard_joints_mse(output, maps, counts, 2) if weight == 1 else joint_mse(output, maps, counts)
            wanted = wanted + weight * term
    assert torch.allclose(found, wanted)


def test_the_earlier_stages_weigh_what_the_recipe_says(batch: Batch) -> None:
    outputs = heatmaps(1, 1)
    alone = PoseCriterion(PoseLoss("mse"), PoseDistillation())(outputs[1:], batch, 2.0, (1.0,))
    without_first = PoseCriterion(PoseLoss("mse", stage=0.0), PoseDistillation())(outputs, batch, 2.0, (1.0,))
    assert torch.equal(alone, without_first)


@pytest.mark.parametrize("all_joints", [False, True])
def test_a_teacher_has_its_share_and_by_choice_a_say_on_joints_without_a_label(batch: Batch, all_joints: bool) -> None:
    ((output,),) = outputs = heatmaps(1)
    teacher = torch.rand(2, 3, 8, 6)
    maps, counts = targets(batch, gaussians, 2.0)
    distillation = PoseDistillation(alpha=0.25, all_joints=all_joints)

    found = PoseCriterion(PoseLoss("mse"), distillation)(outputs, batch, 2.0, (1.0,), [teacher])

    taught = joint_mse(output, teacher, torch.ones(2, 3) if all_joints else counts)
    assert torch.allclose(found, 0.75 * joint_mse(output, maps, counts) + 0.25 * taught)
