"""What a batch asks of a finder: its loss and its gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from ...networks.finder import STRIDE, Finder, corners
from ...networks.preprocessing import normalise
from ..optimising import Precision
from .loader import Batch
from .losses import distance_difference, focal, generalised_iou
from .recipe import PeopleLoss


class Backward:
    """Gradients of a batch; goes to other processes as it is.

    Args:
        loss: of the recipe.
        precision: of the forward pass.
    """

    def __init__(self, loss: PeopleLoss, precision: Precision) -> None:
        self.loss, self.precision = loss, precision

    def __call__(self, network: Finder, batch: Batch, step: int) -> float:
        """Fill the network's gradients and return the loss."""
        network.train()
        network.zero_grad(set_to_none=True)
        frames = torch.from_numpy(batch.frames).to(self.precision.device)
        with self.precision.autocast():
            answer = network(normalise(frames).contiguous(memory_format=torch.channels_last))
        loss = self.criterion(answer, batch)
        self.precision.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    def criterion(self, answer: Tensor, batch: Batch) -> Tensor:
        """() float32: the sum of all terms, of an (N, 5, h, w) answer."""
        heat, boxes, weights, counts = (
            torch.from_numpy(values).to(answer.device)
            for values in (batch.heat, batch.boxes, batch.weights, batch.counts)
        )
        total = focal(answer[:, 0], heat, counts)
        if self.loss.boxes > 0:
            total = total + self.loss.boxes * generalised_iou(corners(answer), boxes, weights)
        if self.loss.distances > 0:
            total = total + self.loss.distances * distance_difference(answer[:, 1:], boxes, weights, STRIDE)
        return total
