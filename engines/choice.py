"""Which CPU runtime is the faster one: measured once for a graph on a machine, and noted in the bundle.

Kernels fit one processor better than another, so no table says it: both run for half a second each, one after the
other, as the threads of a runtime go on spinning and would take the other's time. The faster one must also be right:
what OpenVINO makes of the same frames is compared with ONNX Runtime's, and where it differs by much it is refused. What
differing means the task knows, whose answers they are: whoever opens an engine for one says so.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.crops import place
from ..data.synthetic import SyntheticPeople
from ..errors import MachineError, TrtparseError, UsageError
from ..storage.files import replace_bytes
from ..storage.json_types import JsonObject
from .base import Arrays, Engine, Frames
from .bundle import GRAPHS, Bundle
from .cpu import CpuEngine
from .machine.facts import cores, processor_name
from .model_cache import ModelCache
from .openvino import OpenVinoEngine, capabilities_of, load_openvino

NOTES_NAME = "cpu-runtimes.json"
"""In the bundle's folder, and not among its files: it is of a machine, and safe to delete."""

RUNTIMES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}

SECONDS = 0.5
"""Of each runtime."""

PEOPLE = 2
"""Frames that both are compared on."""

MOST_DIFFERENT = 0.02
"""Of what comes out. INT8 differs by half a percent between the two, with BF16 between as well; where kernels overflow,
as OpenVINO's do on processors without VNNI, by 2.7 (measured, the student)."""

_LEAST_CALLS = 5
_WARM_UP_CALLS = 3
_SPREAD = 0.05  # of an array's values: numbers closer than that are alike
_MOST_NOTES = 64


Alike = Callable[[Arrays, Arrays], NDArray[np.float64]]
"""How much of two engines' arrays for the same N frames agrees, (N,) from 0 to 1: the first is judged by the second."""


@dataclass(frozen=True)
class Choice:
    """What was measured of a graph.

    Args:
        milliseconds: a call's median, by the words of ``RUNTIMES``; empty where there is one runtime alone.
        refused: why OpenVINO is not to run the graph; empty where it may.
        not_noted: why the next process will measure again; empty where it will not.
    """

    milliseconds: dict[str, float] = field(default_factory=dict)
    refused: str = ""
    not_noted: str = ""

    @property
    def runtime(self) -> str:
        """``onnxruntime`` or ``openvino``; of two that are as fast the one that is always there."""
        found = self.milliseconds
        if self.refused or "openvino" not in found:
            return "onnxruntime"
        return "openvino" if found["openvino"] < found["onnxruntime"] else "onnxruntime"

    @property
    def ratio(self) -> float | None:
        """How many times as fast as the other one it is; None where one alone was timed."""
        return max(self.milliseconds.values()) / min(self.milliseconds.values()) if len(self.milliseconds) > 1 else None

    def told(self) -> str:
        """In a sentence: which, and by how much."""
        if self.refused:
            return f"ONNX Runtime; {self.refused}"
        if self.ratio is None:
            return RUNTIMES[self.runtime]
        other = next(name for name in RUNTIMES if name != self.runtime)
        spent = f"{self.milliseconds[self.runtime]:.2f} ms a call, not {self.milliseconds[other]:.2f}"
        return f"{RUNTIMES[self.runtime]}, {self.ratio:.2f} × as fast as {RUNTIMES[other]} here ({spent})"

    def to_dict(self) -> JsonObject:
        return {
            "faster": self.runtime,
            "ratio": self.ratio,
            "milliseconds": dict(self.milliseconds),
            "refused": self.refused,
        }

    @property
    def remark(self) -> str:
        """For an engine's name, which does not change with times."""
        reasons = [self.refused] * bool(self.refused) + [self.not_noted] * bool(self.not_noted)
        return f" ({'; '.join(reasons)})" if reasons else ""


def choose(bundle: Bundle, graph: str, precision: str, threads: int = 0, alike: Alike | None = None) -> Choice:
    """The faster CPU runtime for a graph of a bundle, as noted for this machine, or measured and noted now.

    Args:
        graph: a key of ``GRAPHS``.
        precision: what the engine is asked for.
        threads: of the runtimes; 0 for one per core.
        alike: what the two agree on, of a task; None counts numbers.
    """
    try:
        capabilities_of(load_openvino().Core())
    except MachineError as error:
        # That nobody installed it is nothing to tell.
        return Choice(refused="" if error.message == "OpenVINO is not installed." else error.message.rstrip("."))
    key = _key(bundle, graph, precision, threads)
    path = bundle.path / NOTES_NAME
    notes = _read(path)
    for note in notes:
        if note["of"] == key:
            return Choice(note["milliseconds"], note["refused"])
    choice = measure(bundle, graph, precision, threads, alike)
    kept = {"schema": 1, "notes": [*notes, {"of": key, **choice.to_dict()}][-_MOST_NOTES:]}
    try:
        replace_bytes(path, (json.dumps(kept, indent=1) + "\n").encode())
    except TrtparseError as error:
        return Choice(choice.milliseconds, choice.refused, f"measured anew each time: {error.message.rstrip('.')}")
    return choice


def noted(bundle: Bundle) -> dict[str, Choice]:
    """What was noted of a bundle's graphs on this machine, by precision and threads ("int8, 2 threads")."""
    found = {}
    for note in _read(bundle.path / NOTES_NAME):
        of = note["of"]
        graph = next((name for name, file in GRAPHS.items() if bundle.manifest.files.get(file) == of["graph"]), None)
        if graph is not None and of["processor"] == processor_name():
            threads = of["threads"]
            told = f"{threads} threads" if threads > 1 else "1 thread" if threads else "all cores"
            found[f"{of['precision']}, {told}"] = Choice(note["milliseconds"], note["refused"])
    return found


def measure(bundle: Bundle, graph: str, precision: str, threads: int, alike: Alike | None = None) -> Choice:
    """Time both runtimes, one after the other, and compare what they give; arguments as of :func:`choose`.

    Raises:
        MachineError: BF16 is asked for, and the processor has none.
    """
    path = bundle.graph(graph)
    with CpuEngine(path, "fp32" if precision == "bf16" else precision, threads=threads) as engine:
        frames = _frames(bundle, engine)
        expected = _answers(engine, frames)
        milliseconds = {"onnxruntime": _milliseconds(engine, frames)}
    try:
        cache = ModelCache.beside(bundle.path, bundle.manifest.files[GRAPHS[graph]])
        with OpenVinoEngine(path, precision, threads=threads, cache=cache) as engine:
            different = difference(_answers(engine, frames), expected, alike)
            if different > MOST_DIFFERENT:
                share = f"{100 * different:.1f} % of what it gives differs from ONNX Runtime's"
                return Choice(milliseconds, f"OpenVINO runs {path.name} wrongly: {share}")
            milliseconds["openvino"] = _milliseconds(engine, frames)
    except UsageError as error:
        return Choice(milliseconds, error.message.rstrip("."))
    return Choice(milliseconds)


def difference(found: list[Arrays], expected: list[Arrays], alike: Alike | None = None) -> float:
    """The share of what two engines give for the same frames that differs.

    Args:
        found, expected: of each call.
        alike: what of it agrees; None counts numbers.
    """
    kinds = [[(array.shape, array.dtype) for call in calls for array in call] for calls in (found, expected)]
    if kinds[0] != kinds[1]:
        return 1.0
    ours, theirs = (tuple(map(np.concatenate, zip(*calls))) for calls in (found, expected))
    shares = (alike or alike_by_number)(ours, theirs)
    # In this form a NaN agrees with nothing.
    return 1 - float(np.where(shares >= 0, shares, 0).mean())


def alike_by_number(found: Arrays, expected: Arrays) -> NDArray[np.float64]:
    """(N,) the share of each frame's numbers that are alike, of the output where fewest are.

    Integers are alike where they are equal; others where they are closer than a twentieth of the output's range.
    """
    shares = []
    for one, other in zip(found, expected):
        if np.issubdtype(other.dtype, np.integer):
            alike = one == other
        else:
            alike = np.abs(one - other) <= _SPREAD * max(float(np.ptp(other)), np.finfo(np.float32).tiny)
        shares.append(alike.reshape(len(alike), -1).mean(1))
    # Of the outputs that one counts for all frames in which most differs.
    return np.asarray(min(shares, key=lambda share: float(share.mean())))


def _frames(bundle: Bundle, engine: Engine) -> list[Frames]:
    """Rendered people, each a call's frames."""
    people = SyntheticPeople(PEOPLE, seed=2)
    found = []
    for index in range(PEOPLE):
        image = people[index].image
        placed = place(bundle.manifest.framing, (image.shape[0], image.shape[1]))
        found.append(np.repeat(placed.apply(image)[None], engine.batch or 1, axis=0))
    return found


def _answers(engine: Engine, frames: list[Frames]) -> list[Arrays]:
    return [engine.infer(one) for one in frames]


def _milliseconds(engine: Engine, frames: list[Frames]) -> float:
    """The median of a call."""
    times: list[float] = []
    end = None
    while len(times) < _WARM_UP_CALLS + _LEAST_CALLS or (end is not None and time.perf_counter() < end):
        started = time.perf_counter()
        engine.infer(frames[len(times) % len(frames)])
        times.append(1e3 * (time.perf_counter() - started))
        if len(times) == _WARM_UP_CALLS:
            end = time.perf_counter() + SECONDS
    return float(np.median(times[_WARM_UP_CALLS:]))


def _key(bundle: Bundle, graph: str, precision: str, threads: int) -> JsonObject:
    """What a time depends on."""
    return {
        "graph": bundle.manifest.files[GRAPHS[graph]],
        "precision": precision,
        "threads": threads,
        "processor": processor_name(),
        "cores": cores(),
        "system": f"{platform.system()} {platform.machine()}",
        **{name: _version(name) for name in RUNTIMES},
    }


def _version(package: str) -> str:
    try:
        return package_version(package)
    except PackageNotFoundError:
        return "unknown"


def _read(path: Path) -> list[dict[str, Any]]:
    """What was noted; nothing where the file is missing or is not what was written."""
    try:
        notes = json.loads(path.read_text("utf-8"))["notes"]
        return [note for note in notes if {"of", "milliseconds", "refused"} <= note.keys()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
