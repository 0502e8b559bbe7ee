"""What a bundle is built from: a checkpoint, or a graph where PyTorch is not at hand."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from .. import __version__
from ..calibration.quantise.lint import check as check_int8
from ..engines.base import Engine
from ..engines.bundle import GRAPHS, WEIGHTS_NAME, Bundle, Manifest, finish, writing
from ..engines.cpu import CpuEngine
from ..engines.machine.dependencies import require
from ..errors import UsageError
from ..graphs.adapt import adapt
from ..graphs.answers import BOXES, KEYPOINTS, LABELS, Answers, answers_of
from ..graphs.conventions import Said
from ..graphs.facts import opset_of
from ..graphs.half import to_half
from ..graphs.index import property_of
from ..graphs.interface import (
    check_interface,
    graph_precision,
    label_set_of,
    named,
    read_onnx,
    skeleton_of,
    sure_of,
)
from ..graphs.observe import framing_of
from ..specs.decoding import LOGITS, Decoding
from ..specs.framing import Framing
from ..specs.label_set import LabelSet
from ..specs.origin import Origin
from ..specs.skeleton import Skeleton
from ..storage.files import replace_bytes
from ..tasks.base import Predictor, Spec, Task
from ..tasks.parsing.task import Parsing
from ..tasks.people.task import SURE, People
from ..tasks.pose.task import Pose

if TYPE_CHECKING:
    from ..networks.any_checkpoint import AnyCheckpoint
    from ..networks.released import Released


@dataclass(frozen=True)
class Source:
    """An FP32 graph, and the engine that every other one is compared with.

    Args:
        model: FP32.
        network, options: what it is.
        framing: how images become its frames.
        task: what its answers mean.
        batch: frames per call, None for any number.
        reference: what the reference is called.
        open_engine: opens the reference, with a number of threads.
        save_weights: into a bundle's folder, where there are any.
        origin: what its weights come from.
        int8: the ranges that its checkpoint carries, as :mod:`~trtparse.calibration.training.carried` has them; mostly
            empty.
        told: what a person should know of how it was read: which of several networks in a checkpoint was taken, that a
            graph's opset was raised; empty for nothing.
    """

    model: onnx.ModelProto
    network: str
    options: dict[str, Any]
    framing: Framing
    task: Task[Any]
    batch: int | None
    reference: str
    open_engine: Callable[[int], Engine]
    save_weights: Callable[[Path], None]
    origin: Origin = field(default_factory=Origin)
    int8: Mapping[str, Any] = field(default_factory=dict)
    told: str = ""

    def open_reference(self, threads: int) -> Predictor[Any]:
        """The reference with what it means."""
        return self.predictor(self.open_engine(threads))

    def predictor(self, engine: Engine) -> Predictor[Any]:
        """An engine of the source, or of a graph made of it, with what it means."""
        return Predictor(engine, self.task, self.framing)


def open_source(
    path: Path,
    input_size: tuple[int, int] | None,
    stretch: float | None,
    batch: int | None,
    *,
    logits: bool,
    int8: bool = False,
    labels: Spec | None = None,
    said: Said | None = None,
    sure: float | None = None,
) -> Source:
    """Export a checkpoint, or read an FP32 graph.

    Args:
        path: a checkpoint, or an ONNX file; one with frames in and labels out has its own size, stretch, batch and
            outputs.
        input_size: (height, width); None takes the checkpoint's.
        stretch: of the images; None takes the checkpoint's.
        batch: frames per call, None for any number.
        logits: give the graph a second output.
        int8: INT8 is to be made of it; an ONNX file is brought to what that needs.
        labels: what its classes or joints mean, where it does not say so itself.
        said: how a network that is not ours sees images and gives answers.
        sure: the score from which a finder's box is somebody; None takes what the file says.

    Raises:
        UsageError: no such file, or one that cannot be used.
        BuildError: the exporter refuses the network.
        MachineError: a checkpoint without PyTorch.
    """
    if path.suffix.lower() == ".onnx":
        return _of_graph(path, labels, said, int8=int8, logits=logits, sure=sure)
    for package in ("torch", "safetensors", "onnxslim"):
        require(package)
    from ..engines.reference import PyTorchEngine
    from ..networks.any_checkpoint import parse_any_checkpoint
    from ..networks.checkpoint import Checkpoint, read_tensors, save_checkpoint
    from ..networks.finder_checkpoint import FinderCheckpoint
    from ..networks.pose_checkpoint import PoseCheckpoint
    from ..networks.released import is_released, parse_released

    header, state = read_tensors(path)
    if is_released(header, state.tensors):
        said = said or Said(labels=_classes(labels, path), stretch=stretch, input_size=input_size)
        return _of_released(parse_released(header, state, path, said), batch, logits=logits)
    _refuse_said(said, path)
    checkpoint = parse_any_checkpoint(header, state, path, labels)
    if isinstance(checkpoint, FinderCheckpoint):
        checkpoint = replace(checkpoint, sure=sure or checkpoint.sure or SURE)
    elif sure is not None:
        _refuse_sure(path)
    network = checkpoint.network
    framing = checkpoint.framing.resized(input_size or checkpoint.framing.input_size)
    options, decoding = network.spec.to_dict(), LOGITS
    if isinstance(checkpoint, PoseCheckpoint):
        if stretch is not None:
            raise UsageError(
                "--stretch is for whole images, and a pose network sees one person's box.", "Leave it out."
            )
        decoding = checkpoint.decoding
        options["decoding"] = decoding.to_dict()
    if isinstance(checkpoint, FinderCheckpoint):
        options["sure"] = checkpoint.sure
    framing = framing.stretched(stretch or framing.stretch)
    task = _task_of(checkpoint)
    carried: Mapping[str, Any] = checkpoint.int8 if isinstance(checkpoint, Checkpoint) else {}
    return Source(
        model=_exported(checkpoint, framing, batch, raw=logits),
        network=network.kind,
        options=options,
        framing=framing,
        task=task,
        batch=batch,
        reference="PyTorch",
        open_engine=lambda threads: PyTorchEngine(network, framing.input_size, decoding=decoding, threads=threads),
        save_weights=lambda folder: save_checkpoint(
            network,
            folder / WEIGHTS_NAME,
            checkpoint.framing.stretched(framing.stretch),
            task.spec,
            decoding=decoding,
            sure=checkpoint.sure if isinstance(checkpoint, FinderCheckpoint) else None,
            lossless=True,
            origin=checkpoint.origin,
            int8=carried,
        ),
        origin=checkpoint.origin,
        int8=carried,
        told=checkpoint.told,
    )


def _exported(checkpoint: AnyCheckpoint, framing: Framing, batch: int | None, *, raw: bool) -> onnx.ModelProto:
    from ..networks.finder_checkpoint import FinderCheckpoint
    from ..networks.pose_checkpoint import PoseCheckpoint
    from .export import export_onnx, export_pose_onnx
    from .export_finder import export_finder

    if isinstance(checkpoint, FinderCheckpoint):
        return export_finder(checkpoint.network, framing, sure=checkpoint.sure, batch=batch, cells=raw)
    if isinstance(checkpoint, PoseCheckpoint):
        network, decoding = checkpoint.network, checkpoint.decoding
        return export_pose_onnx(network, framing, checkpoint.skeleton, decoding, batch=batch, heatmaps=raw)
    return export_onnx(checkpoint.network, framing, checkpoint.label_set, batch=batch, logits=raw)


def _task_of(checkpoint: AnyCheckpoint) -> Task[Any]:
    from ..networks.finder_checkpoint import FinderCheckpoint
    from ..networks.pose_checkpoint import PoseCheckpoint

    if isinstance(checkpoint, FinderCheckpoint):
        return People(sure=checkpoint.sure or SURE)
    if isinstance(checkpoint, PoseCheckpoint):
        return Pose(checkpoint.skeleton, checkpoint.decoding)
    return Parsing(checkpoint.label_set)


def task_of_source(path: Path, labels: Spec | None, said: Said | None = None) -> Task[Any]:
    """What a checkpoint or a graph is for; arguments as of :func:`open_source`.

    Raises:
        UsageError: no such file, one that cannot be used, or a label set or skeleton that does not fit.
    """
    if path.suffix.lower() == ".onnx":
        if said is not None:
            meant = said.spec(str(path))
            if said.task == "people":
                return People()
            return Pose(meant) if isinstance(meant, Skeleton) else Parsing(meant)
        return task_of_graph(read_onnx(path), labels, path)
    from ..networks.any_checkpoint import parse_any_checkpoint
    from ..networks.checkpoint import read_tensors
    from ..networks.released import is_released, parse_released

    header, state = read_tensors(path)
    if is_released(header, state.tensors):
        # Of which size it is does not matter here.
        said = said or Said(labels=_classes(labels, path), input_size=(64, 64))
        return Parsing(parse_released(header, state, path, said).label_set)
    _refuse_said(said, path)
    return _task_of(parse_any_checkpoint(header, state, path, labels))


def _classes(labels: Spec | None, path: Path) -> LabelSet | None:
    """What ``--labels`` says of a network that tells classes apart."""
    if isinstance(labels, Skeleton):
        raise UsageError(
            f"{path} tells classes apart, and {labels.name} has joints.", "Give --labels a label set, such as lip."
        )
    return labels


def _refuse_said(said: Said | None, path: Path) -> None:
    if said is not None:
        raise UsageError(
            f"{path} is a checkpoint of one of our networks, which says itself how it sees images.",
            "Leave --preset, --input-order, --mean, --std and their like out.",
        )


def _of_released(released: Released, batch: int | None, *, logits: bool) -> Source:
    """A published network's checkpoint: its reference is PyTorch, as of our own."""
    from ..engines.released import ReleasedEngine
    from ..networks.released import save_released
    from .export import export_released_onnx

    return Source(
        model=export_released_onnx(released, batch=batch, logits=logits or released.framing.returns == "logits"),
        network=released.family,
        options={"num_classes": released.network.num_classes},
        framing=released.framing,
        task=Parsing(released.label_set),
        batch=batch,
        reference="PyTorch",
        open_engine=lambda threads: ReleasedEngine(released, threads=threads),
        save_weights=lambda folder: save_released(released, folder / WEIGHTS_NAME),
        origin=released.origin,
        told=released.told,
    )


def task_of_graph(model: onnx.ModelProto, meant: Spec | None, path: Path) -> Task[Any]:
    """What a graph with our outputs is for: its metadata says it, or somebody.

    Raises:
        UsageError: nobody says what its classes or joints mean, or two things are told.
    """
    answers = answers_of(model)
    assert answers is not None, "a graph that check_interface passed"
    return _TASKS[answers](model, meant, path)


def _parsing_of(model: onnx.ModelProto, meant: Spec | None, path: Path) -> Parsing:
    return Parsing(label_set_of(model, _classes(meant, path), path))


def _pose_of(model: onnx.ModelProto, meant: Spec | None, path: Path) -> Pose:
    decoding = property_of(model, "decoding")
    return Pose(skeleton_of(model, meant, path), Decoding.from_dict(json.loads(decoding)) if decoding else LOGITS)


def _people_of(model: onnx.ModelProto, meant: Spec | None, path: Path) -> People:
    if meant is not None:
        raise UsageError(f"{path} finds people, and --labels names {meant.name}.", "Leave --labels out.")
    return People(sure=sure_of(model, path) or SURE)


_TASKS: dict[Answers, Callable[[onnx.ModelProto, Spec | None, Path], Task[Any]]] = {
    LABELS: _parsing_of,
    KEYPOINTS: _pose_of,
    BOXES: _people_of,
}
"""What a graph answers with to what it is for."""


def _refuse_sure(path: Path) -> None:
    raise UsageError(f"{path} finds nobody: --sure is about a finder's scores.", "Leave --sure out.")


def _of_graph(
    path: Path, labels: Spec | None, said: Said | None, *, int8: bool, logits: bool, sure: float | None
) -> Source:
    model = read_onnx(path)
    own = opset_of(model)
    if said is not None:
        model, labels = adapt(model, said, path, logits=logits), None
    batch = check_interface(model, path)
    if sure is not None:
        if answers_of(model) is not BOXES:
            _refuse_sure(path)
        properties = {entry.key: entry.value for entry in model.metadata_props}
        onnx.helper.set_model_props(model, {**properties, "sure": f"{sure:g}"})
    task = task_of_graph(model, labels, path)
    precision = graph_precision(model)
    if precision != "fp32":
        raise UsageError(
            f"{path} is {precision}: other precisions are made from an FP32 graph.",
            f"Give the FP32 graph, or --{precision} to take this one as it is.",
        )
    reference = model
    if int8:
        from .opset import prepare_for_int8

        model = prepare_for_int8(model, str(path))
    raised = opset_of(model) != own
    told = f"Raised from opset {own} to {opset_of(model)}, with the same answers" if raised else ""
    preset = {} if said is None or said.preset is None else {"preset": said.preset}
    return Source(
        model=model,
        network="onnx",
        options={**_options_of(model, path), **preset},
        framing=framing_of(model),
        task=task,
        batch=batch,
        reference="the FP32 graph",
        open_engine=lambda threads: CpuEngine(reference, "fp32", threads=threads),
        save_weights=lambda folder: None,
        told=told,
    )


def _options_of(model: onnx.ModelProto, path: Path) -> dict[str, Any]:
    decoding = property_of(model, "decoding")
    known: dict[str, Any] = {"decoding": json.loads(decoding)} if decoding else {}
    if answers_of(model) is BOXES:
        known["sure"] = sure_of(model, path) or SURE
    return {"source": path.name, "producer": model.producer_name or "unknown", **known}


def bundle_of_onnx(path: Path, output: Path, precision: str | None = None, labels: Spec | None = None) -> Bundle:
    """Check an ONNX file and make a bundle of it.

    Args:
        path: the file; weights that lie in other files beside it are taken in.
        output: the bundle's folder; an older bundle there is replaced when the new one is whole.
        precision: to be built from it, None for the file's own. FP16 is made of an FP32 graph; INT8 has to be in the
            file, because it takes calibration.
        labels: what its classes mean, where the file does not say.

    Returns:
        The bundle: no weights, no parity; its INT8 graph has no form for the CPU runtime.

    Raises:
        UsageError: not an ONNX file, other inputs and outputs, or INT8 asked of a graph without Q/DQ.
        BuildError: a graph that breaks a rule of INT8, or cannot be typed in FP16.
    """
    model = read_onnx(path)
    batch = check_interface(model, path)
    own = graph_precision(model)
    if precision == "int8" and own != "int8":
        raise UsageError(
            f"{path} is {own}: it holds no QuantizeLinear, and INT8 without calibration is worth nothing.",
            "Build from the checkpoint, which calibrates: trtparse build CHECKPOINT --int8 --data FOLDER",
        )
    if precision == "fp32" and own != "fp32":
        raise UsageError(f"{path} is {own}, from which FP32 cannot be had back.", f"Give --{own}.")
    if own == "int8":
        check_int8(model)
    graphs = {own: named(own, model)}
    if precision == "fp16" and own == "fp32":
        graphs["fp16"] = named("fp16", to_half(model))
    if precision == "fp16" and own == "int8":
        raise UsageError(f"{path} is int8, from which FP16 alone cannot be had back.", "Give --int8.")
    task = task_of_graph(model, labels, path)
    manifest = Manifest(
        task=task.name,
        network=property_of(model, "network") or "onnx",
        options=_options_of(model, path),
        spec=task.spec,
        framing=framing_of(model),
        batch=batch,
        precisions=tuple(name for name in ("fp32", "fp16", "int8") if name in graphs),
        parity={},
        calibration={},
        versions={"trtparse": __version__, "python": sys.version.split()[0], "onnx": onnx.__version__},
    )
    with writing(output) as folder:
        for name, graph in graphs.items():
            replace_bytes(folder / GRAPHS[name], graph.SerializeToString(deterministic=True))
        manifest = finish(folder, manifest)
    return Bundle(output, manifest)
