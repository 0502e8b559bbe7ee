"""What a batch asks of a network with INT8 in the loop: to answer as it does in FP32."""

from __future__ import annotations

import torch
from torch import Tensor

from ...data.dataset import IGNORE_LABEL
from ...distillation.loader import Batch
from ...distillation.losses import class_relation, downsample_mask, kl_divergence
from .network import FORMS, FakeQuantNetwork
from .recipe import Int8Loss

_ABSENT = 1e-4
"""Standard deviation of a class's probabilities below which FP32 does not see it."""


class Backward:
    """Gradients of a batch, half of it in each INT8 form.

    Args:
        loss: of the recipe.
        teacher: the network as it was; it is run in FP32.
    """

    def __init__(self, loss: Int8Loss, teacher: FakeQuantNetwork) -> None:
        self.loss, self.teacher = loss, teacher

    def __call__(self, network: FakeQuantNetwork, batch: Batch, step: int) -> float:
        """Fill the network's gradients and return the loss."""
        network.zero_grad(set_to_none=True)
        device = network.logarithms.device
        frames = torch.from_numpy(batch.frames).to(device)
        photograph = torch.from_numpy(batch.labels != IGNORE_LABEL).to(device)
        # Odd batches give their one image more to either form in turns.
        middle = (len(frames) + step % 2) // 2
        total = 0.0
        for form, part in zip(FORMS, (slice(0, middle), slice(middle, None))):
            with torch.no_grad():
                wanted = self.teacher(frames[part], "fp32")
            mask = downsample_mask(photograph[part], (int(wanted.shape[-2]), int(wanted.shape[-1])))
            loss = distance(network(frames[part], form), wanted, mask, self.loss) * (len(mask) / len(frames))
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        return total


def distance(logits: Tensor, wanted: Tensor, mask: Tensor, loss: Int8Loss) -> Tensor:
    """() float32: how far logits are from those of FP32.

    Args:
        logits, wanted: (N, C, h, w) float32.
        mask: (N, h, w) bool, True within the photograph.
        loss: weights of the terms.
    """
    total = logits.sum() * 0
    if loss.kl > 0:
        found = wanted.argmax(1)
        of_class = [
            kl_divergence(logits, wanted, mask & (found == number), loss.temperature)
            for number in torch.unique(found[mask]).tolist()
        ]
        total = total + loss.kl * torch.stack(of_class).mean() if of_class else total
    if loss.inter > 0 or loss.intra > 0:
        total = total + class_relation(
            logits,
            wanted,
            mask,
            inter=loss.inter,
            intra=loss.intra,
            temperature=loss.temperature,
            minimum_std=_ABSENT,
        )
    return total
