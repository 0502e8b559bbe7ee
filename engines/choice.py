"""Which CPU runtime is the fastest, in which arithmetic: measured once for a graph on a machine, noted in the bundle.

Kernels fit one processor better than another, so no table says it: each runs for half a second, one after the other,
as the threads of a runtime go on spinning and would take the other's time. INT8 on OpenVINO is timed with FP32 between
its layers and with BF16, where the processor has that: it saves time on one and costs some on another. The fastest must
also be right: what OpenVINO makes of the same frames is compared with ONNX Runtime's, and where it differs by much it
is refused. What differing means the task knows, whose answers they are: whoever opens an engine for one says so.
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

import numpy as np
from numpy.typing import NDArray

from ..data.crops import place
from ..data.synthetic import SyntheticPeople
from ..errors import MachineError, TrtparseError, UsageError
from ..graphs.onnxruntime_form import FORM as ONNXRUNTIME_FORM
from ..storage.files import replace_shared
from ..storage.json_types import JsonObject, ReadJson
from .base import Arrays, Engine, Frames
from .bundle import GRAPHS, Bundle
from .cpu import EXACT_INT8, CpuEngine
from .machine.facts import cores, processor_name
from .model_cache import ModelCache
from .openvino import FORM, OpenVinoEngine, betweens, capabilities_of, load_openvino

NOTES_NAME = "cpu-runtimes.json"
"""In the bundle's folder, and not among its files: it is of a machine, and safe to delete."""

RUNTIMES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}

SECONDS = 0.5
"""Of each way."""

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
    """What was measured of a graph, by *way*: a word of ``RUNTIMES``, for INT8 on OpenVINO with what is between its
    layers, as in ``openvino-bf16``.

    Args:
        milliseconds: a call's median, of each way that may be gone; empty where there is one runtime alone.
        refused: why the other ways may not.
        not_noted: why the next process will measure again; empty where it will not.
    """

    milliseconds: dict[str, float] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    not_noted: str = ""

    def fastest(self, runtime: str = "") -> str:
        """The fastest way of a runtime, or of all; of those that are as fast the one that was timed first.

        An empty word where none of the runtime's was timed.
        """
        found = [way for way in self.milliseconds if way.startswith(runtime)]
        return min(found, key=self.milliseconds.__getitem__) if found else "" if runtime else "onnxruntime"

    @property
    def runtime(self) -> str:
        """``onnxruntime`` or ``openvino``; of two that are as fast the one that is always there."""
        return self.fastest().partition("-")[0]

    @property
    def between(self) -> str | None:
        """What OpenVINO computes with between INT8 layers where that is fastest; None where nothing is to be said."""
        return between_of(self.fastest())

    @property
    def ratio(self) -> float | None:
        """How many times as fast as the next one it is; None where one alone was timed."""
        first, *others = self._in_order()
        return self.milliseconds[others[0]] / self.milliseconds[first] if others else None

    def told(self) -> str:
        """In a sentence: which, and by how much."""
        first, *others = self._in_order()
        text = told_way(first)
        if others:
            spent = [self.milliseconds[way] for way in (first, *others)]
            times = " and ".join(
                f"{one / spent[0]:.2f} × as fast as {told_way(way)}" for way, one in zip(others, spent[1:])
            )
            text += f", {times} here ({spent[0]:.2f} ms a call, not {' and '.join(f'{one:.2f}' for one in spent[1:])})"
        return "; ".join([text, *self.reasons()])

    def reasons(self, runtime: str = "") -> list[str]:
        """Why ways of a runtime, or of all, may not be gone."""
        return list(dict.fromkeys(reason for way, reason in self.refused.items() if way.startswith(runtime)))

    def to_dict(self) -> JsonObject:
        return {
            "faster": self.runtime,
            "between": self.between,
            "ratio": self.ratio,
            "milliseconds": dict(self.milliseconds),
            "refused": dict(self.refused),
        }

    @property
    def remark(self) -> str:
        """For an engine's name, which does not change with times."""
        reasons = [*self.reasons(), *[self.not_noted] * bool(self.not_noted)]
        return f" ({'; '.join(reasons)})" if reasons else ""

    def _in_order(self) -> list[str]:
        """All ways that were timed, the fastest first."""
        return sorted(self.milliseconds, key=self.milliseconds.__getitem__) or [self.fastest()]


def told_way(way: str) -> str:
    """``OpenVINO with bf16 between``."""
    between = between_of(way)
    return RUNTIMES[way.partition("-")[0]] + (f" with {between} between" if between else "")


def between_of(way: str) -> str | None:
    """What is between INT8 layers; None where that is not told."""
    return way.partition("-")[2] or None


def choose(bundle: Bundle, graph: str, precision: str, threads: int = 0, alike: Alike | None = None) -> Choice:
    """The fastest CPU runtime for a graph of a bundle, as noted for this machine, or measured and noted now.

    Args:
        graph: a key of ``GRAPHS``.
        precision: what the engine is asked for.
        threads: of the runtimes; 0 for one per core.
        alike: what the two agree on, of a task; None counts numbers.
    """
    try:
        capabilities = capabilities_of(load_openvino().Core())
    except MachineError as error:
        # That nobody installed it is nothing to tell.
        told = error.message.rstrip(".")
        return Choice(refused={} if told == "OpenVINO is not installed" else {"openvino": told})
    key = _key(bundle, graph, precision, threads, capabilities)
    path = bundle.path / NOTES_NAME
    for note in _read(path):
        if note["of"] == key:
            return Choice(note["milliseconds"], note["refused"])
    choice = measure_ways(bundle, graph, precision, threads, alike)
    # Others that measured meanwhile have noted theirs.
    others = [note for note in _read(path) if note["of"] != key]
    kept = {"schema": 1, "notes": [*others, {"of": key, **choice.to_dict()}][-_MOST_NOTES:]}
    try:
        replace_shared(path, (json.dumps(kept, indent=1) + "\n").encode())
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


def measure_ways(bundle: Bundle, graph: str, precision: str, threads: int, alike: Alike | None = None) -> Choice:
    """Time all ways, one after the other, and compare what they give; arguments as of :func:`choose`.

    Raises:
        MachineError: BF16 is asked for, and the processor has none.
    """
    path = bundle.graph(graph)
    with CpuEngine(path, "fp32" if precision == "bf16" else precision, threads=threads) as engine:
        frames = _frames(bundle, engine)
        expected = _answers(engine, frames)
        milliseconds = {"onnxruntime": _milliseconds(engine, frames)}
    refused = {}
    cache = ModelCache.beside(bundle.path, bundle.manifest.files[GRAPHS[graph]])
    for way in _ways(precision, capabilities_of(load_openvino().Core())):
        try:
            with OpenVinoEngine(path, precision, threads=threads, between=between_of(way), cache=cache) as engine:
                different = difference(_answers(engine, frames), expected, alike)
                if different > MOST_DIFFERENT:
                    share = f"{100 * different:.1f} % of what it gives differs from ONNX Runtime's"
                    refused[way] = f"{told_way(way)} runs {path.name} wrongly: {share}"
                else:
                    milliseconds[way] = _milliseconds(engine, frames)
        except UsageError as error:
            refused[way] = error.message.rstrip(".")
    return Choice(milliseconds, refused)


def _ways(precision: str, capabilities: tuple[str, ...]) -> list[str]:
    """OpenVINO's, for a precision on a processor; what rounds less comes first."""
    return [f"openvino-{between}" for between in betweens(capabilities)] if precision == "int8" else ["openvino"]


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


def _key(bundle: Bundle, graph: str, precision: str, threads: int, capabilities: tuple[str, ...]) -> JsonObject:
    """What a time depends on."""
    return {
        "graph": bundle.manifest.files[GRAPHS[graph]],
        "precision": precision,
        "threads": threads,
        "ways": ["onnxruntime", *_ways(precision, capabilities)],
        "form": FORM,
        "setting": "=".join(EXACT_INT8),
        "onnxruntime_form": ONNXRUNTIME_FORM,
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


def _read(path: Path) -> list[ReadJson]:
    """What was noted; nothing where the file is missing or is not what was written."""
    try:
        notes = json.loads(path.read_text("utf-8"))["notes"]
        # Those of versions that knew one way of OpenVINO alone are measured again.
        return [note for note in notes if {"of", "milliseconds", "refused", "between"} <= note.keys()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
