"""What a training with INT8 in the loop is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ...distillation.recipe import Optimizer
from ...distillation.tables import RecipeTables, from_table, to_table
from ...errors import UsageError
from ...storage.json_types import ReadJson
from ...tasks.parsing.augmentation import Augmentation


@dataclass(frozen=True)
class Int8Loss:
    """How far the rounded network's logits may be from the FP32 network's.

    Args:
        kl: weight of the KL divergence, each class that FP32 sees weighing the same.
        inter, intra: weights of DIST's terms; the second compares every class's pixels, and so weighs classes alike.
        temperature: divides the logits.
    """

    kl: float = 1.0
    inter: float = 1.0
    intra: float = 1.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if min(self.kl, self.inter, self.intra) < 0 or self.kl + self.inter + self.intra == 0 or self.temperature <= 0:
            raise UsageError("The recipe's loss must be of weights of 0 or more, not all 0, and a temperature above 0.")


@dataclass(frozen=True)
class Int8Recipe:
    """A whole run.

    Args:
        graph: sha256 of the FP32 graph that it starts from.
        images: what it learns from, in words, and the sha256 of their names.
        steps: optimiser steps in all.
        batch: images a step; half of them go through each INT8 form.
        optimizer: of weights and biases; weight decay would pull them to 0, where they do not belong, and is 0.
        pace: how many learning rates the logarithm of a range moves by, where a weight moves by one.
        loss: see there.
        augmentation: of the images, milder than for learning from scratch: ranges are those of whole people.
        seed: of order and augmentation.
        calibrated: images of the ranges that it starts from.
        method: of these.
        held_out: images that the best checkpoint is chosen on.
        validate_every, save_every: steps.
        precision: always ``fp32``: BF16 has fewer digits than INT8's scales need.
    """

    graph: str = ""
    images: tuple[str, ...] = ()
    steps: int = 200
    batch: int = 8
    optimizer: Optimizer = field(
        default_factory=lambda: Optimizer(
            learning_rate=5e-6, weight_decay=0.0, warm_up=10, schedule="cosine", average=0.95
        )
    )
    pace: float = 50.0
    loss: Int8Loss = field(default_factory=Int8Loss)
    augmentation: Augmentation = field(
        default_factory=lambda: Augmentation(
            scale=(0.85, 1.2), rotation=5.0, shift=0.04, aspect=1.05, noise=2.0, erase=0.0
        )
    )
    seed: int = 0
    calibrated: int = 128
    method: str = "mse"
    held_out: int = 32
    validate_every: int = 50
    save_every: int = 25
    precision: Literal["fp32"] = "fp32"

    def __post_init__(self) -> None:
        if min(self.steps, self.calibrated, self.held_out, self.validate_every, self.save_every) < 1:
            raise UsageError("The recipe's steps, calibrated, held_out, validate_every and save_every are 1 or more.")
        if self.batch < 2:
            raise UsageError("The recipe's batch is 2 or more.", "Each step has images for both INT8 forms.")
        if not self.pace >= 0:
            raise UsageError("The recipe's pace is 0 or more.", "At 0 the ranges stay as they were calibrated.")

    def to_dict(self) -> RecipeTables:
        """As JSON has it."""
        return to_table(self)

    @classmethod
    def from_dict(cls, values: ReadJson) -> Int8Recipe:
        """The inverse.

        Raises:
            UsageError: an unknown key or an impossible value; the message names the key.
        """
        return from_table(cls, values, "")
