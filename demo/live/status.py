"""What the page tells in numbers and words, as JSON that a browser reads."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

import numpy as np

from ...specs.label_set import LabelSet
from ...tasks.parsing.legend import LEAST_SHARE, class_shares
from ..pacing import POLICIES
from ..parsed_frame import ParsedFrame
from .settings import Choice

_MOST_PEOPLE = 32  # told apart on the page; all of them are counted


def welcome(title: str, details: str, label_set: LabelSet) -> str:
    """Said once to each viewer: what is watched, and the parts there are."""
    parts = [
        {"id": index, "name": label_set.classes[index].replace("-", " "), "colour": label_set.colours[index]}
        for index in range(1, len(label_set))
    ]
    return _letter("welcome", title=title, details=details, classes=parts, policies=POLICIES)


def settings_letter(choice: Choice) -> str:
    """Said after every change."""
    return _letter("settings", opacity=choice.opacity, classes=sorted(choice.classes), policy=choice.policy)


def status_letter(
    frame: ParsedFrame | None, waited: float, people_so_far: int, dropped: int | None, label_set: LabelSet
) -> str:
    """Said four times a second.

    Args:
        frame: the newest; None before the first.
        waited: seconds since it came.
        people_so_far: how many different ones.
        dropped: frames that the source threw away; None where it does not say.
        label_set: of the label maps.
    """
    if frame is None:
        return _letter("status", waited=waited)
    shares = class_shares(frame.labels, len(label_set))
    seen = {int(index): float(shares[index]) for index in np.flatnonzero(shares >= LEAST_SHARE) if index}
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
        people=None if frame.instances is None else people,
        people_count=len(frame.people),
        people_so_far=people_so_far,
        classes=seen,
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
