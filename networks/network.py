"""What all networks have in common, and all parsing networks."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Collection
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, TypeAlias, TypeVar

from torch import Tensor, nn

from ..errors import UsageError
from ..specs.decoding import LOGITS, Decoding
from ..specs.label_set import LabelSet
from ..specs.spec import Spec
from ..storage.json_types import JsonObject, ReadJson
from .efficientnet import EfficientNetLite
from .exported import ExportedNetwork, Normalised
from .layers import resize_like
from .mobilenet import MobileNetV2
from .preprocessing import normalise
from .resnet import ResNet
from .tail import LabelTail, Tail

MINIMUM_INPUT = 64
"""Smallest height and width: below it the deepest level has fewer than 2x2 cells."""

AUXILIARY_PREFIX = "auxiliary_heads."
"""Parameters with this prefix serve training alone and stay out of checkpoints."""

SpecT = TypeVar("SpecT", bound="Options")


@dataclass(frozen=True)
class Options:
    """The options of a network of any task: what its checkpoints say of it.

    A field is a number, a word, a truth value or a tuple of whole numbers, so that it can stand in JSON and TOML.
    """

    def __post_init__(self) -> None:
        for field in fields(self):
            _check_type(field.name, getattr(self, field.name), field.default)

    def to_dict(self) -> JsonObject:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls: type[SpecT], options: ReadJson) -> SpecT:
        """Read options; those that are left out have their defaults.

        Raises:
            UsageError: an unknown option or an impossible value; the nearest that is allowed is named.
        """
        names = [field.name for field in fields(cls)]
        values: dict[str, Any] = {}
        for name, value in options.items():
            check_choice("network option", name, names)
            values[name] = tuple(value) if isinstance(value, list) else value
        return cls(**values)


@dataclass(frozen=True)
class NetworkSpec(Options):
    """The options of a parsing network.

    Args:
        num_classes: output channels.
    """

    num_classes: int = 20  # LIP's, where nothing is said

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 <= self.num_classes <= 255:
            raise UsageError(f"num_classes must lie between 2 and 255, not {self.num_classes}.")


def _check_type(name: str, value: object, default: object) -> None:
    """A value must be of its default's type; a truth value is no number here."""
    kind = type(default)
    if type(value) is not kind:
        expected = {bool: "true or false", int: "a whole number", str: "a word", tuple: "a list of whole numbers"}[kind]
        raise UsageError(f"{name} must be {expected}, not {value!r}.")
    if isinstance(value, tuple) and not all(type(entry) is int and entry > 0 for entry in value):
        raise UsageError(f"{name} must hold whole numbers above 0, not {list(value)}.")


def check_choice(name: str, value: object, allowed: Collection[str] | Collection[int]) -> None:
    """See that ``value`` is one of ``allowed``.

    Raises:
        UsageError: it is not; the message names the nearest that is.
    """
    if value in allowed:
        return
    words = [str(choice) for choice in allowed]
    if isinstance(value, int):
        nearest = sorted(words, key=lambda word: abs(int(word) - value))
    else:
        nearest = difflib.get_close_matches(str(value), words, n=1, cutoff=0.3)
    suggestion = f" Did you mean {nearest[0]}?" if nearest else ""
    raise UsageError(f"Unknown {name} {value!r}.{suggestion}", f"Choose from {', '.join(words)}.")


def check_minimum(name: str, value: int, least: int) -> None:
    """See that a number is not too small.

    Raises:
        UsageError: it is; the message names the least.
    """
    if value < least:
        raise UsageError(f"{name} must be at least {least}, not {value}.")


Backbone: TypeAlias = ResNet | EfficientNetLite | MobileNetV2
"""A trunk: ``conv1`` comes first, ``channels`` has the width of each of the five levels that it returns, and ``adapt``
turns a checkpoint of it alone, as others released it, into its tensors."""


AnyNetwork = TypeVar("AnyNetwork", bound="Network")
AnyParsing = TypeVar("AnyParsing", bound="ParsingNetwork")


class Network(nn.Module):
    """A network of any task: normalised images in, a raw tensor out that answers are read from."""

    kind: str
    """The network's name in checkpoints, bundles and recipes."""
    spec: Options
    multiple: ClassVar[int] = 1
    """Of which height and width of the input are."""
    called: ClassVar[str] = "a network"
    """What it is, in messages."""

    @property
    def options(self) -> JsonObject:
        """What it is, in JSON's types: checkpoints and manifests keep it."""
        return self.spec.to_dict()

    @property
    def first_convolution(self) -> nn.Conv2d:
        """What sees the image; the exporter turns its input channels round, so that BGR frames need no flip."""
        raise NotImplementedError

    def prepared(self, frames: Tensor) -> Tensor:
        """Frames as OpenCV reads them, (N, H, W, 3) uint8, to what the network computes with."""
        return normalise(frames)

    def tail(self, input_size: tuple[int, int], decoding: Decoding = LOGITS) -> Tail:
        """From its raw tensor to its answers.

        Args:
            input_size: (height, width) of the frames.
            decoding: of heatmaps, where it gives some.
        """
        raise NotImplementedError

    def exported(self, input_size: tuple[int, int], decoding: Decoding = LOGITS) -> ExportedNetwork:
        """What is exported of it: a copy in float32 and evaluation mode that takes frames and gives answers.

        Args:
            input_size, decoding: as of :meth:`tail`.
        """
        copied = self.to_run()
        return Normalised(copied, copied.first_convolution, self.tail(input_size, decoding))

    def to_run(self: AnyNetwork) -> AnyNetwork:
        """A copy in float32 and evaluation mode, without what serves training alone."""
        return copy.deepcopy(self).float().eval()

    def meaning(self, spec: Spec | None, decoding: Decoding, sure: float | None, path: Path) -> JsonObject:
        """What the header of its checkpoint says of its answers, in JSON's types.

        Args:
            spec: what they speak of.
            decoding: of heatmaps.
            sure: the score from which a box is somebody.
            path: of the checkpoint, for messages.

        Raises:
            UsageError: its answers speak of something else.
        """
        raise NotImplementedError


def told_spec(network: Network, spec: Spec | None, path: Path) -> Spec:
    """What the answers of a network that is saved speak of.

    Raises:
        UsageError: nobody says it.
    """
    if spec is None:
        raise UsageError(f"{path} would not say what the answers of {network.kind} mean.")
    return spec


def check_classes(count: int, labels: LabelSet, source: str) -> None:
    """See that a network tells as many classes apart as its label set has.

    Raises:
        UsageError: it does not; both numbers are named.
    """
    if count != len(labels):
        raise UsageError(
            f"{source} tells {count} classes apart, and its label set is {labels}.",
            "Give --labels the set that it was trained on: under other names every result would be wrong.",
        )


class ParsingNetwork(Network):
    """A human-parsing network: images in, class logits out.

    A network gives a feature to its ``head``, and the features in between to its ``auxiliary_heads``. Those exist
    only where they were asked for (training). ``backbone.conv1`` is the first convolution of all; the exporter
    turns its input channels round, so that BGR frames need no flip.
    """

    called = "a parsing network"
    auxiliary_weight: ClassVar[float]
    """Weight of each auxiliary head's loss."""
    spec_class: ClassVar[type[NetworkSpec]]

    spec: NetworkSpec
    backbone: Backbone
    head: nn.Module
    auxiliary_heads: nn.ModuleList | None

    def __init__(self, spec: NetworkSpec, auxiliary: bool = False) -> None:
        """
        Args:
            spec: an instance of ``spec_class``.
            auxiliary: with auxiliary heads.
        """
        super().__init__()
        self.spec = spec

    @property
    def first_convolution(self) -> nn.Conv2d:
        return self.backbone.conv1

    def tail(self, input_size: tuple[int, int], decoding: Decoding = LOGITS) -> Tail:
        return LabelTail(input_size)

    def to_run(self: AnyParsing) -> AnyParsing:
        copied = super().to_run()
        copied.auxiliary_heads = None
        return copied

    def meaning(self, spec: Spec | None, decoding: Decoding, sure: float | None, path: Path) -> JsonObject:
        spec = told_spec(self, spec, path)
        if not isinstance(spec, LabelSet):
            raise UsageError(f"{path} would tell classes apart, and was taught the joints of {spec.name}.")
        check_classes(self.spec.num_classes, spec, str(path))
        return {"label_set": spec.to_dict()}

    def features(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What the head reads, and what each auxiliary head reads."""
        raise NotImplementedError

    def forward(self, image: Tensor) -> Tensor:
        """Class logits at the input's size.

        Args:
            image: (N, 3, H, W) float, RGB, normalised; H and W at least 64.

        Returns:
            (N, num_classes, H, W) float.
        """
        height, width = int(image.shape[-2]), int(image.shape[-1])
        if min(height, width) < MINIMUM_INPUT:
            raise ValueError(f"input {height}x{width} is smaller than {MINIMUM_INPUT}x{MINIMUM_INPUT}")
        feature, _ = self.features(image)
        return resize_like(self.head(feature), height, width)

    def forward_coarse(self, image: Tensor) -> list[Tensor]:
        """For training: the logits of the head and of each auxiliary head, each at its own stride."""
        feature, others = self.features(image)
        logits = [self.head(feature)]
        if self.auxiliary_heads is not None:
            logits += [head(other) for head, other in zip(self.auxiliary_heads, others)]
        return logits
