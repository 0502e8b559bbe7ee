"""A label set: the classes of label maps, their colours, and which of them change places in a mirror.

Label sets are data. Those that come along are TOML files beside this module (``labels/*.toml``); ``--labels my.toml``
names one of your own. A set travels by value, in checkpoints, graphs, bundles and reports, so a file of it is needed
only where a network is trained or a graph of somebody else comes in.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..storage.json_types import JsonObject, ReadJson
from .skeleton import Skeleton

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).with_name("labels")

MOST_CLASSES = 255
"""Ids are one byte, and one value has to be left for pixels that count nowhere."""

_OUTSIDE = 128
"""Grey of ids that are no class, in drawings: not to be mistaken for background, which is black."""


@dataclass(frozen=True)
class LabelSet:
    """The classes of label maps, by id.

    Args:
        name: what people call it ("LIP-20").
        classes: names by id, no two alike. The first one is the background, which is never drawn.
        colours: of each class, (red, green, blue) from 0 to 255.
        flip_pairs: names of the classes that change places when an image is mirrored. Left and right are the
            person's own.
        rare: names of the classes that cover little of a person; training may weigh them more.
        ignore: the value of pixels that count nowhere, neither in a loss nor in a metric; no class's id.

    Raises:
        UsageError: values that do not belong together; says which.
    """

    name: str
    classes: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    flip_pairs: tuple[tuple[str, str], ...] = ()
    rare: tuple[str, ...] = ()
    ignore: int = 255

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise UsageError(f"The label set {self.name or '(without a name)'}: {problem}.", "Correct its TOML file.")

    def __len__(self) -> int:
        return len(self.classes)

    def __str__(self) -> str:
        return f"{self.name} ({len(self)} classes)"

    @property
    def digest(self) -> str:
        """sha256 of all of it: two sets with the same one mean the same by every pixel."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    def id_of(self, name: str) -> int:
        """The id of a class.

        Raises:
            UsageError: there is none of the name; names those there are.
        """
        if name not in self.classes:
            raise UsageError(f"{self.name} has no class {name!r}.", f"It has {', '.join(self.classes)}.")
        return self.classes.index(name)

    def names(self, ids: Iterable[int]) -> tuple[str, ...]:
        """The names of some classes, in the order of ``ids``."""
        return tuple(self.classes[number] for number in ids)

    def flip_table(self) -> NDArray[np.uint8]:
        """The look-up table that swaps left and right classes.

        Returns:
            (256,) uint8; ``flip_table()[labels]`` renames the classes of an already mirrored label map, and
            ``flip_table()[:len(self)]`` is the order of the channels of mirrored logits.
        """
        table = np.arange(256, dtype=np.uint8)
        for one, other in self.flip_pairs:
            left, right = self.id_of(one), self.id_of(other)
            table[left], table[right] = right, left
        return table

    def palette_bgr(self) -> NDArray[np.uint8]:
        """The colours as a look-up table.

        Returns:
            (256, 3) uint8, BGR. Ids that are no class are mid grey.
        """
        table = np.full((256, 3), _OUTSIDE, np.uint8)
        table[: len(self)] = np.asarray(self.colours, np.uint8)[:, ::-1]
        return table

    def to_dict(self) -> JsonObject:
        """The set in JSON's types."""
        return {
            "name": self.name,
            "classes": list(self.classes),
            "colours": [list(colour) for colour in self.colours],
            "flip_pairs": [list(pair) for pair in self.flip_pairs],
            "rare": list(self.rare),
            "ignore": self.ignore,
        }

    @classmethod
    def from_dict(cls, values: ReadJson, source: str = "") -> LabelSet:
        """The inverse of :meth:`to_dict`.

        Args:
            values: its document.
            source: the file that it is from, for messages.

        Raises:
            UsageError: an unknown or a missing entry, or one of another type; or as the constructor.
        """
        where = f"{source}: " if source else ""
        hint = "See docs/adding-a-label-set.md."
        if not isinstance(values, Mapping):
            raise UsageError(f"{where}a label set is a table, not {values!r}.", hint)
        unknown = set(values) - set(cls.__dataclass_fields__)
        if unknown:
            raise UsageError(f"{where}a label set has no {', '.join(sorted(map(str, unknown)))}.", hint)
        try:
            return cls(
                name=str(values["name"]),
                classes=_words(values["classes"], "classes"),
                colours=tuple(_colour(colour) for colour in values["colours"]),
                flip_pairs=tuple(_pair(pair) for pair in values.get("flip_pairs", ())),
                rare=_words(values.get("rare", ()), "rare"),
                ignore=_whole(values.get("ignore", 255), "ignore"),
            )
        except KeyError as error:
            raise UsageError(f"{where}a label set needs {error.args[0]}.", hint) from error
        except (TypeError, ValueError) as error:
            raise UsageError(f"{where}{error}.", hint) from error

    def _problem(self) -> str:
        """What is wrong with the values; empty where they belong together."""
        known = set(self.classes)
        if not 2 <= len(self.classes) <= MOST_CLASSES:
            return f"it has {len(self.classes)} classes; 2 to {MOST_CLASSES} are possible"
        if len(known) < len(self.classes):
            twice = next(name for name in self.classes if self.classes.count(name) > 1)
            return f"two classes are called {twice!r}"
        if not self.name.strip() or not all(name.strip() for name in self.classes):
            return "it or one of its classes has no name"
        if len(self.colours) != len(self.classes):
            return f"it has {len(self.classes)} classes and {len(self.colours)} colours"
        for name, colour in zip(self.classes, self.colours):
            if len(colour) != 3 or not all(0 <= value <= 255 for value in colour):
                return f"the colour of {name} is {list(colour)}; it takes red, green and blue, each from 0 to 255"
        paired = [name for pair in self.flip_pairs for name in pair]
        for name in (*paired, *self.rare):
            if name not in known:
                return f"it pairs or calls rare a class {name!r} that it does not have"
        if len(set(paired)) < len(paired):
            return "a class stands in two of its flip pairs, or is its own partner"
        if not len(self.classes) <= self.ignore <= 255:
            return f"ignore is {self.ignore}; it lies above the last class and is at most 255"
        return ""


def label_set(word: str | Path) -> LabelSet:
    """A label set that comes along, by its word ("lip"), or one of your own, by the path of its TOML file.

    Raises:
        UsageError: neither; names those that come along. Or a file that is no label set.
    """
    shipped = label_sets()
    return shipped[str(word)] if str(word) in shipped else read_label_set(label_set_path(word))


def label_set_path(word: str | Path) -> Path:
    """The file of a label set; arguments as of :func:`label_set`.

    Raises:
        UsageError: there is none; names those that come along.
    """
    shipped = label_sets()
    path = FOLDER / f"{word}.toml" if str(word) in shipped else Path(word)
    if not path.is_file():
        raise UsageError(
            f"There is no label set {str(word)!r}, and no file of that name.",
            f"Choose of {', '.join(shipped)}, or name a TOML file: docs/adding-a-label-set.md.",
        )
    return path


@lru_cache(maxsize=1)
def label_sets() -> dict[str, LabelSet]:
    """The label sets that come along, by their words."""
    return {path.stem: read_label_set(path) for path in sorted(FOLDER.glob("*.toml"))}


def read_label_set(path: Path) -> LabelSet:
    """Read a label set from a TOML file; what the file says of other sets (:mod:`.relabelling`) is no part of it.

    Raises:
        UsageError: it cannot be read, is no TOML, or is no label set.
    """
    values = {key: value for key, value in read_toml(path).items() if key != "from_lip"}
    return LabelSet.from_dict(_by_columns(values), str(path))


def read_toml(path: Path) -> ReadJson:
    """What the file of a label set says.

    Raises:
        UsageError: it cannot be read, or is no TOML.
    """
    try:
        values: ReadJson = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} is no label set that can be read: {error}.", "Check the file.") from error
    return values


def told_label_set(told: Any, source: str) -> LabelSet:
    """The label set that a file tells of itself.

    Args:
        told: its document; or the names of its classes alone, as files of older versions have them, which were LIP's.
        source: the file, for messages.

    Raises:
        UsageError: no label set, or the names of another than LIP's.
    """
    if isinstance(told, Mapping):
        return LabelSet.from_dict(told, source)
    lip = label_set("lip")
    if not isinstance(told, (list, tuple)) or tuple(told) != lip.classes:
        raise UsageError(f"{source} tells no label set that is known.", "Build it again, with --labels.")
    return lip


def check_same(one: LabelSet | Skeleton, whose: str, other: LabelSet | Skeleton, whose_other: str) -> None:
    """See that two things speak of the same classes or joints, before they are compared, taught or mixed.

    Args:
        one, other: their label sets or skeletons.
        whose, whose_other: what they are of, for the message ("the student", "teacher.pth").

    Raises:
        UsageError: they differ; names both, and the first class that differs.
    """
    if one == other:
        return
    if not isinstance(one, LabelSet) or not isinstance(other, LabelSet):
        raise UsageError(
            f"{whose} speaks of {one}, and {whose_other} of {other}.",
            "Only what speaks of the same can be compared, taught or mixed.",
        )
    differing = next(
        (
            f"; id {number} is {mine} in one and {theirs} in the other"
            for number, (mine, theirs) in enumerate(zip(one.classes, other.classes))
            if mine != theirs
        ),
        "",
    )
    raise UsageError(
        f"{whose} has the label set {one}, and {whose_other} has {other}{differing}.",
        "Only what speaks of the same classes can be compared, taught or mixed.",
    )


def _by_columns(values: ReadJson) -> ReadJson:
    """TOML has a class with its colour in a row, ``classes = [{name = "Hat", colour = [128, 0, 0]}, ...]``."""
    rows = values.get("classes")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return values
    return {
        **values,
        "classes": [row.get("name", "") for row in rows],
        "colours": [row.get("colour", ()) for row in rows],
    }


def _words(values: Any, what: str) -> tuple[str, ...]:
    if not isinstance(values, (list, tuple)) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{what} must be a list of names, not {values!r}")
    return tuple(values)


def _pair(value: Any) -> tuple[str, str]:
    names = _words(value, "a flip pair")
    if len(names) != 2:
        raise ValueError(f"a flip pair names two classes, not {list(names)}")
    return names[0], names[1]


def _colour(value: Any) -> tuple[int, int, int]:
    if not isinstance(value, (list, tuple)) or len(value) != 3:
        raise ValueError(f"a colour is [red, green, blue], not {value!r}")
    red, green, blue = (_whole(part, "a colour's part") for part in value)
    return red, green, blue


def _whole(value: Any, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{what} must be a whole number, not {value!r}")
    return value
