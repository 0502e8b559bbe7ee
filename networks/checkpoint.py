"""Read and write checkpoints without executing what is in them.

A checkpoint of ours is one safetensors file: the weights in half precision and, in its header, what the
network is. What others save is read by :mod:`~trtparse.networks.state_dict`.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from ..data.stretch import stretch_told
from ..errors import UsageError
from ..labels import NUM_CLASSES
from ..storage.files import replace_bytes
from .ce2p import recognise as recognise_released
from .file_kind import refuse_others
from .network import AUXILIARY_PREFIX, ParsingNetwork
from .pose import PoseNetwork
from .registry import POSE_NETWORKS, create_network, recognise
from .state_dict import StateDict, find_mismatch, find_state_dict, first_not_finite, read_pickle

DEFAULT_INPUT_SIZE = (256, 192)
"""(height, width) where a foreign checkpoint does not say."""

SCHEMA = 2
"""2: with the stretch of the images. Headers of schema 1 are read as well."""

HEADER = "trtparse"
"""The one entry of the file's header: safetensors writes several in no fixed order, and equal weights should
be equal files."""


@dataclass(frozen=True)
class Checkpoint:
    """A network with its weights, and what its file says about it.

    Args:
        network: on the CPU, float32, in evaluation mode.
        input_size: (height, width) it was trained at.
        stretch: how far images' shapes were changed to fill the input (:meth:`~trtparse.data.letterbox.Letterbox.fit`).
        source: where it came from, for messages.
        told: which of several networks in the file it is; empty where there was but one.
    """

    network: ParsingNetwork
    input_size: tuple[int, int]
    stretch: float
    source: str
    told: str = ""


def save_checkpoint(
    network: ParsingNetwork | PoseNetwork,
    path: Path,
    input_size: tuple[int, int],
    stretch: float = 1.0,
    *,
    lossless: bool = False,
) -> None:
    """Write a checkpoint; auxiliary heads are left out.

    The file is written beside its place and renamed.

    Args:
        network: on any device.
        path: ends in ``.safetensors``.
        input_size: (height, width) it was trained at.
        stretch: of the images that it was trained with.
        lossless: keep float32 where half precision would change a value.
    """
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in network.state_dict().items() if _belongs(name)
    }
    halves = {name: value.half() for name, value in tensors.items()}
    if not lossless or all(torch.equal(halves[name].to(value.dtype), value) for name, value in tensors.items()):
        tensors = halves
    header = {
        "schema": SCHEMA,
        "network": network.kind,
        "options": network.spec.to_dict(),
        "input_size": list(input_size),
        "stretch": stretch,
    }
    replace_bytes(path, safetensors.torch.save(tensors, {HEADER: json.dumps(header)}))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint: ours, or a state dict as torch.save or safetensors wrote it, whatever wraps it.

    A file without our header is taken for the network, with default options, that has most of its tensor names.

    Raises:
        UsageError: no such file, not a checkpoint, a checkpoint of another network, or of other classes than LIP's.
    """
    checkpoint = parse_checkpoint(*read_tensors(path), path)
    check_classes(checkpoint.network.spec.num_classes, path)
    return checkpoint


def parse_checkpoint(header: str, state: StateDict, path: Path) -> Checkpoint:
    """The checkpoint of a file that was read already, of any number of classes; see :func:`load_checkpoint`."""
    if header:
        said = parse_header(header, path)
        if said.kind in POSE_NETWORKS:
            raise UsageError(
                f"{path} holds {said.kind}, a pose network.", "Name a checkpoint of a parsing network here."
            )
        with named(path):
            network = create_network(said.kind, said.options)
        input_size, stretch, what = said.input_size, said.stretch, said.kind
    else:
        network, input_size, stretch = _recognised(state.tensors, path), DEFAULT_INPUT_SIZE, 1.0
        what = f"{network.kind} with default options"
    fill(network, state.tensors, path, what)
    return Checkpoint(network.eval(), input_size, stretch, str(path), state.told)


def check_classes(count: int, path: Path) -> None:
    """See that a checkpoint's network tells LIP's classes apart: no names of others are known.

    Raises:
        UsageError: it tells another number of classes apart.
    """
    if count != NUM_CLASSES:
        raise UsageError(
            f"{path} knows {count} classes; trtparse knows the names of LIP's {NUM_CLASSES}.",
            f"Name a checkpoint that was trained on LIP's {NUM_CLASSES} classes: under other names every result would "
            "be wrong.",
        )


def load_backbone(network: ParsingNetwork, path: Path) -> str:
    """Start a network's trunk from a checkpoint of it, such as one trained on ImageNet.

    A ResNet's has torchvision's names, an EfficientNet-Lite's those of ``efficientnet_lite_pytorch``.

    Returns:
        Which of several networks in the file was taken; empty where there was but one.

    Raises:
        UsageError: no such file, not a checkpoint, or one of another trunk.
    """
    _, state = read_tensors(path)
    fill(network.backbone, network.backbone.adapt(state.tensors), path, f"the trunk of {network.kind}")
    return state.told


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


def _recognised(tensors: dict[str, Tensor], path: Path) -> ParsingNetwork:
    """The network, with default options, that a foreign state dict is of, with random weights."""
    family = recognise_released(tensors)
    if family is not None:
        raise UsageError(
            f"{path} is a checkpoint of {family.upper()}, which is a teacher: engines are built of its students.",
            f"Distil one: trtparse distill --teacher {shlex.quote(str(path))} --data FOLDER",
        )
    network = create_network(recognise(tensors), {})
    classes = _other_classes(tensors, network)
    if classes is not None:
        network = create_network(network.kind, {"num_classes": classes})
    return network


def _other_classes(tensors: dict[str, Tensor], network: ParsingNetwork) -> int | None:
    """The number of classes, where it is all that tells tensors from a network's."""
    wanted = {name: value.shape for name, value in network.state_dict().items() if _belongs(name)}
    counts = set()
    for name, shape in wanted.items():
        if name not in tensors:
            return None
        found = tensors[name].shape
        if found != shape:
            if shape[0] != network.spec.num_classes or found[1:] != shape[1:] or not 2 <= found[0] <= 255:
                return None
            counts.add(int(found[0]))
    return counts.pop() if len(counts) == 1 else None


@dataclass(frozen=True)
class Header:
    """What the header of a checkpoint of ours says.

    Args:
        kind: of the network.
        options: of the network.
        input_size: (height, width) it was trained at.
        stretch: of the images that it was trained with.
    """

    kind: str
    options: dict[str, Any]
    input_size: tuple[int, int]
    stretch: float


def parse_header(header: str, path: Path) -> Header:
    """Read our header; the network that it names need not exist.

    Raises:
        UsageError: it is damaged, or of a newer version.
    """
    try:
        values = json.loads(header)
        if int(values["schema"]) > SCHEMA:
            raise UsageError(f"{path} was written by a newer version of trtparse.", "Update trtparse.")
        height, width = (int(size) for size in values["input_size"])
        return Header(str(values["network"]), dict(values["options"]), (height, width), stretch_told(values))
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


def _belongs(name: str) -> bool:
    """Whether a tensor is part of what runs: no training head, no counter."""
    return not name.startswith(AUXILIARY_PREFIX) and not name.endswith("num_batches_tracked")


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
    wanted = {name: value for name, value in module.state_dict().items() if _belongs(name)}
    found = {name: value for name, value in tensors.items() if _belongs(name)}
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
