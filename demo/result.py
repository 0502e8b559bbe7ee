"""What a run of the demo did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ..storage.json_types import JsonObject
from ..tasks.drawing import Flicker
from .parsed_frame import StageTimes

SCHEMA_VERSION = 2
"""1 had one flicker, of whatever task."""


@dataclass(frozen=True)
class DemoResult:
    """What a run did.

    Args:
        frames: how many were finished.
        seconds: from the first decoded frame to the last encoded one.
        fps: ``frames / seconds``, end to end.
        stages: the split.
        frames_missing: how many a file's header lists, or a folder holds, that could not be decoded.
        frames_dropped: how many the source left out because the pipeline could not follow.
        people: how many different people were followed; None where nobody was looked for.
        flicker: by the task's name, before and after smoothing in time, of what :attr:`Task.flicker_words` says; empty
            where there was none.
        stopped: whether a sink asked for the end before the source's.
        output: the file that the first sink with one makes.
        engine: the engine's name; of several all.
        precision: the engine's precision; of several all that there are.
        crowded: in how many frames more people were found than are parsed.
    """

    frames: int
    seconds: float
    fps: float
    stages: StageTimes
    frames_missing: int
    frames_dropped: int
    people: int | None
    flicker: Mapping[str, Flicker]
    stopped: bool
    output: Path | None
    engine: str
    precision: str
    crowded: int = 0

    def to_dict(self) -> JsonObject:
        """As JSON takes it, with a schema version."""
        output = None if self.output is None else str(self.output)
        return {"schema_version": SCHEMA_VERSION, **asdict(self), "output": output}
