"""A bundle that is served: its name, its engine, what it says of itself, and whether it is still the one on disk."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..engines import Bundle, open_bundle
from ..engines.bundle import GRAPHS, MANIFEST_NAME, WEIGHTS_NAME
from ..engines.open import Rebuild
from ..errors import UsageError
from ..storage.json_types import JsonObject, ReadJson
from ..tasks.open import open_predictor
from ..tasks.predictor import Predictor
from .statistics import Statistics
from .tensors import DATATYPES, INPUT
from .worker import BatchSpec, Worker

VERSION = "1"
"""A bundle has no versions: another one is another model."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class NamedBundle:
    """A bundle and what clients call it."""

    name: str
    path: Path


def named_bundles(texts: tuple[str, ...]) -> list[NamedBundle]:
    """``BUNDLE``, called as its folder is, or ``NAME=BUNDLE``.

    Raises:
        UsageError: a name that is none for an address, or two that are the same.
    """
    found: dict[str, NamedBundle] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals or "/" in name:
            name, path = "", text
        place = Path(path)
        place = place.parent if place.name == MANIFEST_NAME else place
        name = name or place.resolve().name
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} is no name for a model.", f"Give it one of letters, digits, dots and dashes: NAME={path}"
            )
        if name in found:
            raise UsageError(
                f"{found[name].path} and {path} would both be called {name}.", f"Give one another name: NAME={path}"
            )
        found[name] = NamedBundle(name, place)
    return list(found.values())


@dataclass(frozen=True)
class Opening:
    """How engines are opened; as :func:`~trtparse.engines.open_engine`."""

    target: str = "auto"
    precision: str | None = None
    threads: int = 0
    rebuild: Rebuild | None = None
    slots: int = 2
    cuda_graph: bool = False


class Model:
    """A bundle that is served.

    Args:
        named: the bundle.
        engine: how its engine is opened.
        batch: how requests become batches.
        say: told what a person should know, from any thread.

    Raises:
        TrtparseError: there is no such bundle, or its engine cannot be opened.
    """

    def __init__(self, named: NamedBundle, engine: Opening, batch: BatchSpec, say: Callable[[str], None]) -> None:
        self.name, self._tell = named.name, say
        self._spec = engine
        self._bundle = open_bundle(named.path)
        self._manifest = self._bundle.path / MANIFEST_NAME
        self.changed = False
        self.statistics = Statistics()
        self._first: Predictor[Any] | None = None
        self.worker = Worker(self._open, batch, self.statistics, self._say)
        if engine.rebuild is not None:  # an engine may have come in
            self._bundle = open_bundle(named.path)
        self._seen = _state(self._manifest)

    def _say(self, text: str) -> None:
        self._tell(f"{self.name}: {text}")

    @property
    def predictor(self) -> Predictor[Any]:
        return self.worker.predictor

    def look_at_disk(self) -> None:
        """Say once where the bundle is no longer the one that was opened. Mostly one call of the system."""
        seen = _state(self._manifest)
        if seen == self._seen:
            return
        self._seen = seen
        changed = seen is None or not self._is_still_there()
        if changed and not self.changed:
            self._say(
                f"The bundle {self._bundle.path} was changed or removed. What was opened is served on; "
                "start the server again for what is there now."
            )
        self.changed = changed

    def metadata(self) -> JsonObject:
        """As the protocol has it."""
        return {
            "name": self.name,
            "versions": [VERSION],
            "platform": self._platform,
            "inputs": self._inputs,
            "outputs": self._outputs,
        }

    @property
    def _platform(self) -> str:
        return f"trtparse_{self.predictor.engine.target}"

    @property
    def _inputs(self) -> list[JsonObject]:
        height, width = self.predictor.engine.input_size
        return [{"name": INPUT, "datatype": "UINT8", "shape": [-1, height, width, 3]}]

    @property
    def _outputs(self) -> list[JsonObject]:
        return [
            {"name": spec.name, "datatype": DATATYPES[spec.dtype], "shape": [-1, *_open_as_minus_one(spec.shape)]}
            for spec in self.predictor.engine.outputs
        ]

    def config(self) -> JsonObject:
        """As the protocol's model configuration extension has it, of Triton's fields those that mean something here."""
        task = self.predictor.task
        return {
            "name": self.name,
            "platform": self._platform,
            "backend": "trtparse",
            "max_batch_size": self.worker.most_frames,
            "input": [_configured(tensor) for tensor in self._inputs],
            "output": [_configured(tensor) for tensor in self._outputs],
            "parameters": {
                "engine": {"string_value": self.predictor.engine.name},
                "task": {"string_value": task.name},
                task.spec_words.replace(" ", "_"): {"string_value": task.spec.name},
            },
        }

    def _open(self) -> Predictor[Any]:
        """The engine; after the first time one of the same kind, and of the same graphs."""
        spec = self._spec
        same: dict[str, Any] = {"threads": spec.threads, "slots": spec.slots, "cuda_graph": spec.cuda_graph}
        if self._first is None:
            self._first = open_predictor(self._bundle, spec.target, spec.precision, rebuild=spec.rebuild, **same)
            return self._first
        found = open_bundle(self._bundle.path)
        if not _same_networks(found, self._bundle):
            raise UsageError(
                f"The bundle {self._bundle.path} was built anew in the meantime.", "Start the server again."
            )
        engine = self._first.engine
        return open_predictor(found, engine.target, engine.precision, between=engine.between or None, **same)

    def _is_still_there(self) -> bool:
        try:
            return open_bundle(self._bundle.path).digest == self._bundle.digest
        except UsageError:
            return False


def _state(path: Path) -> tuple[int, ...] | None:
    try:
        told = path.stat()
    except OSError:
        return None
    return told.st_ino, told.st_mtime_ns, told.st_size


def _same_networks(one: Bundle, other: Bundle) -> bool:
    names = (*GRAPHS.values(), WEIGHTS_NAME)
    return all(one.manifest.files.get(name) == other.manifest.files.get(name) for name in names)


def _open_as_minus_one(shape: tuple[int | None, ...]) -> list[int]:
    return [-1 if length is None else length for length in shape]


def _configured(tensor: ReadJson) -> JsonObject:
    return {"name": tensor["name"], "data_type": f"TYPE_{tensor['datatype']}", "dims": tensor["shape"][1:]}
