"""Build: a checkpoint or an FP32 graph to a bundle whose INT8 was measured on images that did not calibrate it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx

from .. import __version__
from ..calibration.budget.earning import LayerTimer
from ..calibration.budget.judge import GraphJudge
from ..calibration.frames import letterboxed
from ..calibration.int8 import AUTO, CORRECTED_ON, Int8, Int8Builder, Int8Spec, Records
from ..calibration.quantise.equalisation import equalise
from ..calibration.quantise.placement import place
from ..calibration.ranges import RangeCollector, Ranges
from ..calibration.selection import Selection, read_selection, select
from ..calibration.training.carried import carried_ranges
from ..data.dataset import Images, Subset
from ..engines.accuracy import Accuracy
from ..engines.base import Frames
from ..engines.bundle import CALIBRATION_NAME, GRAPHS, Bundle, Manifest, finish, writing
from ..engines.calibrated import Calibrated
from ..engines.cpu import CpuEngine
from ..errors import DataError, UsageError
from ..graphs.conventions import Said
from ..graphs.half import to_half
from ..graphs.interface import with_precision
from ..graphs.overflow import float_nodes, keep_what_overflows
from ..graphs.simulated import stored_in_half
from ..specs.spec import Spec
from ..storage.files import replace_bytes
from ..tasks.open import FIGURE
from ..tasks.predictor import Predictor
from ..validation.result import ValidationResult, measured_accuracy
from ..validation.validate import validate
from .engine_spec import EngineSpec
from .layer_times import GraphTimer
from .parity import PARITY_IMAGES, Stored, compare, save_parity
from .source import Source, read_source

HELD_OUT_IMAGES = 64
"""Images that methods are compared on, and that the INT8 graphs are measured on; where a budget is set, all."""

SCOUTED_IMAGES = 32
"""Images on which each layer alone is judged, to rank them for a budget."""

OVERFLOW_IMAGES = 16
"""Of those that calibrate, or that graphs are compared on: what overflows FP16 is found on them."""

RESERVED = 5
"""One image in so many is held out of the calibration images where no other images are given to judge on."""


@dataclass(frozen=True)
class BuildSpec:
    """What to build.

    Args:
        source: a checkpoint, ours or a state dict of the same network; or an FP32 graph (.onnx).
        precision: ``fp32``, ``fp16`` or ``int8``; each includes those before it.
        input_size: (height, width); None takes the checkpoint's.
        stretch: how far images' shapes are changed to fill it; None takes the checkpoint's.
        labels: what the classes or joints mean, where the source does not say so itself.
        said: how a network that is not ours sees images; None for one that has our input and outputs.
        figure: that the budget and all later measurements go by; None for the task's own.
        batch: frames per call, None for any number.
        logits: give the graphs a second output.
        calibration_images: how many to use of the dataset.
        calibration_set: a ``calibration-set.json`` that names them instead.
        seed: of their choice.
        int8: how INT8 is made.
        validate: measure INT8 on held-out images; without it the bundle says that nobody did.
        threads: of the CPU runtime; 0 for one per core.
        strict: an unreadable image is an error.
        sure: the score from which a finder's box is somebody; None takes what the source says.
        engine: the TensorRT engine that is built here next, where one is: INT8 goes by the times of its layers then.

    Raises:
        UsageError: a budget, and nothing is to be measured.
    """

    source: Path
    precision: str = "int8"
    input_size: tuple[int, int] | None = None
    stretch: float | None = None
    labels: Spec | None = None
    said: Said | None = None
    figure: str | None = None
    batch: int | None = 1
    logits: bool = False
    calibration_images: int = 256
    calibration_set: Path | None = None
    seed: int = 0
    int8: Int8Spec = field(default_factory=Int8Spec)
    validate: bool = True
    threads: int = 0
    strict: bool = False
    sure: float | None = None
    engine: EngineSpec | None = None

    def __post_init__(self) -> None:
        if self.int8.has_budget and not self.validate:
            raise UsageError("A budget needs held-out images to judge on.", "Leave --no-validate out.")


class StageProgress(Protocol):
    """How far a stage is, and a word on what it has found."""

    def __call__(self, done: int, total: int | None, note: str = "") -> None: ...


def _silent(done: int, total: int | None, note: str = "") -> None:
    pass


@dataclass(frozen=True)
class Listener:
    """Whom a build tells how far it is: ``stage`` at the start of each, ``progress`` within it."""

    stage: Callable[[str], None] = lambda _: None
    progress: StageProgress = _silent


@dataclass(frozen=True)
class BuiltBundle:
    """A bundle, and what its INT8 reached on the held-out images; None where nothing was measured."""

    bundle: Bundle
    result: ValidationResult | None


def build_bundle(
    spec: BuildSpec,
    dataset: Images,
    output: Path,
    listener: Listener = Listener(),
    held_out: Images | None = None,
) -> BuiltBundle:
    """Export, calibrate, quantise, compare with the reference, measure and write a bundle.

    Args:
        spec: what.
        dataset: images to calibrate on and to compare the graphs with the reference on; labels are not needed.
        output: the bundle's folder; an older bundle there is replaced when the new one is whole.
        listener: of the progress.
        held_out: other images to judge INT8 on; by default some of ``dataset`` are kept from calibrating.

    Raises:
        DataError: no readable image, or none to judge on.
        BuildError: a graph that cannot be built, breaks a rule or does not agree with the reference.
        AccuracyError: no graph stays within the budget.
        UsageError: the source or the output folder.
        MachineError: PyTorch is not installed and the source is a checkpoint.
    """
    if len(dataset) == 0:
        raise DataError(f"{dataset.description} holds no image.", "Give --data a folder with images.")
    records = Records.beside(output)
    with writing(output) as folder:
        source = _read(spec, listener)
        carried = _carried(spec, source, listener)
        listener.stage("Choosing images")
        calibrates = spec.precision == "int8" and not spec.int8.from_cache and carried is None
        chosen = _choose(spec, dataset, held_out, listener, calibrates=calibrates)
        graphs = _float_graphs(spec, source, dataset, chosen, listener)
        made = None
        with source.open_reference(spec.threads) as reference:
            if spec.precision == "int8":
                builder = Int8Builder(
                    graphs["fp32"],
                    spec.int8,
                    _judge(spec, chosen.judged, reference, listener),
                    _scout(spec, chosen.judged, reference),
                    listener.stage,
                    listener.progress,
                    spec.threads,
                    _timer(spec, output, source, listener),
                    carried,
                )
                made = builder.build(dataset, chosen.selection, records, strict=spec.strict)
                graphs |= {name: with_precision(graph, name) for name, graph in made.graphs.items()}
                content = json.dumps(made.ranges.to_dict(), indent=1) + "\n"
                replace_bytes(folder / CALIBRATION_NAME, content.encode())
            for name, graph in graphs.items():
                replace_bytes(folder / GRAPHS[name], graph.SerializeToString(deterministic=True))
            source.save_weights(folder)
            listener.stage(f"Comparing with {source.reference}")
            frames = _parity_frames(dataset, chosen.spare, reference)
            expected = _answers(reference, frames)
            save_parity(folder, frames, expected)
            parity = {name: _parity(folder, name, frames, expected, source, spec, listener) for name in graphs}
            result = None
            if chosen.judged is not None and made is not None:
                listener.stage(f"Measuring INT8 on {len(chosen.judged)} held-out images")
                result = _measure(folder, reference, chosen.judged, source, spec, listener)
        manifest = Manifest(
            task=source.task.name,
            network=source.network,
            options=source.options,
            spec=source.task.spec,
            framing=source.framing,
            batch=source.batch,
            precisions=tuple(name for name in ("fp32", "fp16", "int8") if name in graphs),
            parity=parity,
            calibration={} if made is None else _calibration_summary(made, validated=result is not None),
            versions=_versions(),
            accuracy={} if result is None else _accuracy(result),
            origin=source.origin,
            float_nodes=float_nodes(graphs["fp32"]),
        )
        manifest = finish(folder, manifest)
    records.remove()
    return BuiltBundle(Bundle(output, manifest), result)


def _read(spec: BuildSpec, listener: Listener) -> Source:
    """What the bundle is built from, measured by the figure that was asked for."""
    listener.stage("Reading the graph" if spec.source.suffix.lower() == ".onnx" else "Exporting to ONNX")
    source = read_source(
        spec.source,
        spec.input_size,
        spec.stretch,
        spec.batch,
        logits=spec.logits,
        int8=spec.precision == "int8",
        labels=spec.labels,
        said=spec.said,
        sure=spec.sure,
    )
    if spec.engine is not None:
        spec.engine.profile(source.batch)
    if source.told:
        listener.stage(source.told)
    if spec.figure is None:
        return source
    task = source.task.measured_by(spec.figure)
    return replace(source, task=task, options={**source.options, FIGURE: task.figure.name})


def _float_graphs(
    spec: BuildSpec, source: Source, dataset: Images, chosen: _Chosen, listener: Listener
) -> dict[str, onnx.ModelProto]:
    """``fp32``, which knows what overflows FP16, and ``fp16`` where that is wanted."""
    model = source.model
    if "equalisation" in spec.int8.corrections:
        listener.stage("Equalising channels")
        model = _equalised(source, spec, dataset, chosen.selection, listener)
    if spec.precision == "fp32":
        return {"fp32": with_precision(model, "fp32")}
    listener.stage("Looking for what overflows FP16")
    seen = chosen.selection.indices or tuple(chosen.spare)
    single = with_precision(_with_float_nodes(model, source, spec, dataset, seen), "fp32")
    return {"fp32": single, "fp16": with_precision(to_half(single), "fp16")}


def _carried(spec: BuildSpec, source: Source, listener: Listener) -> Ranges | None:
    """The ranges that the checkpoint carries, where they are to be taken.

    Raises:
        UsageError: they are not this graph's, or something else is asked for that would change what was learned.
    """
    if spec.precision != "int8" or not source.int8:
        return None
    if not spec.int8.takes_carried:
        listener.stage("Leaving the ranges that the checkpoint carries: others were asked for")
        return None
    if spec.int8.corrections or spec.int8.weights != "max":
        raise UsageError(
            f"{spec.source} carries INT8 ranges that were learned together with its weights: --correct and --weights "
            "would change what was learned.",
            "Leave them out, or calibrate anew with --calibration mse.",
        )
    return carried_ranges(source.int8, source.model, place(source.model), str(spec.source))


def _with_float_nodes(
    model: onnx.ModelProto, source: Source, spec: BuildSpec, dataset: Images, indices: Sequence[int]
) -> onnx.ModelProto:
    """The graph with the names of what FP16 has to leave in FP32, by the ranges of its activations."""
    collector = RangeCollector(model, spec.threads)
    for name, frame in letterboxed(dataset, indices[:OVERFLOW_IMAGES], source.framing):
        collector.update(name, frame[None])
    return keep_what_overflows(model, collector.limits()) if collector.frames_seen else model


def _equalised(
    source: Source, spec: BuildSpec, dataset: Images, selection: Selection, listener: Listener
) -> onnx.ModelProto:
    """The graph that computes the same and is easier on INT8; all graphs of the bundle are made of it."""
    indices = selection.indices[:CORRECTED_ON]
    found = letterboxed(dataset, indices, source.framing, strict=spec.strict)
    frames = (frame for _, frame in found)
    return equalise(
        source.model, frames, threads=spec.threads, progress=lambda done: listener.progress(done, len(indices))
    )


@dataclass(frozen=True)
class _Chosen:
    """Images of a build.

    Args:
        selection: to calibrate on.
        judged: to judge INT8 on; None where nobody does.
        spare: places of those to compare the graphs on.
    """

    selection: Selection
    judged: Images | None
    spare: list[int]


def _choose(
    spec: BuildSpec, dataset: Images, held_out: Images | None, listener: Listener, *, calibrates: bool
) -> _Chosen:
    """What is judged and compared on never calibrates, if possible."""
    judges = spec.precision == "int8" and spec.validate
    selection = Selection((), {}, spec.seed)
    if calibrates and spec.calibration_set is not None:
        selection = read_selection(spec.calibration_set, dataset)
    elif calibrates:
        selection = select(dataset, spec.calibration_images, spec.seed, listener.progress, strict=spec.strict)
        if judges and held_out is None:
            selection = _with_some_left(selection, dataset)
    taken = {dataset.names[index] for index in (*selection.indices, *_unreadable(selection, dataset))}
    rest = [index for index, name in enumerate(dataset.names) if name not in taken]
    judged: Images | None = None
    if judges:
        judged = _judged(spec, held_out or Subset(dataset, tuple(rest)), taken)
    return _Chosen(selection, judged, _spaced(rest or list(selection.indices), PARITY_IMAGES))


def _unreadable(selection: Selection, dataset: Images) -> set[int]:
    broken = {name for name, _ in selection.unreadable}
    return {index for index, name in enumerate(dataset.names) if name in broken}


def _with_some_left(selection: Selection, dataset: Images) -> Selection:
    """The selection without the images that add least to it, where it would leave none to judge on."""
    broken = _unreadable(selection, dataset)
    if set(range(len(dataset))) - set(selection.indices) - broken:
        return selection
    readable = [index for index in selection.indices if index not in broken]
    if len(readable) < 2:
        raise DataError(
            f"{dataset.description} holds no second image that can be read, and INT8 is judged on others than it is "
            "calibrated on.",
            "Give --data more images, --held-out others, or --no-validate.",
        )
    given_up = set(readable[-max(1, len(readable) // RESERVED) :])
    return replace(selection, indices=tuple(index for index in selection.indices if index not in given_up))


def _judged(spec: BuildSpec, candidates: Images, taken: Collection[str]) -> Images:
    """The images to judge on, spaced evenly; all of them where a budget is set."""
    free = [index for index, name in enumerate(candidates.names) if name not in taken]
    if not free:
        raise DataError(
            f"Every image of {candidates.description} calibrates, and none is left to judge INT8 on.",
            "Give --held-out other images, or fewer --calibration-images; --no-validate builds unmeasured.",
        )
    indices = free if spec.int8.has_budget else _spaced(free, HELD_OUT_IMAGES)
    return Subset(candidates, tuple(indices))


def _spaced(indices: list[int], count: int) -> list[int]:
    steps = np.linspace(0, len(indices) - 1, min(count, len(indices)))
    return [indices[int(step)] for step in steps]


def _judge(spec: BuildSpec, judged: Images | None, reference: Predictor[Any], listener: Listener) -> GraphJudge | None:
    if judged is None or (spec.int8.method != AUTO and not spec.int8.has_budget):
        return None
    listener.stage("Asking the reference about the held-out images")
    return GraphJudge(
        judged, range(len(judged)), reference, threads=spec.threads, strict=spec.strict, progress=listener.progress
    )


def _scout(spec: BuildSpec, judged: Images | None, reference: Predictor[Any]) -> GraphJudge | None:
    """Ranks layers for a budget, by the noise that each adds to the logits: a few images tell."""
    if judged is None or not spec.int8.has_budget:
        return None
    few = _spaced(list(range(len(judged))), SCOUTED_IMAGES)
    return GraphJudge(judged, few, reference, threads=spec.threads, raw=reference.engine.gives_raw)


def _timer(spec: BuildSpec, output: Path, source: Source, listener: Listener) -> LayerTimer | None:
    if spec.engine is None or spec.engine.target != "tensorrt" or spec.engine.dla_core is not None:
        # An accelerator's engine hides its layers; TensorRT-RTX builds without the GPU.
        return None
    return GraphTimer(spec.engine, output, source.task.spec, listener.stage)


def _measure(
    folder: Path,
    reference: Predictor[Any],
    judged: Images,
    source: Source,
    spec: BuildSpec,
    listener: Listener,
) -> ValidationResult:
    """INT8 in both forms, against the reference, in the task's usual order."""
    with (
        CpuEngine(folder / GRAPHS["int8"], "int8", threads=spec.threads, simulate=True) as simulated,
        CpuEngine(folder / GRAPHS["int8-cpu"], "int8", threads=spec.threads) as native,
    ):
        engines = [source.predictor(simulated), source.predictor(native)]
        result = validate(reference, engines, judged, strict=spec.strict, progress=listener.progress)
    if result.partial:
        # Ctrl-C: a validation ends with what it has, a build without a bundle.
        raise KeyboardInterrupt
    return result


def _accuracy(result: ValidationResult) -> dict[str, Accuracy]:
    """For the manifest; without the time of day, so that the same build gives the same bytes."""
    return {name: replace(reached, created="") for name, reached in measured_accuracy(result).items()}


def _parity_frames(dataset: Images, indices: list[int], reference: Predictor[Any]) -> Frames:
    frames, reason = [], ""
    for index in indices:
        try:
            sample = dataset[index]
        except DataError as error:
            # Calibration has listed or refused it already; here one image less compares the graphs as well.
            reason = error.message
            continue
        size = (sample.image.shape[0], sample.image.shape[1])
        frames.append(reference.place(size, sample.box).apply(sample.image))
    if not frames:
        raise DataError(f"No image of {dataset.description} could be read to compare the graphs on.", reason)
    return np.stack(frames)


def _answers(reference: Predictor[Any], frames: Frames) -> Stored:
    """What the reference makes of each frame, by its outputs' names."""
    engine = reference.engine
    found = [engine.infer(np.repeat(frame[None], engine.batch or 1, axis=0)) for frame in frames]
    for arrays in found:
        reference.unpack(arrays)  # what makes no answers is nothing to compare with
    columns = zip(engine.outputs, zip(*found))
    return {spec.name: np.concatenate([array[:1] for array in arrays]) for spec, arrays in columns}


def _parity(
    folder: Path, name: str, frames: Frames, expected: Stored, source: Source, spec: BuildSpec, listener: Listener
) -> dict[str, float]:
    """How much of what the reference gives a graph gives as well."""
    precision = name.split("-")[0]
    path = folder / GRAPHS[name]
    # The CPU runtime computes FP16 in FP32, so that what overflows on a GPU would not be seen.
    graph = stored_in_half(onnx.load(path)) if name == "fp16" else path
    with CpuEngine(graph, precision, threads=spec.threads, simulate=name == "int8") as engine:
        agreement = compare(engine, source.task, frames, expected, listener.progress)
    agreement.check(name, source.reference)
    return agreement.to_dict()


def _calibration_summary(made: Int8, *, validated: bool) -> Calibrated:
    ranges: Ranges = made.ranges
    told: Calibrated = {
        "method": ranges.key.method,
        "images": len(ranges.images),
        "skipped": len(ranges.skipped),
        "dataset": ranges.dataset,
        "seed": ranges.seed,
        "key": asdict(ranges.key),
        "warnings": list(ranges.warnings),
        "weights": made.weights,
        "corrections": list(made.corrections),
        "quantised_activations": len(made.placement.activations),
        "quantised_weights": len(made.placement.weights),
        "higher_precision": made.placement.higher_precision,
        "validated": validated,
        "methods": {name: score.to_dict() for name, score in made.trials.items()},
    }
    if made.outcome is not None:
        told["search"] = made.outcome.to_dict()
    if made.earned is not None:
        told["timed"] = made.earned.to_dict()
    return told


def _versions() -> dict[str, str]:
    versions = {"trtparse": __version__, "python": sys.version.split()[0]}
    for package in ("torch", "onnx", "onnxruntime", "onnxslim", "numpy"):
        try:
            versions[package] = package_version(package)
        except PackageNotFoundError:
            # JetPack's wheels may carry other distribution names.
            versions[package] = "unknown"
    return versions
