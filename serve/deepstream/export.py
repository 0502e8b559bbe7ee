"""A folder for DeepStream: graph, nvinfer's configurations, labels, an application, and what of it was not run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from ...data.letterbox import Letterbox
from ...data.synthetic import SyntheticPeople
from ...engines import open_bundle
from ...engines.base import Arrays, Frames
from ...engines.cpu import CpuEngine
from ...errors import BuildError
from ...graphs.planar import INPUT, OUTPUT, planar_graph, planar_input
from ...graphs.simulated import simulated_graph
from ...specs.framing import MOST_STRETCH, Framing
from ...storage.files import replace_bytes
from ...storage.json_types import JsonObject
from ...tasks.base import Task
from ...tasks.open import task_of
from ...tasks.parsing.task import Parsing
from ..exports import finish, writing_export
from .nvinfer import agreement, nvinfer_labels
from .readme import readme

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

KIND = "folder for DeepStream"

_MODES = {"fp32": 0, "int8": 1, "fp16": 2}
"""nvinfer's ``network-mode``."""

_LEAST_AGREEMENT = 0.999
"""Of answers, between our graph and the planar one: softmax may round two logits to one probability."""

_CHECKED_FRAMES = 4

Section = Mapping[str, object]


@dataclass(frozen=True)
class DeepStreamExport:
    """What was written.

    Args:
        task: what the network is for.
        precision: of the graph.
        agreement: how much of what nvinfer gets of the planar graph is as our own graph gives it, from 0 to 1.
        unit: what that is a share of ("pixels").
        frames: that it was measured on.
        batch: frames of a pass.
        input_size: (height, width).
        outputs: of the planar graph.
    """

    task: str
    precision: str
    agreement: float
    unit: str
    frames: int
    batch: int
    input_size: tuple[int, int]
    outputs: tuple[str, ...]

    @property
    def name(self) -> str:
        """What the files are called by."""
        return "parser" if self.task == Parsing.name else self.task

    def to_dict(self) -> JsonObject:
        """In JSON's types."""
        return {
            "task": self.task,
            "precision": self.precision,
            "agreement": self.agreement,
            "agreement_frames": self.frames,
            "batch": self.batch,
            "input_size": list(self.input_size),
        }


def export_deepstream(bundle_path: Path, output: Path, precision: str | None, most_frames: int) -> DeepStreamExport:
    """Write the folder.

    Args:
        bundle_path: what it is of: for parsing, pose or people.
        output: the folder; an earlier one of this kind is replaced.
        precision: ``fp32``, ``fp16`` or ``int8``; by default the lowest that the bundle has.
        most_frames: of a pass, where the graph takes any number.

    Raises:
        UsageError: no such precision, or a folder that is somebody else's.
        BuildError: the planar graph does not do as ours does.
    """
    bundle = open_bundle(bundle_path)
    manifest = bundle.manifest
    task = task_of(manifest)
    chosen = precision or next(name for name in ("int8", "fp16", "fp32") if name in manifest.precisions)
    path = bundle.graph(chosen)
    model = onnx.load(path)
    size, batch = manifest.input_size, manifest.batch
    passes = 1 if batch is None else math.ceil(_CHECKED_FRAMES / batch)
    frames = np.split(_people((batch or _CHECKED_FRAMES) * passes, manifest.framing), passes)
    engine = CpuEngine(path, chosen, simulate=chosen == "int8")
    with engine:
        if task.pixel_classes:
            outputs: tuple[str, ...] = (OUTPUT,)
            planar = planar_graph(model, size, batch, len(task.pixel_classes))
        else:
            outputs = tuple(spec.name for spec in engine.outputs)
            planar = planar_input(model, size, batch, outputs)
        session = _session(planar, chosen)
        shares = [_alike(task, engine.infer(some), _planar_answers(session, outputs, some)) for some in frames]
    share = float(np.mean(shares))
    if share < _LEAST_AGREEMENT:
        unit = task.closeness.unit
        raise BuildError(f"The planar graph gives {100 * share:.2f} % of the {unit} as {path} does.")
    count = sum(map(len, frames))
    unit = task.closeness.unit
    exported = DeepStreamExport(task.name, chosen, share, unit, count, batch or most_frames, size, outputs)
    with writing_export(output, KIND) as folder:
        onnx.save(planar, folder / f"{exported.name}.onnx")
        section = infer_section(exported, task, manifest.framing)
        texts = {
            f"config_infer_{exported.name}.txt": sections({"property": section}),
            "README.md": readme(exported, manifest.framing, batch is None),
        }
        if not task.finds_people:
            around = {**section, **_OF_PEOPLE}
            texts[f"config_infer_{exported.name}_of_people.txt"] = sections({"property": around})
        if task.pixel_classes:
            texts["labels.txt"] = "\n".join(task.pixel_classes) + "\n"
            texts["deepstream_app_config.txt"] = sections(_application(exported.batch))
        for name, text in texts.items():
            replace_bytes(folder / name, text.encode())
        finish(folder, KIND)
    return exported


def infer_section(exported: DeepStreamExport, task: Task[Any], framing: Framing) -> Section:
    """nvinfer's ``[property]`` for whole frames."""
    height, width = exported.input_size
    keeps_shape = framing.stretch < MOST_STRETCH
    told: Section = {
        "gpu-id": 0,
        "gie-unique-id": 1,
        "process-mode": 1,
        "interval": 0,
        "onnx-file": f"{exported.name}.onnx",
        "model-engine-file": f"{exported.name}.engine",
        "batch-size": exported.batch,
        "network-mode": _MODES[exported.precision],
        "infer-dims": f"3;{height};{width}",
        "network-input-order": 0,
        "model-color-format": 1,
        "net-scale-factor": 1,
        "maintain-aspect-ratio": int(keeps_shape),
        "symmetric-padding": int(keeps_shape and framing.place == "middle"),
        "scaling-filter": 1,
        "output-blob-names": ";".join(exported.outputs),
    }
    if task.pixel_classes:
        return {
            **told,
            "labelfile-path": "labels.txt",
            "network-type": 2,
            "num-detected-classes": len(task.pixel_classes),
            "segmentation-output-order": 0,
            "segmentation-threshold": 0,
        }
    return {**told, "network-type": 100, "output-tensor-meta": 1}  # nvinfer hands the tensors on as they are


_OF_PEOPLE: Section = {
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


def _session(planar: onnx.ModelProto, precision: str) -> InferenceSession:
    """The planar graph in the arithmetic that its Q/DQ stands for."""
    import onnxruntime

    model = simulated_graph(planar) if precision == "int8" else planar
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _planar_answers(session: InferenceSession, outputs: Sequence[str], frames: Frames) -> Arrays:
    """What nvinfer gets of frames."""
    images = np.ascontiguousarray(frames.transpose(0, 3, 1, 2).astype(np.float32))
    return tuple(np.asarray(array) for array in session.run(list(outputs), {INPUT: images}))


def _alike(task: Task[Any], ours: Arrays, theirs: Arrays) -> float:
    """How much of what nvinfer makes of the planar graph's answers is as ours."""
    if task.pixel_classes:
        return agreement(ours[0], nvinfer_labels(theirs[0]))
    return float(np.mean(task.agreement(theirs, ours)))
