"""A network with its weights and what its file says about it, whatever it is for: what engines are made of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from ..specs.decoding import Decoding
from ..specs.framing import Framing
from ..specs.origin import Origin
from ..specs.spec import Spec
from ..storage.json_types import JsonObject, ReadJson
from .network import Network


class Trained(Protocol):
    """What every checkpoint answers; each kind of network has its own."""

    @property
    def task(self) -> str:
        """What it is for, as manifests and graphs have it."""

    @property
    def network(self) -> Network:
        """On the CPU, float32, in evaluation mode."""

    @property
    def framing(self) -> Framing:
        """How it was trained to see images."""

    @property
    def spec(self) -> Spec:
        """What its answers speak of."""

    @property
    def decoding(self) -> Decoding:
        """How its heatmaps become points, where it has some."""

    @property
    def options(self) -> JsonObject:
        """What a manifest says of it: the network's options, and what its task goes by."""

    @property
    def properties(self) -> Mapping[str, str]:
        """What its graph's metadata says of its answers."""

    @property
    def origin(self) -> Origin:
        """What its weights come from."""

    @property
    def told(self) -> str:
        """Which of several networks in the file it is; empty where there was but one."""

    @property
    def int8(self) -> ReadJson:
        """The ranges that it carries; mostly empty."""

    def framed(self, framing: Framing) -> Trained:
        """The same, seeing images in another way."""

    def choosing(self, sure: float | None) -> Trained:
        """The same with a score from which a box is somebody; None leaves it to the file.

        Raises:
            UsageError: it finds nobody.
        """

    def save(self, path: Path) -> None:
        """Write it into a safetensors file, losslessly."""
