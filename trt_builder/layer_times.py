"""How long is each layer of a graph in INT8 and in FP16, on this GPU? What goes back to FP16 is chosen by it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from ..calibration.budget.costs import multiply_adds
from ..calibration.budget.earning import Savings
from ..engines.base import LayerTime
from ..engines.machine.facts import Machine, read_machine
from ..engines.manifest import engine_manifests
from ..errors import TrtparseError
from ..graphs.index import GraphIndex
from ..specs.spec import Spec
from . import timing_cache
from .compile import HowToBuild, build_engines
from .engine_spec import EngineSpec
from .inspection import named_in, told_of_layers
from .source import bundle_of_onnx
from .tensorrt_api import TensorRT
from .worth import medians

_PROFILED_CALLS = 50


@dataclass(frozen=True)
class Saved:
    """What INT8 saves.

    Args:
        milliseconds: of every quantisable layer that was timed in both engines; below 0 where INT8 is slower.
        untimed: layers that no engine names, as those inside of Myelin's.
    """

    milliseconds: dict[str, float]
    untimed: tuple[str, ...]


def saved_by_int8(
    layers: Iterable[str],
    int8: onnx.ModelProto,
    int8_times: Iterable[LayerTime],
    half: onnx.ModelProto,
    half_times: Iterable[LayerTime],
) -> Saved:
    """What each layer saves, from the times of two engines whose layers are fused in two different ways.

    Args:
        layers: names of the graph's nodes that can be in INT8.
        int8, half: the two graphs, typed; their nodes have the same names, Q/DQ apart.
        int8_times, half_times: of the engines built from them.
    """
    names = tuple(layers)
    first, second = _by_layer(int8, int8_times, names), _by_layer(half, half_times, names)
    counts = multiply_adds(half)
    saved: dict[str, float] = {}
    for group in _fused([*first, *second]):
        before = sum(time for members, time in second.items() if members <= group)
        after = sum(time for members, time in first.items() if members <= group)
        whole = {name for members in first for name in members} & {name for members in second for name in members}
        if not group <= whole:
            continue
        work = {name: max(counts.get(name, 0), 1) for name in group}
        total = sum(work.values())
        saved |= {name: (before - after) * work[name] / total for name in group}
    return Saved({name: saved[name] for name in names if name in saved}, tuple(n for n in names if n not in saved))


def _by_layer(
    model: onnx.ModelProto, times: Iterable[LayerTime], layers: tuple[str, ...]
) -> dict[frozenset[str], float]:
    """The time of each set of the graph's layers that one layer of the engine holds; copies count for their readers."""
    owners = _owners(model, layers)
    found: dict[frozenset[str], float] = {}
    for time in times:
        if "ForeignNode" in time.name:
            # It names its first and its last node, and nothing of what is between them.
            continue
        members = frozenset(owner for name in named_in(time.name, owners) for owner in owners[name])
        if members:
            found[members] = found.get(members, 0.0) + time.milliseconds
    return found


def _owners(model: onnx.ModelProto, layers: tuple[str, ...]) -> dict[str, frozenset[str]]:
    """Each node's name, and the layers whose time its own is: its own, or of a Q/DQ those of who reads it."""
    index = GraphIndex(model.graph)
    wanted = frozenset(layers)
    owners = {name: frozenset([name]) for name in layers}

    def readers(node: onnx.NodeProto) -> frozenset[str]:
        found = [reader for output in node.output for reader, _ in index.consumers(output)]
        inner = [readers(reader) for reader in found if reader.op_type == "DequantizeLinear"]
        return frozenset(reader.name for reader in found if reader.name in wanted).union(*inner)

    for node in index.nodes:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            owners[node.name] = readers(node)
    return {name: held for name, held in owners.items() if held}


def _fused(sets: Iterable[frozenset[str]]) -> list[frozenset[str]]:
    """Layers that share a layer of either engine, transitively."""
    groups: list[frozenset[str]] = []
    for members in sets:
        touching = [group for group in groups if group & members]
        groups = [group for group in groups if not group & members]
        groups.append(members.union(*touching))
    return groups


def estimated(saved: Saved, model: onnx.ModelProto) -> Mapping[str, float]:
    """With an estimate for the layers that were not timed: what those that were save, for as many multiply-adds.

    Raises:
        ValueError: none was timed.
    """
    if not saved.milliseconds:
        raise ValueError("no layer was timed")
    counts = multiply_adds(model)
    work = sum(counts.get(name, 0) for name in saved.milliseconds)
    rate = max(sum(saved.milliseconds.values()), 0.0) / max(work, 1)
    return {**saved.milliseconds, **{name: rate * counts.get(name, 0) for name in saved.untimed}}


@dataclass(frozen=True)
class GraphTimer:
    """Builds engines of graphs on this GPU, times them, and throws them away; their kernels stay in the timing cache.

    Args:
        spec: of the engine that is to be built in the end.
        output: the bundle's folder, beside which the timing cache lies.
        labels: what the graphs' classes or joints mean.
        stage: told at the start of each step, and of what cannot be timed.
        machine: what this machine is; looked up by default.
    """

    spec: EngineSpec
    output: Path
    labels: Spec
    stage: Callable[[str], None] = lambda _: None
    machine: Machine | None = None

    def savings(self, layers: Collection[str], int8: onnx.ModelProto, half: onnx.ModelProto) -> Savings | None:
        names = tuple(layers)
        first, second = self._timed(int8, "int8"), self._timed(half, "fp16")
        if first is None or second is None:
            return None
        saved = saved_by_int8(names, int8, first[1], half, second[1])
        if not saved.milliseconds:
            self.stage("No layer of the engines has a name of the graph's: multiply-adds stand for their times")
            return None
        machine = self.machine or read_machine()
        gpu = "" if machine.gpu is None else machine.gpu.name
        return Savings(estimated(saved, half), first[0], second[0], gpu, saved.untimed)

    def milliseconds(self, int8: onnx.ModelProto) -> float | None:
        found = self._timed(int8, "int8", profiled=False)
        return None if found is None else found[0]

    def _timed(
        self, model: onnx.ModelProto, precision: str, *, profiled: bool = True
    ) -> tuple[float, list[LayerTime]] | None:
        """Milliseconds of a call, and of each layer; None where no engine comes of it, which is told."""
        from ..engines.tensorrt.engine import open_tensorrt

        machine = self.machine or read_machine()
        try:
            library = TensorRT.load(self.spec.target)
            capability = machine.gpu.compute_capability if machine.gpu is not None else ""
            cache = self.spec.timing_cache or timing_cache.default_path(
                self.output, self.spec.target, library.version, capability
            )
            spec = replace(self.spec, precision=precision, timing_cache=cache)
            with tempfile.TemporaryDirectory(prefix="trtparse-timed-") as name:
                graph = Path(name) / "graph.onnx"
                onnx.save(model, graph)
                bundle = bundle_of_onnx(graph, Path(name) / "bundle", labels=self.labels)
                # Only its time is asked for: the engine that gets into the bundle is checked when it is built.
                how = HowToBuild(accept_unverified=True)
                bundle, _ = build_engines(bundle, spec, self.stage, machine=machine, how=how)
                (manifest,) = engine_manifests(bundle)
                with open_tensorrt(bundle, manifest, slots=1) as engine:
                    frames = np.zeros((manifest.batch[1], *manifest.input_size, 3), np.uint8)
                    (median,) = medians((engine,), frames)
                    if not profiled:
                        return median, []
                    told = told_of_layers(engine.layers_json(frames))
                    times = engine.layer_times(frames, _PROFILED_CALLS)
                    return median, [replace(time, name=told.get(time.name, time.name)) for time in times]
        except TrtparseError as error:
            self.stage(f"{precision.upper()} cannot be timed, so multiply-adds stand for it: {error.message}")
            return None
