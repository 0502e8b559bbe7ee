"""The recipe of a training run: every value in one TOML file, each with a default and each overridable.

    steps = 40000
    [[data.train]]
    path = "LIP"
    [optimizer]
    learning_rate = 0.01

A key that does not exist, and a value that cannot be, are errors that name the key.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..errors import UsageError
from ..specs.framing import MOST_STRETCH, Framing
from ..specs.label_set import label_sets
from ..specs.origin import Origin
from ..storage.json_types import ReadJson
from ..tasks.parsing.augmentation import Augmentation, Geometry
from .tables import RecipeTables, above, at_least_zero, from_table, impossible, override, to_table, within

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SIZE_LIMITS = (64, 4096)


@dataclass(frozen=True)
class Source:
    """Images to learn from.

    Args:
        path: a folder in LIP's layout (or, without labels, of images). Relative to the recipe's file.
        split: ``train``, ``val`` or ``test``; ``auto``: train, and for images without labels the first there is of
            train, test and val.
        weight: how often one of its images comes, against an image of weight 1.
        labels: False takes the images without their labels; only a teacher or maps of limbs make use of those.
        empty: nobody is in them: every pixel is background, and some part of each is seen.
        limbs: folder of the images' maps of limbs (``trtparse teach --body``).
        answers: folder of a teacher's answers to the images (``trtparse teach --teacher``), instead of a teacher.
    """

    path: str
    split: Literal["auto", "train", "val", "test"] = "auto"
    weight: float = 1.0
    labels: bool = True
    empty: bool = False
    limbs: str = ""
    answers: str = ""

    def __post_init__(self) -> None:
        above(self, "data.train.", weight=0)
        if self.empty and (self.limbs or self.answers):
            raise UsageError(
                f"The recipe's source {self.path} is empty, and has limbs or answers.",
                "Nothing is to be learnt of nobody but that: leave them out.",
            )


@dataclass(frozen=True)
class Data:
    """What is learnt from, and what the checkpoint is chosen on.

    Args:
        train: sources, labelled or not.
        validation: folder in LIP's layout whose val split has labels; the first source's where empty.
        rare_class_share: an image with a class that is in less than this share of the labelled images comes
            sqrt(rare_class_share / share) times as often (repeat factors of Gupta, Dollár and Girshick, "LVIS",
            CVPR 2019). 0: all equally often.
        backgrounds: folder of photographs with nobody in them, for ``pasted``.
        pasted: probability that the people of an image stand before one of those; of images with labels or limbs.
    """

    train: tuple[Source, ...] = ()
    validation: str = ""
    rare_class_share: float = 0.0
    backgrounds: str = ""
    pasted: float = 0.0

    def __post_init__(self) -> None:
        within(self, "data.", 0, 1, "rare_class_share", "pasted")
        if (self.pasted > 0) != bool(self.backgrounds):
            raise UsageError(
                "The recipe's data.pasted and data.backgrounds need each other.", "Give both, or leave both out."
            )


@dataclass(frozen=True)
class Network:
    """What is trained.

    Args:
        kind: a name that :mod:`trtparse.networks.registry` knows.
        options: of that network.
        initial: checkpoint to start from; empty: random weights.
        backbone: checkpoint of the trunk alone to start from, such as one trained on ImageNet, in torchvision's
            names for a ResNet.
    """

    kind: str = "lsfa-r18"
    options: Mapping[str, Any] = field(default_factory=dict)
    initial: str = ""
    backbone: str = ""

    def __post_init__(self) -> None:
        if self.initial and self.backbone:
            raise UsageError(
                "network.initial and network.backbone are two starts.", "Leave one of them out of the recipe."
            )


@dataclass(frozen=True)
class Optimizer:
    """How weights are changed.

    Args:
        kind: ``adamw``; ``adam``, whose decay is part of the gradient; or ``sgd`` with Nesterov off.
        learning_rate: at the end of the warm-up.
        backbone_rate: the trunk's learning rate is this times ``learning_rate``; less than 1 suits one that was
            trained before.
        weight_decay: on weights of convolutions, not on batch norms and biases.
        momentum: of SGD.
        warm_up: steps in which the learning rate rises linearly.
        schedule: ``poly``: times (1 - step / steps) ** power; ``cosine``: half a cosine; ``trapezoid``: constant, then
            linear over the last ``cool_down`` of the steps (all these end at 0); ``drops``: a tenth from each of
            ``drops`` on.
        power: of ``poly``.
        cool_down: of ``trapezoid``, which can be cut short or made longer while it is flat.
        drops: parts of the run, 0 to 1.
        gradient_clip: largest norm of the gradient.
        average: decay of the averaged weights, which are validated and saved; 0 turns averaging off.
    """

    kind: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: float = 1.2e-3
    backbone_rate: float = 1.0
    weight_decay: float = 0.02
    momentum: float = 0.9
    warm_up: int = 100
    schedule: Literal["poly", "cosine", "trapezoid", "drops"] = "poly"
    power: float = 0.9
    cool_down: float = 0.3
    drops: tuple[float, ...] = ()
    gradient_clip: float = 5.0
    average: float = 0.998

    def __post_init__(self) -> None:
        above(self, "optimizer.", learning_rate=0, backbone_rate=0, power=0, cool_down=0, gradient_clip=0)
        within(self, "optimizer.", 0, 1, "learning_rate", "weight_decay", "momentum", "average", "cool_down")
        if self.warm_up < 0:
            raise impossible("optimizer.warm_up", self.warm_up, "0 or more")


@dataclass(frozen=True)
class Loss:
    """What the labels and the maps of limbs ask for.

    Args:
        cross_entropy: its weight.
        lovasz: weight of the Lovász softmax, on the main head.
        auxiliary: weight of the auxiliary heads' cross-entropy; negative: the network's own (0.4 or 0.5).
        rare_class_weight: cross-entropy weight of the classes that the label set calls rare.
        person: weight of background against everybody, where maps of limbs are sure and labels say nothing.
        sides: weight of left against right, where maps of limbs are sure and the teacher sees skin or a shoe.
    """

    cross_entropy: float = 1.0
    lovasz: float = 0.0
    auxiliary: float = -1.0
    rare_class_weight: float = 2.0
    person: float = 0.0
    sides: float = 0.0

    def __post_init__(self) -> None:
        at_least_zero(self, "loss.", "cross_entropy", "lovasz", "rare_class_weight", "person", "sides")


@dataclass(frozen=True)
class Distillation:
    """What a teacher asks for; without a teacher or answers of one that were kept, nothing.

    Args:
        teacher: its checkpoint; empty: none.
        family: of a teacher that is not ours: see :func:`trtparse.distillation.teacher.load_teacher`.
        flip: average the teacher's answers to the image and to its mirror image.
        weight: of the sum of all terms.
        kl: weight of the Kullback-Leibler divergence of each pixel's classes.
        inter, intra: weights of DIST's relations between the classes of a pixel and within a class (Huang
            et al., NeurIPS 2022).
        temperature: divides both logits.
        minimum_std: the intra-class term leaves out classes whose teacher column varies less than this.
        auxiliary: weight of the same terms for the auxiliary heads, against the teacher's final logits.
        hints: weight of the difference between the features of the two trunks (FitNets); for a teacher of ours.
    """

    teacher: str = ""
    family: Literal["auto", "trtparse", "schp", "ce2p", "cdgnet"] = "auto"
    flip: bool = False
    weight: float = 1.0
    kl: float = 0.0
    inter: float = 1.0
    intra: float = 1.0
    temperature: float = 1.0
    minimum_std: float = 0.0
    auxiliary: float = 0.0
    hints: float = 0.0

    def __post_init__(self) -> None:
        at_least_zero(self, "distillation.", "weight", "kl", "inter", "intra", "minimum_std", "auxiliary", "hints")
        above(self, "distillation.", temperature=0)
        if self.teacher and self.kl + self.inter + self.intra + self.hints == 0:
            raise UsageError(
                "distillation.kl, .inter, .intra and .hints are all 0: the teacher would have no say.",
                "Give one of them a weight, or leave the teacher out.",
            )


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the outcome of a run, apart from the images' bytes.

    Args:
        steps: optimiser steps in all.
        batch: images per step.
        input_size: (height, width) that is validated at and that the checkpoint is for.
        stretch: how far images' shapes are changed to fill the input (:meth:`~trtparse.data.letterbox.Letterbox.fit`).
        labels: the label set: the word of one that comes along, or the path of a TOML file, relative to the recipe's.
        crop: (height, width) of the training samples, the middle of the input; (0, 0): all of it. A narrower one saves
            the margins that upright people leave.
        validate_every: steps between two validations; the state is saved then, too.
        seed: of initialisation, order and augmentation.
        precision: ``auto``: bfloat16 where the processor has it, float16 with loss scaling on older GPUs, else
            float32.
        origin: what the weights come from, for their header; it has no part in how they become.
    """

    steps: int = 4000
    batch: int = 16
    input_size: tuple[int, int] = (256, 192)
    stretch: float = 1.0
    labels: str = "lip"
    crop: tuple[int, int] = (0, 0)
    validate_every: int = 200
    seed: int = 0
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    network: Network = field(default_factory=Network)
    data: Data = field(default_factory=Data)
    augmentation: Augmentation = field(default_factory=Augmentation)
    optimizer: Optimizer = field(default_factory=Optimizer)
    loss: Loss = field(default_factory=Loss)
    distillation: Distillation = field(default_factory=Distillation)
    origin: Origin = field(default_factory=Origin)

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "validate_every"):
            if getattr(self, name) < 1:
                raise impossible(name, getattr(self, name), "1 or more")
        if self.seed < 0:
            raise impossible("seed", self.seed, "0 or more")
        for name in ("input_size", "crop"):
            size = getattr(self, name)
            low, high = SIZE_LIMITS
            if not (name == "crop" and size == (0, 0)) and not low <= min(size) <= max(size) <= high:
                raise impossible(name, f"{size[0]}x{size[1]}", f"sides from {low} to {high}")
        if not 1 <= self.stretch <= MOST_STRETCH:
            raise impossible("stretch", self.stretch, f"1 to {MOST_STRETCH:g}")

    @property
    def save_every(self) -> int:
        """Steps between two saved states."""
        return self.validate_every

    @property
    def framing(self) -> Framing:
        """How the network is to see images."""
        return Framing(self.input_size, self.stretch)

    @property
    def geometry(self) -> Geometry:
        """How images become training samples."""
        return Geometry(self.input_size, self.stretch, self.crop)

    def to_dict(self) -> RecipeTables:
        """As TOML has it."""
        return to_table(self)

    @classmethod
    def from_dict(cls, values: ReadJson) -> Recipe:
        """The inverse of :meth:`to_dict`; keys that are left out get their default.

        Raises:
            UsageError: an unknown key, a value of the wrong type or out of range; its name is in the message.
        """
        return from_table(cls, values, "")


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe; paths in it are relative to its folder.

    Args:
        path: a TOML file.
        overrides: ``key=value`` with dotted keys and TOML values (``optimizer.learning_rate=0.01``); a value that
            is no TOML is taken as text.

    Raises:
        UsageError: no such file, no TOML, or as :meth:`Recipe.from_dict`.
    """
    values = read_recipe(path)
    _resolve_paths(values, path.resolve().parent)
    return Recipe.from_dict(override(values, overrides))


def read_recipe(path: Path) -> RecipeTables:
    """The tables of a recipe, of whatever task.

    Raises:
        UsageError: no such file, or no TOML.
    """
    try:
        values: RecipeTables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(
            f"There is no recipe {path}.", f"Name a TOML file, or one of those that come along: {', '.join(shipped())}."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}.", "A recipe is a TOML file.") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}.", "See https://toml.io for the notation.") from error
    return values


def shipped() -> dict[str, Path]:
    """The recipes that come with the package, by name."""
    folder = Path(__file__).parent / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def _resolve_paths(values: RecipeTables, folder: Path) -> None:
    """Make the paths of a recipe's file absolute, in place."""
    data, network, distillation = (values.get(name) for name in ("data", "network", "distillation"))
    if isinstance(values.get("labels"), str) and values["labels"] not in label_sets():
        values["labels"] = str(folder / values["labels"])
    places: list[tuple[Any, str]] = [(data, "validation"), (data, "backgrounds"), (distillation, "teacher")]
    places += [(network, "initial"), (network, "backbone")]
    if isinstance(data, dict) and isinstance(data.get("train"), list):
        places += [(source, key) for source in data["train"] for key in ("path", "limbs", "answers")]
    for table, key in places:
        if isinstance(table, dict) and isinstance(table.get(key), str) and table[key]:
            table[key] = str(folder / table[key])
