"""How label maps of LIP become those of another label set: what renders people knows LIP's classes.

The table stands in the set's own TOML file. It is needed only where label maps are made, so it does not travel with
the set::

    [from_lip]
    Hat = "Head"
    Glove = "ignore"        # such pixels count nowhere

A class that the table leaves out becomes the class of its own name, and LIP's background the set's.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..storage.json_types import ReadJson
from .label_set import LabelSet, label_set, label_set_path, read_toml

TABLE = "from_lip"

IGNORE_WORD = "ignore"
"""What a table says of a class whose pixels count nowhere."""

_NOWHERE = 255


@dataclass(frozen=True)
class Relabelling:
    """Which class of a label set each class of LIP becomes.

    Args:
        target: the label set.
        ids: of each of LIP's classes the id in ``target``, or 255 where its pixels count nowhere.
    """

    target: LabelSet
    ids: tuple[int, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """Classes of the set that nothing becomes: they never occur."""
        return tuple(name for number, name in enumerate(self.target.classes) if number not in self.ids)

    def table(self) -> NDArray[np.uint8]:
        """(256,) uint8: ``table()[labels]`` of a label map of LIP; 255 stays 255."""
        table = np.full(256, _NOWHERE, np.uint8)
        table[: len(self.ids)] = self.ids
        return table


def relabelling(word: str | Path) -> Relabelling:
    """What makes LIP's label maps into those of a label set.

    Args:
        word: of a set that comes along, or the path of a TOML file, as of :func:`~trtparse.specs.label_set.label_set`.

    Raises:
        UsageError: no such set; or its file does not say what each of LIP's classes becomes.
    """
    target = label_set(word)
    path = label_set_path(word)
    told = read_toml(path).get(TABLE, {})
    if not isinstance(told, Mapping):
        raise UsageError(f"{path}: {TABLE} is no table.", f'Write [{TABLE}] and lines such as Hat = "Head".')
    return from_lip(target, told, str(path))


def from_lip(target: LabelSet, told: ReadJson, source: str) -> Relabelling:
    """The relabelling that a table tells.

    Args:
        target: the label set.
        told: name of a class of LIP to name of a class of the set, or ``ignore``.
        source: where the table is from, for messages.

    Raises:
        UsageError: a name that is no class, or one of LIP's classes of which nothing is said.
    """
    lip = label_set("lip")
    for name in told:
        if name not in lip.classes:
            raise UsageError(f"{source}: LIP has no class {name!r}.{_near(name, lip)}", f"It has {_names(lip)}.")
    told = {lip.classes[0]: target.classes[0], **told}
    ids, silent = [], []
    for name in lip.classes:
        becomes = told.get(name, name)
        if becomes in target.classes:
            ids.append(target.id_of(becomes))
        elif becomes == IGNORE_WORD:
            ids.append(_NOWHERE)
        elif name in told:
            raise UsageError(
                f"{source}: {name} shall become {becomes!r}, no class of {target.name}.{_near(becomes, target)}",
                f'It has {_names(target)}; "{IGNORE_WORD}" is for pixels that count nowhere.',
            )
        else:
            silent.append(name)
    if silent:
        raise UsageError(
            f"{source} does not say what LIP's {', '.join(silent)} become in {target.name}.",
            f'Name each in its table [{TABLE}], such as {silent[0]} = "{target.classes[-1]}", or "{IGNORE_WORD}".',
        )
    return Relabelling(target, tuple(ids))


def _near(name: object, known: LabelSet) -> str:
    near = difflib.get_close_matches(str(name), known.classes, 1, 0.6)
    return f" Did you mean {near[0]}?" if near else ""


def _names(known: LabelSet) -> str:
    return ", ".join(known.classes)
