"""A result says in itself what it was made from, so that it is neither made twice nor taken for another's.

The record lies in the file, of a label map in a tEXt chunk of its PNG: the network, how it was run, and the hash of the
photograph. It holds nothing that differs between machines or runs, so the bytes of a result do not either.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..engines import Bundle, Engine
from ..engines.bundle import GRAPHS, MANIFEST_NAME, WEIGHTS_NAME
from ..engines.open import graph_of
from ..errors import UsageError
from ..networks.weights import FINDER_GRAPH
from ..storage.json_types import JsonObject
from ..tasks.base import Task

_IN_THE_ORDER_TOLD = ("target", "precision", "arithmetic", "input_size", "graph", "method")
_METHOD = 1
"""Goes up when the same network on the same photograph gives other answers than before."""


@dataclass(frozen=True)
class MadeBy:
    """What answers depend on, besides the photograph.

    Args:
        graph: sha256 of the file that the engine runs.
        target: as the engine's.
        precision: as the engine's.
        input_size: (height, width) of the network's input.
        method: of everything around the network.
        arithmetic: what OpenVINO computes with between INT8 layers; empty for all else.
        people: sha256 of the detector's file or of the given boxes, where people came first; empty where photographs
            are of one person.
    """

    graph: str
    target: str
    precision: str
    input_size: tuple[int, int]
    method: int = _METHOD
    arithmetic: str = ""
    people: str = ""

    @classmethod
    def of(cls, bundle: Bundle, engine: Engine) -> MadeBy:
        """What an engine of a bundle makes."""
        if engine.target == "pytorch":
            name = WEIGHTS_NAME
        elif engine.target == "tensorrt":
            name = GRAPHS[engine.precision]
        else:
            name = GRAPHS[graph_of(engine.target, engine.precision)]
        digest = bundle.manifest.files[name]
        return cls(digest, engine.target, engine.precision, engine.input_size, arithmetic=engine.between)


def answer_file(task: Task[Any], answer: Any, made_by: MadeBy | None, photograph: str) -> bytes:
    """An answer as a file with its record; without one where ``made_by`` is None.

    Args:
        task: whose.
        answer: on the photograph.
        made_by: what it depends on.
        photograph: sha256 of the file.
    """
    if made_by is None:
        return task.encode(answer)
    return task.encode(answer, json.dumps(_record(made_by, photograph), sort_keys=True, separators=(",", ":")))


def _record(made_by: MadeBy, photograph: str) -> JsonObject:
    told = {**asdict(made_by), "input_size": list(made_by.input_size), "photograph": photograph}
    for later in ("arithmetic", "people"):
        if not told[later]:
            del told[later]  # as before it was told
    return told


def find_answer(data: bytes, task: Task[Any], made_by: MadeBy, photograph: str, path: str) -> Any | None:
    """The answer in a file that is there already, if it is what would be made now.

    Args:
        data: the file.
        task: whose.
        made_by: what would make it.
        photograph: sha256 of the photograph.
        path: for messages.

    Returns:
        None where the file is damaged, was written anew by another program, or was made from another state of the
        photograph.

    Raises:
        UsageError: it was made by something else, or does not say by what.
    """
    told, answer = task.decode(data, path)
    record: Any = None
    with contextlib.suppress(ValueError, RecursionError):
        record = None if told is None else json.loads(told)
    if isinstance(record, dict) and record.get("target") == "cpu":
        record["target"] = "onnxruntime"  # which it was called while it was the only one
    if not isinstance(record, dict):
        raise UsageError(
            f"{path} is there already and does not say what made it.",
            "Choose another output folder, or give --overwrite to replace it.",
        )
    expected = _record(made_by, photograph)
    if record.get("people", "") != made_by.people:
        was, now = (
            "people found first" if one else "one person each" for one in (record.get("people"), made_by.people)
        )
        raise UsageError(
            f"{path} was made of photographs with {was}, and now it is {now}."
            if was != now
            else f"{path} was made with another detector, or in other boxes.",
            "Choose another output folder, or give --overwrite to make it again.",
        )
    for field in _IN_THE_ORDER_TOLD:
        if record.get(field) != expected.get(field):
            raise UsageError(
                f"{path} was made with another {field.replace('_', ' ')}: "
                f"{_short(record.get(field))}, not {_short(expected.get(field))}.",
                "Choose another output folder, or give --overwrite to make it again.",
            )
    return answer if record == expected else None


def _short(value: Any) -> str:
    if isinstance(value, list):
        return "x".join(str(side) for side in value)
    text = str(value)
    return text[:12] if len(text) == 64 else text


def detector_digest(detector: Path | None) -> str:
    """sha256 of what finds people: a file, a bundle's manifest, or what comes along where it is None."""
    path = FINDER_GRAPH if detector is None else detector
    return hashlib.sha256((path / MANIFEST_NAME if path.is_dir() else path).read_bytes()).hexdigest()


def digest(photograph: bytes) -> str:
    """sha256 of a photograph's file."""
    return hashlib.sha256(photograph).hexdigest()
