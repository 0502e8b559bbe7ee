"""A folder for DeepStream: graph, nvinfer's configurations, labels, an application, and what of it was not run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from ...data.letterbox import Letterbox
from ...data.synthetic import SyntheticPeople
from ...engines import open_bundle
from ...engines.base import Frames
from ...engines.cpu import CpuEngine
from ...errors import BuildError, UsageError
from ...graphs.simulated import simulated_graph
from ...specs.framing import MOST_STRETCH, Framing
from ...storage.files import replace_bytes
from ...storage.json_types import JsonObject
from ...tasks.open import task_of
from ...tasks.parsing.task import Parsing
from ..exports import finish, writing_export
from .planar import INPUT, OUTPUT, agreement, nvinfer_labels, planar_graph
from .readme import readme

KIND = "folder for DeepStream"

_MODES = {"fp32": 0, "int8": 1, "fp16": 2}
"""nvinfer's ``network-mode``."""

_LEAST_AGREEMENT = 0.999
"""Of pixels, between our graph and the planar one: softmax may round two logits to one probability."""

_CHECKED_FRAMES = 4

Section = Mapping[str, object]


@dataclass(frozen=True)
class DeepStreamExport:
    """What was written.

    Args:
        precision: of the graph.
        agreement: the share of pixels that nvinfer's loop over the planar graph labels as our own graph does.
        frames: that it was measured on.
        batch: frames of a pass.
        input_size: (height, width).
    """

    precision: str
    agreement: float
    frames: int
    batch: int
    input_size: tuple[int, int]

    def to_dict(self) -> JsonObject:
        """In JSON's types."""
        return {
            "precision": self.precision,
            "agreement": self.agreement,
            "agreement_frames": self.frames,
            "batch": self.batch,
            "input_size": list(self.input_size),
        }


def export_deepstream(bundle_path: Path, output: Path, precision: str | None, most_frames: int) -> DeepStreamExport:
    """Write the folder.

    Args:
        bundle_path: what it is of.
        output: the folder; an earlier one of this kind is replaced.
        precision: ``fp32``, ``fp16`` or ``int8``; by default the lowest that the bundle has.
        most_frames: of a pass, where the graph takes any number.

    Raises:
        UsageError: no label maps, no such precision, or a folder that is somebody else's.
        BuildError: the planar graph does not do as ours does.
    """
    bundle = open_bundle(bundle_path)
    manifest = bundle.manifest
    task = task_of(manifest)
    if not isinstance(task, Parsing):
        raise UsageError(
            f"{bundle_path} is for {task.name}, and DeepStream's configurations are written for parsing alone.",
            "Export a bundle for parsing.",
        )
    chosen = precision or next(name for name in ("int8", "fp16", "fp32") if name in manifest.precisions)
    path = bundle.graph(chosen)
    model = onnx.load(path)
    size, classes = manifest.input_size, len(task.label_set)
    planar = planar_graph(model, size, manifest.batch, classes)
    batch = manifest.batch or most_frames
    passes = 1 if manifest.batch is None else math.ceil(_CHECKED_FRAMES / manifest.batch)
    frames = _people((manifest.batch or _CHECKED_FRAMES) * passes, manifest.framing)
    share = _agreement(path, planar, chosen, np.split(frames, passes))
    if share < _LEAST_AGREEMENT:
        raise BuildError(f"The planar graph labels {100 * share:.2f} % of the pixels as {path} does.")
    exported = DeepStreamExport(chosen, share, len(frames), batch, size)
    with writing_export(output, KIND) as folder:
        onnx.save(planar, folder / "parser.onnx")
        texts = {
            "labels.txt": "\n".join(task.label_set.classes) + "\n",
            "config_infer_parser.txt": sections({"property": parser_section(exported, classes, manifest.stretch)}),
            "config_infer_parser_of_people.txt": sections(
                {"property": {**parser_section(exported, classes, manifest.stretch), **_OF_PEOPLE}}
            ),
            "deepstream_app_config.txt": sections(_application(batch)),
            "README.md": readme(exported, manifest.framing, manifest.batch is None),
        }
        for name, text in texts.items():
            replace_bytes(folder / name, text.encode())
        finish(folder, KIND)
    return exported


def parser_section(exported: DeepStreamExport, classes: int, stretch: float) -> Section:
    """nvinfer's ``[property]`` for whole frames."""
    height, width = exported.input_size
    keeps_shape = stretch < MOST_STRETCH
    return {
        "gpu-id": 0,
        "gie-unique-id": 1,
        "process-mode": 1,
        "interval": 0,
        "onnx-file": "parser.onnx",
        "model-engine-file": "parser.engine",
        "labelfile-path": "labels.txt",
        "batch-size": exported.batch,
        "network-mode": _MODES[exported.precision],
        "network-type": 2,
        "num-detected-classes": classes,
        "infer-dims": f"3;{height};{width}",
        "network-input-order": 0,
        "model-color-format": 1,
        "net-scale-factor": 1,
        "maintain-aspect-ratio": int(keeps_shape),
        "symmetric-padding": int(keeps_shape),
        "scaling-filter": 1,
        "output-blob-names": OUTPUT,
        "segmentation-output-order": 0,
        "segmentation-threshold": 0,
    }


_OF_PEOPLE = {
    "gie-unique-id": 2,
    "process-mode": 2,
    "operate-on-gie-id": 1,
    "operate-on-class-ids": 0,
}
"""What differs where a detector finds people first, as its class 0."""


def sections(content: Mapping[str, Section]) -> str:
    """A key file, as GLib reads it."""
    return "\n".join(
        "\n".join([f"[{name}]", *(f"{key}={value}" for key, value in section.items()), ""])
        for name, section in content.items()
    )


def _application(batch: int) -> dict[str, Section]:
    """For NVIDIA's ``deepstream-app``: one video, its parts in colours, into a file."""
    return {
        "application": {"enable-perf-measurement": 1, "perf-measurement-interval-sec": 5},
        "source0": {"enable": 1, "type": 3, "uri": "file:///PATH/TO/VIDEO.mp4", "num-sources": 1, "gpu-id": 0},
        "streammux": {
            "gpu-id": 0,
            "live-source": 0,
            "batch-size": batch,
            "batched-push-timeout": 40000,
            "width": 1920,
            "height": 1080,
        },
        "primary-gie": {
            "enable": 1,
            "gpu-id": 0,
            "gie-unique-id": 1,
            "batch-size": batch,
            "config-file": "config_infer_parser.txt",
        },
        "segvisual": {"enable": 1, "gpu-id": 0, "batch-size": batch, "width": 1920, "height": 1080},
        "sink0": {
            "enable": 1,
            "type": 3,
            "container": 1,
            "codec": 1,
            "sync": 0,
            "source-id": 0,
            "output-file": "out.mp4",
        },
        "tests": {"file-loop": 0},
    }


def _people(count: int, framing: Framing) -> Frames:
    """Rendered people as the network sees them."""
    people = SyntheticPeople(count, seed=1)
    images = [people[index].image for index in range(count)]
    boxes = [Letterbox.of((i.shape[0], i.shape[1]), framing) for i in images]
    return np.stack([box.apply(image) for box, image in zip(boxes, images)])


def _agreement(graph: Path, planar: onnx.ModelProto, precision: str, batches: list[Frames]) -> float:
    """How much of frames both label alike, each in the arithmetic that its Q/DQ stands for."""
    import onnxruntime

    model = simulated_graph(planar) if precision == "int8" else planar
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    shares = []
    with CpuEngine(graph, precision, simulate=precision == "int8") as engine:
        for frames in batches:
            images = np.ascontiguousarray(frames.transpose(0, 3, 1, 2).astype(np.float32))
            (probabilities,) = session.run([OUTPUT], {INPUT: images})
            shares.append(agreement(engine.infer(frames)[0], nvinfer_labels(np.asarray(probabilities))))
    return float(np.mean(shares))
