"""Read checkpoints of finders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from ..errors import UsageError
from ..specs.decoding import SURE
from ..specs.label_set import LabelSet, label_set
from ..storage.json_types import JsonObject
from .checkpoint_file import fill, named, parse_header, read_tensors
from .finder import Finder
from .registry import FINDERS, create_finder
from .state_dict import StateDict
from .trained import Trained


def _person() -> LabelSet:
    return label_set("person")


@dataclass(frozen=True)
class FinderCheckpoint(Trained):
    """A finder with its weights; ``spec`` is nobody and somebody."""

    network: Finder
    spec: LabelSet = field(default_factory=_person)
    task: ClassVar[str] = "people"

    @property
    def options(self) -> JsonObject:
        return {**self.network.options, **({} if self.sure is None else {"sure": self.sure})}

    @property
    def properties(self) -> Mapping[str, str]:
        return {"network": self.network.kind, **({} if self.sure is None else {"sure": f"{self.sure:g}"})}

    def choosing(self, sure: float | None) -> FinderCheckpoint:
        """The same with a score from which a box is somebody: this one, else the file's, else the usual one."""
        return replace(self, sure=sure or self.sure or SURE)


def load_finder(path: Path) -> FinderCheckpoint:
    """Read a checkpoint as :func:`~trtparse.networks.checkpoint_file.save_checkpoint` writes it.

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
    sure = said.values.get("sure")
    if sure is not None and not (isinstance(sure, float) and 0 < sure < 1):
        raise UsageError(f"The header of {path} is damaged: sure is {sure!r}.", "Get the file again.")
    return FinderCheckpoint(
        network.eval(), said.framing, source=str(path), told=state.told, origin=said.origin, sure=sure
    )
