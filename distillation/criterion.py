"""What a batch asks of a parsing network: the loss of its labels and of a teacher, and its gradients."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.dataset import IGNORE_LABEL
from ..networks.network import ParsingNetwork
from ..networks.preprocessing import normalise
from ..specs.label_set import LabelSet
from .hints import Hints, captured_levels
from .kept_answers import answered, logits_of
from .limbs import BACKGROUND, LIMBS
from .loader import UNLABELLED, Batch
from .losses import (
    class_relation,
    cross_entropy,
    downsample_labels,
    downsample_mask,
    kl_divergence,
    left_or_right,
    lovasz_softmax,
    on_teacher_grid,
    person_or_background,
)
from .optimising import Precision
from .recipe import Distillation, Loss
from .teacher import Teacher


class Learner(nn.Module):
    """All that a run trains.

    Args:
        network: the product.
        hints: what its trunk is compared by, trained with it and thrown away; None without.
    """

    def __init__(self, network: ParsingNetwork, hints: Hints | None) -> None:
        super().__init__()
        self.network, self.hints = network, hints


class Backward:
    """Gradients of a batch; goes to other processes as it is.

    Args:
        criterion: the loss.
        teacher: whose answers are asked for; None: nobody's.
        precision: of the forward pass.
    """

    def __init__(self, criterion: Criterion, teacher: Teacher | None, precision: Precision) -> None:
        self.criterion, self.teacher, self.precision = criterion, teacher, precision

    def __call__(self, learner: Learner, batch: Batch, step: int) -> float:
        """Fill the gradients and return the loss."""
        learner.train()
        learner.zero_grad(set_to_none=True)
        loss = self.loss(learner, batch)
        self.precision.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    def loss(self, learner: Learner, batch: Batch) -> Tensor:
        """() float32: of labels, teacher and hints."""
        device = self.precision.device
        frames, labels, limbs, kept = (
            torch.from_numpy(plane).to(device) for plane in (batch.frames, batch.labels, batch.limbs, batch.answers)
        )
        with contextlib.ExitStack() as stack:
            student: list[Tensor] = []
            taught: list[Tensor] = []
            if learner.hints is not None and self.teacher is not None:
                student = stack.enter_context(captured_levels(learner.network))
                taught = stack.enter_context(captured_levels(self.teacher.network))  # type: ignore[arg-type]
            with self.precision.autocast():
                images = normalise(frames).contiguous(memory_format=torch.channels_last)
                coarse = learner.network.forward_coarse(images)
                answers = None if self.teacher is None else self.teacher(frames)
        if kept.numel():
            answers = logits_of(kept)
        loss = self.criterion([logits.float() for logits in coarse], labels, answers, limbs, answered(kept))
        if learner.hints is not None:
            loss = loss + self.criterion.distillation.hints * learner.hints(student, taught)
        return loss


class Criterion:
    """The loss of a batch: what its labels ask for, and what a teacher does.

    Args:
        loss: weights of the labels' terms.
        distillation: weights of the teacher's terms.
        auxiliary_weight: the network's own, for ``loss.auxiliary`` below 0.
        labels: what the classes are; it says which are rare.
        device: where the logits are.
    """

    def __init__(
        self,
        loss: Loss,
        distillation: Distillation,
        auxiliary_weight: float,
        labels: LabelSet,
        device: torch.device | str = "cpu",
    ) -> None:
        self.loss, self.distillation = loss, distillation
        self.auxiliary_weight = auxiliary_weight if loss.auxiliary < 0 else loss.auxiliary
        self.class_weights = torch.ones(len(labels), device=device)
        self.class_weights[[labels.id_of(name) for name in labels.rare]] = loss.rare_class_weight
        self.sides = [
            (LIMBS.id_of(left), LIMBS.id_of(right), labels.id_of(left), labels.id_of(right))
            for left, right in LIMBS.flip_pairs
            if {left, right} <= set(labels.classes)
        ]

    def __call__(
        self,
        coarse: list[Tensor],
        labels: Tensor,
        teacher_logits: Tensor | None = None,
        limbs: Tensor | None = None,
        counts: Tensor | None = None,
    ) -> Tensor:
        """The sum of all terms.

        Args:
            coarse: (N, C, h, w) float32 logits of the main head and of each auxiliary head, each at its stride.
            labels: (N, H, W) uint8 as in :class:`~trtparse.distillation.loader.Batch`.
            teacher_logits: (N, C, h, w) float32, at the teacher's grid.
            limbs: (N, H, W) uint8 as in the batch; without them nothing is asked for.
            counts: (N, h, w) bool: where the teacher answered; without it everywhere.

        Returns:
            () float32.
        """
        photograph = labels != IGNORE_LABEL
        unknown = (labels == UNLABELLED) | ~photograph
        labels = torch.where(labels == UNLABELLED, IGNORE_LABEL, labels)
        total = self._labelled(coarse, labels)
        if teacher_logits is not None:
            mask = downsample_mask(photograph, _grid(teacher_logits))
            if counts is not None:
                mask = mask & counts
            if limbs is not None:
                mask = mask & ~self._contradicted(teacher_logits, downsample_labels(limbs, _grid(teacher_logits)))
            for number, logits in enumerate(coarse):
                weight = self.distillation.weight * (1.0 if number == 0 else self.distillation.auxiliary)
                if weight > 0:
                    total = total + weight * self._distilled(logits, teacher_logits, mask)
        if limbs is not None and self.loss.person + self.loss.sides > 0:
            total = total + self._of_limbs(coarse[0], torch.where(unknown, limbs, IGNORE_LABEL), teacher_logits)
        return total

    def _contradicted(self, teacher_logits: Tensor, limbs: Tensor) -> Tensor:
        """(N, h, w) bool: where the teacher says what a map of limbs, of the same grid, is sure is wrong."""
        found = teacher_logits.argmax(1)
        wrong = (limbs == BACKGROUND) & (found != 0)
        wrong |= (limbs != BACKGROUND) & (limbs != IGNORE_LABEL) & (found == 0)
        for limb_left, limb_right, left, right in self.sides:
            wrong |= (limbs == limb_left) & (found == right)
            wrong |= (limbs == limb_right) & (found == left)
        return wrong

    def _of_limbs(self, logits: Tensor, limbs: Tensor, teacher_logits: Tensor | None) -> Tensor:
        """What maps of limbs ask for: somebody or nobody, and the side of what the teacher calls such a limb.

        Where nobody teaches, the network's own answer says what is a limb: clothes on one are not.
        """
        limbs = downsample_labels(limbs, _grid(logits))
        mask = limbs != IGNORE_LABEL
        total = self.loss.person * person_or_background(logits, limbs != BACKGROUND, mask)
        if self.loss.sides == 0:
            return total
        judge = logits.detach() if teacher_logits is None else teacher_logits
        chances = F.interpolate(judge.softmax(1), size=_grid(logits), mode="bilinear", align_corners=False)
        sided, pixels = logits.new_zeros(()), 0
        for limb_left, limb_right, left, right in self.sides:
            here = ((limbs == limb_left) | (limbs == limb_right)) & (chances[:, left] + chances[:, right] > 0.5)
            sided = sided + left_or_right(logits, left, right, limbs == limb_left, here)
            pixels += int(here.sum())
        return total + self.loss.sides * sided / max(pixels, 1)

    def _labelled(self, coarse: list[Tensor], labels: Tensor) -> Tensor:
        main, loss = coarse[0], self.loss
        # Half of the input's resolution: a quarter of the memory traffic, and the finest logits are at a quarter.
        half = (labels.shape[-2] // 2, labels.shape[-1] // 2)
        fine = F.interpolate(main, size=half, mode="bilinear", align_corners=False)
        total = loss.cross_entropy * cross_entropy(fine, downsample_labels(labels, half), self.class_weights)
        if loss.lovasz > 0:
            total = total + loss.lovasz * lovasz_softmax(main, downsample_labels(labels, _grid(main)))
        for logits in coarse[1:]:
            targets = downsample_labels(labels, _grid(logits))
            total = total + self.auxiliary_weight * cross_entropy(logits, targets, self.class_weights)
        return total

    def _distilled(self, logits: Tensor, teacher_logits: Tensor, mask: Tensor) -> Tensor:
        what = self.distillation
        student = on_teacher_grid(logits, teacher_logits)
        total = student.new_zeros(())
        if what.kl > 0:
            total = total + what.kl * kl_divergence(student, teacher_logits, mask, what.temperature)
        if what.inter > 0 or what.intra > 0:
            total = total + class_relation(
                student,
                teacher_logits,
                mask,
                inter=what.inter,
                intra=what.intra,
                temperature=what.temperature,
                minimum_std=what.minimum_std,
            )
        return total


def _grid(logits: Tensor) -> tuple[int, int]:
    return int(logits.shape[-2]), int(logits.shape[-1])
