"""Read checkpoints of finders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from ..errors import UsageError
from ..specs.decoding import LOGITS, SURE, Decoding
from ..specs.framing import Framing
from ..specs.label_set import LabelSet, label_set
from ..specs.origin import Origin
from ..storage.json_types import JsonObject, ReadJson
from .checkpoint import fill, named, parse_header, read_tensors, save_checkpoint
from .finder import Finder
from .registry import FINDERS, create_finder
from .state_dict import StateDict


@dataclass(frozen=True)
class FinderCheckpoint:
    """A finder with its weights, and what its file says about it.

    Args:
        network: on the CPU, float32, in evaluation mode.
        framing: how it was trained to see images.
        source: where it came from, for messages.
        sure: the score from which one of its boxes is somebody; None where nobody chose it.
        told: which of several networks in the file it is; empty where there was but one.
        origin: what its weights come from.
    """

    network: Finder
    framing: Framing
    source: str = ""
    sure: float | None = None
    told: str = ""
    origin: Origin = field(default_factory=Origin)
    task: ClassVar[str] = "people"
    decoding: ClassVar[Decoding] = LOGITS
    int8: ClassVar[ReadJson] = {}

    @property
    def spec(self) -> LabelSet:
        """Nobody and somebody."""
        return label_set("person")

    @property
    def options(self) -> JsonObject:
        """What a manifest says of it."""
        return {**self.network.options, **({} if self.sure is None else {"sure": self.sure})}

    @property
    def properties(self) -> Mapping[str, str]:
        """What its graph's metadata says of its answers."""
        return {"network": self.network.kind, **({} if self.sure is None else {"sure": f"{self.sure:g}"})}

    def framed(self, framing: Framing) -> FinderCheckpoint:
        """The same, seeing images in another way."""
        return replace(self, framing=framing)

    def choosing(self, sure: float | None) -> FinderCheckpoint:
        """The same with a score from which a box is somebody: this one, else the file's, else the usual one."""
        return replace(self, sure=sure or self.sure or SURE)

    def save(self, path: Path) -> None:
        """Write it into a safetensors file, losslessly."""
        save_checkpoint(self.network, path, self.framing, None, sure=self.sure, lossless=True, origin=self.origin)


def load_finder(path: Path) -> FinderCheckpoint:
    """Read a checkpoint as :func:`~trtparse.networks.checkpoint.save_checkpoint` writes it.

    Raises:
        UsageError: no such file, not a checkpoint of ours, or one of another network.
    """
    return parse_finder(*read_tensors(path), path)


def is_finder_checkpoint(header: str, path: Path) -> bool:
    """Whether a file that was read holds a finder."""
    return bool(header) and parse_header(header, path).kind in FINDERS


def parse_finder(header: str, state: StateDict, path: Path) -> FinderCheckpoint:
    """The checkpoint of a file that was read already; see :func:`load_finder`."""
    if not header:
        raise UsageError(f"{path} is no finder of trtparse.", "Name what trtparse train person-finder wrote.")
    said = parse_header(header, path)
    if said.kind not in FINDERS:
        raise UsageError(
            f"{path} holds {said.kind}, which finds nobody.", "Name what trtparse train person-finder wrote."
        )
    with named(path):
        network = create_finder(said.kind, said.options)
    fill(network, state.tensors, path, network.kind)
    origin = Origin(str(said.values.get("training_data", "")), str(said.values.get("licence", "")))
    sure = said.values.get("sure")
    if sure is not None and not (isinstance(sure, float) and 0 < sure < 1):
        raise UsageError(f"The header of {path} is damaged: sure is {sure!r}.", "Get the file again.")
    return FinderCheckpoint(network.eval(), said.framing, str(path), sure, state.told, origin)
