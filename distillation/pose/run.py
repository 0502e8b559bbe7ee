"""From a pose recipe to a checkpoint: open what it names, train."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor

from ...errors import DataError, UsageError
from ...networks.hrnet import HRNet
from ...networks.pose import PoseNetwork
from ...networks.pose_checkpoint import load_pose_checkpoint, load_trunk
from ...networks.registry import create_pose_network
from ...specs.skeleton import Skeleton, load_skeleton
from ...tasks.pose.examples import Example, labelled_examples, taught_examples
from ...tasks.pose.files import read_coco, read_lip, read_mpii
from ...tasks.pose.metrics import has_diagonals, pck
from ...tasks.pose.people import People
from ...tasks.pose.rendered import TRAINING_SEED, VALIDATION_SEED, rendered_people
from ..stepping import StepProgress
from .loader import Album
from .recipe import PoseRecipe, PoseSource
from .training import PoseImages, train

RENDERED_TRAINING, RENDERED_VALIDATION = 512, 64
"""People drawn where a recipe names none."""


def run_recipe(
    recipe: PoseRecipe,
    output: Path,
    *,
    workers: int = 1,
    on_progress: Callable[[StepProgress], None] | None = None,
    on_stage: Callable[[str], None] | None = None,
) -> Path:
    """Train what a recipe says; the same call again goes on where it was stopped.

    Args:
        recipe: its paths are taken as they are.
        output: folder of the run.
        workers: see :func:`~trtparse.distillation.pose.training.train`.
        on_progress: called after every step.
        on_stage: told in a few words what begins.

    Returns:
        The path of the best checkpoint.

    Raises:
        DataError, UsageError: people, teachers, checkpoints or the output folder are not as the recipe needs them.
        TrtparseError: the loss is not a number.
    """
    tell = on_stage or (lambda _: None)
    skeleton = load_skeleton(recipe.skeleton)
    tell("Reading the people")
    images = open_images(recipe, skeleton)
    network = _network(recipe, skeleton)
    teachers = [open_teacher(Path(path), skeleton) for path in recipe.distillation.teachers]
    tell(f"Training in {output}")
    return train(
        recipe,
        images,
        network,
        output,
        skeleton=skeleton,
        teachers=teachers,
        workers=workers,
        on_progress=on_progress,
    )


class OtherJoints(PoseNetwork):
    """A teacher's heatmaps of some of its joints, in another order.

    Args:
        network: the teacher.
        channels: of the joints that are wanted.
    """

    def __init__(self, network: PoseNetwork, channels: tuple[int, ...]) -> None:
        super().__init__(network.kind, replace(network.spec, joints=len(channels)))
        self.network, self.channels = network, list(channels)

    def heatmaps(self, image: Tensor) -> Tensor:
        return self.network.heatmaps(image)[:, self.channels]


def open_teacher(path: Path, skeleton: Skeleton) -> PoseNetwork:
    """A teacher of a skeleton: one of the same joints, or of others among which all of them are, by name.

    Raises:
        UsageError: no checkpoint of a pose network, or a joint that it does not know.
    """
    loaded = load_pose_checkpoint(path)
    if loaded.spec.joints == skeleton.joints:
        return loaded.network
    try:
        return OtherJoints(loaded.network, skeleton.channels_in(loaded.spec))
    except UsageError as error:
        raise UsageError(f"{path} cannot teach {skeleton.name}: {error.message}", error.hint) from error


def open_images(recipe: PoseRecipe, skeleton: Skeleton) -> PoseImages:
    """The people of a recipe; without any named, rendered ones.

    Raises:
        DataError: a file is missing or not as it should be, or its joints are not the skeleton's.
    """
    data, album, root = recipe.data, Album(), Path(recipe.data.root)
    examples: list[Example] = []
    often: list[float] = []
    for source in data.train:
        more = _examples(source, root, skeleton, album)
        examples += more
        often += [source.weight] * len(more)
    rendered = data.rendered if data.train else data.rendered or RENDERED_TRAINING
    if rendered:
        more = labelled_examples(rendered_people(rendered, TRAINING_SEED), skeleton, album.reader)
        examples += more
        often += [data.rendered_weight] * len(more)
    if data.validation:
        read = Path(data.validation_images)
        validation = _labels(data.validation_format, root / data.validation, root / read)
    else:
        validation = rendered_people(RENDERED_VALIDATION, VALIDATION_SEED)
    if not has_diagonals(validation.skeleton):
        raise DataError(
            f"{validation.description}: PCK cannot be measured on {validation.skeleton.name}, which has no left and "
            "right shoulder and hip.",
            "Name people that have them as data.validation.",
        )
    nobody = np.zeros((len(validation), len(skeleton), 3), np.float32)
    if not pck(validation.joints(), nobody, validation.skeleton, skeleton).counted:
        raise DataError(
            f"{validation.description}: of nobody are a shoulder, the hip across from it and a limb of {skeleton.name} "
            "labelled, so PCK cannot be measured.",
            "Name people that have them as data.validation.",
        )
    if not any(example.weights.any() for example in examples):
        raise DataError(
            f"None of the joints of {skeleton.name} is labelled in the recipe's data.",
            "Choose the skeleton that the annotations are of.",
        )
    return PoseImages(examples, np.asarray(often), validation)


def _examples(source: PoseSource, root: Path, skeleton: Skeleton, album: Album) -> list[Example]:
    images = root / source.images
    labels = _labels(source.format, root / source.labels, images) if source.labels else None
    if not source.taught:
        assert labels is not None
        return labelled_examples(labels, skeleton, album.reader)
    taught = _of_skeleton(read_coco(root / source.taught, images), skeleton)
    if labels is None:
        return taught_examples([(None, person) for person in taught.people], None, skeleton, album.reader)
    known = {person.number: person for person in taught.people}
    missing = [person for person in labels.people if person.number not in known]
    if missing:
        raise DataError(
            f"{source.taught} lacks {len(missing)} of the {len(labels)} annotations of {source.labels}.",
            "A teacher's file has the ids of the labels' annotations.",
        )
    pairs = [(person, known[person.number]) for person in labels.people]
    return taught_examples(pairs, labels.skeleton, skeleton, album.reader)


def _of_skeleton(people: People, skeleton: Skeleton) -> People:
    """A teacher's people with the skeleton's joints, matched by name; every one of them must be there."""
    if people.skeleton.joints == skeleton.joints:
        return people
    order = list(skeleton.channels_in(people.skeleton))
    mapped = (replace(person, joints=person.joints[order], scores=person.scores[order]) for person in people.people)
    return People(people.description, skeleton, tuple(mapped))


def _labels(form: str, path: Path, images: Path) -> People:
    return {"coco": read_coco, "mpii": read_mpii, "lip": read_lip}[form](path, images)


def _network(recipe: PoseRecipe, skeleton: Skeleton) -> PoseNetwork:
    what = recipe.network
    options = {"joints": len(skeleton), **what.options}
    network = create_pose_network(what.kind, options)
    if network.spec.joints != len(skeleton):
        raise UsageError(
            f"The recipe's network.options.joints is {network.spec.joints}; {skeleton.name} has {len(skeleton)}.",
            "Leave it out.",
        )
    if what.initial:
        initial = load_pose_checkpoint(Path(what.initial), skeleton).network
        if (initial.kind, initial.spec) != (network.kind, network.spec):
            raise UsageError(
                f"network.initial, {what.initial}, is {initial.kind} with {initial.spec.to_dict()}; "
                f"the recipe trains {network.kind} with {network.spec.to_dict()}.",
                "Name a checkpoint of the same network with the same options.",
            )
        network.load_state_dict(initial.state_dict())
    if what.backbone:
        if not isinstance(network, HRNet):
            raise UsageError(
                f"network.backbone is for HRNets; the recipe trains {network.kind}.", "Take network.initial instead."
            )
        load_trunk(network, Path(what.backbone))
    return network
