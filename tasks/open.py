"""Which task is meant: the one place that knows them all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..engines import Bundle, open_bundle, open_engine
from ..engines.bundle import Manifest
from ..engines.raw import RawEngine
from ..errors import UsageError
from ..specs.decoding import Decoding
from ..specs.label_set import LabelSet, check_same, label_set
from ..specs.skeleton import Skeleton, load_skeleton, shipped_skeletons
from .base import Predictor, Spec, Task
from .parsing.task import Parsing
from .people.task import SURE, People
from .pose.task import Pose

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


def task_named(name: str, spec: Spec, options: Mapping[str, Any] = MappingProxyType({})) -> Task[Any]:
    """A task by its name, and what its answers speak of.

    Args:
        name: as manifests have it.
        spec: classes, or joints.
        options: of the network, as manifests have them: ``decoding`` is how heatmaps become joints, ``sure`` the score
            from which a finder's box is somebody.

    Raises:
        UsageError: a task that this version does not know, or that speaks of something else.
    """
    if name == Parsing.name and isinstance(spec, LabelSet):
        return Parsing(spec)
    if name == Pose.name and isinstance(spec, Skeleton):
        return Pose(spec, Decoding.from_dict(options.get("decoding", {})))
    if name == People.name and isinstance(spec, LabelSet):
        return People(spec, float(options.get("sure", SURE)))
    raise UsageError(f"The task {name!r} of {spec} is none that this trtparse knows.", "Update trtparse.")


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


def task_told(name: str, told: Mapping[str, Any]) -> Task[Any]:
    """The same from a spec in JSON's types.

    Raises:
        UsageError: as :func:`task_named`, or it is no such spec.
    """
    return task_named(name, Skeleton.from_dict(told) if name == Pose.name else LabelSet.from_dict(told))
