"""What a bundle is built from: a checkpoint, or a graph where PyTorch is not at hand."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
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
from ..graphs.conventions import Said
from ..graphs.facts import opset_of
from ..graphs.half import to_half
from ..graphs.index import property_of, set_property
from ..graphs.interface import check_interface, graph_precision, read_onnx, with_precision
from ..graphs.observe import framing_of
from ..specs.framing import Framing
from ..specs.origin import Origin
from ..specs.spec import Spec
from ..storage.files import replace_bytes
from ..storage.json_types import JsonObject, ReadJson
from ..tasks.base import Task
from ..tasks.open import task_named, task_of_graph
from ..tasks.predictor import Predictor

if TYPE_CHECKING:
    from ..networks.trained import Trained


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
    options: JsonObject
    framing: Framing
    task: Task[Any]
    batch: int | None
    reference: str
    open_engine: Callable[[int], Engine]
    save_weights: Callable[[Path], None]
    origin: Origin = field(default_factory=Origin)
    int8: ReadJson = field(default_factory=dict)
    told: str = ""

    def open_reference(self, threads: int) -> Predictor[Any]:
        """The reference with what it means."""
        return self.predictor(self.open_engine(threads))

    def predictor(self, engine: Engine) -> Predictor[Any]:
        """An engine of the source, or of a graph made of it, with what it means."""
        return Predictor(engine, self.task, self.framing)


def read_source(
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
    from ..networks.any_checkpoint import load_any_checkpoint

    trained = load_any_checkpoint(path, labels, said, input_size=input_size, stretch=stretch).choosing(sure)
    if stretch is not None:
        if trained.framing.crop is not None:
            raise UsageError(
                "--stretch is for whole images, and a pose network sees one person's box.", "Leave it out."
            )
        trained = trained.framed(trained.framing.stretched(stretch))
    return _of_checkpoint(trained, input_size or trained.framing.input_size, batch, logits=logits)


def _of_checkpoint(trained: Trained, input_size: tuple[int, int], batch: int | None, *, logits: bool) -> Source:
    """A network in PyTorch, which is its own reference."""
    from ..engines.reference import PyTorchEngine
    from .export import export_onnx

    network, framing = trained.network, trained.framing.resized(input_size)
    return Source(
        model=export_onnx(trained.framed(framing), batch=batch, raw=logits or framing.returns == "logits"),
        network=network.kind,
        options=trained.options,
        framing=framing,
        task=task_named(trained.task, trained.spec, trained.options),
        batch=batch,
        reference="PyTorch",
        open_engine=lambda threads: PyTorchEngine(network, input_size, decoding=trained.decoding, threads=threads),
        save_weights=lambda folder: trained.save(folder / WEIGHTS_NAME),
        origin=trained.origin,
        int8=trained.int8,
        told=trained.told,
    )


def task_of_source(path: Path, labels: Spec | None, said: Said | None = None) -> Task[Any]:
    """What a checkpoint or a graph is for; arguments as of :func:`read_source`.

    Raises:
        UsageError: no such file, one that cannot be used, or a label set or skeleton that does not fit.
    """
    if path.suffix.lower() == ".onnx":
        if said is None:
            return task_of_graph(read_onnx(path), labels, path)
        return task_named(said.task, said.spec(str(path)))
    from ..networks.any_checkpoint import load_any_checkpoint

    # Of which size it is does not matter here.
    trained = load_any_checkpoint(path, labels, said, input_size=(64, 64))
    return task_named(trained.task, trained.spec, trained.options)


def _of_graph(
    path: Path, labels: Spec | None, said: Said | None, *, int8: bool, logits: bool, sure: float | None
) -> Source:
    model = read_onnx(path)
    own = opset_of(model)
    if said is not None:
        model, labels = adapt(model, said, path, logits=logits), None
    batch = check_interface(model, path)
    task = task_of_graph(model, labels, path).choosing(sure, str(path))
    if sure is not None:
        set_property(model, "sure", f"{sure:g}")
    precision = graph_precision(model)
    if precision != "fp32":
        raise UsageError(
            f"{path} is {precision}: other precisions are made from an FP32 graph.",
            f"Give the FP32 graph, or --{precision} to take this one as it is.",
        )
    reference = model
    if int8:
        from .rehearsal import prepare_for_int8

        model = prepare_for_int8(model, str(path))
    raised = opset_of(model) != own
    told = f"Raised from opset {own} to {opset_of(model)}, with the same answers" if raised else ""
    preset = {} if said is None or said.preset is None else {"preset": said.preset}
    return Source(
        model=model,
        network="onnx",
        options={**_options_of(model, path, task), **preset},
        framing=framing_of(model),
        task=task,
        batch=batch,
        reference="the FP32 graph",
        open_engine=lambda threads: CpuEngine(reference, "fp32", threads=threads),
        save_weights=lambda folder: None,
        told=told,
    )


def _options_of(model: onnx.ModelProto, path: Path, task: Task[Any]) -> JsonObject:
    return {"source": path.name, "producer": model.producer_name or "unknown", **task.options_of(model)}


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
    graphs = {own: with_precision(model, own)}
    if precision == "fp16" and own == "fp32":
        graphs["fp16"] = with_precision(to_half(model), "fp16")
    if precision == "fp16" and own == "int8":
        raise UsageError(f"{path} is int8, from which FP16 alone cannot be had back.", "Give --int8.")
    task = task_of_graph(model, labels, path)
    manifest = Manifest(
        task=task.name,
        network=property_of(model, "network") or "onnx",
        options=_options_of(model, path, task),
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
