"""Which task is meant: the one place that knows them all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..engines import Bundle, open_bundle, open_engine
from ..engines.bundle import Manifest
from ..engines.raw import RawEngine
from ..errors import UsageError
from ..specs.label_set import check_same, label_set
from ..specs.skeleton import load_skeleton, shipped_skeletons
from ..specs.spec import Spec
from ..storage.json_types import ReadJson
from .base import Task
from .parsing.task import Parsing
from .people.task import People
from .pose.task import Pose
from .predictor import Predictor

if TYPE_CHECKING:
    import onnx

_TASKS: Mapping[str, type[Task[Any]]] = {task.name: task for task in (Parsing, Pose, People)}

FIRST: type[Task[Any]] = Parsing
"""What files are of that were written before they told a task."""

FIGURE = "figure"
"""Of a manifest's options: what its build went by, where that was said."""


def open_predictor(
    bundle: Bundle | Path | str,
    target: str = "auto",
    precision: str | None = None,
    labels: Spec | None = None,
    **options: Any,
) -> Predictor[Any]:
    """An engine of a bundle that says what it means.

    Args:
        bundle: an opened bundle, or its folder.
        target, precision, options: as :func:`~trtparse.engines.open_engine`, whose errors it has.
        labels: as of :func:`task_of`.
    """
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(Path(bundle))
    task, framing = task_of(opened.manifest, labels), opened.manifest.framing
    engine = open_engine(opened, target, precision, alike=task.agreement, **options)
    return Predictor(RawEngine(engine) if framing.returns == "logits" else engine, task, framing)


def task_of(manifest: Manifest, labels: Spec | None = None) -> Task[Any]:
    """What the arrays of a bundle's engines mean, and what they are measured by.

    Args:
        manifest: of the bundle.
        labels: what somebody says that they mean. It has the bundle's classes or joints, and takes their place with its
            own colours.

    Raises:
        UsageError: a task that this version does not know, or a bundle of other classes or joints; names both.
    """
    found = task_named(manifest.task, manifest.spec, manifest.options)
    if labels is not None:
        alike = type(labels) is type(found.spec)
        given = task_named(manifest.task, labels, manifest.options) if alike else found
        if not alike or given.rows != found.rows:
            check_same(found.spec, "The bundle", labels, "--labels")
        found = given
    by = manifest.options.get(FIGURE)
    return found if by is None else found.measured_by(by)


def task_named(name: str, spec: Spec, options: ReadJson = MappingProxyType({})) -> Task[Any]:
    """A task by its name, and what its answers speak of.

    Args:
        name: as manifests have it.
        spec: classes, or joints.
        options: of the network, as manifests have them: ``decoding`` is how heatmaps become joints, ``sure`` the score
            from which a finder's box is somebody.

    Raises:
        UsageError: a task that this version does not know, or that speaks of something else.
    """
    kind = _TASKS.get(name)
    if kind is None or not isinstance(spec, kind.spec_class):
        raise UsageError(f"The task {name!r} of {spec} is none that this trtparse knows.", "Update trtparse.")
    return kind.of_manifest(spec, options)


def task_of_graph(model: onnx.ModelProto, meant: Spec | None, path: Path) -> Task[Any]:
    """What a graph with our outputs is for: they tell the task, its metadata or somebody what is looked at.

    Args:
        model: one that :func:`~trtparse.graphs.interface.check_interface` passed.
        meant: what its classes or joints mean, where it does not say.
        path: of its file, for messages.

    Raises:
        UsageError: nobody says what its classes or joints mean, or two things are told.
    """
    from ..graphs.answers import answers_of

    answers = answers_of(model)
    assert answers is not None, "a graph that check_interface passed"
    return _TASKS[answers.task].of_graph(model, meant, path)


def spec_named(word: str) -> Spec:
    """What ``--labels`` names: a label set or a skeleton that comes along, or a TOML file of either.

    Raises:
        UsageError: there is none, or it cannot be.
    """
    if word in shipped_skeletons():
        return load_skeleton(word)
    path = Path(word)
    if path.suffix.lower() == ".toml" and path.is_file() and "[[joints]]" in path.read_text("utf-8", "replace"):
        return load_skeleton(path)
    return label_set(word)


def task_told(name: str, told: ReadJson) -> Task[Any]:
    """The same as :func:`task_named`, from a spec in JSON's types.

    Raises:
        UsageError: as there, or it is no such spec.
    """
    return task_named(name, _TASKS.get(name, FIRST).spec_class.from_dict(told))
