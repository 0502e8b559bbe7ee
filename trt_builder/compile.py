"""From a bundle's graph to TensorRT engines in the bundle: build, look inside, compare with PyTorch, write down.

Needs no PyTorch. An engine that is seen not to be what was asked for, or that answers otherwise than PyTorch did, does
not get into the bundle unless that is asked for; what is left of it is kept beside the engines.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from ..engines.bundle import GRAPHS, Bundle, add_files
from ..engines.machine.facts import Machine, read_machine
from ..engines.machine.probe import Probe
from ..engines.manifest import FOLDER, EngineManifest
from ..engines.outputs import output_specs
from ..errors import BuildError, MachineError, TrtparseError
from ..storage.files import check_output_file, check_output_folder, write_errors
from ..tasks.open import task_of
from . import timing_cache
from .bisection import Point, bisect, expected_of, points_of, relative_error, with_output
from .build_process import build_in_process
from .engine_spec import COMPUTE_CAPABILITIES, EngineSpec
from .evidence import Evidence, evidence, forget
from .inspection import Inspection, NotAsAsked, check, inspect_engine, inspect_network, wanted_convolutions
from .ladder import AS_IS, HALF, Rung, next_rung, rungs_of
from .parity import PARITY_NAME, Disagrees, Parity, compare, load_parity
from .tensorrt_api import Built, NoEngine, TensorRT
from .trtexec import trtexec_line
from .worth import Race, medians

if TYPE_CHECKING:
    from ..engines.tensorrt.engine import TensorRTEngine

_MOST_WORKSPACE_MB = 4096
"""More never helped a network of this size; a layer's scratch space is tens of MB."""


@dataclass(frozen=True)
class HowToBuild:
    """What of a build is told, kept and let pass; none of it changes the engine.

    Args:
        log: file for all that TensorRT says.
        verbose: every kernel that it tries is in the log as well, and ``told`` is called.
        told: called with each line of the log.
        accept_unverified: an engine that fails its checks gets into the bundle, and its manifest says so.
        ladder: where no INT8 engine comes of the graph, other forms of it are tried, FP16 last.
        timed: an INT8 engine is timed against an FP16 engine, on the GPU; both get into the bundle.
        fastest: of those two only the faster one does.
        bisect: where an engine answers otherwise than PyTorch, find the first layer that differs, by a few more builds.
    """

    log: Path | None = None
    verbose: bool = False
    told: Callable[[str], None] = lambda _: None
    accept_unverified: bool = False
    ladder: bool = True
    timed: bool = False
    fastest: bool = False
    bisect: bool = False


def build_engines(
    bundle: Bundle,
    spec: EngineSpec,
    stage: Callable[[str], None] = lambda _: None,
    *,
    machine: Machine | None = None,
    how: HowToBuild = HowToBuild(),
) -> tuple[Bundle, list[EngineManifest]]:
    """Compile a bundle's graph and put the engines into the bundle.

    Args:
        bundle: holds the graph of ``spec.precision``.
        spec: what to build; with TensorRT-RTX one engine for each compute capability.
        stage: told at the start of each step.
        machine: what this machine is; looked up by default.
        how: what is told, kept and let pass.

    Returns:
        The bundle with its new files, and each engine's manifest; its settings have ``notes`` where there is something
        to know.

    Raises:
        UsageError: the bundle lacks the graph or cannot be written to, or the version of TensorRT what is asked for.
        MachineError: no TensorRT, or none of the GPU that it needs.
        BuildError: the parser or the builder refuses every form of the graph, the engine is not what was asked for, or
            does not agree with PyTorch's stored answers. It says where what is left of the engine lies.
    """
    graph = bundle.graph(spec.precision)
    machine = machine or read_machine()
    library = TensorRT.load(spec.target)
    library.check(spec)
    spec.profile(bundle.manifest.batch)
    # What cannot be written is found out before the minutes that a build takes.
    check_output_folder(bundle.path / FOLDER)
    if how.log is not None:
        check_output_file(how.log)
        with write_errors(how.log):
            how.log.open("wb").close()
    manifests: list[EngineManifest] = []
    for capability in _capabilities(spec, machine):
        work = _Work(bundle, graph, spec, capability, library, machine, stage, how)
        made = work.make()
        kept = work.set_against_half(made) if how.timed and made.manifest.precision == "int8" else (made,)
        files = {name: content for one in kept for name, content in one.files.items()}
        # An older engine of the precision that lost would be taken before the winner.
        lost = () if made in kept or not how.fastest else (*made.files,)
        bundle = add_files(bundle, files, removed=lost)
        manifests += [one.manifest for one in kept]
    return bundle, manifests


def choose_target(machine: Machine | None = None) -> str:
    """``auto``: ``tensorrt`` where it can build, which takes an NVIDIA GPU and TensorRT, else ``cpu``."""
    machine = machine or read_machine()
    if machine.gpu is None:
        return "cpu"
    try:
        TensorRT.load("tensorrt")
    except MachineError:
        return "cpu"
    return "tensorrt"


def workspace_mb(machine: Machine, probe: Probe | None = None) -> int | None:
    """Half of the memory that is free where the engine will run, in MB; None where nothing tells."""
    free = None
    if machine.gpu is not None and not machine.gpu.integrated:
        # By its place on the bus: nvidia-smi takes no notice of CUDA_VISIBLE_DEVICES.
        which = (f"--id={machine.gpu.bus}",) if machine.gpu.bus else ()
        query = ("nvidia-smi", *which, "--query-gpu=memory.free", "--format=csv,noheader,nounits")
        answer = (probe or Probe()).run(query)
        first = answer.output.strip().partition("\n")[0].strip()
        free = int(first) if first.isdecimal() else machine.gpu.memory >> 20
    elif machine.memory is not None:
        # A Jetson's GPU shares the processor's memory.
        free = machine.memory.available >> 20
    return None if not free else max(1, min(free // 2, _MOST_WORKSPACE_MB))


def _capabilities(spec: EngineSpec, machine: Machine) -> tuple[str, ...]:
    """The GPU generations to build for."""
    here = machine.gpu.compute_capability if machine.gpu is not None else ""
    if spec.target == "tensorrt-rtx":
        return spec.compute_capabilities or ((here,) if here in COMPUTE_CAPABILITIES else ("8.6",))
    if machine.gpu is None:
        reason = machine.driver.error if machine.driver is not None else None
        raise MachineError(
            "TensorRT builds on the GPU that the engine is for, and CUDA finds none here"
            + (f" ({reason})." if reason else "."),
            "Build on that machine; --target tensorrt-rtx needs no GPU. See what is missing: trtparse doctor",
        )
    return (here,)


@dataclass(frozen=True)
class _Made:
    """An engine that passed its checks, not in the bundle yet."""

    manifest: EngineManifest
    content: bytes

    @property
    def files(self) -> dict[str, bytes]:
        name = self.manifest.engine.removesuffix(".engine") + ".json"
        return {self.manifest.engine: self.content, name: self.manifest.to_json().encode()}

    def noted(self, note: str, **fields: Any) -> _Made:
        """With one more thing that a person should know."""
        settings = self.manifest.settings
        notes = [*settings["notes"], *([note] if note else [])]
        return replace(self, manifest=replace(self.manifest, settings={**settings, "notes": notes}, **fields))


@dataclass(frozen=True)
class _Work:
    """One engine in the making; the arguments are those of :func:`build_engines`."""

    bundle: Bundle
    graph: Path
    spec: EngineSpec
    capability: str
    library: TensorRT
    machine: Machine
    stage: Callable[[str], None]
    how: HowToBuild

    @property
    def on_gpu(self) -> bool:
        return self.spec.target == "tensorrt"

    @property
    def stem(self) -> str:
        return _stem(self.spec, self.library, self.capability)

    def make(self) -> _Made:
        """Build, check and compare; of INT8 in the first form that comes to an engine."""
        left = list(rungs_of(self.spec, self.library, self.bundle)) if self.how.ladder else []
        forget(self.bundle.path, *(f"{self.stem}{rung.suffix}" for rung in (AS_IS, *left)))
        work, rung, model, reasons = self, AS_IS, onnx.load(self.graph), list[str]()
        while True:
            try:
                return work._attempt(rung, model, reasons)
            except Disagrees as error:
                if not (self.how.bisect and self.on_gpu):
                    raise
                # What is left of the engine is kept already: Ctrl-C costs nothing but this sentence.
                raise type(error)(f"{error.message} {work._first_difference(model)}", error.hint) from error
            except (NoEngine, NotAsAsked) as error:
                following = next_rung(left, error.message)
                if following is None and not reasons:
                    raise
                reasons.append(f"{self.spec.precision.upper()} {rung.name}: {error.message}")
                if following is None:
                    raise type(error)(" ".join(reasons), error.hint) from error
                self.stage(f"{_shortened(error.message)} Trying it {following.name}")
                rung = following
            if rung.change is None:
                work = replace(self, spec=replace(self.spec, precision="fp16"), graph=self.bundle.graph("fp16"))
                model = onnx.load(work.graph)
            else:
                model = rung.change(model)

    def set_against_half(self, made: _Made) -> tuple[_Made, ...]:
        """What gets into the bundle of an INT8 engine and of the FP16 engine that it is timed against here."""
        if GRAPHS["fp16"] not in self.bundle.manifest.files:
            return (made.noted("The bundle has no FP16 graph, so nobody knows whether INT8 is faster."),)
        other = replace(
            self,
            spec=replace(self.spec, precision="fp16"),
            graph=self.bundle.graph("fp16"),
            how=replace(self.how, bisect=False),
        )
        try:
            half = other.make()
            self.stage("Timing INT8 against FP16")
            with self._opened(made) as int8, self._opened(half) as fp16:
                frames = np.zeros((made.manifest.batch[1], *made.manifest.input_size, 3), np.uint8)
                first, second = medians((int8, fp16), frames)
                race = Race(first, second, len(frames))
        except (BuildError, MachineError) as error:
            # The INT8 engine has passed its checks, and is not lost for this.
            return (made.noted(f"INT8 was not timed against FP16: {error.message}"),)
        note = "" if race.int8_earns_its_place else f"{race.verdict} --fastest takes what is faster."
        made = made.noted(note, milliseconds=race.to_dict())
        half = half.noted("", milliseconds=race.to_dict())
        if not self.how.fastest:
            return half, made
        return (made,) if race.int8_earns_its_place else (half.noted(f"Taken in place of INT8. {race.verdict}"),)

    def _attempt(self, rung: Rung, model: onnx.ModelProto, reasons: list[str]) -> _Made:
        """One form of the graph.

        Args:
            rung: which.
            model: that form.
            reasons: why those before it came to nothing.
        """
        spec, library = self.spec, self.library
        self.stage(f"Compiling {spec.precision} for compute capability {self.capability} with {library.name}")
        settled = spec
        if self.on_gpu and spec.workspace_mb is None:
            settled = replace(spec, workspace_mb=workspace_mb(self.machine))
        with evidence(self.bundle.path, f"{self.stem}{rung.suffix}", self.how.log) as kept:
            graph = self.graph
            if rung not in (AS_IS, HALF):
                graph = kept.left / self.graph.name
                onnx.save(model, graph)
            started = time.monotonic()
            built = self._build(graph, settled, kept)
            seconds = time.monotonic() - started
            kept.engine, kept.inspector = built.content, built.inspector
            inspection, unverified = self._inspect(built)
            notes = [*built.notes, *inspection.notes]
            if reasons:
                notes += [f"Built {rung.name}, as otherwise no INT8 engine came of it.", *reasons]
            manifest = replace(
                self._manifest(model, built, seconds),
                settings={**settled.to_dict(), **self._trtexec(settled, rung), "notes": notes},
                inspection={**inspection.to_dict(), "layers_parsed": len(built.layers)},
                unverified=tuple(unverified),
            )
            if self.on_gpu:
                manifest = self._compare(manifest, built)
        return _Made(manifest, built.content)

    def _trtexec(self, settled: EngineSpec, rung: Rung) -> dict[str, str]:
        """The line for ``trtexec``, where what was built lies in the bundle; the forms between are not kept."""
        if not self.on_gpu or rung not in (AS_IS, HALF):
            return {}
        manifest = self.bundle.manifest
        batch = settled.profile(None) if manifest.batch is None else None
        typed = self.library.is_typed(settled)
        return {"trtexec": trtexec_line(self.graph, settled, typed=typed, batch=batch, size=manifest.input_size)}

    def _build(self, graph: Path, spec: EngineSpec, kept: Evidence) -> Built:
        """Build with the timing cache held, where the target has one."""
        build = functools.partial(
            build_in_process, graph, spec, left=kept.left, verbose=self.how.verbose, told=self.how.told
        )
        if not self.library.times_tactics:
            return build(self.capability)
        path = spec.timing_cache or timing_cache.default_path(
            self.bundle.path, spec.target, self.library.version, self.capability
        )
        with timing_cache.locked(path, lambda: self.stage(f"Waiting for another build, which holds {path}")):
            built = build(timing_cache=timing_cache.read(path), inspect=True)
            if built.timing_cache:
                timing_cache.write(path, built.timing_cache)
        return built

    def _inspect(self, built: Built) -> tuple[Inspection, list[str]]:
        """What the engine is, and why it is not what was asked for, where that is let pass."""
        # Of the graph as it is: its other forms ask for the same of every convolution.
        wanted = wanted_convolutions(onnx.load(self.graph))
        if built.inspector is None:
            inspection = inspect_network(built.layers, wanted)
        else:
            inspection = inspect_engine(built.inspector, wanted)
        return inspection, self._checked(lambda: check(inspection, wanted, self.spec.precision))

    def _compare(self, manifest: EngineManifest, built: Built) -> EngineManifest:
        """With how well the engine answers as PyTorch did, before it gets into the bundle."""
        agreement = self._parity(manifest, built)
        if agreement is None:
            return manifest
        refused = self._checked(lambda: agreement.check(manifest.precision, self.bundle.manifest.reference))
        return replace(manifest, parity=agreement.to_dict(), unverified=(*manifest.unverified, *refused))

    def _checked(self, check: Callable[[], None]) -> list[str]:
        """Why a check refuses, where that is let pass; empty where it does not refuse."""
        try:
            check()
        except BuildError as error:
            if not self.how.accept_unverified:
                hint = f"{error.hint} --accept-unverified takes the engine as it is."
                raise type(error)(error.message, hint) from error
            return [error.message]
        return []

    def _parity(self, manifest: EngineManifest, built: Built) -> Parity | None:
        """None without stored answers."""
        bundle = self.bundle
        if PARITY_NAME not in bundle.manifest.files:
            return None
        self.stage("Comparing with PyTorch's answers")
        frames, expected = load_parity(bundle.path / PARITY_NAME)
        with self._opened(_Made(manifest, built.content)) as engine:
            return compare(engine, task_of(bundle.manifest), frames, expected)

    @contextlib.contextmanager
    def _opened(self, made: _Made) -> Iterator[TensorRTEngine]:
        """An engine that is in no bundle yet."""
        from ..engines.tensorrt.engine import open_tensorrt

        manifest = made.manifest
        with tempfile.TemporaryDirectory(prefix="trtparse-engine-") as name:
            files = {**self.bundle.manifest.files, manifest.engine: manifest.engine_sha256}
            staged = Bundle(Path(name), replace(self.bundle.manifest, files=files))
            path = staged.path / manifest.engine
            path.parent.mkdir()
            path.write_bytes(made.content)
            with open_tensorrt(staged, manifest) as engine:
                yield engine

    def _first_difference(self, model: onnx.ModelProto) -> str:
        """Where the engine of a graph begins to differ from the graph as ONNX Runtime runs it, in a sentence."""
        frames, _ = load_parity(self.bundle.path / PARITY_NAME)
        count = self.bundle.manifest.batch or 1
        frames = np.ascontiguousarray(np.resize(frames[:count], (count, *frames.shape[1:])))
        points = points_of(model)

        def error_at(point: Point) -> float:
            self.stage(f"Looking for the first layer that differs: {point.layer}")
            marked = with_output(model, point.tensor)
            with tempfile.TemporaryDirectory(prefix="trtparse-bisection-") as name:
                graph = Path(name) / self.graph.name
                onnx.save(marked, graph)
                memory = self.spec.workspace_mb or workspace_mb(self.machine)
                built = self._build(graph, replace(self.spec, workspace_mb=memory), Evidence(Path(name)))
            manifest = self._manifest(marked, built, 0.0)
            with self._opened(_Made(manifest, built.content)) as engine:
                arrays = dict(zip((one.name for one in engine.outputs), engine.infer(frames)))
            return relative_error(arrays[point.tensor], expected_of(model, point.tensor, frames))

        try:
            return bisect(points, error_at)
        except TrtparseError as error:
            return f"Where it begins to differ could not be found: {error.message}"

    def _manifest(self, model: onnx.ModelProto, built: Built, seconds: float) -> EngineManifest:
        """All but what the checks found."""
        spec, bundle = self.spec, self.bundle
        outputs, raw = output_specs(model)
        manifest = EngineManifest(
            engine=f"{FOLDER}/{self.stem}.engine",
            engine_sha256=hashlib.sha256(built.content).hexdigest(),
            bytes=len(built.content),
            target=spec.target,
            precision=spec.precision,
            graph=self.graph.name,
            graph_sha256=bundle.manifest.files[self.graph.name],
            spec=bundle.manifest.spec,
            framing=bundle.manifest.framing,
            batch=spec.profile(bundle.manifest.batch),
            outputs=outputs,
            raw=raw,
            tensorrt=self.library.version,
            compute_capability=self.capability,
            version_compatible=spec.version_compatible,
            hardware_compatible=spec.hardware_compatible,
            rebuild=spec.words(),
            seconds=round(seconds, 3),
            built=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
        return _built_on(self.machine, manifest, self.on_gpu)


def _shortened(message: str, most: int = 160) -> str:
    """The beginning of a message, for a line of progress."""
    line = message.partition("\n")[0]
    return line if len(line) <= most else f"{line[: most - 2].rstrip()} …"


def _stem(spec: EngineSpec, library: TensorRT, capability: str) -> str:
    accelerator = "" if spec.dla_core is None else f"-dla{spec.dla_core}"
    return f"{spec.target}-{library.short_version}-sm{capability.replace('.', '')}-{spec.precision}{accelerator}"


def _built_on(machine: Machine, manifest: EngineManifest, on_gpu: bool) -> EngineManifest:
    """With what the machine is that built it; the GPU only where the engine was tuned on it."""
    driver, board = machine.driver, machine.jetson
    return replace(
        manifest,
        gpu=machine.gpu.name if on_gpu and machine.gpu is not None else None,
        multiprocessors=(machine.gpu.multiprocessors or None) if on_gpu and machine.gpu is not None else None,
        board=(board.model or None) if on_gpu and board is not None else None,
        cuda=machine.cuda or (driver.cuda if driver is not None else None),
        driver=driver.version if driver is not None else None,
        l4t=board.l4t if board is not None else None,
        jetpack=board.jetpack if board is not None else None,
        power_mode=board.power_mode if board is not None else None,
    )
