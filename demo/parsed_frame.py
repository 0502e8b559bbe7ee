"""What is known about a frame once it has been parsed and drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..data.dataset import Image, LabelMap
from ..tasks.people.person import Person


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
        labels: (H, W) uint8, ids of LIP-20.
        people: those who were found; empty where the whole frame was parsed as one person.
        instances: (H, W) uint8, 0 or the id of the person (modulo 255, plus 1, above 255); None where ``people``
            is empty because nobody was looked for.
        fps: frames per second of the pipeline, over the last half second.
        stages: the same, per stage.
    """

    number: int
    seconds: float
    drawn: Image
    labels: LabelMap
    people: tuple[Person, ...]
    instances: NDArray[np.uint8] | None
    fps: float
    stages: StageTimes
