"""A model repository of bundles: for each its network, and around it an ensemble that takes photographs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...engines import open_bundle
from ...errors import UsageError
from ...storage.files import replace_bytes
from ...tasks.open import task_of
from ...tasks.parsing.task import Parsing
from ...tasks.pose.task import Pose
from ..exports import finish, writing_export
from ..limits import Limits
from ..model import NamedBundle
from ..photographs import answer_tensor
from .config import Word, entries, to_text
from .parser import ParserModel, ParserSpec, parameters, parser_model, step_file, tensor
from .readme import dockerfile, readme
from .steps import framing_parameter

KIND = "model repository for Triton"
MATRIX = "https://docs.nvidia.com/deeplearning/frameworks/support-matrix/index.html"


@dataclass(frozen=True)
class Exported:
    """A bundle in a repository.

    Args:
        name: of its network's model.
        ensemble: of the model that takes photographs; empty where there is none.
        parser: the network.
        task: what it is for.
        answer: what the ensemble gives, as a configuration has it; None where there is none.
    """

    name: str
    ensemble: str
    parser: ParserModel
    task: str
    answer: Mapping[str, Any] | None = None

    @property
    def needs_us(self) -> bool:
        """Whether Triton has to have this package."""
        return bool(self.ensemble) or self.parser.config["backend"] == "python"

    def to_dict(self) -> dict[str, Any]:
        """In JSON's types."""
        return {
            "model": self.name,
            "ensemble": self.ensemble or None,
            "task": self.task,
            "backend": self.parser.config["backend"],
            "precision": self.parser.precision,
            "batch": list(self.parser.batch),
            "tensorrt": self.parser.tensorrt or None,
            "compute_capabilities": list(self.parser.compute_capabilities),
        }


def export_repository(
    bundles: Sequence[NamedBundle], output: Path, spec: ParserSpec, image: str | None
) -> list[Exported]:
    """Write a model repository.

    Args:
        bundles: what it holds.
        output: its folder; an earlier one of this kind is replaced.
        spec: how each is run.
        image: the tag of Triton's image that is to run it ("24.08-py3").

    Raises:
        UsageError: the folder is somebody else's; a bundle cannot be exported as asked; engines of TensorRT, and nobody
            says which image has it.
    """
    with writing_export(output, KIND) as folder:
        exported = [_export(named, folder, spec) for named in bundles]
        versions = sorted({one.parser.tensorrt for one in exported} - {""})
        if len(versions) > 1:
            raise UsageError(
                f"The engines were built by TensorRT {' and '.join(versions)}; one server has one of them.",
                "Build them by one version, or export two repositories.",
            )
        if versions and image is None:
            raise UsageError(
                f"The engines run in the one Triton image that has TensorRT {versions[0]}, and which that is this "
                "version does not know.",
                f"Look it up and name its tag, as --image 24.08-py3: {MATRIX}",
            )
        text = readme(exported, versions[0] if versions else "", image)
        replace_bytes(folder / "README.md", text.encode())
        if any(one.needs_us for one in exported):
            replace_bytes(folder / "Dockerfile", dockerfile(image).encode())
        finish(folder, KIND)
    return exported


def _export(named: NamedBundle, folder: Path, spec: ParserSpec) -> Exported:
    bundle = open_bundle(named.path)
    task = task_of(bundle.manifest)
    parser = parser_model(bundle, spec)
    beside = {}
    if isinstance(task, Parsing):
        beside["labels.txt"] = "\n".join(task.label_set.classes) + "\n"
        parser.config["output"][0]["label_filename"] = "labels.txt"
    _write(folder, named.name, parser.config, parser.files, beside)
    if not isinstance(task, (Parsing, Pose)) or not parser.takes_one:
        return Exported(named.name, "", parser, task.name)
    framing = framing_parameter(bundle.manifest.framing)
    size = parser.input_size
    most_pixels = str(Limits().photograph_pixels)
    cpu = {"instance_group": [{"count": max(2, spec.instances), "kind": Word("KIND_CPU")}]}
    given = answer_tensor(task)
    before, after, ensemble = (f"{named.name}_{part}" for part in ("frame", given.name, "photograph"))
    photograph = tensor("photograph", "uint8", (None,))
    answer = tensor(given.name, given.dtype, given.shape)
    image_size = tensor("image_size", "int32", (2,))
    _write(
        folder,
        before,
        {
            "backend": "python",
            "max_batch_size": 0,
            "input": [photograph],
            "output": [tensor("frames", "uint8", (1, *size, 3)), image_size],
            "parameters": parameters(framing=framing, most_pixels=most_pixels),
            **cpu,
        },
        {"model.py": step_file("PhotographStep")},
    )
    _write(
        folder,
        after,
        {
            "backend": "python",
            "max_batch_size": 0,
            "input": [tensor("answer", parser.answer.dtype, (1, *parser.answer.shape)), image_size],
            "output": [answer],
            "parameters": parameters(framing=framing, task=task.name, spec=json.dumps(task.spec.to_dict())),
            **cpu,
        },
        {"model.py": step_file("AnswerStep")},
    )
    _write(
        folder,
        ensemble,
        {
            "platform": "ensemble",
            "max_batch_size": 0,
            "input": [photograph],
            "output": [answer],
            "ensemble_scheduling": {
                "step": [
                    _step(before, {"photograph": "photograph"}, {"frames": "frames", "image_size": "image_size"}),
                    _step(named.name, {"frames": "frames"}, {parser.answer.name: "answer"}),
                    _step(after, {"answer": "answer", "image_size": "image_size"}, {given.name: given.name}),
                ]
            },
        },
        {".keep": ""},  # Triton wants the version's folder, and few ways of copying bring an empty one
    )
    return Exported(named.name, ensemble, parser, task.name, answer)


def _step(model: str, inputs: dict[str, str], outputs: dict[str, str]) -> dict[str, Any]:
    return {
        "model_name": model,
        "model_version": -1,
        "input_map": entries(inputs),
        "output_map": entries(outputs),
    }


def _write(
    folder: Path, name: str, config: dict[str, Any], files: dict[str, Path | str], beside: dict[str, str] | None = None
) -> None:
    """A model: its configuration, its one version, and texts beside them."""
    version = folder / name / "1"
    try:
        version.mkdir(parents=True)
    except FileExistsError:
        raise UsageError(
            f"Two models of the repository would be called {name}.", "Give the bundles other names: NAME=BUNDLE"
        ) from None
    for file, content in files.items():
        if isinstance(content, str):
            (version / file).write_text(content, "utf-8")
        else:
            shutil.copyfile(content, version / file)
    for file, text in (beside or {}).items():
        (folder / name / file).write_text(text, "utf-8")
    (folder / name / "config.pbtxt").write_text(to_text({"name": name, **config}), "utf-8")
