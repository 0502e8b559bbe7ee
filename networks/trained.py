"""A network with its weights and what its file says about it, whatever it is for: what engines are made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, TypeVar

from ..specs.decoding import LOGITS, Decoding, refuse_sure
from ..specs.framing import Framing
from ..specs.origin import Origin
from ..specs.spec import Spec, spec_entry
from ..storage.json_types import JsonObject, ReadJson
from .checkpoint_file import save_checkpoint
from .network import Network

DEFAULT_INPUT_SIZE = (256, 192)
"""(height, width) where a foreign checkpoint does not say."""

Self = TypeVar("Self", bound="Trained")


@dataclass(frozen=True)
class Trained:
    """What every checkpoint answers; each kind of network has its own.

    Args:
        network: on the CPU, float32, in evaluation mode.
        framing: how it was trained to see images.
        spec: what its answers speak of.
        source: where it came from, for messages.
        told: which of several networks in the file it is; empty where there was but one.
        origin: what its weights come from.
        decoding: how its heatmaps become points, where it has some.
        sure: the score from which one of its boxes is somebody; None where nobody chose it, or it has none.
        int8: the ranges that it carries, learned together with its weights, as ``calibration.training.carried`` writes
            them; empty where it was not trained with INT8 in the loop.
    """

    network: Network
    framing: Framing
    spec: Spec
    source: str = ""
    told: str = ""
    origin: Origin = field(default_factory=Origin)
    decoding: Decoding = LOGITS
    sure: float | None = None
    int8: ReadJson = field(default_factory=dict)
    task: ClassVar[str]
    """What it is for, as manifests and graphs have it."""

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) it was trained at."""
        return self.framing.input_size

    @property
    def stretch(self) -> float:
        """How far images' shapes were changed to fill the input."""
        return self.framing.stretch

    @property
    def options(self) -> JsonObject:
        """What a manifest says of it: the network's options, and what its task goes by."""
        return self.network.options

    @property
    def properties(self) -> Mapping[str, str]:
        """What its graph's metadata says of its answers."""
        return {name: json.dumps(told) for name, told in spec_entry(self.spec).items()}

    def framed(self: Self, framing: Framing) -> Self:
        """The same, seeing images in another way."""
        return replace(self, framing=framing)

    def choosing(self: Self, sure: float | None) -> Self:
        """The same with a score from which a box is somebody; None leaves it to the file.

        Raises:
            UsageError: it finds nobody.
        """
        refuse_sure(sure, self.source)
        return self

    def save(self, path: Path) -> None:
        """Write it into a safetensors file, losslessly."""
        save_checkpoint(
            self.network,
            path,
            self.framing,
            self.spec,
            decoding=self.decoding,
            sure=self.sure,
            lossless=True,
            origin=self.origin,
            int8=self.int8,
        )
