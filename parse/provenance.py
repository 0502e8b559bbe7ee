"""A label map says in itself what it was made from, so that it is neither made twice nor taken for another's.

The record is a tEXt chunk of the PNG: the network, how it was run, and the hash of the photograph. It holds
nothing that differs between machines or runs, so the bytes of a result do not either.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..data.dataset import LabelMap
from ..data.images import png_chunks
from ..engines import Bundle, Engine
from ..engines.bundle import GRAPHS, WEIGHTS_NAME
from ..engines.open import graph_of
from ..errors import DataError, UsageError
from ..specs.label_set import LabelSet
from ..tasks.parsing.draw import LABEL_PNG_KIND, encode_label_png, label_png_palette

_KEYWORD = b"trtparse\x00"
_IN_THE_ORDER_TOLD = ("target", "precision", "input_size", "graph", "method")
_METHOD = 1
"""Goes up when the same network on the same photograph gives other label maps than before."""


@dataclass(frozen=True)
class MadeBy:
    """What label maps depend on, besides the photograph.

    Args:
        graph: sha256 of the file that the engine runs.
        target: as the engine's.
        precision: as the engine's.
        input_size: (height, width) of the network's input.
        method: of everything around the network.
    """

    graph: str
    target: str
    precision: str
    input_size: tuple[int, int]
    method: int = _METHOD

    @classmethod
    def of(cls, bundle: Bundle, engine: Engine) -> MadeBy:
        """What an engine of a bundle makes."""
        if engine.target == "pytorch":
            name = WEIGHTS_NAME
        elif engine.target == "tensorrt":
            name = GRAPHS[engine.precision]
        else:
            name = GRAPHS[graph_of(engine.target, engine.precision)]
        return cls(bundle.manifest.files[name], engine.target, engine.precision, engine.input_size)


def label_png(labels: LabelMap, label_set: LabelSet, made_by: MadeBy | None, photograph: str) -> bytes:
    """A label map as a PNG with its record; without one where ``made_by`` is None.

    Args:
        labels: (H, W) uint8.
        label_set: what the ids mean.
        made_by: what it depends on.
        photograph: sha256 of the file.
    """
    if made_by is None:
        return encode_label_png(labels, label_set)
    record = json.dumps(_record(made_by, photograph), sort_keys=True, separators=(",", ":"))
    return encode_label_png(labels, label_set, _KEYWORD + record.encode("ascii"))


def _record(made_by: MadeBy, photograph: str) -> dict[str, Any]:
    return {**asdict(made_by), "input_size": list(made_by.input_size), "photograph": photograph}


def find_labels(data: bytes, label_set: LabelSet, made_by: MadeBy, photograph: str, path: str) -> LabelMap | None:
    """The label map in a file that is there already, if it is what would be made now.

    Args:
        data: the file.
        label_set: what its ids have to mean.
        photograph: sha256 of the photograph.
        path: for messages.

    Returns:
        (H, W) uint8; None where the file is damaged, was packed anew by another program (the record may have
        outlived that, the indices may not), or was made from another state of the photograph.

    Raises:
        UsageError: it was made by something else, or does not say by what.
    """
    record: dict[str, Any] | None = None
    whole, pixels, size, header, palette = False, b"", (0, 0), b"", b""
    try:
        for kind, body in png_chunks(data, path) if data.startswith(b"\x89PNG") else ():
            if kind == b"IHDR":
                size, header = (int.from_bytes(body[4:8], "big"), int.from_bytes(body[:4], "big")), body[8:]
            elif kind == b"PLTE":
                palette = body
            elif kind == b"tEXt" and body.startswith(_KEYWORD):
                record = json.loads(body[len(_KEYWORD) :])
                if record.get("target") == "cpu":
                    record["target"] = "onnxruntime"  # which it was called while it was the only one
            elif kind == b"IDAT":
                pixels += body
            whole = whole or kind == b"IEND"
    except (DataError, ValueError):
        whole = False
    if not isinstance(record, dict):
        raise UsageError(
            f"{path} is there already and does not say what made it.",
            "Choose another output folder, or give --overwrite to replace it.",
        )
    expected = _record(made_by, photograph)
    for field in _IN_THE_ORDER_TOLD:
        if record.get(field) != expected[field]:
            raise UsageError(
                f"{path} was made with another {field.replace('_', ' ')}: "
                f"{_short(record.get(field))}, not {_short(expected[field])}.",
                "Choose another output folder, or give --overwrite to make it again.",
            )
    if not whole or record != expected:
        return None
    unpacked = np.frombuffer(zlib.decompress(pixels), np.uint8)
    if unpacked.size != size[0] * (size[1] + 1):
        return None
    lines = unpacked.reshape(size[0], size[1] + 1)
    packed_by_us = header == LABEL_PNG_KIND and palette == label_png_palette(label_set) and not lines[:, 0].any()
    return lines[:, 1:] if packed_by_us else None


def _short(value: Any) -> str:
    if isinstance(value, list):
        return "x".join(str(side) for side in value)
    text = str(value)
    return text[:12] if len(text) == 64 else text


def digest(photograph: bytes) -> str:
    """sha256 of a photograph's file."""
    return hashlib.sha256(photograph).hexdigest()
