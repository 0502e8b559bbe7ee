"""Somebody in a frame: what a detector sees and a tracker follows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Person:
    """Somebody in a frame.

    Args:
        id: stays the same from frame to frame while the tracker follows them; 1 or more.
        box: left, top, right, bottom in pixels of the frame; right and bottom are outside.
        score: the detector's, 0..1, of the last frame in which it saw them.
    """

    id: int
    box: tuple[float, float, float, float]
    score: float


def instance_value(identity: int) -> int:
    """What stands for a person in a map of them: their id; modulo 255, plus 1, above 255."""
    return identity if identity <= 255 else identity % 255 + 1
