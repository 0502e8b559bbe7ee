"""How weights are changed, in whatever task: device and precision, learning rate, optimiser, average."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import UsageError
from .recipe import Optimizer


class Precision:
    """Mixed precision for a device.

    Args:
        name: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        device: what the network is on.

    Raises:
        UsageError: ``fp16`` on a CPU: its gradients underflow there without a scaler that PyTorch has.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        if name == "auto":
            name = _fastest(device)
        if name == "fp16" and device.type != "cuda":
            raise UsageError("precision fp16 needs a GPU.", "Use bf16, fp32 or auto on a CPU.")
        self.name, self.device = name, device
        self.scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")

    def autocast(self) -> torch.autocast:
        dtype = torch.float16 if self.name == "fp16" else torch.bfloat16
        return torch.autocast(self.device.type, dtype, enabled=self.name != "fp32")


def training_device() -> torch.device:
    """The first GPU, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _fastest(device: torch.device) -> str:
    if device.type == "cuda":
        # What is emulated, on GPUs before Ampere, is slow; they compute in float16.
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    # On a processor without instructions for it, bfloat16 is several times slower than float32.
    supports = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return "bf16" if supports() else "fp32"


def learning_rate(optimizer: Optimizer, step: int, steps: int) -> float:
    """Of a step, counted from 0."""
    warm = min(1.0, (step + 1) / max(optimizer.warm_up, 1))
    gone = step / steps
    if optimizer.schedule == "cosine":
        return optimizer.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * gone))
    if optimizer.schedule == "trapezoid":
        return optimizer.learning_rate * warm * min(1.0, (1 - gone) / optimizer.cool_down)
    if optimizer.schedule == "drops":
        return optimizer.learning_rate * warm * 0.1 ** sum(gone >= drop for drop in optimizer.drops)
    return optimizer.learning_rate * warm * math.pow(1 - gone, optimizer.power)


@dataclass(frozen=True)
class Group:
    """Parameters that are changed alike.

    Args:
        parameters: of a network.
        weight_decay: of them.
        rate: what the learning rate is multiplied by.
    """

    parameters: Sequence[nn.Parameter]
    weight_decay: float
    rate: float = 1.0


def create_optimizer(of: Sequence[Group], recipe: Optimizer) -> torch.optim.Optimizer:
    """The optimiser of a recipe over groups of parameters."""
    groups = [
        {"params": list(group.parameters), "weight_decay": group.weight_decay, "rate": group.rate} for group in of
    ]
    if recipe.kind == "sgd":
        return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum)
    if recipe.kind == "adam":
        return torch.optim.Adam(groups, lr=recipe.learning_rate)
    return torch.optim.AdamW(groups, lr=recipe.learning_rate)


def update_average(average: dict[str, Tensor], network: nn.Module, step: int, longest: float) -> None:
    """Moves an average of weights towards a network's, in place.

    Args:
        average: of everything in the network's state dict; what is no float is copied.
        network: after a step.
        step: the step just done, counted from 0.
        longest: what a late average keeps of itself, in [0, 1).
    """
    # Young averages forget faster, so that the random start does not stay in them.
    decay = min(longest, (1 + step) / (10 + step))
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                average[name].lerp_(value, 1 - decay)
            else:
                average[name].copy_(value)
