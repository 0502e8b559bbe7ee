"""The bundle: one folder with the graphs, the weights and the numbers that belong together.

``bundle.json`` names every file with its sha256 and carries a digest of itself, so one changed byte anywhere
is found on opening. Bundles are written beside their place and renamed: a killed build leaves the old bundle
or the new one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from ..errors import UsageError
from ..specs.framing import Framing
from ..specs.origin import Origin
from ..specs.spec import Spec
from ..storage import folders
from ..storage.files import replace_bytes, sha256, write_errors
from ..storage.folders import recover
from ..storage.interrupts import uninterrupted
from ..storage.json_types import ReadJson
from .accuracy import Accuracy
from .calibrated import Calibrated
from .document import digest_of, pop_carried, sealed, unsealed

SCHEMA = 5
"""2: with the measured accuracy. 3: ``preprocessing`` may tell a stretch. 4: with the label set and what the weights
come from. 5: the accuracy is of one figure with its unit. Older ones are read as well."""

MANIFEST_NAME = "bundle.json"
WEIGHTS_NAME = "student.safetensors"
CALIBRATION_NAME = "calibration.json"

GRAPHS = {
    "fp32": "student.fp32.onnx",
    "fp16": "student.fp16.onnx",
    "int8": "student.int8.onnx",
    "int8-cpu": "student.int8-cpu.onnx",
}
"""Graph to file name. ``int8`` is TensorRT's form, ``int8-cpu`` the CPU runtime's; their ranges are the same."""


@dataclass(frozen=True)
class Manifest:
    """What a bundle says of itself.

    Args:
        task: ``parsing``, ``pose`` or ``people``.
        network, options: what the graphs were exported from.
        spec: what the answers speak of: classes, or joints.
        framing: how images become frames; what of it is arithmetic is in the graphs already.
        batch: frames per call, or None for any number.
        precisions: ``fp32``, ``fp16``, ``int8``: those that can be opened.
        parity: graph name to how well it agrees with the reference's answers in ``parity.npz``.
        calibration: method, number of images, where from, and the key; empty without INT8.
        versions: of what built it.
        files: relative path to sha256.
        accuracy: target and precision ("cpu-int8") to what ``trtparse validate`` measured last.
        origin: what the weights come from, as their checkpoint says.
        float_nodes: nodes that FP16 and INT8 leave in FP32, as they overflow FP16, each with the reason.
    """

    task: str
    network: str
    options: ReadJson
    spec: Spec
    framing: Framing
    batch: int | None
    precisions: tuple[str, ...]
    parity: dict[str, dict[str, float]]
    calibration: Calibrated
    versions: dict[str, str]
    files: dict[str, str] = field(default_factory=dict)
    accuracy: dict[str, Accuracy] = field(default_factory=dict)
    origin: Origin = field(default_factory=Origin)
    float_nodes: dict[str, str] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the frames."""
        return self.framing.input_size

    @property
    def stretch(self) -> float:
        """How far images' shapes are changed to fill the frames."""
        return self.framing.stretch

    @property
    def reference(self) -> str:
        """What the graphs were compared with: weights come along where that was PyTorch."""
        return "PyTorch" if WEIGHTS_NAME in self.files else "the FP32 graph"

    def to_json(self) -> str:
        return sealed(self)

    @classmethod
    def from_json(cls, text: str, path: Path) -> Manifest:
        """Read a manifest.

        Raises:
            UsageError: not a manifest, of a newer schema, or changed since it was written.
        """
        values = unsealed(text, path, "a bundle's manifest", SCHEMA, _REBUILD)
        try:
            values["spec"], values["framing"] = pop_carried(values, path)
            values["origin"] = Origin(**values.pop("origin", {}))
            values["precisions"] = tuple(values["precisions"])
            measured = values.pop("accuracy", {})
            values["accuracy"] = {name: Accuracy.from_dict(figures) for name, figures in measured.items()}
            return replace(cls(**values), schema=SCHEMA)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(f"{path} lacks or has an unknown field: {error}.", _REBUILD) from error


_REBUILD = "Build the bundle again: trtparse build --int8 --output FOLDER"


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose files were checked against its manifest."""

    path: Path
    manifest: Manifest

    def graph(self, name: str) -> Path:
        """The path of a graph: ``fp32``, ``fp16``, ``int8`` or ``int8-cpu``.

        Raises:
            UsageError: the bundle was built without it; the hint is the command that builds it.
        """
        file = GRAPHS[name]
        if file not in self.manifest.files:
            precision = name.split("-")[0]
            raise UsageError(
                f"The bundle {self.path} has no {precision.upper()} graph.",
                f"Build it: trtparse build --{precision} --output {self.path}",
            )
        return self.path / file

    @property
    def weights(self) -> Path:
        return self.path / WEIGHTS_NAME

    @property
    def digest(self) -> str:
        """Of all its files: bundles with the same one label every frame alike."""
        return digest_of(self.manifest.files)


def open_bundle(path: Path | str) -> Bundle:
    """Read a bundle and check every file's hash.

    Args:
        path: its folder, or the ``bundle.json`` in it.

    Raises:
        UsageError: no bundle there, a file is missing or changed, or the manifest is damaged.
    """
    path = Path(path)
    if path.name == MANIFEST_NAME and path.is_file():
        path = path.parent
    recover(path)
    manifest_path = path / MANIFEST_NAME
    if not path.exists():
        raise UsageError(f"No bundle at {path}.", f"Build one: trtparse build --int8 --output {path}")
    if not path.is_dir() or not manifest_path.is_file():
        raise UsageError(
            f"{path} is not a bundle: it has no {MANIFEST_NAME}.", "A bundle is the folder that trtparse build writes."
        )
    try:
        text = manifest_path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"Cannot read {manifest_path}: {error}.", _REBUILD) from error
    manifest = Manifest.from_json(text, manifest_path)
    for name, expected in manifest.files.items():
        file = inside(path, name)
        if not file.is_file():
            raise UsageError(f"The bundle {path} lacks {name}.", _REBUILD)
        if sha256(file) != expected:
            raise UsageError(f"{file} is damaged: its hash is not the one in {MANIFEST_NAME}.", _REBUILD)
    return Bundle(path, manifest)


def inside(folder: Path, name: str) -> Path:
    """``folder/name``, refused where a manifest's name would lead out of the folder."""
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts or "\\" in name or not parts.parts:
        raise UsageError(f"The bundle {folder} names a file outside itself: {name}.", "Do not use this bundle.")
    return folder / parts


def writing(path: Path) -> AbstractContextManager[Path]:
    """A folder to write a new bundle into; it takes the bundle's place when the block ends well.

    Engines of the old bundle do not outlive its graphs. Everything else as :func:`~trtparse.storage.folders.writing`.

    Raises:
        UsageError: the place cannot be written, or is no bundle.
        MachineError: the disk is full.
    """
    return folders.writing(path, _check_bundle)


def _check_bundle(place: Path) -> None:
    if not (place / MANIFEST_NAME).is_file():
        raise UsageError(
            f"{place} exists and is not a bundle; nothing was written.", "Choose another --output, or remove it."
        )


def finish(folder: Path, manifest: Manifest) -> Manifest:
    """Hash what a folder holds and write its manifest, last."""
    files = {
        file.relative_to(folder).as_posix(): sha256(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != MANIFEST_NAME
    }
    complete = replace(manifest, files=files)
    replace_bytes(folder / MANIFEST_NAME, complete.to_json().encode())
    return complete


def add_files(bundle: Bundle, contents: dict[str, bytes], removed: Collection[str] = ()) -> Bundle:
    """Add files to a bundle in place, each written whole; the manifest follows, and then files go that it had.

    Args:
        bundle: as it was opened, which may be an hour ago; what was added to it since stays.
        contents: by their paths in it.
        removed: paths of files that go.

    Raises:
        UsageError: it has been built anew since, so that these are the old one's; or it cannot be read or written.
        MachineError: the disk is full.
    """
    with uninterrupted(), write_errors(bundle.path):  # without its manifest, a new file makes a bundle a broken one
        now = _manifest_now(bundle)
        if now is None:
            raise UsageError(
                f"{bundle.path} was built anew meanwhile, and {', '.join(contents)} would be the old one's.",
                "Build that again.",
            )
        files = {name: digest for name, digest in now.files.items() if name not in removed}
        for name, content in contents.items():
            target = inside(bundle.path, name)
            target.parent.mkdir(exist_ok=True)
            replace_bytes(target, content)
            files[name] = hashlib.sha256(content).hexdigest()
        manifest = replace(now, files=dict(sorted(files.items())))
        replace_bytes(bundle.path / MANIFEST_NAME, manifest.to_json().encode())
        for name in removed:
            if name not in contents:
                inside(bundle.path, name).unlink(missing_ok=True)
    return Bundle(bundle.path, manifest)


def add_accuracy(bundle: Bundle, measured: dict[str, Accuracy]) -> bool:
    """Write into a bundle's manifest how well its engines do; figures of other engines stay.

    Args:
        bundle: as it was opened, which may be hours ago.
        measured: target and precision ("cpu-int8") to what it reached.

    Returns:
        Whether they were written: not where the bundle has been built anew since it was opened, as they are
        the old one's.

    Raises:
        UsageError: the manifest cannot be read or written.
    """
    path = bundle.path / MANIFEST_NAME
    with write_errors(path):
        manifest = _manifest_now(bundle)
        if manifest is None:
            return False
        manifest = replace(manifest, accuracy=dict(sorted({**manifest.accuracy, **measured}.items())))
        replace_bytes(path, manifest.to_json().encode())
    return True


def _manifest_now(bundle: Bundle) -> Manifest | None:
    """The manifest as it lies in the folder; None where the bundle has been built anew since it was opened."""
    path = bundle.path / MANIFEST_NAME
    manifest = Manifest.from_json(path.read_text("utf-8"), path)
    built = [*GRAPHS.values(), WEIGHTS_NAME]
    anew = any(manifest.files.get(name) != bundle.manifest.files.get(name) for name in built)
    return None if anew else manifest
