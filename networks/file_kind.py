"""What a file is by its first bytes, whatever it is called: downloads fail, and files get other names.

Imports neither PyTorch nor ONNX.
"""

from __future__ import annotations

import zipfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError

_HEAD = 512  # bytes; a tar archive says what it is within them
_AGAIN = "Get the file again."
_UNPACK = "Unpack it, and name the file inside."


@dataclass(frozen=True)
class FileKind:
    """What a file is.

    Args:
        kind: ``safetensors``, ``pickle`` (what torch.save writes) or ``onnx``; empty for whatever is none of these.
        words: what it is, for messages.
        hint: what to do where something else is wanted.
    """

    kind: str
    words: str
    hint: str


SAFETENSORS = FileKind("safetensors", "a safetensors file", "Give it the ending .safetensors.")
PICKLE = FileKind("pickle", "a file of torch.save", "Give it the ending .pth.")
ONNX = FileKind("onnx", "an ONNX graph", "Give it the ending .onnx.")

_MARKS: tuple[tuple[bytes, FileKind], ...] = (
    (b"version https://git-lfs", FileKind("", "a pointer of Git LFS", "Get the file itself: git lfs pull.")),
    (b"\x80", PICKLE),
    (b"\x1f\x8b", FileKind("", "a gzip archive", _UNPACK)),
    (b"BZh", FileKind("", "a bzip2 archive", _UNPACK)),
    (b"\xfd7zXZ", FileKind("", "an xz archive", _UNPACK)),
    (b"\x28\xb5\x2f\xfd", FileKind("", "a zstd archive", _UNPACK)),
    (b"7z\xbc\xaf", FileKind("", "a 7z archive", _UNPACK)),
    (b"Rar!", FileKind("", "a RAR archive", _UNPACK)),
    (b"\x93NUMPY", FileKind("", "an array of NumPy's", "Save network.state_dict() with torch.save.")),
    (b"\x89HDF", FileKind("", "an HDF5 file, as Keras writes", "Only networks in PyTorch or ONNX can be built.")),
    (b"ftrt", FileKind("", "a TensorRT engine", "Engines are built from a checkpoint or an ONNX graph: name that.")),
    (b"ptrt", FileKind("", "a TensorRT engine", "Engines are built from a checkpoint or an ONNX graph: name that.")),
)

_ONNX_FIELDS = frozenset(b"\x12\x1a\x22\x2a\x32\x3a\x42\x72\xa2")
"""Tags of what can follow a model's IR version, which comes first: producer, domain, version, text, graph, opsets."""


def identify(path: Path) -> FileKind | None:
    """What the first bytes of a file say; None where they say nothing.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", "Change its permissions.") from error
    if not head.strip(b"\0"):
        return FileKind("", "a file of nothing but zeros" if head else "an empty file", _AGAIN)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32:
        return SAFETENSORS
    if head.startswith(b"PK"):
        return _archive(path)
    for mark, kind in _MARKS:
        if head.startswith(mark):
            return kind
    if head[257:262] == b"ustar":
        return FileKind("", "a tar archive", _UNPACK)
    if head[0] == 8 and 0 < head[1] < 64 and head[2:3] and head[2] in _ONNX_FIELDS:
        return ONNX
    return _text(head)


def refuse_others(path: Path, wanted: str, allowed: Collection[str]) -> FileKind | None:
    """Refuse a file that is known to be something else than is wanted; gives what it is.

    Args:
        path: an existing file.
        wanted: for the message, such as ``a checkpoint``.
        allowed: kinds that are let through, besides what is not known.

    Raises:
        UsageError: it is another kind of file; says which, and what to do.
    """
    found = identify(path)
    if found is not None and found.kind not in allowed:
        raise UsageError(f"{path} is {found.words}, not {wanted}.", found.hint)
    return found


def _archive(path: Path) -> FileKind:
    """A zip: what torch.save writes, or something that holds a file."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return FileKind("", "a zip archive, as torch.save writes, that is cut off or damaged", _AGAIN)
    if any(name.endswith("/constants.pkl") for name in names):
        return FileKind("", "a TorchScript program", "Save the state_dict() of the network that it was made of.")
    if any(name.endswith("/data.pkl") for name in names):
        return PICKLE
    if any(name.endswith(".npy") for name in names):
        return FileKind("", "an archive of NumPy's arrays", "Save network.state_dict() with torch.save.")
    return FileKind("", f"a zip archive with {names[0] if names else 'nothing'} in it", _UNPACK)


def _text(head: bytes) -> FileKind | None:
    """What people read: a page in place of a download, or some text."""
    try:
        # The last character that was read may be cut in two.
        text = head.decode("utf-8").lstrip("\ufeff \t\r\n")
    except UnicodeDecodeError as error:
        if len(head) < _HEAD or error.start < len(head) - 3:
            return None
        text = head[: error.start].decode("utf-8")
    if not all(letter.isprintable() or letter.isspace() for letter in text):
        return None
    if text.startswith("<"):
        return FileKind("", "a web page", "Its address answered with a page instead of the file: open it in a browser.")
    line = text.partition("\n")[0][:40].rstrip()
    return FileKind("", f"a text that begins with {line!r}", _AGAIN)
