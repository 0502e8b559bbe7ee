"""The file of a checkpoint, read and written without executing what is in it.

A checkpoint of ours is one safetensors file: the weights in half precision and, in its header, what the
network is. What others save is read by :mod:`~trtparse.networks.state_dict`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..specs.decoding import LOGITS, Decoding
from ..specs.framing import Framing
from ..specs.origin import Origin
from ..specs.spec import Spec
from ..storage.files import replace_bytes
from ..storage.json_types import JsonObject, ReadJson
from .file_kind import refuse_others
from .network import AUXILIARY_PREFIX, Network
from .state_dict import StateDict, find_mismatch, find_state_dict, first_not_finite, read_pickle, tensors_digest

SCHEMA = 3
"""2: with the stretch of the images. 3: with the label set, the training data and the licence.
Older ones are read as well."""

HEADER = "trtparse"
"""The one entry of the file's header: safetensors writes several in no fixed order, and equal weights should
be equal files."""


def save_checkpoint(
    network: Network,
    path: Path,
    framing: Framing,
    spec: Spec | None,
    *,
    decoding: Decoding = LOGITS,
    sure: float | None = None,
    lossless: bool = False,
    origin: Origin = Origin(),
    int8: JsonObject | None = None,
) -> None:
    """Write a checkpoint; auxiliary heads are left out.

    The file is written beside its place and renamed.

    Args:
        network: on any device.
        path: ends in ``.safetensors``.
        framing: how it was trained to see images.
        spec: what its classes or its joints mean; None for a finder.
        decoding: how a pose network's heatmaps become points.
        sure: the score from which one of a finder's boxes is somebody; None where nobody chose it.
        lossless: keep float32 where half precision would change a value.
        origin: what its weights come from.
        int8: ranges that it carries, in JSON's types; they are bound to the weights as they are written.

    Raises:
        UsageError: the network has another number of classes or joints than that.
    """
    meant = network.meaning(spec, decoding, sure, path)
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items() if belongs(name)}
    halves = {name: value.half() for name, value in tensors.items()}
    if not lossless or all(torch.equal(halves[name].to(value.dtype), value) for name, value in tensors.items()):
        tensors = halves
    header = {
        "schema": SCHEMA,
        "network": network.kind,
        "options": network.options,
        "input_size": list(framing.input_size),
        "stretch": framing.stretch,
        **({} if framing.crop is None else {"crop": asdict(framing.crop)}),
        **meant,
        "training_data": origin.training_data,
        "licence": origin.licence,
        **({"int8": {**int8, "weights": tensors_digest(tensors)}} if int8 else {}),
    }
    replace_bytes(path, safetensors.torch.save(tensors, {HEADER: json.dumps(header)}))


def read_tensors(path: Path) -> tuple[str, StateDict]:
    """Our header, empty in foreign files, and the tensors by name.

    Raises:
        UsageError: no such file, or not a checkpoint that can be read without running code from it.
    """
    if not path.is_file():
        raise UsageError(
            f"No checkpoint at {path}.", "Name a .safetensors or .pth file, or leave it out for the weights we ship."
        )
    kind = refuse_others(path, "a checkpoint", allowed=("safetensors", "pickle"))
    ending = "safetensors" if path.suffix.lower() == ".safetensors" else "pickle"
    return _read_safetensors(path) if (kind.kind if kind else ending) == "safetensors" else ("", read_pickle(path))


def _read_safetensors(path: Path) -> tuple[str, StateDict]:
    try:
        with safetensors.safe_open(path, "pt") as file:
            header = (file.metadata() or {}).get(HEADER, "")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        raise UsageError(
            f"{path} is not a readable safetensors file: {error}.", "The file may be cut off; get it again."
        ) from error
    found = StateDict(tensors) if header else find_state_dict(tensors)
    if found is None:
        raise UsageError(f"{path} holds no tensor.", "Save network.state_dict().")
    return header, found


def _read_header(header: str, path: Path) -> ReadJson:
    try:
        values = dict(json.loads(header))
        newer = int(values["schema"]) > SCHEMA
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"The header of {path} is damaged: {error}.", "Get the file again.") from error
    if newer:
        raise UsageError(f"{path} was written by a newer version of trtparse.", "Update trtparse.")
    return values


@dataclass(frozen=True)
class Header:
    """What the header of a checkpoint of ours says.

    Args:
        kind: of the network.
        options: of the network.
        framing: how it was trained to see images.
        values: all that it says.
    """

    kind: str
    options: ReadJson
    framing: Framing
    values: ReadJson

    @property
    def origin(self) -> Origin:
        """What its weights come from."""
        return Origin(str(self.values.get("training_data", "")), str(self.values.get("licence", "")))


def parse_header(header: str, path: Path) -> Header:
    """Read our header; the network that it names need not exist.

    Raises:
        UsageError: it is damaged, or of a newer version.
    """
    values = _read_header(header, path)
    try:
        height, width = (int(size) for size in values["input_size"])
        kind, options = str(values["network"]), dict(values["options"])
        return Header(kind, options, Framing.of_preprocessing((height, width), values), values)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"The header of {path} is damaged: {error}.", "Get the file again.") from error


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Name the file of which a header says what no network has."""
    try:
        yield
    except UsageError as error:
        raise UsageError(
            f"{path} holds a network that this trtparse does not know: {error.message}", "Update trtparse."
        ) from error


def fill(module: nn.Module, tensors: Mapping[str, Tensor], path: Path, what: str) -> None:
    """Give a module the tensors of a file.

    Args:
        module: all of whose parts that run must be there, and no other.
        tensors: by name.
        path: where they came from, for messages.
        what: the module, for messages.

    Raises:
        UsageError: tensors are missing, unknown, of another shape or not finite.
    """
    wanted = {name: value for name, value in module.state_dict().items() if belongs(name)}
    found = {name: value for name, value in tensors.items() if belongs(name)}
    mismatch = find_mismatch(found, wanted)
    if mismatch is not None:
        raise UsageError(
            f"{path} is a checkpoint of another network than {what}: {mismatch.missing} tensors missing, "
            f"{mismatch.unknown} unknown, {mismatch.reshaped} of another shape ({mismatch.examples}).",
            f"Name a checkpoint that trtparse train wrote, or one with the tensor names of {what}.",
        )
    damaged = first_not_finite({name: found[name] for name in wanted})
    if damaged is not None:
        raise UsageError(f"{path} holds values that are not finite, first in {damaged}.", "Train again.")
    module.load_state_dict({name: found[name].to(wanted[name].dtype) for name in wanted}, strict=False)


def belongs(name: str) -> bool:
    """Whether a tensor is part of what runs: no training head, no counter."""
    return not name.startswith(AUXILIARY_PREFIX) and not name.endswith("num_batches_tracked")
