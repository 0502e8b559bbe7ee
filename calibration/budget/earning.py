"""Which layers are faster in INT8? Measured on the GPU that they will run on, where there is one.

What is slower in INT8 and less exact besides has no place in it, budget or not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import onnx

from ...engines.calibrated import Timed
from ...storage.files import replace_bytes
from ...storage.json_types import ReadJson
from ..quantise.placement import Placement, restrict

_REASON = "slower in INT8 than in FP16, as timed on this GPU"


@dataclass(frozen=True)
class Savings:
    """What INT8 saves on a GPU.

    Args:
        layers: milliseconds that each saves in INT8; below 0 where INT8 is slower.
        int8, fp16: milliseconds of a call of the two graphs.
        gpu: on which.
        untimed: layers that no engine names; what stands for them in ``layers`` is an estimate.
    """

    layers: Mapping[str, float]
    int8: float
    fp16: float
    gpu: str = ""
    untimed: tuple[str, ...] = ()


class LayerTimer(Protocol):
    """Builds engines of graphs that are typed as they are to run, and times them."""

    def savings(self, layers: Collection[str], int8: onnx.ModelProto, half: onnx.ModelProto) -> Savings | None:
        """What each of the named layers saves; None where that cannot be told, which the timer says itself."""
        ...

    def milliseconds(self, int8: onnx.ModelProto) -> float | None:
        """Of a call of a graph; None where that cannot be told, which the timer says itself."""
        ...


@dataclass(frozen=True)
class Earned:
    """The layers that earn their place.

    Args:
        placement: of those alone.
        savings: what was measured.
        slower: layers that went back to FP16 for their time.
        milliseconds: of a call without them; None where none went, or where that made nothing faster.
    """

    placement: Placement
    savings: Savings
    slower: tuple[str, ...] = ()
    milliseconds: float | None = None

    def to_dict(self) -> Timed:
        """For the manifest, in JSON's types."""
        return {
            "int8": self.savings.int8,
            "fp16": self.savings.fp16,
            "gpu": self.savings.gpu,
            "slower": list(self.slower),
            "without_slower": self.milliseconds,
            "saved": {name: round(value, 6) for name, value in self.savings.layers.items()},
            "untimed": list(self.savings.untimed),
        }


def earn_place(
    placement: Placement,
    half: onnx.ModelProto,
    typed: Callable[[Placement], onnx.ModelProto],
    timer: LayerTimer,
    record: Path | None = None,
) -> Earned | None:
    """Time INT8 and FP16, and give back what INT8 makes slower, where the whole is faster without it.

    Args:
        placement: of all that may be in INT8.
        half: the FP16 graph.
        typed: makes the INT8 graph of a placement, typed as it is to run.
        timer: of this GPU.
        record: file with what was timed; a killed build takes it, so that its search goes on with the same layers.

    Returns:
        None where nothing could be timed.
    """
    whole = typed(placement)
    key = hashlib.sha256(whole.SerializeToString(deterministic=True)).hexdigest()
    told = _read(record, key)
    if told is None:
        savings = timer.savings(placement.layers, whole, half)
        if savings is None:
            return None
        slower = tuple(name for name in placement.layers if savings.layers.get(name, 0.0) < 0)
        rest = [name for name in placement.layers if name not in slower]
        lean = restrict(placement, rest, _REASON)
        # One layer more in FP16 is one more place where precision changes: only the whole tells.
        faster = timer.milliseconds(typed(lean)) if slower and lean.weights else None
        if faster is None or faster >= savings.int8:
            slower, faster = (), None
        told = {"savings": asdict(savings), "slower": slower, "milliseconds": faster}
        if record is not None:
            replace_bytes(record, json.dumps({"key": key, **told}).encode())
    savings = Savings(**{**told["savings"], "untimed": tuple(told["savings"]["untimed"])})
    slower = tuple(told["slower"])
    kept = restrict(placement, [n for n in placement.layers if n not in slower], _REASON) if slower else placement
    return Earned(kept, savings, slower, told["milliseconds"])


def _read(record: Path | None, key: str) -> ReadJson | None:
    """What was timed of the same graph before."""
    if record is None:
        return None
    try:
        told = json.loads(record.read_text())
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) and told.pop("key", None) == key else None
