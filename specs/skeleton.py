"""Which joints a pose has: their names, what a mirror swaps, what is drawn, and how COCO's metric tolerates errors.

    name = "coco17"
    flip = [["left_eye", "right_eye"]]
    limbs = [["nose", "left_eye"]]
    [[joints]]
    name = "nose"
    colour = [255, 0, 0]
    sigma = 0.026

Joints are named, never numbered, so that a file cannot point past the end and reads without counting.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..storage.json_types import JsonObject, ReadJson

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SCHEMA = 1

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Skeleton:
    """The joints of a pose, in the order of a network's channels.

    Args:
        name: for messages, such as ``coco17``.
        joints: names, each once.
        flip: pairs of joints that a mirror swaps; the others stay.
        limbs: pairs of joints that are drawn as a line.
        colours: of each joint, RGB, 0 to 255.
        sigmas: of each joint, as in COCO's object keypoint similarity: the standard deviation of where people put it,
            in square roots of the person's area.

    Raises:
        UsageError: a value that cannot be; the message names it.
    """

    name: str
    joints: tuple[str, ...]
    flip: tuple[tuple[str, str], ...]
    limbs: tuple[tuple[str, str], ...]
    colours: tuple[Colour, ...]
    sigmas: tuple[float, ...]

    def __post_init__(self) -> None:
        _check_joints(self.name, self.joints)
        for pair in self.flip:
            _check_pair(self.name, "flip pair", pair, self.joints)
        swapped = [joint for pair in self.flip for joint in pair]
        for joint in swapped:
            if swapped.count(joint) > 1:
                raise _wrong(self.name, f"{joint} is in two flip pairs", "Name each joint in one pair at most.")
        for pair in self.limbs:
            _check_pair(self.name, "limb", pair, self.joints)
        for what, values in (("colours", self.colours), ("sigmas", self.sigmas)):
            if len(values) != len(self.joints):
                count = f"{len(values)} {what} for {len(self.joints)} joints"
                raise _wrong(self.name, f"there are {count}", "Give one a joint.")
        for joint, colour in zip(self.joints, self.colours):
            if len(colour) != 3 or not all(type(part) is int and 0 <= part <= 255 for part in colour):
                what = f"the colour of {joint} is {list(colour)}"
                raise _wrong(self.name, what, "Give red, green and blue as whole numbers from 0 to 255.")
        for joint, sigma in zip(self.joints, self.sigmas):
            if not (math.isfinite(sigma) and 0 < sigma < 1):
                raise _wrong(self.name, f"the sigma of {joint} is {sigma}", "Sigmas lie between 0 and 1; COCO's do.")

    def __str__(self) -> str:
        return f"{self.name} ({len(self)} joints)"

    @property
    def digest(self) -> str:
        """sha256 of all of it."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.joints)

    def index(self, joint: str) -> int:
        """The channel of a joint.

        Raises:
            UsageError: there is none of that name.
        """
        if joint not in self.joints:
            raise UsageError(f"The skeleton {self.name} has no joint {joint!r}.", _near(joint, self.joints))
        return self.joints.index(joint)

    @property
    def flip_order(self) -> tuple[int, ...]:
        """For each joint the one that has its place in a mirror image: itself, or its partner."""
        partner = {a: b for pair in self.flip for a, b in (pair, pair[::-1])}
        return tuple(self.joints.index(partner.get(joint, joint)) for joint in self.joints)

    @property
    def limb_indices(self) -> tuple[tuple[int, int], ...]:
        """The limbs as pairs of channels."""
        return tuple((self.joints.index(a), self.joints.index(b)) for a, b in self.limbs)

    def channels_in(self, other: Skeleton) -> tuple[int, ...]:
        """Where each of these joints is among those of another skeleton.

        Raises:
            UsageError: one is missing there; the message names both skeletons.
        """
        missing = [joint for joint in self.joints if joint not in other.joints]
        if missing:
            raise UsageError(
                f"{other.name} has no {', '.join(missing)}, which {self.name} has.",
                "Two skeletons go together where all joints of one are in the other, under the same names.",
            )
        return tuple(other.joints.index(joint) for joint in self.joints)

    def to_dict(self) -> JsonObject:
        """As JSON and TOML have it."""
        joints = [
            {"name": name, "colour": list(colour), "sigma": sigma}
            for name, colour, sigma in zip(self.joints, self.colours, self.sigmas)
        ]
        pairs = {"flip": [list(pair) for pair in self.flip], "limbs": [list(pair) for pair in self.limbs]}
        return {"schema": SCHEMA, "name": self.name, **pairs, "joints": joints}

    @classmethod
    def from_dict(cls, values: ReadJson) -> Skeleton:
        """Read what :meth:`to_dict` gives.

        Raises:
            UsageError: something is missing, unknown or impossible.
        """
        name = values.get("name", "") if isinstance(values, Mapping) else ""
        if not isinstance(name, str) or not name:
            raise UsageError("The skeleton has no name.", "It is a table with name, flip, limbs and joints.")
        if values.get("schema", SCHEMA) != SCHEMA:
            raise _wrong(name, f"it is of schema {values['schema']!r}", f"This version reads schema {SCHEMA}.")
        unknown = [key for key in values if key not in ("schema", "name", "flip", "limbs", "joints")]
        if unknown:
            raise _wrong(name, f"{unknown[0]!r} is unknown", _near(unknown[0], ("name", "flip", "limbs", "joints")))
        joints = values.get("joints")
        if not isinstance(joints, Sequence) or isinstance(joints, str):
            raise _wrong(name, "it has no list of joints", "Add [[joints]] tables, each with name, colour and sigma.")
        names, colours, sigmas = [], [], []
        for number, joint in enumerate(joints, 1):
            if not isinstance(joint, Mapping) or set(joint) != {"name", "colour", "sigma"}:
                raise _wrong(name, f"joint {number} is {joint!r}", "A joint is a table of name, colour and sigma.")
            names.append(joint["name"])
            colours.append(_colour(name, joint["name"], joint["colour"]))
            sigmas.append(_number(name, joint["name"], joint["sigma"]))
        flip, limbs = (_pairs(name, key, values.get(key, [])) for key in ("flip", "limbs"))
        return cls(name, tuple(names), flip, limbs, tuple(colours), tuple(sigmas))

    def to_json(self) -> str:
        """One line, the same for equal skeletons."""
        return json.dumps(self.to_dict(), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Skeleton:
        """Read what :meth:`to_json` gives.

        Raises:
            UsageError: no JSON, or as :meth:`from_dict`.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise UsageError(f"The skeleton is not JSON: {error}.", "The file that holds it is damaged.") from error
        return cls.from_dict(values)


def shipped_skeletons() -> dict[str, Path]:
    """The skeletons that come along, by name."""
    folder = Path(__file__).parent / "skeletons"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_skeleton(name: str | Path) -> Skeleton:
    """Read a skeleton.

    Args:
        name: of one that comes along, or of a TOML file.

    Raises:
        UsageError: no such file, no TOML, or as :meth:`Skeleton.from_dict`.
    """
    known = shipped_skeletons()
    path = known.get(str(name), Path(name))
    try:
        return Skeleton.from_dict(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        hint = f"Name a TOML file, or one of those that come along: {', '.join(known)}."
        raise UsageError(f"There is no skeleton {name}.", hint) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}.", "A skeleton is a TOML file.") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}.", "See https://toml.io for the notation.") from error


def _check_joints(skeleton: str, joints: tuple[str, ...]) -> None:
    if not joints:
        raise _wrong(skeleton, "it has no joints", "Name at least one.")
    for joint in joints:
        if not isinstance(joint, str) or not joint:
            raise _wrong(skeleton, f"a joint's name is {joint!r}", "Names are words, such as left_elbow.")
        if joints.count(joint) > 1:
            raise _wrong(skeleton, f"two joints are named {joint}", "Give each its own name.")


def _check_pair(skeleton: str, what: str, pair: tuple[str, ...], joints: tuple[str, ...]) -> None:
    if len(pair) != 2 or pair[0] == pair[1]:
        raise _wrong(skeleton, f"{list(pair)} is no {what}", "It takes two different joints.")
    for joint in pair:
        if joint not in joints:
            raise _wrong(skeleton, f"the {what} {list(pair)} names {joint!r}, which is no joint", _near(joint, joints))


def _pairs(skeleton: str, key: str, values: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(values, (list, tuple)) or not all(isinstance(pair, (list, tuple)) for pair in values):
        raise _wrong(skeleton, f"{key} is {values!r}", "It is a list of pairs of joints.")
    # A pair of another length is refused with the others, where a Skeleton is made.
    return tuple(tuple(pair) for pair in values)


def _colour(skeleton: str, joint: str, value: Any) -> Colour:
    if not isinstance(value, (list, tuple)):
        raise _wrong(skeleton, f"the colour of {joint} is {value!r}", "It is a list of red, green and blue, 0 to 255.")
    return tuple(value)


def _number(skeleton: str, joint: str, value: Any) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise _wrong(skeleton, f"the sigma of {joint} is {value!r}", "It is a number, such as 0.079.")
    return float(value)


def _near(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(str(word), known, 1, 0.5)
    return f"Did you mean {near[0]}?" if near else f"There are {', '.join(known)}."


def _wrong(skeleton: str, what: str, hint: str) -> UsageError:
    return UsageError(f"The skeleton {skeleton} cannot be: {what}.", hint)
