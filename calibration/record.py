"""How far a calibration has come, on disk: a killed one goes on from there."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..storage.files import replace_bytes


@dataclass
class State:
    """What a calibration has seen so far.

    Args:
        low: smallest value per activation; empty before the first image.
        high: largest value per activation; likewise.
        digests: image name to the digest of its frame, of the first pass.
        skipped: image name to the reason, of images that could not be read.
        black: every frame so far is black all over.
        counted: images of the second pass.
        counts: (activations, bins) of the second pass; empty before it.
    """

    low: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    high: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    digests: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    black: bool = True
    counted: int = 0
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0), np.int64))


def fingerprint(parts: Mapping[str, object]) -> str:
    """sha256 of what a calibration was begun with."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def write_record(path: Path, begun_with: str, state: State) -> None:
    """Write the state in one step.

    Raises:
        UsageError, MachineError: ``path`` cannot be written.
    """
    facts = {
        "begun_with": begun_with,
        "digests": state.digests,
        "skipped": state.skipped,
        "black": state.black,
        "counted": state.counted,
    }
    buffer = io.BytesIO()
    text = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    np.savez(buffer, facts=text, low=state.low, high=state.high, counts=state.counts)
    replace_bytes(path, buffer.getvalue())


def read_record(path: Path, begun_with: str) -> State | None:
    """The state that :func:`write_record` wrote; None where there is none, or one of another calibration.

    A record of another calibration is passed over and written anew: whoever stops a run does so to change an option.

    Raises:
        UsageError: ``path`` is something else, which is not to be written over.
    """
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            facts = json.loads(arrays["facts"].tobytes())
            if facts.pop("begun_with") != begun_with:
                return None
            return State(arrays["low"], arrays["high"], counts=arrays["counts"], **facts)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise UsageError(
            f"{path} is no record of a calibration.", "Delete it to start again, or name another file."
        ) from error
