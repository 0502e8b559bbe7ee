"""A model repository of bundles: for each its network, and around it an ensemble that takes photographs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...engines import OutputSpec, open_bundle
from ...errors import UsageError
from ...storage.files import replace_bytes
from ...storage.json_types import JsonObject
from ...tasks.base import Task
from ...tasks.open import task_of
from ..exports import finish, writing_export
from ..limits import Limits
from ..model import NamedBundle
from ..photographs import PEOPLE
from .config import Message, Word, entries, to_text
from .parser import Content, ParserModel, ParserSpec, parameters, parser_model, step_file, tensor
from .readme import dockerfile, readme
from .steps import DETECTOR, framing_parameter

KIND = "model repository for Triton"
MATRIX = "https://docs.nvidia.com/deeplearning/frameworks/support-matrix/index.html"


@dataclass(frozen=True)
class Asked:
    """A model of a repository that takes photographs.

    Args:
        name: of it.
        gives: its outputs, as a configuration has them.
    """

    name: str
    gives: Sequence[Message]


@dataclass(frozen=True)
class Exported:
    """A bundle in a repository.

    Args:
        name: of its network's model.
        parser: the network.
        task: what it is for.
        photograph: takes a photograph for one person, or of a finder's bundle finds people; None where there is none.
        people: takes a photograph, finds people and looks at each; None where there is none.
    """

    name: str
    parser: ParserModel
    task: str
    photograph: Asked | None = None
    people: Asked | None = None

    @property
    def needs_us(self) -> bool:
        """Whether Triton has to have this package."""
        return bool(self.photograph or self.people) or self.parser.config["backend"] == "python"

    def to_dict(self) -> JsonObject:
        """In JSON's types."""
        return {
            "model": self.name,
            "ensemble": self.photograph.name if self.photograph else None,
            "people": self.people.name if self.people else None,
            "task": self.task,
            "backend": self.parser.config["backend"],
            "precision": self.parser.precision,
            "batch": list(self.parser.batch),
            "tensorrt": self.parser.tensorrt or None,
            "compute_capabilities": list(self.parser.compute_capabilities),
        }


def export_repository(
    bundles: Sequence[NamedBundle],
    output: Path,
    spec: ParserSpec,
    image: str | None,
    detector: bytes | None = None,
) -> list[Exported]:
    """Write a model repository.

    Args:
        bundles: what it holds.
        output: its folder; an earlier one of this kind is replaced.
        spec: how each is run.
        image: the tag of Triton's image that is to run it ("24.08-py3").
        detector: the graph of what finds people, for models that look at each of them; None writes none.

    Raises:
        UsageError: the folder is somebody else's; a bundle cannot be exported as asked; engines of TensorRT, and nobody
            says which image has it; a detector, and bundles that find people themselves alone.
    """
    with writing_export(output, KIND) as folder:
        exported = [_export(named, folder, spec, detector) for named in bundles]
        if detector is not None and not any(one.people for one in exported):
            raise UsageError(
                f"{', '.join(str(named.path) for named in bundles)}: nothing here looks at people who were found.",
                "Leave --people and --detector out, or give a parser's bundle.",
            )
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


def _export(named: NamedBundle, folder: Path, spec: ParserSpec, detector: bytes | None) -> Exported:
    bundle = open_bundle(named.path)
    task = task_of(bundle.manifest)
    parser = parser_model(bundle, spec)
    beside = {}
    if task.pixel_classes:
        beside["labels.txt"] = "\n".join(task.pixel_classes) + "\n"
        parser.config["output"][0]["label_filename"] = "labels.txt"
    _write(folder, named.name, parser.config, parser.files, beside)
    photograph = people = None
    if task.tensor() is not None:
        framing = framing_parameter(bundle.manifest.framing)
        if parser.takes_one:
            photograph = _write_photograph(folder, named.name, task, framing, parser, spec)
        if detector is not None and not task.finds_people:
            people = _write_people(folder, named.name, task, framing, parser, spec, detector)
    return Exported(named.name, parser, task.name, photograph, people)


def _write_photograph(
    folder: Path, name: str, task: Task[Any], framing: str, parser: ParserModel, spec: ParserSpec
) -> Asked:
    """The ensemble from a photograph through the network to an answer, and its first and last step."""
    given = _answer(task)
    answer = tensor(given.name, given.dtype, given.shape)
    image_size = tensor("image_size", "int32", (2,))
    before, after, ensemble = (f"{name}_{part}" for part in ("frame", "answer", "photograph"))
    _write(
        folder,
        before,
        {
            **_python([_PHOTOGRAPH], [tensor("frames", "uint8", (1, *parser.input_size, 3)), image_size], spec),
            "parameters": parameters(framing=framing, most_pixels=_MOST_PIXELS),
        },
        {"model.py": step_file("PhotographStep")},
    )
    _write(
        folder,
        after,
        {
            **_python([tensor("answer", parser.answer.dtype, (1, *parser.answer.shape)), image_size], [answer], spec),
            "parameters": parameters(framing=framing, **_told(task)),
        },
        {"model.py": step_file("AnswerStep")},
    )
    _write(
        folder,
        ensemble,
        {
            "platform": "ensemble",
            "max_batch_size": 0,
            "input": [_PHOTOGRAPH],
            "output": [answer],
            "ensemble_scheduling": {
                "step": [
                    _step(before, {"photograph": "photograph"}, {"frames": "frames", "image_size": "image_size"}),
                    _step(name, {"frames": "frames"}, {parser.answer.name: "answer"}),
                    _step(after, {"answer": "answer", "image_size": "image_size"}, {given.name: given.name}),
                ]
            },
        },
        {".keep": ""},  # Triton wants the version's folder, and few ways of copying bring an empty one
    )
    return Asked(ensemble, [answer])


def _write_people(
    folder: Path,
    name: str,
    task: Task[Any],
    framing: str,
    parser: ParserModel,
    spec: ParserSpec,
    detector: bytes,
) -> Asked:
    """The model that finds people and asks the network about each: an ensemble's steps ask as often each time."""
    given = _answer(task, people=True)
    gives = [tensor(given.name, given.dtype, given.shape), tensor(PEOPLE, "float32", (None, 5))]
    told = {
        "framing": framing,
        "most_pixels": _MOST_PIXELS,
        "network": name,
        "gives": parser.answer.name,
        "frames": str(parser.batch[0]),
        "threads": str(spec.threads or 1),
        **_told(task),
    }
    model = f"{name}_people"
    config = {**_python([_PHOTOGRAPH], gives, spec), "parameters": parameters(**told)}
    _write(folder, model, config, {"model.py": step_file("PeopleStep"), DETECTOR: detector})
    return Asked(model, gives)


_PHOTOGRAPH = tensor("photograph", "uint8", (None,))
_MOST_PIXELS = str(Limits().photograph_pixels)


def _python(inputs: list[Message], outputs: list[Message], spec: ParserSpec) -> Message:
    """What configurations of the Python backend have in common."""
    return {
        "backend": "python",
        "max_batch_size": 0,
        "input": inputs,
        "output": outputs,
        "instance_group": [{"count": max(2, spec.instances), "kind": Word("KIND_CPU")}],
    }


def _answer(task: Task[Any], *, people: bool = False) -> OutputSpec:
    given = task.tensor(people=people)
    assert given is not None, "of a task whose answers go to programs"
    return given


def _told(task: Task[Any]) -> dict[str, str]:
    return {"task": task.name, "spec": json.dumps(task.spec.to_dict())}


def _step(model: str, inputs: dict[str, str], outputs: dict[str, str]) -> Message:
    return {
        "model_name": model,
        "model_version": -1,
        "input_map": entries(inputs),
        "output_map": entries(outputs),
    }


def _write(
    folder: Path, name: str, config: Message, files: Mapping[str, Content], beside: dict[str, str] | None = None
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
        if isinstance(content, Path):
            shutil.copyfile(content, version / file)
        else:
            (version / file).write_bytes(content.encode() if isinstance(content, str) else content)
    for file, text in (beside or {}).items():
        (folder / name / file).write_text(text, "utf-8")
    (folder / name / "config.pbtxt").write_text(to_text({"name": name, **config}), "utf-8")
