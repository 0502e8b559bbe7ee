"""What an engine says of itself, in a JSON file beside it, and whether it fits the machine that is to run it.

TensorRT's engines are bound to a version of TensorRT and to a kind of GPU, and their bytes say neither in a way that
a person could read. So both are written down when an engine is built, and compared before one is loaded.
"""

from __future__ import annotations

import hashlib
import platform
import shlex
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import MachineError, UsageError
from ..specs.framing import Framing
from ..specs.label_set import check_same
from ..specs.spec import Spec, spec_entry
from ..storage.json_types import JsonObject, ReadJson
from .base import OutputSpec
from .bundle import Bundle, Manifest, inside
from .document import pop_carried, sealed, unsealed

SCHEMA = 6
"""2: with the stretch of the images. 3: with the GPU's multiprocessors, the Jetson's model, and what was accepted
unverified. 4: with the outputs, and without the stretch. 5: with the times against FP16. 6: with what the answers speak
of, and the framing. Older ones are read as well: of these the bundle tells."""

FOLDER = "engines"
"""Of a bundle: every ``<name>.engine`` with its ``<name>.json``."""

_LOWEST_FIRST = ("int8", "fp16", "fp32")


@dataclass(frozen=True)
class EngineManifest:
    """What an engine was built from, with and for.

    Args:
        engine: its file, by its path in the bundle.
        engine_sha256, bytes: of that file.
        target: ``tensorrt`` or ``tensorrt-rtx``.
        precision: ``fp32``, ``fp16`` or ``int8``, as asked for and as inspected.
        graph, graph_sha256: what it was built from.
        spec: what its answers speak of: classes, or joints.
        framing: how images become its frames.
        batch: the fewest, the most likely and the most frames of a call; three times the same where it is fixed.
        outputs: what it gives, in the engine's order.
        raw: the output besides that its answers are decided from; None where it has none.
        tensorrt: version of the library that built it.
        compute_capability: of the GPU that it is for ("8.7").
        platform: system and processor ("Linux aarch64").
        gpu: name of the GPU that it was tuned on; None where it was built without one.
        multiprocessors: of that GPU; None where it is not known.
        board: the Jetson's model; None elsewhere.
        cuda, driver, l4t, jetpack, power_mode: of the machine that built it, where they are known; for a reader.
        version_compatible: later versions of the same major version run it too.
        hardware_compatible: Ampere GPUs and later ones run it too.
        rebuild: the words after ``trtparse build BUNDLE`` that build it again.
        settings: every option of the build; for a reader.
        inspection: its layers, as TensorRT's inspector lists them; for a reader.
        unverified: why it was refused, where it was accepted all the same (``--accept-unverified``); empty as a rule.
        parity: how well it agrees with PyTorch's stored answers; empty where it was not run.
        milliseconds: medians of an INT8 and an FP16 engine that were timed against each other here, of a call of
            ``frames``; empty where they were not.
        seconds: that the build took.
        built: when, in UTC ("2026-01-31T12:00:00Z").
    """

    engine: str
    engine_sha256: str
    bytes: int
    target: str
    precision: str
    graph: str
    graph_sha256: str
    spec: Spec
    framing: Framing
    batch: tuple[int, int, int]
    outputs: tuple[OutputSpec, ...]
    tensorrt: str
    compute_capability: str
    raw: OutputSpec | None = None
    platform: str = field(default_factory=lambda: this_platform())
    gpu: str | None = None
    multiprocessors: int | None = None
    board: str | None = None
    cuda: str | None = None
    driver: str | None = None
    l4t: str | None = None
    jetpack: str | None = None
    power_mode: str | None = None
    version_compatible: bool = False
    hardware_compatible: bool = False
    rebuild: tuple[str, ...] = ()
    settings: ReadJson = field(default_factory=dict)
    inspection: ReadJson = field(default_factory=dict)
    unverified: tuple[str, ...] = ()
    parity: dict[str, float] = field(default_factory=dict)
    milliseconds: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    built: str = ""
    schema: int = SCHEMA

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the frames."""
        return self.framing.input_size

    def to_json(self) -> str:
        return sealed(self)

    @classmethod
    def from_json(cls, text: str, path: Path, bundle: Manifest) -> EngineManifest:
        """Read a manifest.

        Args:
            text: of the manifest.
            path: where it was read, for messages.
            bundle: that it lies in; tells what manifests of older schemas do not carry.

        Raises:
            UsageError: not a manifest, of a newer schema, or changed since it was written.
        """
        values = unsealed(text, path, "an engine's manifest", SCHEMA, _build_again(path))
        schema = values["schema"]
        try:
            values.setdefault("unverified", ())
            if schema < 6:
                values |= spec_entry(bundle.spec)
                values["preprocessing"] = bundle.framing.preprocessing()
            values["spec"], values["framing"] = pop_carried(values, path)
            for name in ("batch", "rebuild", "unverified"):
                values[name] = tuple(values[name])
            if schema < 4:
                values |= _older_outputs(values["framing"].input_size, logits=values.pop("logits", False))
                values.pop("stretch", None)
            else:
                values["outputs"] = tuple(map(_output_spec, values["outputs"]))
                values["raw"] = None if values["raw"] is None else _output_spec(values["raw"])
            return cls(**{**values, "schema": SCHEMA})
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"{path} lacks or has an unknown field: {error}.", _build_again(path)) from error

    def is_of(self, bundle: Bundle) -> bool:
        """Whether the bundle's graph is still the one that the engine was built from, and speaks of the same."""
        same = (self.spec, self.framing) == (bundle.manifest.spec, bundle.manifest.framing)
        return same and bundle.manifest.files.get(self.graph) == self.graph_sha256

    def rebuild_command(self, bundle: Path) -> str:
        """The line to type that builds this engine for the machine it is typed on."""
        words = self.rebuild or (f"--{self.precision}", "--target", self.target)
        return shlex.join(["trtparse", "build", str(bundle), *words])


@dataclass(frozen=True)
class Runtime:
    """What would run an engine.

    Args:
        target: ``tensorrt`` or ``tensorrt-rtx``.
        tensorrt: the library's version.
        compute_capability, gpu: of the GPU.
        multiprocessors: of the GPU; 0 where the driver does not say.
        board: the Jetson's model; empty elsewhere.
        platform: system and processor.
    """

    target: str
    tensorrt: str
    compute_capability: str
    gpu: str
    multiprocessors: int = 0
    board: str = ""
    platform: str = field(default_factory=lambda: this_platform())


@dataclass(frozen=True)
class Mismatch:
    """A field of a manifest that is not as this machine has it."""

    field: str
    built: str
    here: str

    def __str__(self) -> str:
        return f"{self.field.replace('_', ' ')} {self.built}, and here it is {self.here}"


def this_platform() -> str:
    return f"{platform.system()} {platform.machine()}"


def engine_names(bundle: Bundle) -> list[str]:
    """The files of a bundle's engines, by their paths in it."""
    names = map(PurePosixPath, bundle.manifest.files)
    return [str(name) for name in names if name.parent == PurePosixPath(FOLDER) and name.suffix == ".engine"]


def engine_manifests(bundle: Bundle, precision: str | None = None) -> list[EngineManifest]:
    """Manifests of a bundle's engines, the lowest precision first.

    Args:
        precision: of the engines wanted; None for all.

    Raises:
        UsageError: an engine without its manifest, or a manifest that cannot be read.
    """
    manifests = [read_manifest(bundle, name) for name in engine_names(bundle)]
    found = [manifest for manifest in manifests if precision in (None, manifest.precision)]
    # TensorRT proper before TensorRT-RTX, which no Jetson has.
    return sorted(found, key=lambda manifest: (_LOWEST_FIRST.index(manifest.precision), manifest.target))


def read_manifest(bundle: Bundle, engine: str) -> EngineManifest:
    """The manifest of an engine, by the engine's path in its bundle.

    Raises:
        UsageError: there is none, it cannot be read, or it is another engine's.
    """
    name = str(PurePosixPath(engine).with_suffix(".json"))
    path = inside(bundle.path, name)
    if name not in bundle.manifest.files:
        raise UsageError(f"{bundle.path / engine} has no manifest: {path.name} is missing.", _build_again(path))
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"Cannot read {path}: {error}.", _build_again(path)) from error
    manifest = EngineManifest.from_json(text, path, bundle.manifest)
    if manifest.engine != engine or manifest.precision not in _LOWEST_FIRST:
        raise UsageError(
            f"{path} is the manifest of {manifest.engine} ({manifest.precision}), not of {engine}.", _build_again(path)
        )
    return manifest


def mismatches(manifest: EngineManifest, here: Runtime) -> list[Mismatch]:
    """What of a machine is not as an engine needs it; empty where it fits."""
    found = []
    if manifest.target != here.target:
        found.append(Mismatch("target", manifest.target, here.target))
    if manifest.platform != here.platform:
        found.append(Mismatch("platform", manifest.platform, here.platform))
    if not _version_fits(manifest, here.tensorrt):
        found.append(Mismatch("tensorrt", manifest.tensorrt, here.tensorrt))
    if manifest.hardware_compatible:
        if _numbers(here.compute_capability) < (8, 0):
            found.append(Mismatch("compute_capability", "8.0 or later", here.compute_capability))
    elif manifest.compute_capability != here.compute_capability:
        found.append(Mismatch("compute_capability", manifest.compute_capability, here.compute_capability))
    elif manifest.gpu not in (None, here.gpu):
        # The kernels were timed on another GPU of that generation: TensorRT calls the outcome undefined.
        found.append(Mismatch("gpu", str(manifest.gpu), here.gpu))
    elif manifest.multiprocessors and 0 < here.multiprocessors < manifest.multiprocessors:
        # All Orins are called "Orin": one with fewer lacks what the kernels were chosen to run on.
        found.append(Mismatch("multiprocessors", str(manifest.multiprocessors), str(here.multiprocessors)))
    return found


def remarks(manifest: EngineManifest, here: Runtime) -> list[str]:
    """What a person should know of an engine that runs here."""
    found = []
    if manifest.unverified:
        found.append("accepted unverified")
    if manifest.board and here.board and manifest.board != here.board:
        found.append(f"tuned on another board, {manifest.board}")
    elif manifest.multiprocessors and here.multiprocessors > manifest.multiprocessors:
        found.append(f"tuned for {manifest.multiprocessors} multiprocessors, and here are {here.multiprocessors}")
    return found


def check_fits(bundle: Bundle, manifest: EngineManifest, here: Runtime) -> None:
    """See that an engine can run here, before its bytes are read.

    Raises:
        UsageError: as of :func:`check_is_of`.
        MachineError: the engine was built for another machine; names the field, and the hint rebuilds it.
    """
    found = mismatches(manifest, here)
    if found:
        raise MachineError(
            f"{bundle.path / manifest.engine} was built for {'; for '.join(map(str, found))}.",
            f"Build it again on this machine: {manifest.rebuild_command(bundle.path)}",
        )
    check_is_of(bundle, manifest)


def check_is_of(bundle: Bundle, manifest: EngineManifest) -> None:
    """See that an engine was built from what its bundle holds.

    Raises:
        UsageError: it speaks of other classes or joints than its bundle, which names both; it is for other frames; or
            the bundle's graph is no longer the one that it was built from.
    """
    hint = f"Build it again: {manifest.rebuild_command(bundle.path)}"
    file = bundle.path / manifest.engine
    try:
        check_same(manifest.spec, str(file), bundle.manifest.spec, f"the bundle {bundle.path}")
    except UsageError as error:
        raise UsageError(error.message, hint) from error
    if manifest.framing != bundle.manifest.framing:
        raise UsageError(f"{file} was built for other frames than the bundle's (preprocessing).", hint)
    if not manifest.is_of(bundle):
        raise UsageError(f"{file} was built from another {manifest.graph} than the bundle's (graph_sha256).", hint)


def read_engine(bundle: Bundle, manifest: EngineManifest) -> bytes:
    """An engine's bytes, as they were written.

    Raises:
        UsageError: the file is missing, cut short or changed.
    """
    file = inside(bundle.path, manifest.engine)
    hint = f"Build it again: {manifest.rebuild_command(bundle.path)}"
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UsageError(f"Cannot read {file}: {error.strerror or error}.", hint) from error
    if len(content) != manifest.bytes:
        raise UsageError(f"{file} has {len(content)} bytes, and was written with {manifest.bytes}.", hint)
    if hashlib.sha256(content).hexdigest() != manifest.engine_sha256:
        raise UsageError(f"{file} is damaged: its hash is not the one in its manifest (engine_sha256).", hint)
    return content


def _output_spec(values: Any) -> OutputSpec:
    return OutputSpec(values["name"], values["dtype"], tuple(values["shape"]))


def _older_outputs(input_size: tuple[int, int], *, logits: bool) -> JsonObject:
    """What engines gave before manifests said it: label maps, and logits of LIP's 20 classes where asked for."""
    raw = OutputSpec("logits", "float32", (20, *input_size)) if logits else None
    return {"outputs": (OutputSpec("labels", "uint8", input_size),), "raw": raw}


def _version_fits(manifest: EngineManifest, here: str) -> bool:
    if not manifest.version_compatible:
        return manifest.tensorrt == here
    built, version = _numbers(manifest.tensorrt), _numbers(here)
    return built[:1] == version[:1] and built <= version


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


def _build_again(path: Path) -> str:
    return f"Build the engine again: trtparse build {shlex.quote(str(path.parent.parent))} --int8 --target tensorrt"
