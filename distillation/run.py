"""From a recipe to a checkpoint: open what it names, train."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..data.dataset import Dataset
from ..errors import DataError
from ..specs.label_set import LabelSet, label_set
from ..tasks.parsing.files import LipDataset, open_dataset
from .loader import Part
from .recipe import Recipe, Source
from .teacher import load_teacher
from .training import Images, TrainingProgress, train, training_device


def run_recipe(
    recipe: Recipe,
    output: Path,
    *,
    on_progress: Callable[[TrainingProgress], None] | None = None,
    on_stage: Callable[[str], None] | None = None,
) -> Path:
    """Train what a recipe says; the same call again goes on where it was killed.

    Args:
        recipe: its paths are taken as they are.
        output: folder of the run.
        on_progress, on_stage: see :func:`~trtparse.distillation.training.train`.

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
    return train(recipe, images, output, teacher=teacher, on_progress=on_progress, on_stage=on_stage)


def open_images(recipe: Recipe) -> Images:
    """The datasets of a recipe.

    Raises:
        DataError: one is missing or not as it should be.
        UsageError: there is no label set of the recipe's name.
    """
    labels = label_set(recipe.labels)
    if not recipe.data.train:
        raise DataError("The recipe names no images to train on.", "Add [[data.train]], or give --data.")
    parts = tuple(Part(_open(source, labels), source.weight, source.labels) for source in recipe.data.train)
    return Images(parts, LipDataset(recipe.data.validation or recipe.data.train[0].path, "val", labels=labels))


def _open(source: Source, labels: LabelSet) -> Dataset:
    split = None if source.split == "auto" else source.split
    if source.labels:
        return LipDataset(source.path, split or "train", labels=labels)
    return open_dataset(source.path, split, purpose="calibration", labels=labels)
