"""The training of parsing networks: photographs in, the best checkpoint by validation mIoU out.

Every random choice is a function of (seed, step), so a run that was killed and resumed sees the batches it would
have seen.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from ..data.dataset import Dataset
from ..data.letterbox import Letterbox
from ..errors import DataError, UsageError
from ..networks.checkpoint import load_backbone, load_checkpoint
from ..networks.checkpoint_file import save_checkpoint
from ..networks.network import ParsingNetwork
from ..networks.preprocessing import normalise
from ..networks.registry import create_network
from ..specs.label_set import LabelSet, check_same, label_set, told_label_set
from ..storage.files import check_output_folder
from ..storage.json_types import ReadJson
from ..tasks.parsing.metrics import ConfusionMatrix, Scores
from .criterion import Backward, Criterion, Learner
from .hints import Hints
from .loader import UNLABELLED, Loader, Part, repeat_factors
from .optimising import Group, Precision, create_optimizer, training_device
from .recipe import Distillation, Recipe
from .scenes import Backgrounds
from .stepping import BEST_NAME, SteppingRun, StepProgress, rounded
from .teacher import Teacher


@dataclass(frozen=True)
class Images:
    """What a run learns from and is judged on.

    Args:
        training: labelled and unlabelled parts, used as one.
        validation: labelled; the checkpoint that is best on it is kept.
        backgrounds: what the recipe's ``data.pasted`` puts people before.
    """

    training: tuple[Part, ...]
    validation: Dataset
    backgrounds: Backgrounds | None = None


def train(
    recipe: Recipe,
    images: Images,
    output: Path,
    *,
    teacher: Teacher | None = None,
    workers: int = 1,
    on_progress: Callable[[StepProgress], None] | None = None,
    on_stage: Callable[[str], None] | None = None,
) -> Path:
    """Train a network, or go on with the run that ``output`` holds.

    Args:
        recipe: every value of the run. Its paths are not read here, but for ``network.initial``.
        images: what the recipe's ``data`` names.
        output: folder of the run: ``best.safetensors``, ``state.pt``, ``log.jsonl``, TensorBoard's events.
        teacher: what ``recipe.distillation.teacher`` names.
        workers: processes that share a batch and torch's threads; more than 1 on a CPU alone.
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
    run = _ParsingRun(recipe, images, output, teacher, workers, tell)
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
    kept = [part.answers for part in images.training if part.answers is not None]
    limbs = any(part.limbs is not None for part in images.training)
    if teacher is None and any(
        not (part.labels or part.empty or part.answers or part.limbs) for part in images.training
    ):
        raise DataError(
            "Images without labels teach nothing without a teacher.", "Name one: distillation.teacher, or --teacher."
        )
    if (recipe.loss.person + recipe.loss.sides > 0) != limbs:
        raise UsageError(
            "The recipe's loss.person and loss.sides need maps of limbs, and maps of limbs need them.",
            "Give a source limbs = FOLDER (trtparse teach --body), and loss.person a weight such as 0.5.",
        )
    if kept and teacher is not None:
        raise UsageError(
            "The recipe has a teacher, and sources have answers that one gave before.",
            "Leave out distillation.teacher, or the sources' answers.",
        )
    if kept and recipe.distillation.hints > 0:
        raise UsageError("distillation.hints needs the teacher itself, not its answers.", "Set it to 0.")
    if (teacher is not None) != bool(recipe.distillation.teacher):
        raise UsageError("The recipe's distillation.teacher and the teacher that was loaded do not belong together.")
    for answers in kept:
        check_same(answers.label_set, f"The teacher of {answers.folder}", labels, "the student")
    for dataset in (*(part.dataset for part in labelled), images.validation):
        check_same(dataset.label_set, dataset.description, labels, "the recipe")
    if teacher is not None:
        check_same(teacher.label_set, f"The teacher {recipe.distillation.teacher}", labels, "the student")


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


class _ParsingRun(SteppingRun[Recipe, Learner]):
    # A schedule that is flat can be made longer; what is learnt from what does not change on the way.
    fixed = tuple(field.name for field in fields(Recipe) if field.name not in ("steps", "validate_every"))

    def __init__(
        self,
        recipe: Recipe,
        images: Images,
        output: Path,
        teacher: Teacher | None,
        workers: int,
        tell: Callable[[str], None],
    ) -> None:
        self.images, self.label_set, self.tell = images, label_set(recipe.labels), tell
        self.events: _Events | None = None
        torch.manual_seed(recipe.seed)
        network = _network(recipe, self.label_set, tell)
        learner = Learner(network, _hints(recipe.distillation, network, teacher))
        precision = Precision(recipe.precision, training_device())
        weight = network.auxiliary_weight
        criterion = Criterion(recipe.loss, recipe.distillation, weight, self.label_set, precision.device)
        super().__init__(recipe, learner, output, Backward(criterion, teacher, precision), precision, workers)
        self.events = _Events(output, self.step)

    def read_recipe(self, values: ReadJson) -> Recipe:
        return Recipe.from_dict(values)

    def open_optimizer(self) -> torch.optim.Optimizer:
        return _optimizer(self.network, self.recipe)

    def open_batches(self, first: int) -> Loader:
        images, recipe = self.images, self.recipe
        if recipe.data.rare_class_share > 0:
            self.tell("Counting classes")
        weights = repeat_factors(images.training, recipe.data.rare_class_share)
        return Loader(
            images.training,
            weights,
            recipe.augmentation,
            recipe.batch,
            recipe.geometry,
            recipe.seed,
            first,
            recipe.steps,
            images.backgrounds,
            recipe.data.pasted,
        )

    def known(self) -> dict[str, str]:
        return {"label_set": json.dumps(self.label_set.to_dict(), sort_keys=True)}

    def upgraded(self, state: Mapping[str, Any]) -> Mapping[str, Any]:
        told = state.get("label_set")
        learnt = told_label_set(json.loads(told), str(self.output)) if told else label_set("lip")
        check_same(learnt, f"The run in {self.output}", self.label_set, "the recipe")
        if "hints" not in state:
            return state
        # Of an earlier version: network and hints apart, and no average of the hints.
        hints = {f"hints.{name}": value for name, value in (state["hints"] or {}).items()}
        network, average = (
            {**{f"network.{name}": value for name, value in state[key].items()}, **hints}
            for key in ("network", "average")
        )
        return {**state, "network": network, "average": average}

    def validate(self, averaged: Learner) -> tuple[float | None, dict[str, object]]:
        recipe = self.recipe
        scores = evaluate(averaged.network, self.images.validation, recipe.input_size, recipe.stretch, self.precision)
        told: dict[str, object] = {
            "mean_iou": rounded(scores.mean_iou),
            "pixel_accuracy": rounded(scores.pixel_accuracy),
            "IoU": {name: rounded(iou) for name, iou in zip(self.label_set.classes, scores.class_iou)},
        }
        return scores.mean_iou, told

    def save_best(self, averaged: Learner) -> None:
        recipe = self.recipe
        save_checkpoint(averaged.network, self.output / BEST_NAME, recipe.framing, self.label_set, origin=recipe.origin)

    def log(self, entry: ReadJson) -> None:
        super().log(entry)
        if self.events is not None:
            self.events.write(entry, self.optimizer.param_groups[-1]["lr"])

    def close(self) -> None:
        super().close()
        if self.events is not None:
            self.events.close()


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


def _optimizer(learner: Learner, recipe: Recipe) -> torch.optim.Optimizer:
    how = recipe.optimizer
    groups = []
    for of_backbone in (True, False):
        for decays in (True, False):
            chosen = [
                parameter
                for name, parameter in learner.network.named_parameters()
                if name.startswith("backbone.") == of_backbone and (parameter.ndim > 1) == decays
            ]
            decay, rate = (how.weight_decay if decays else 0.0), (how.backbone_rate if of_backbone else 1.0)
            groups.append(Group(chosen, decay, rate))
    if learner.hints is not None:
        groups.append(Group(list(learner.hints.parameters()), 0.0))
    return create_optimizer(groups, how)


class _Events:
    """TensorBoard's log of a run; what a killed run wrote after its last saved state is dropped."""

    def __init__(self, output: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(output / "tensorboard"), purge_step=step + 1)

    def write(self, entry: ReadJson, rate: float) -> None:
        """The numbers of a validation's entry in the log, and the learning rate."""
        values = {"learning_rate": rate, **{key: entry[key] for key in ("loss", "images_per_second")}}
        values |= {f"validation/{key}": entry[key] for key in ("mean_iou", "pixel_accuracy")}
        values |= {f"IoU/{name}": iou for name, iou in entry["IoU"].items() if iou is not None}
        for name, value in values.items():
            self._writer.add_scalar(name, value, entry["step"])
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
