"""Read and write checkpoints without executing what is in them.

A checkpoint of ours is one safetensors file: the weights in half precision and, in its header, what the
network is. Foreign ``.pt`` and ``.pth`` files are read with ``weights_only``, so a pickle that would run
code is refused.
"""

from __future__ import annotations

import json
import pickle
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
from ..files import replace_bytes
from .network import AUXILIARY_PREFIX, ParsingNetwork
from .pose import PoseNetwork
from .registry import POSE_NETWORKS, create_network, recognise

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
    """

    network: ParsingNetwork
    input_size: tuple[int, int]
    stretch: float
    source: str


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
    """Read a checkpoint: our safetensors, or a state dict in ``.pt``, ``.pth`` or a foreign ``.safetensors``.

    A file without our header is taken for the network, with default options, that has most of its tensor names.

    Raises:
        UsageError: no such file, not a checkpoint, or a checkpoint of another network.
    """
    return parse_checkpoint(*read_tensors(path), path)


def parse_checkpoint(header: str, tensors: dict[str, Tensor], path: Path) -> Checkpoint:
    """The checkpoint of a file that was read already; see :func:`load_checkpoint`."""
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
        network, input_size, stretch = create_network(recognise(tensors), {}), DEFAULT_INPUT_SIZE, 1.0
        what = f"{network.kind} with default options"
    fill(network, tensors, path, what)
    return Checkpoint(network.eval(), input_size, stretch, str(path))


def load_backbone(network: ParsingNetwork, path: Path) -> None:
    """Start a network's trunk from a checkpoint of it, such as one trained on ImageNet.

    A ResNet's has torchvision's names, an EfficientNet-Lite's those of ``efficientnet_lite_pytorch``.

    Raises:
        UsageError: no such file, not a checkpoint, or one of another trunk.
    """
    _, tensors = read_tensors(path)
    fill(network.backbone, network.backbone.adapt(tensors), path, f"the trunk of {network.kind}")


def read_tensors(path: Path) -> tuple[str, dict[str, Tensor]]:
    """Our header, empty in foreign files, and the tensors by name.

    Raises:
        UsageError: no such file, or not a checkpoint that can be read without running code from it.
    """
    if not path.is_file():
        raise UsageError(
            f"No checkpoint at {path}.", "Name a .safetensors or .pth file, or leave it out for the weights we ship."
        )
    return _read_safetensors(path) if path.suffix == ".safetensors" else ("", _read_pickle(path))


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


def _read_safetensors(path: Path) -> tuple[str, dict[str, Tensor]]:
    try:
        with safetensors.safe_open(path, "pt") as file:
            return (file.metadata() or {}).get(HEADER, ""), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        raise UsageError(
            f"{path} is not a readable safetensors file: {error}.", "The file may be cut off; get it again."
        ) from error


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, KeyError, ValueError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} is not a checkpoint that can be read without running code from it.",
            "Save network.state_dict() with safetensors or torch.save; whole pickled networks are refused.",
        ) from error
    for key in ("state_dict", "model", "network"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not any(isinstance(value, Tensor) for value in content.values()):
        raise UsageError(f"{path} holds no state dict.", "Save network.state_dict().")
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors


def _belongs(name: str) -> bool:
    """Whether a tensor is part of what runs: no training head, no counter."""
    return not name.startswith(AUXILIARY_PREFIX) and not name.endswith("num_batches_tracked")


@dataclass(frozen=True)
class Mismatch:
    """How the tensors of a file differ from those of a network: how many, and the first of each kind in words."""

    missing: int
    unknown: int
    reshaped: int
    examples: str


def find_mismatch(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Mismatch | None:
    """Compare names and shapes; None where they are the same."""
    missing = [name for name in wanted if name not in found]
    unknown = [name for name in found if name not in wanted]
    shapes = [name for name in wanted if name in found and found[name].shape != wanted[name].shape]
    if not (missing or unknown or shapes):
        return None
    examples = [f"missing {name}" for name in missing[:2]] + [f"unknown {name}" for name in unknown[:2]]
    examples += [f"{name} is {tuple(found[name].shape)}, not {tuple(wanted[name].shape)}" for name in shapes[:2]]
    return Mismatch(len(missing), len(unknown), len(shapes), "; ".join(examples))


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor with a value that is infinite or not a number."""
    return next((name for name, value in tensors.items() if not bool(torch.isfinite(value).all())), None)


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
