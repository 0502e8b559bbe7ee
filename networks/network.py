"""What all parsing networks have in common."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeAlias, TypeVar

from torch import Tensor, nn

from ..errors import UsageError
from .efficientnet import EfficientNetLite
from .layers import resize_like
from .mobilenet import MobileNetV2
from .resnet import ResNet

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

    def to_dict(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls: type[SpecT], options: Mapping[str, Any]) -> SpecT:
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


class ParsingNetwork(nn.Module):
    """A human-parsing network: images in, class logits out.

    A network gives a feature to its ``head``, and the features in between to its ``auxiliary_heads``. Those exist
    only where they were asked for (training). ``backbone.conv1`` is the first convolution of all; the exporter
    turns its input channels round, so that BGR frames need no flip.
    """

    kind: ClassVar[str]
    """The network's name in checkpoints, bundles and recipes."""
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
