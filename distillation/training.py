"""The training loop: photographs in, the best checkpoint by validation mIoU out.

Every random choice is a function of (seed, step), so a run that was killed and resumed sees the batches it would
have seen. ``state.pt`` holds all that a resumed run needs; ``best.safetensors`` is the product.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.dataset import IGNORE_LABEL, Dataset
from ..data.letterbox import Letterbox
from ..errors import DataError, TrtparseError, UsageError
from ..networks.checkpoint import load_backbone, load_checkpoint, save_checkpoint
from ..networks.network import ParsingNetwork
from ..networks.preprocessing import normalise
from ..networks.registry import create_network
from ..specs.label_set import LabelSet, check_same, label_set, told_label_set
from ..storage.files import check_output_folder, replace_bytes
from ..storage.interrupts import uninterrupted
from ..tasks.parsing.metrics import ConfusionMatrix, Scores
from .hints import Hints, captured_levels
from .loader import UNLABELLED, Batch, Loader, Part, repeat_factors
from .losses import (
    class_relation,
    cross_entropy,
    downsample_labels,
    downsample_mask,
    kl_divergence,
    lovasz_softmax,
    on_teacher_grid,
)
from .recipe import Distillation, Loss, Optimizer, Recipe, differences
from .teacher import Teacher

BEST_NAME, STATE_NAME, LOG_NAME = "best.safetensors", "state.pt", "log.jsonl"


@dataclass(frozen=True)
class TrainingProgress:
    """What a running training says of itself.

    Args:
        step, steps: where it is.
        loss: of the last step.
        images_per_second: since the run was started or resumed, validation included.
        seconds_left: at that speed.
        mean_iou: of the last validation, 0 to 1, or None before the first.
        best: the best so far.
    """

    step: int
    steps: int
    loss: float
    images_per_second: float
    seconds_left: float
    mean_iou: float | None
    best: float | None


@dataclass(frozen=True)
class Images:
    """What a run learns from and is judged on.

    Args:
        training: labelled and unlabelled parts, used as one.
        validation: labelled; the checkpoint that is best on it is kept.
    """

    training: tuple[Part, ...]
    validation: Dataset


def train(
    recipe: Recipe,
    images: Images,
    output: Path,
    *,
    teacher: Teacher | None = None,
    on_progress: Callable[[TrainingProgress], None] | None = None,
    on_stage: Callable[[str], None] | None = None,
) -> Path:
    """Train a network, or go on with the run that ``output`` holds.

    Args:
        recipe: every value of the run. Its paths are not read here, but for ``network.initial``.
        images: what the recipe's ``data`` names.
        output: folder of the run: ``best.safetensors``, ``state.pt``, ``log.jsonl``, TensorBoard's events.
        teacher: what ``recipe.distillation.teacher`` names.
        on_progress: called after every step.
        on_stage: told in a few words what begins: what takes long before the first step, then the training.

    Returns:
        The path of the best checkpoint.

    Raises:
        DataError: no labelled image, or unlabelled ones without a teacher; a file that cannot be read.
        UsageError: the folder holds a run with another recipe or label set, or cannot be written; there is no label set
            of the recipe's name; or images, teacher or start are of another set.
        TrtparseError: the loss is not a number; the best checkpoint so far is kept.
    """
    _check(recipe, images, teacher)
    check_output_folder(output)
    tell = on_stage or (lambda _: None)
    run = _ParsingRun(recipe, images, output, teacher, tell)
    try:
        tell(f"Training in {output}")
        run.loop(on_progress)
    finally:
        run.close()
    return output / BEST_NAME


def _check(recipe: Recipe, images: Images, teacher: Teacher | None) -> None:
    labels = label_set(recipe.labels)
    if len(labels) > UNLABELLED:
        raise UsageError(f"{labels} is more than training takes: {UNLABELLED} classes.", "Join some of them.")
    labelled = [part for part in images.training if part.labels]
    for dataset in (*(part.dataset for part in labelled), images.validation):
        if not dataset.labelled or len(dataset) == 0:
            raise DataError(
                f"{dataset.description} has no labelled images.",
                "Training needs label maps; images without them go into a recipe with labels = false and a teacher.",
            )
    if not images.training:
        raise DataError("The recipe names no images to train on.", "Add [[data.train]], or give --data.")
    if teacher is None and len(labelled) < len(images.training):
        raise DataError(
            "Images without labels teach nothing without a teacher.", "Name one: distillation.teacher, or --teacher."
        )
    if (teacher is not None) != bool(recipe.distillation.teacher):
        raise UsageError("The recipe's distillation.teacher and the teacher that was loaded do not belong together.")
    for dataset in (*(part.dataset for part in labelled), images.validation):
        check_same(dataset.label_set, dataset.description, labels, "the recipe")
    if teacher is not None:
        check_same(teacher.label_set, f"The teacher {recipe.distillation.teacher}", labels, "the student")


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
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    # On a processor without instructions for it, bfloat16 is several times slower than float32.
    supports = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return "bf16" if supports() else "fp32"


def evaluate(
    network: ParsingNetwork, dataset: Dataset, input_size: tuple[int, int], stretch: float, precision: Precision
) -> Scores:
    """LIP's scores of a network on a labelled dataset of its classes, as ``trtparse validate`` counts them."""
    device = next(network.parameters()).device
    matrix = ConfusionMatrix(dataset.label_set)
    with torch.inference_mode(), precision.autocast():
        for index in range(len(dataset)):
            sample = dataset[index]
            assert sample.labels is not None
            box = Letterbox.fit((sample.image.shape[0], sample.image.shape[1]), input_size, stretch)
            frames = torch.from_numpy(box.apply(sample.image)[None]).to(device)
            prediction = network(normalise(frames)).argmax(1)[0].to(torch.uint8).cpu().numpy()
            matrix.update(sample.labels, box.restore(prediction))
    return matrix.scores()


class _ParsingRun:
    def __init__(
        self, recipe: Recipe, images: Images, output: Path, teacher: Teacher | None, on_stage: Callable[[str], None]
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.output, self.teacher = recipe, output, teacher
        self.validation = images.validation
        self.label_set = label_set(recipe.labels)
        self.device = training_device()
        self.precision = Precision(recipe.precision, self.device)
        self.network = _network(recipe, self.label_set, on_stage).to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.criterion = Criterion(
            recipe.loss, recipe.distillation, self.network.auxiliary_weight, self.label_set, self.device
        )
        self.hints = _hints(recipe.distillation, self.network, teacher)
        self.optimizer = _optimizer(self.network, self.hints, recipe.optimizer)
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.step = 0
        self.best: float | None = None
        self.last: float | None = None
        self._resume()
        self.events = _Events(output, self.step, self.label_set)
        if recipe.data.rare_class_share > 0:
            on_stage("Counting classes")
        weights = repeat_factors(images.training, recipe.data.rare_class_share)
        self.loader = Loader(
            images.training,
            weights,
            recipe.augmentation,
            recipe.batch,
            recipe.geometry,
            recipe.seed,
            self.step,
            recipe.steps,
        )

    def _resume(self) -> None:
        path = self.output / STATE_NAME
        if not path.is_file():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        there = Recipe.from_dict(json.loads(state["recipe"]))
        if there != self.recipe:
            changed = "; ".join(differences(there, self.recipe)[:3])
            raise UsageError(
                f"{self.output} holds a run with another recipe: {changed}.",
                "Choose another output folder, or the same recipe.",
            )
        told = state.get("label_set")
        learnt = told_label_set(json.loads(told), str(path)) if told else label_set("lip")
        check_same(learnt, f"The run in {self.output}", self.label_set, "the recipe")
        self.network.load_state_dict(state["network"])
        if self.hints is not None:
            self.hints.load_state_dict(state["hints"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.precision.scaler.load_state_dict(state["scaler"])
        self.average = state["average"]
        self.step, self.best, self.last = state["step"], state["best"], state["last"]

    def save_state(self) -> None:
        state = {
            "recipe": json.dumps(self.recipe.to_dict(), sort_keys=True),
            "label_set": json.dumps(self.label_set.to_dict(), sort_keys=True),
            "network": self.network.state_dict(),
            "hints": None if self.hints is None else self.hints.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.precision.scaler.state_dict(),
            "average": self.average,
            "step": self.step,
            "best": self.best,
            "last": self.last,
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        replace_bytes(self.output / STATE_NAME, buffer.getvalue())

    def loop(self, on_progress: Callable[[TrainingProgress], None] | None) -> None:
        """Train until the last step; a signal that asks to end takes effect after the step in hand, the state saved.

        Raises:
            KeyboardInterrupt: such a signal came.
        """
        started, first, steps = time.monotonic(), self.step, self.recipe.steps
        with uninterrupted() as asked_to_end:
            while self.step < steps and not asked_to_end():
                loss = self._train_step()
                self.step += 1
                pace = (time.monotonic() - started) / (self.step - first)
                if self.step % self.recipe.validate_every == 0 or self.step == steps:
                    self._validate(loss, self.recipe.batch / pace)
                    self.save_state()
                if on_progress is not None:
                    speed, left = self.recipe.batch / pace, pace * (steps - self.step)
                    on_progress(TrainingProgress(self.step, steps, loss, speed, left, self.last, self.best))
            if self.step < steps:
                self.save_state()

    def _train_step(self) -> float:
        self.network.train()
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * learning_rate(self.recipe.optimizer, self.step, self.recipe.steps)
        batch = self.loader.next()
        frames = torch.from_numpy(batch.frames).to(self.device)
        labels = torch.from_numpy(batch.labels).to(self.device)
        loss = self._loss(frames, labels)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise self._not_finite(value, batch)
        scaler = self.precision.scaler
        self.optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.optimizer.gradient_clip)
        scaler.step(self.optimizer)
        scaler.update()
        update_average(self.average, self.network, self.step, self.recipe.optimizer.average)
        return value

    def _loss(self, frames: Tensor, labels: Tensor) -> Tensor:
        with contextlib.ExitStack() as stack:
            student: list[Tensor] = []
            taught: list[Tensor] = []
            if self.hints is not None and self.teacher is not None:
                student = stack.enter_context(captured_levels(self.network))
                taught = stack.enter_context(captured_levels(self.teacher.network))  # type: ignore[arg-type]
            with self.precision.autocast():
                images = normalise(frames).contiguous(memory_format=torch.channels_last)
                coarse = self.network.forward_coarse(images)
                answers = None if self.teacher is None else self.teacher(frames)
        loss = self.criterion([logits.float() for logits in coarse], labels, answers)
        if self.hints is not None:
            loss = loss + self.recipe.distillation.hints * self.hints(student, taught)
        return loss

    def _not_finite(self, value: float, batch: Batch) -> TrtparseError:
        kept = "No checkpoint was good enough to keep" if self.best is None else f"{BEST_NAME} of {self.output} is kept"
        return TrtparseError(
            f"The loss is {value} at step {self.step + 1}, of the images {', '.join(batch.names)}.",
            f"{kept}. Lower optimizer.learning_rate, or look at these images; then start in another folder.",
        )

    def _validate(self, loss: float, speed: float) -> None:
        averaged = create_network(self.network.kind, self.network.spec.to_dict()).to(self.device).eval()
        averaged.load_state_dict(self.average, strict=False)
        scores = evaluate(averaged, self.validation, self.recipe.input_size, self.recipe.stretch, self.precision)
        self.last = scores.mean_iou
        entry = {"step": self.step, "loss": round(loss, 4), "mean_iou": round(self.last, 5)}
        with (self.output / LOG_NAME).open("a") as log:
            log.write(json.dumps(entry) + "\n")
        self.events.write(self.step, loss, scores, self.optimizer.param_groups[-1]["lr"], speed)
        if self.best is None or self.last >= self.best:
            self.best = self.last
            save_checkpoint(
                averaged, self.output / BEST_NAME, self.recipe.framing, self.label_set, origin=self.recipe.origin
            )

    def close(self) -> None:
        self.loader.close()
        self.events.close()


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

    def __call__(self, coarse: list[Tensor], labels: Tensor, teacher_logits: Tensor | None = None) -> Tensor:
        """The sum of all terms.

        Args:
            coarse: (N, C, h, w) float32 logits of the main head and of each auxiliary head, each at its stride.
            labels: (N, H, W) uint8 as in :class:`~trtparse.distillation.loader.Batch`.
            teacher_logits: (N, C, h, w) float32, at the teacher's grid.

        Returns:
            () float32.
        """
        photograph = labels != IGNORE_LABEL
        labels = torch.where(labels == UNLABELLED, IGNORE_LABEL, labels)
        total = self._labelled(coarse, labels)
        if teacher_logits is not None:
            mask = downsample_mask(photograph, (teacher_logits.shape[-2], teacher_logits.shape[-1]))
            for number, logits in enumerate(coarse):
                weight = self.distillation.weight * (1.0 if number == 0 else self.distillation.auxiliary)
                if weight > 0:
                    total = total + weight * self._distilled(logits, teacher_logits, mask)
        return total

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


def _network(recipe: Recipe, labels: LabelSet, on_stage: Callable[[str], None]) -> ParsingNetwork:
    options = {"num_classes": len(labels), **recipe.network.options}
    network = create_network(recipe.network.kind, options, auxiliary=True)
    if network.spec.num_classes != len(labels):
        raise UsageError(
            f"The recipe's network.options.num_classes is {network.spec.num_classes}; its label set is {labels}.",
            "Leave num_classes out: it follows the label set.",
        )
    if recipe.network.initial:
        checkpoint = load_checkpoint(Path(recipe.network.initial), labels, "the recipe")
        initial = checkpoint.network
        if checkpoint.told:
            on_stage(checkpoint.told)
        if (initial.kind, initial.spec) != (network.kind, network.spec):
            raise UsageError(
                f"network.initial, {recipe.network.initial}, is a {_describe(initial)}; "
                f"the recipe trains a {_describe(network)}.",
                "Name a checkpoint of the same network with the same options.",
            )
        network.load_state_dict(initial.state_dict(), strict=False)
    if recipe.network.backbone:
        told = load_backbone(network, Path(recipe.network.backbone))
        if told:
            on_stage(told)
    return network


def _describe(network: ParsingNetwork) -> str:
    return f"{network.kind} with {network.spec.to_dict()}"


def _hints(recipe: Distillation, network: ParsingNetwork, teacher: Teacher | None) -> Hints | None:
    if teacher is None or recipe.hints == 0:
        return None
    if not isinstance(teacher.network, ParsingNetwork):
        raise UsageError(
            f"distillation.hints needs a teacher of ours, not of {teacher.family}: its trunk has other levels.",
            "Leave it at 0.",
        )
    hints = Hints(network.backbone.channels, teacher.network.backbone.channels)
    return hints.to(next(network.parameters()).device)


def _optimizer(network: ParsingNetwork, hints: Hints | None, recipe: Optimizer) -> torch.optim.Optimizer:
    groups: list[dict[str, Any]] = []
    for of_backbone in (True, False):
        for decays in (True, False):
            chosen = [
                parameter
                for name, parameter in network.named_parameters()
                if name.startswith("backbone.") == of_backbone and (parameter.ndim > 1) == decays
            ]
            decay, rate = (recipe.weight_decay if decays else 0.0), (recipe.backbone_rate if of_backbone else 1.0)
            groups.append({"params": chosen, "weight_decay": decay, "rate": rate})
    if hints is not None:
        groups.append({"params": list(hints.parameters()), "weight_decay": 0.0, "rate": 1.0})
    return create_optimizer(groups, recipe)


def create_optimizer(groups: list[dict[str, Any]], recipe: Optimizer) -> torch.optim.Optimizer:
    """The optimiser of a recipe over groups of parameters."""
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


class _Events:
    """TensorBoard's log of a run; what a killed run wrote after its last saved state is dropped."""

    def __init__(self, output: Path, step: int, labels: LabelSet) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(output / "tensorboard"), purge_step=step + 1)
        self._names = labels.classes

    def write(self, step: int, loss: float, scores: Scores, rate: float, speed: float) -> None:
        values = {"loss": loss, "learning_rate": rate, "images_per_second": speed}
        values |= {"validation/mean_iou": scores.mean_iou, "validation/pixel_accuracy": scores.pixel_accuracy}
        values |= {f"IoU/{name}": iou for name, iou in zip(self._names, scores.class_iou) if iou is not None}
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
