"""From a recipe to a checkpoint: open what it names, train."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..data.dataset import Dataset
from ..errors import DataError
from ..specs.label_set import LabelSet, label_set
from ..tasks.parsing.files import ImageFolder, LipDataset, open_dataset
from .kept_answers import KeptAnswers
from .limbs import LimbMaps
from .loader import Part
from .optimising import training_device
from .recipe import Recipe, Source
from .scenes import Backgrounds
from .stepping import StepProgress
from .teacher import load_teacher
from .training import Images, train


def run_recipe(
    recipe: Recipe,
    output: Path,
    *,
    workers: int = 1,
    on_progress: Callable[[StepProgress], None] | None = None,
    on_stage: Callable[[str], None] | None = None,
) -> Path:
    """Train what a recipe says; the same call again goes on where it was killed.

    Args:
        recipe: its paths are taken as they are.
        output: folder of the run.
        workers, on_progress, on_stage: see :func:`~trtparse.distillation.training.train`.

    Returns:
        The path of the best checkpoint.

    Raises:
        DataError, UsageError: images, teacher or output folder are not as the recipe needs them.
        TrtparseError: the loss is not a number.
    """
    tell = on_stage or (lambda _: None)
    images = open_images(recipe)
    for part in images.training:
        tell(part.dataset.description)
    teacher = None
    if recipe.distillation.teacher:
        tell("Loading the teacher")
        teacher = load_teacher(
            Path(recipe.distillation.teacher),
            labels=label_set(recipe.labels),
            family=recipe.distillation.family,
            flip=recipe.distillation.flip,
            device=training_device(),
        )
        if on_stage is not None and teacher.told:
            on_stage(teacher.told)
    return train(recipe, images, output, teacher=teacher, workers=workers, on_progress=on_progress, on_stage=on_stage)


def open_images(recipe: Recipe) -> Images:
    """The datasets of a recipe.

    Raises:
        DataError: one is missing or not as it should be.
        UsageError: there is no label set of the recipe's name.
    """
    labels = label_set(recipe.labels)
    if not recipe.data.train:
        raise DataError("The recipe names no images to train on.", "Add [[data.train]], or give --data.")
    parts = tuple(_part(source, labels) for source in recipe.data.train)
    validation = LipDataset(recipe.data.validation or recipe.data.train[0].path, "val", labels=labels)
    where = recipe.data.backgrounds
    return Images(parts, validation, Backgrounds(ImageFolder(where, labels)) if where else None)


def _part(source: Source, labels: LabelSet) -> Part:
    answers = KeptAnswers.open(Path(source.answers)) if source.answers else None
    limbs = LimbMaps.open(Path(source.limbs)) if source.limbs else None
    return Part(_open(source, labels), source.weight, source.labels and not source.empty, source.empty, limbs, answers)


def _open(source: Source, labels: LabelSet) -> Dataset:
    split = None if source.split == "auto" else source.split
    if source.labels and not source.empty:
        return LipDataset(source.path, split or "train", labels=labels)
    return open_dataset(source.path, split, purpose="calibration", labels=labels)
