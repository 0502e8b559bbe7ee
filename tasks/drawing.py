"""What a person sees of a task's answers, frame by frame, and what of it is written down."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from ..data.crops import Placement
from ..data.dataset import Image
from ..storage.json_types import JsonObject
from .people.person import Person

OPACITY = 0.55
"""How far drawings cover the frame, unless somebody says otherwise."""

Answer = TypeVar("Answer")
AnySight = TypeVar("AnySight", bound="Sight")


@dataclass(frozen=True)
class Part:
    """Something that can be drawn or left out: a class, or a joint.

    Args:
        name: what it is called.
        colour: (red, green, blue), 0 to 255.
        kind: what it is one of, in the plural.
    """

    name: str
    colour: tuple[int, int, int]
    kind: str = "parts"


@dataclass(frozen=True)
class Flicker:
    """How much of what is shown changes from one frame to the next although the picture does not; 0 to 1.

    Args:
        before: of the answers as the network gave them.
        after: of what was drawn.
    """

    before: float
    after: float


@dataclass(frozen=True)
class Seen(Generic[Answer]):
    """What an engine found in one frame.

    Args:
        seconds: when the source showed it, from its first frame on.
        placements: where the network's frames lie in it.
        answers: of each of them, in its own pixels.
        people: whom each is about; None where the frame is one person's.
    """

    seconds: float
    placements: tuple[Placement, ...]
    answers: tuple[Answer, ...]
    people: tuple[Person, ...] | None = None


class Sight(ABC):
    """What is shown of a frame, in its pixels; nothing in it is written to afterwards."""

    ending: ClassVar[str]
    """Of its file."""

    @abstractmethod
    def file(self) -> bytes:
        """For other programs, whole."""

    @abstractmethod
    def told(self) -> JsonObject:
        """For a line of a record, in JSON's types."""

    @abstractmethod
    def shares(self) -> Mapping[int, float]:
        """How much there is of each part, by its number, 0 to 1; parts that are not there are left out."""


class Drawer(ABC, Generic[Answer, AnySight]):
    """Draws one frame of a run after the other."""

    @abstractmethod
    def look(self, frame: Image, seen: Seen[Answer]) -> AnySight:
        """Bring a frame's answers onto it, and keep still what stands still where that was asked for.

        Args:
            frame: (H, W, 3) uint8, BGR, not drawn on yet.
            seen: what was found in it.
        """

    @abstractmethod
    def draw(
        self,
        frame: Image,
        sight: AnySight,
        *,
        people: tuple[Person, ...] = (),
        hud: str = "",
        opacity: float | None = None,
        parts: frozenset[int] | None = None,
    ) -> None:
        """Draw on (H, W, 3) uint8, BGR, in place.

        Args:
            frame: that was looked at.
            sight: what was seen in it.
            people: who is marked.
            hud: a line for the upper right corner; none when empty.
            opacity: how far drawings cover the frame, 0 to 1; None for the usual.
            parts: numbers of those that are drawn and named; None for all.
        """

    @property
    def flicker(self) -> Flicker | None:
        """Of the frames so far; None where nothing was kept still."""
        return None
