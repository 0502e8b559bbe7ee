"""The recipe of a training run: every value in one TOML file, each with a default and each overridable.

    steps = 40000
    [[data.train]]
    path = "LIP"
    [optimizer]
    learning_rate = 0.01

A key that does not exist, and a value that cannot be, are errors that name the key.
"""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints

from ..errors import UsageError
from ..specs.framing import MOST_STRETCH, Framing
from ..specs.label_set import label_sets
from ..specs.origin import Origin
from ..storage.json_types import JsonObject, ReadJson
from ..tasks.parsing.augmentation import Augmentation, Geometry

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Table = TypeVar("Table")

RecipeTables = dict[str, Any]
"""A recipe's tables as TOML has them: read, and changed key by key, until one of the recipes' classes takes them."""

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
        _above(self, "data.train.", weight=0)
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
        _within(self, "data.", 0, 1, "rare_class_share", "pasted")
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
        _above(self, "optimizer.", learning_rate=0, backbone_rate=0, power=0, cool_down=0, gradient_clip=0)
        _within(self, "optimizer.", 0, 1, "learning_rate", "weight_decay", "momentum", "average", "cool_down")
        if self.warm_up < 0:
            raise _impossible("optimizer.warm_up", self.warm_up, "0 or more")


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
        _at_least_zero(self, "loss.", "cross_entropy", "lovasz", "rare_class_weight", "person", "sides")


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
        _at_least_zero(self, "distillation.", "weight", "kl", "inter", "intra", "minimum_std", "auxiliary", "hints")
        _above(self, "distillation.", temperature=0)
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
                raise _impossible(name, getattr(self, name), "1 or more")
        if self.seed < 0:
            raise _impossible("seed", self.seed, "0 or more")
        for name in ("input_size", "crop"):
            size = getattr(self, name)
            low, high = SIZE_LIMITS
            if not (name == "crop" and size == (0, 0)) and not low <= min(size) <= max(size) <= high:
                raise _impossible(name, f"{size[0]}x{size[1]}", f"sides from {low} to {high}")
        if not 1 <= self.stretch <= MOST_STRETCH:
            raise _impossible("stretch", self.stretch, f"1 to {MOST_STRETCH:g}")

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


def override(values: RecipeTables, overrides: Sequence[str]) -> RecipeTables:
    """``values`` with ``key=value`` settings applied."""
    for setting in overrides:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"{setting!r} is not a setting.", "Write key=value, such as optimizer.learning_rate=0.01.")
        *folders, name = key.strip().split(".")
        table = values
        for folder in folders:
            table = table.setdefault(folder, {})
            if not isinstance(table, dict):
                raise UsageError(f"{key} cannot be set: {folder} is no table.", "Edit the recipe's file instead.")
        table[name] = _toml_value(text.strip())
    return values


class Tables(Protocol):
    """A recipe of any task."""

    def to_dict(self) -> JsonObject: ...


def differences(one: Tables, other: Tables) -> list[str]:
    """Dotted keys whose values differ, with both values, for messages."""
    first, second = _flat(one.to_dict()), _flat(other.to_dict())
    return [
        f"{key} ({first.get(key)!r} and {second.get(key)!r})"
        for key in sorted({*first, *second})
        if first.get(key) != second.get(key)
    ]


def _flat(table: JsonObject, prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in table.items():
        flat.update(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


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


def to_table(recipe: DataclassInstance) -> RecipeTables:
    """A recipe, or a table of it, as JSON and TOML have it: a frozen dataclass of values and of such tables."""
    return {item.name: _plain(getattr(recipe, item.name)) for item in fields(recipe)}


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return to_table(value)
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def from_table(cls: type[Table], values: Any, prefix: str) -> Table:
    """Read a frozen dataclass of tables, its fields coerced to their declared types.

    Args:
        cls: what is made.
        values: the table.
        prefix: of the keys in messages, with the dot.

    Raises:
        UsageError: an unknown, missing or impossible value; the message names the key.
    """
    if not isinstance(values, Mapping):
        raise _impossible(prefix.rstrip("."), values, "a table")
    hints = get_type_hints(cls)
    names = [item.name for item in fields(cls)]  # type: ignore[arg-type]
    for key in values:
        if key not in names:
            near = difflib.get_close_matches(str(key), names, 1, 0.4)
            hint = f"Did you mean {prefix}{near[0]}?" if near else f"There are {', '.join(prefix + n for n in names)}."
            raise UsageError(f"The recipe has an unknown key {prefix}{key}.", hint)
    for item in fields(cls):  # type: ignore[arg-type]
        if item.name not in values and item.default is MISSING and item.default_factory is MISSING:
            raise UsageError(f"The recipe lacks {prefix}{item.name}.", "Add it.")
    values = {item.name: _filled(item, values[item.name]) for item in fields(cls) if item.name in values}  # type: ignore[arg-type]
    try:
        return cls(**{key: _coerce(hints[key], value, prefix + key) for key, value in values.items()})
    except ValueError as error:
        raise UsageError(f"The recipe's {prefix.rstrip('.')} cannot be: {error}.", "Change that value.") from error


def _filled(item: Field[Any], value: Any) -> Any:
    """A table with what it leaves out as its field has it: a finder's network is a finder, whatever the class says."""
    if item.default_factory is MISSING or not isinstance(value, Mapping):
        return value
    default = item.default_factory()
    if not is_dataclass(default) or isinstance(default, type):
        return value
    return {**{key: kept for key, kept in to_table(default).items() if kept is not None}, **value}


def _coerce(hint: Any, value: Any, key: str) -> Any:
    """``value`` as the type that a field is declared with."""
    origin, arguments = get_origin(hint), get_args(hint)
    if is_dataclass(hint) and isinstance(hint, type):
        return from_table(hint, value, f"{key}.")
    if origin in (Union, UnionType):
        return _coerce(arguments[0], value, key)
    if origin is Literal:
        if value not in arguments:
            near = difflib.get_close_matches(str(value), arguments, 1, 0.4)
            raise _impossible(key, value, f"one of {', '.join(arguments)}", near)
        return value
    if origin is tuple:
        return _coerce_tuple(arguments, value, key)
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise _impossible(key, value, "a finite number")
        return float(value)
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if (hint is bool and isinstance(value, bool)) or (hint is str and isinstance(value, str)):
        return value
    if isinstance(value, Mapping) and (origin is not None and issubclass(origin, Mapping)):
        return dict(value)
    names = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}
    raise _impossible(key, value, names.get(hint, "a table"))


def _coerce_tuple(arguments: tuple[Any, ...], value: Any, key: str) -> tuple[Any, ...]:
    if isinstance(value, str) and arguments == (int, int):  # a size: "256x192"
        value = [int(part) if part.isdecimal() else part for part in value.lower().split("x")]
    if not isinstance(value, (list, tuple)):
        raise _impossible(key, value, "a list")
    if arguments[-1] is Ellipsis:
        return tuple(_coerce(arguments[0], item, key) for item in value)
    if len(value) != len(arguments):
        raise _impossible(key, value, f"{len(arguments)} values")
    return tuple(_coerce(hint, item, key) for hint, item in zip(arguments, value))


def _impossible(key: str, value: Any, wanted: str, near: Sequence[str] = ()) -> UsageError:
    hint = f"Did you mean {near[0]}?" if near else "Change it in the recipe, or override it with --set."
    return UsageError(f"The recipe's {key} is {value!r}; it must be {wanted}.", hint)


def _above(table: Any, prefix: str, **limits: float) -> None:
    for name, limit in limits.items():
        if not getattr(table, name) > limit:
            raise _impossible(prefix + name, getattr(table, name), f"more than {limit}")


def _at_least_zero(table: Any, prefix: str, *names: str) -> None:
    for name in names:
        if not getattr(table, name) >= 0:
            raise _impossible(prefix + name, getattr(table, name), "0 or more")


def _within(table: Any, prefix: str, low: float, high: float, *names: str) -> None:
    for name in names:
        if not low <= getattr(table, name) < high:
            raise _impossible(prefix + name, getattr(table, name), f"from {low} to below {high}")
