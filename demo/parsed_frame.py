"""What is known about a frame once it has been parsed and drawn."""

from __future__ import annotations

from dataclasses import dataclass

from ..data.dataset import Image
from ..tasks.drawing import Sight
from ..tasks.people.person import Person
from .layers import Layer


@dataclass(frozen=True)
class StageTimes:
    """Milliseconds per frame that each stage worked, its waiting left out; the stages overlap."""

    decode: float
    preprocess: float
    infer: float
    overlay: float
    encode: float


@dataclass(frozen=True)
class ParsedFrame:
    """One frame as the sinks and records see it; nothing in it is written to afterwards.

    Args:
        number: from 0, of the frames that were parsed.
        seconds: when the source showed it, from its first frame on.
        drawn: (H, W, 3) uint8, BGR, with the overlay.
        layers: what is drawn over one another, the lowest first.
        sights: what is shown of each.
        people: those who were found; empty where the whole frame was taken for one person's.
        looked_for: whether people were looked for.
        fps: frames per second of the pipeline, over the last half second.
        stages: the same, per stage.
    """

    number: int
    seconds: float
    drawn: Image
    layers: tuple[Layer, ...]
    sights: tuple[Sight, ...]
    people: tuple[Person, ...]
    looked_for: bool
    fps: float
    stages: StageTimes

    def shares(self) -> dict[int, float]:
        """How much there is of each part, 0 to 1, by its number among all layers' parts."""
        found = [layer.shares(sight) for layer, sight in zip(self.layers, self.sights)]
        return {number: share for shares in found for number, share in shares.items()}
