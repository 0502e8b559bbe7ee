"""Build: checkpoint to bundle, bundle to engine."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from .. import __version__
from ..calibration.calibrate import calibrate
from ..calibration.cpu import quantise_for_cpu
from ..calibration.lint import check
from ..calibration.placement import Placement, place
from ..calibration.qdq import quantise
from ..calibration.ranges import METHOD, Ranges
from ..calibration.selection import Selection, select
from ..data.dataset import Dataset
from ..data.letterbox import Letterbox
from ..engines.base import Frames, LabelMaps
from ..engines.bundle import (
    CALIBRATION_NAME,
    GRAPHS,
    SCHEMA,
    WEIGHTS_NAME,
    Bundle,
    Manifest,
    add_files,
    finish,
    sha256,
    writing,
)
from ..engines.cpu import CpuEngine
from ..engines.dependencies import require
from ..errors import BuildError, DataError
from ..files import replace_bytes
from ..labels import CLASS_NAMES
from .half import to_half
from .tensorrt_rtx import compile_engine

PARITY_IMAGES = 16
MINIMUM_AGREEMENT = {"fp32": 0.9995, "fp16": 0.98, "int8": 0.80, "int8-cpu": 0.80}
"""Share of pixels that must agree with PyTorch; below it a graph is broken, not merely less accurate."""


@dataclass(frozen=True)
class BuildSpec:
    """What to build.

    Args:
        checkpoint: ours or a state dict of the same network.
        precision: ``fp32``, ``fp16`` or ``int8``; each includes those before it.
        input_size: (height, width); None takes the checkpoint's.
        batch: frames per call, None for any number.
        logits: give the graphs a second output.
        calibration_images: how many to use of the dataset.
        seed: of their choice.
        threads: of the CPU runtime; 0 for one per core.
        strict: an unreadable image is an error.
    """

    checkpoint: Path
    precision: str = "int8"
    input_size: tuple[int, int] | None = None
    batch: int | None = 1
    logits: bool = False
    calibration_images: int = 256
    seed: int = 0
    threads: int = 0
    strict: bool = False


@dataclass(frozen=True)
class Listener:
    """Whom a build tells how far it is: ``stage`` at the start of each, ``progress`` with (done, total)."""

    stage: Callable[[str], None] = lambda _: None
    progress: Callable[[int, int], None] = lambda _, __: None


def build_bundle(spec: BuildSpec, dataset: Dataset, output: Path, listener: Listener = Listener()) -> Bundle:
    """Export, calibrate, quantise, check against PyTorch and write a bundle.

    Args:
        spec: what.
        dataset: images to calibrate on and to compare the graphs with PyTorch on; labels are not needed.
        output: the bundle's folder; an older bundle there is replaced when the new one is whole.
        listener: of the progress.

    Raises:
        DataError: no readable image.
        BuildError: a graph that cannot be built, breaks a rule or does not agree with PyTorch.
        UsageError: the checkpoint or the output folder.
        MachineError: PyTorch is not installed.
    """
    if len(dataset) == 0:
        raise DataError(f"{dataset.description} holds no image.", "Give --data a folder with images.")
    for package in ("torch", "safetensors", "onnxslim"):
        require(package)
    from ..engines.reference import PyTorchEngine
    from ..networks.checkpoint import load_checkpoint, save_checkpoint
    from .export import export_onnx

    checkpoint = load_checkpoint(spec.checkpoint)
    input_size = spec.input_size or checkpoint.input_size
    with writing(output) as folder:
        listener.stage("Exporting to ONNX")
        exported = export_onnx(checkpoint.network, input_size, batch=spec.batch, logits=spec.logits)
        graphs = {"fp32": _named("fp32", exported)}
        if spec.precision in ("fp16", "int8"):
            graphs["fp16"] = _named("fp16", to_half(graphs["fp32"]))
        ranges, placement = None, place(graphs["fp32"])
        listener.stage("Choosing images")
        selection, held_out = _choose(spec, dataset, listener)
        if spec.precision == "int8":
            listener.stage("Calibrating")
            ranges = calibrate(
                graphs["fp32"],
                dataset,
                selection,
                threads=spec.threads,
                strict=spec.strict,
                progress=listener.progress,
            )
            listener.stage("Writing the INT8 graphs")
            graphs |= _int8_graphs(graphs["fp32"], placement, ranges)
            replace_bytes(folder / CALIBRATION_NAME, (json.dumps(ranges.to_dict(), indent=1) + "\n").encode())
        for name, graph in graphs.items():
            replace_bytes(folder / GRAPHS[name], graph.SerializeToString(deterministic=True))
        save_checkpoint(checkpoint.network, folder / WEIGHTS_NAME, checkpoint.input_size, lossless=True)
        listener.stage("Comparing with PyTorch")
        with PyTorchEngine(checkpoint.network, input_size, threads=spec.threads) as reference:
            frames = _parity_frames(dataset, held_out, input_size)
            expected = reference.infer(frames)
        parity = {name: _parity(folder / GRAPHS[name], name, frames, expected, spec, listener) for name in graphs}
        manifest = Manifest(
            task="parsing",
            network=checkpoint.network.kind,
            options=checkpoint.network.spec.to_dict(),
            labels=CLASS_NAMES,
            input_size=input_size,
            batch=spec.batch,
            precisions=tuple(name for name in ("fp32", "fp16", "int8") if name in graphs),
            preprocessing=json.loads(_property(graphs["fp32"], "preprocessing")),
            parity=parity,
            calibration={} if ranges is None else _calibration_summary(ranges, placement),
            versions=_versions(),
        )
        manifest = finish(folder, manifest)
    return Bundle(output, manifest)


def build_engines(
    bundle: Bundle, precision: str, compute_capabilities: tuple[str, ...], listener: Listener = Listener()
) -> tuple[Bundle, list[dict[str, Any]]]:
    """Compile TensorRT-RTX engines from a bundle's graph and put them into the bundle.

    Needs neither PyTorch nor a GPU.

    Args:
        bundle: holds the graph of ``precision``.
        precision: ``fp32``, ``fp16`` or ``int8``.
        compute_capabilities: one engine each.

    Returns:
        The bundle with its new files, and each engine's manifest.

    Raises:
        BuildError: the parser or the builder refuses, or an INT8 engine has no quantised layer.
    """
    model = onnx.load(bundle.graph(precision))
    manifests = []
    for capability in compute_capabilities:
        listener.stage(f"Compiling {precision} for compute capability {capability} with TensorRT-RTX")
        engine = compile_engine(model, capability)
        if (precision == "int8") != (engine.quantise_layers > 0):
            raise BuildError(
                f"Asked for {precision}, and the network that TensorRT-RTX read has "
                f"{engine.quantise_layers} quantise layers."
            )
        stem = f"engines/tensorrt-rtx-{engine.version}-sm{capability.replace('.', '')}-{precision}"
        facts = {
            "schema": SCHEMA,
            "engine": f"{stem}.engine",
            "target": "tensorrt-rtx",
            "precision": precision,
            "tensorrt_rtx": engine.version,
            "compute_capability": capability,
            "graph": GRAPHS[precision],
            "graph_sha256": sha256(bundle.graph(precision)),
            "bytes": len(engine.content),
            "layers_parsed": engine.layers,
            "quantise_layers": engine.quantise_layers,
            "seconds": round(engine.seconds, 3),
            "host": platform.platform(),
        }
        bundle = add_files(
            bundle, {f"{stem}.engine": engine.content, f"{stem}.json": (json.dumps(facts, indent=2) + "\n").encode()}
        )
        manifests.append(facts)
    return bundle, manifests


def _choose(spec: BuildSpec, dataset: Dataset, listener: Listener) -> tuple[Selection, list[int]]:
    """Calibration images, none where nothing is calibrated; and others for parity where there are any left."""
    if spec.precision == "int8":
        selection = select(dataset, spec.calibration_images, spec.seed, listener.progress)
    else:
        selection = Selection((), {}, spec.seed)
    taken = set(selection.indices)
    rest = [index for index in range(len(dataset)) if index not in taken] or list(selection.indices)
    steps = np.linspace(0, len(rest) - 1, min(PARITY_IMAGES, len(rest)))
    return selection, [rest[int(step)] for step in steps]


def _int8_graphs(model: onnx.ModelProto, placement: Placement, ranges: Ranges) -> dict[str, onnx.ModelProto]:
    quantised = quantise(model, placement, ranges)
    check(quantised)
    typed = to_half(quantised)
    check(typed)
    return {
        "int8": _named("int8", typed),
        "int8-cpu": _named("int8-cpu", quantise_for_cpu(model, placement, ranges)),
    }


def _parity_frames(dataset: Dataset, indices: list[int], input_size: tuple[int, int]) -> Frames:
    frames, reason = [], ""
    for index in indices:
        try:
            image = dataset[index].image
        except DataError as error:
            # Calibration has listed or refused it already; here one image less compares the graphs as well.
            reason = error.message
            continue
        frames.append(Letterbox.fit((image.shape[0], image.shape[1]), input_size).apply(image))
    if not frames:
        raise DataError(f"No image of {dataset.description} could be read to compare the graphs on.", reason)
    return np.stack(frames)


def _parity(
    graph: Path, name: str, frames: Frames, expected: LabelMaps, spec: BuildSpec, listener: Listener
) -> dict[str, float]:
    """Share of pixels on which a graph and PyTorch give the same label."""
    same = 0
    with CpuEngine(graph, name.split("-")[0], threads=spec.threads, simulate=name == "int8") as engine:
        for done, (frame, labels) in enumerate(zip(frames, expected), 1):
            batch = np.repeat(frame[None], engine.batch or 1, axis=0)
            same += int((engine.infer(batch)[0] == labels).sum())
            listener.progress(done, len(frames))
    agreement = same / expected.size
    if agreement < MINIMUM_AGREEMENT[name]:
        raise BuildError(
            f"The {name} graph agrees with PyTorch on {100 * agreement:.2f} % of the pixels of {len(frames)} images; "
            f"{100 * MINIMUM_AGREEMENT[name]:.2f} % is the least.",
            "Is the checkpoint trained? INT8 needs calibration images like those it will see (--data).",
        )
    return {"pixel_agreement": round(agreement, 6), "images": len(frames)}


def _calibration_summary(ranges: Ranges, placement: Placement) -> dict[str, Any]:
    return {
        "method": METHOD,
        "images": len(ranges.images),
        "skipped": len(ranges.skipped),
        "dataset": ranges.dataset,
        "seed": ranges.seed,
        "key": asdict(ranges.key),
        "quantised_activations": len(placement.activations),
        "quantised_weights": len(placement.weights),
        "higher_precision": placement.higher_precision,
    }


def _versions() -> dict[str, str]:
    versions = {"trtparse": __version__, "python": sys.version.split()[0]}
    for package in ("torch", "onnx", "onnxruntime", "onnxslim", "numpy"):
        try:
            versions[package] = package_version(package)
        except PackageNotFoundError:
            # JetPack's wheels may carry other distribution names.
            versions[package] = "unknown"
    return versions


def _named(name: str, model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its graph's name in its metadata."""
    properties = {prop.key: prop.value for prop in model.metadata_props}
    onnx.helper.set_model_props(model, {**properties, "precision": name})
    return model


def _property(model: onnx.ModelProto, key: str) -> str:
    return str(next(prop.value for prop in model.metadata_props if prop.key == key))
