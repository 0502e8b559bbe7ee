"""What a batch asks of a network: the loss of its targets and of teachers, and its gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...networks.pose import PoseNetwork
from ...networks.preprocessing import normalise
from ...tasks.pose.grid import Grid
from ...tasks.pose.targets import MSPN_FINER, distributions, gaussians, inside
from ..optimising import Precision
from .loader import Batch
from .losses import dual_teachers, hard_joints_mse, joint_mse, spatial_cross_entropy
from .recipe import PoseDistillation, PoseLoss, PoseRecipe


class PoseCriterion:
    """The loss of a batch: what its targets ask for, and what teachers do.

    Args:
        loss, distillation: of the recipe.
    """

    def __init__(self, loss: PoseLoss, distillation: PoseDistillation) -> None:
        self.loss, self.distillation = loss, distillation

    def __call__(
        self,
        outputs: list[list[Tensor]],
        batch: Batch,
        sigma: float,
        unit_weights: Sequence[float],
        teachers: Sequence[Tensor] = (),
    ) -> Tensor:
        """The sum of all terms.

        Args:
            outputs: heatmaps of every stage and unit, as of :meth:`PoseNetwork.supervised`.
            batch: what is to be learnt.
            sigma: of the finest target, in cells.
            unit_weights: of the units of each stage, the coarsest first.
            teachers: (N, K, h, w) float32 of each teacher.

        Returns:
            () float32.
        """
        finest = outputs[-1][-1]
        grid = Grid((int(finest.shape[-2]), int(finest.shape[-1])))
        places = torch.from_numpy(batch.places).to(finest.device)
        masses = torch.from_numpy(batch.masses).to(finest.device) * inside(places, grid)
        weights = torch.from_numpy(batch.weights).to(finest.device) * (masses.sum(2) > 0)
        total = finest.new_zeros((), dtype=torch.float32)
        maps: dict[float, Tensor] = {}
        for stage, units in enumerate(outputs):
            for unit, heatmaps in enumerate(units):
                last = unit == len(units) - 1
                weight = unit_weights[unit] * (1.0 if stage == len(outputs) - 1 else self.loss.stage)
                if weight == 0:
                    continue
                width = sigma * self._wider(stage, unit, len(outputs), len(units))
                if width not in maps:
                    make = distributions if self.loss.kind == "cross-entropy" else gaussians
                    maps[width] = make(places, masses, grid, width)
                term = self._labelled(heatmaps, maps[width], weights, last)
                if teachers and last:
                    alpha = self.distillation.alpha
                    share = 1.0 if stage == len(outputs) - 1 else 0.5
                    counts = torch.ones_like(weights) if self.distillation.all_joints else weights
                    term = (1 - alpha) * term + alpha * share * self._taught(heatmaps, teachers, counts)
                total = total + weight * term
        return total

    def _wider(self, stage: int, unit: int, stages: int, units: int) -> float:
        """How much wider than the finest a unit's target is: MSPN's last stage is one step finer than the others."""
        if not self.loss.finer or units == 1:
            return 1.0
        first = len(MSPN_FINER) - units - (stage < stages - 1)
        return MSPN_FINER[max(first + unit, 0)]

    def _labelled(self, heatmaps: Tensor, targets: Tensor, weights: Tensor, last: bool) -> Tensor:
        if self.loss.kind == "cross-entropy":
            return spatial_cross_entropy(heatmaps, targets, weights)
        if self.loss.kind == "ohkm" and last:
            return hard_joints_mse(heatmaps, targets, weights, min(self.loss.hardest, int(weights.shape[1])))
        return joint_mse(heatmaps, targets, weights)

    def _taught(self, heatmaps: Tensor, teachers: Sequence[Tensor], weights: Tensor) -> Tensor:
        what = self.distillation
        shares = what.shares or (1 / len(teachers),) * len(teachers)
        return dual_teachers(
            heatmaps, teachers, weights, shares=shares, mse=what.mse, kl=what.kl, temperature=what.temperature
        )


class Backward:
    """Gradients of a batch; goes to other processes as it is.

    Args:
        recipe: phases, loss and distillation.
        teachers: in evaluation mode.
        precision: of the forward pass.
    """

    def __init__(self, recipe: PoseRecipe, teachers: Sequence[PoseNetwork], precision: Precision) -> None:
        self.recipe, self.teachers, self.precision = recipe, list(teachers), precision
        self.criterion = PoseCriterion(recipe.loss, recipe.distillation)

    def __call__(self, network: PoseNetwork, batch: Batch, step: int) -> float:
        """Fill the network's gradients and return the loss."""
        network.train()
        network.zero_grad(set_to_none=True)
        phase, _ = self.recipe.at(step)
        frames = torch.from_numpy(batch.frames).to(self.precision.device)
        with self.precision.autocast():
            images = normalise(frames).contiguous(memory_format=torch.channels_last)
            outputs = network.supervised(images)
            with torch.no_grad():
                taught = [teacher.heatmaps(images).float() for teacher in self.teachers]
        loss = self.criterion(outputs, batch, phase.sigma, network.unit_weights, taught)
        self.precision.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())
