"""What the page tells in numbers and words, as JSON that a browser reads."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ...tasks.drawing import Part
from ..pacing import POLICIES
from ..parsed_frame import ParsedFrame
from .settings import Choice

_MOST_PEOPLE = 32  # told apart on the page; all of them are counted


def welcome(title: str, details: str, parts: Mapping[int, Part]) -> str:
    """Said once to each viewer: what is watched, and the parts there are."""
    told = [
        {"id": number, "name": re.sub("[-_]", " ", part.name), "colour": part.colour, "kind": part.kind}
        for number, part in parts.items()
    ]
    return _letter("welcome", title=title, details=details, classes=told, policies=POLICIES)


def settings_letter(choice: Choice) -> str:
    """Said after every change."""
    return _letter("settings", opacity=choice.opacity, classes=sorted(choice.classes), policy=choice.policy)


def status_letter(frame: ParsedFrame | None, waited: float, people_so_far: int, dropped: int | None) -> str:
    """Said four times a second.

    Args:
        frame: the newest; None before the first.
        waited: seconds since it came.
        people_so_far: how many different ones.
        dropped: frames that the source threw away; None where it does not say.
    """
    if frame is None:
        return _letter("status", waited=waited)
    people = [{"id": person.id, "score": _finite(person.score)} for person in frame.people[:_MOST_PEOPLE]]
    return _letter(
        "status",
        number=frame.number,
        seconds=_finite(frame.seconds),
        waited=waited,
        fps=_finite(frame.fps),
        stages={name: _finite(value) for name, value in asdict(frame.stages).items()},
        size=[frame.drawn.shape[1], frame.drawn.shape[0]],
        # None where nobody was looked for: the frame is one person's.
        people=people if frame.looked_for else None,
        people_count=len(frame.people),
        people_so_far=people_so_far,
        classes=frame.shares(),
        dropped=dropped,
    )


def notice_letter(text: str) -> str:
    """Something that happened, as a source that connects again."""
    return _letter("notice", text=text)


def ended_letter(text: str) -> str:
    """No more frames will come."""
    return _letter("ended", text=text)


def refused_letter(text: str) -> str:
    """To one viewer, whose request was not met."""
    return _letter("refused", text=text)


def _letter(kind: str, **content: Any) -> str:
    return json.dumps({"kind": kind, **content}, allow_nan=False)


def _finite(value: float) -> float:
    return float(value) if math.isfinite(value) else 0.0
