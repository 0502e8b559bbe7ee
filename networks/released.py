"""Checkpoints of CE2P's family as networks to build engines of: the published convention around the published layers.

A checkpoint says of itself which family it is of (:func:`~trtparse.networks.ce2p.recognise`) and how many classes it
tells apart; how it sees images and what its classes mean, a preset says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UsageError
from ..graphs.conventions import Said
from ..graphs.published import Preset, presets
from ..specs.decoding import LOGITS, Decoding
from ..specs.framing import Framing
from ..specs.label_set import LabelSet, label_set
from ..specs.origin import Origin
from ..storage.files import replace_bytes
from ..storage.json_types import JsonObject
from .ce2p import CE2P, FAMILY_MARKS, CDGNet, read_released, recognise
from .checkpoint_file import HEADER, SCHEMA, fill, parse_header
from .exported import ExportedNetwork
from .network import Network, check_classes
from .state_dict import StateDict
from .tail import LabelTail, Tail
from .trained import Trained

FAMILIES = tuple(FAMILY_MARKS.values())
"""Networks whose checkpoints are read here."""


class FramedNetwork(Network):
    """A published network with what its authors do before and after it.

    Args:
        network: one of CE2P's family.
        framing: the order of channels, mean and deviation that it computes with.
        family: one of ``FAMILIES``.
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, network: CE2P, framing: Framing, family: str) -> None:
        super().__init__()
        self.kind = family
        self.network = network
        self.turned = framing.order == "RGB"
        scale = [1 / (255 * deviation) for deviation in framing.std]
        offset = [-mean / deviation for mean, deviation in zip(framing.mean, framing.std)]
        self.register_buffer("scale", torch.tensor(scale).view(1, 3, 1, 1))
        self.register_buffer("offset", torch.tensor(offset).view(1, 3, 1, 1))

    @property
    def options(self) -> JsonObject:
        return {"num_classes": self.network.num_classes}

    def prepared(self, frames: Tensor) -> Tensor:
        """As they are: it normalises itself."""
        return frames

    def tail(self, input_size: tuple[int, int], decoding: Decoding = LOGITS) -> Tail:
        return LabelTail(input_size)

    def exported(self, input_size: tuple[int, int], decoding: Decoding = LOGITS) -> ExportedNetwork:
        return _Exported(self.to_run(), self.tail(input_size))

    def forward(self, frames: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 BGR to (N, C, H, W) float: the corners of its logits are those of the frame."""
        return _logits(frames, self.network, self.scale, self.offset, turned=self.turned)


class _Exported(ExportedNetwork):
    """Of a published network, with its own normalisation."""

    scale: Tensor
    offset: Tensor

    def __init__(self, framed: FramedNetwork, tail: Tail) -> None:
        super().__init__(framed.network, tail)
        self.turned = framed.turned
        self.register_buffer("scale", framed.scale)
        self.register_buffer("offset", framed.offset)

    def raw(self, frames: Tensor) -> Tensor:
        return _logits(frames, self.network, self.scale, self.offset, turned=self.turned)


def _logits(frames: Tensor, network: nn.Module, scale: Tensor, offset: Tensor, *, turned: bool) -> Tensor:
    images = frames.to(scale.dtype).permute(0, 3, 1, 2)
    if turned:
        images = images.flip(1)
    logits = network(images * scale + offset)
    size = (int(frames.shape[1]), int(frames.shape[2]))
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=True)


@dataclass(frozen=True)
class Released(Trained):
    """A published network with its weights and its convention; ``spec`` is what its classes mean."""

    network: FramedNetwork
    spec: LabelSet
    task: ClassVar[str] = "parsing"

    def framed(self, framing: Framing) -> Released:
        own = self.network
        return replace(self, framing=framing, network=FramedNetwork(own.network, framing, own.kind).eval())

    def save(self, path: Path) -> None:
        save_released(self, path)


def is_released(header: str, tensors: Mapping[str, Tensor], path: Path) -> bool:
    """Whether a file holds a network of CE2P's family, as its authors or as :func:`save_released` wrote it.

    Raises:
        UsageError: our header is damaged.
    """
    if header:
        return parse_header(header, path).kind in FAMILIES
    return recognise(tensors) is not None


def parse_released(header: str, state: StateDict, path: Path, said: Said = Said()) -> Released:
    """The network of a file.

    Args:
        header: ours; empty in what the authors wrote.
        state: its tensors.
        path: of the file, for messages.
        said: what the file does not say of itself.

    Raises:
        UsageError: what its classes mean is not said or does not fit, or the file is damaged.
    """
    if header:
        return _of_ours(header, state, path)
    network = read_released(state.tensors, str(path))
    family = recognise(state.tensors)
    assert family is not None
    known = _preset_for(family, network.num_classes, said, path)
    meant = said.labels or label_set(known.labels)
    check_classes(network.num_classes, meant, str(path))
    own = known.framing
    framing = replace(
        own,
        input_size=said.input_size or own.input_size,
        stretch=said.stretch or own.stretch,
        order=said.order or own.order,
        mean=said.mean or own.mean,
        std=said.std or own.std,
        returns=said.returns or own.returns,
    )
    framed = FramedNetwork(network, framing, family).eval()
    return Released(framed, framing, meant, str(path), state.told, Origin(f"as {known.source} published it"))


def save_released(released: Released, path: Path) -> None:
    """Write a network with its convention into a safetensors file, losslessly."""
    tensors = {
        name: value.contiguous()
        for name, value in released.network.network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    framing = released.framing
    header: JsonObject = {
        "schema": SCHEMA,
        "network": released.network.kind,
        "options": released.options,
        "input_size": list(framing.input_size),
        **framing.preprocessing(),
        "label_set": released.spec.to_dict(),
        "training_data": released.origin.training_data,
        "licence": released.origin.licence,
    }
    replace_bytes(path, safetensors.torch.save(tensors, {HEADER: json.dumps(header)}))


def _of_ours(header: str, state: StateDict, path: Path) -> Released:
    said = parse_header(header, path)
    try:
        told, classes = said.values["label_set"], int(said.options["num_classes"])
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"The header of {path} is damaged: {error}.", "Get the file again.") from error
    meant = LabelSet.from_dict(told, str(path))
    check_classes(classes, meant, str(path))
    network = _empty(said.kind, classes)
    fill(network, state.tensors, path, said.kind)
    framed = FramedNetwork(network, said.framing, said.kind).eval()
    return Released(framed, said.framing, meant, str(path), state.told, said.origin)


def _empty(family: str, classes: int) -> CE2P:
    return CDGNet(classes) if family == "cdgnet" else CE2P(classes)


def _preset_for(family: str, classes: int, said: Said, path: Path) -> Preset:
    """The preset that was named, or the one of the label set that was."""
    own = [one for one in presets().values() if one.family == family]
    words = "|".join(one.name for one in own)
    if said.preset is not None:
        named = said.known
        assert named is not None
        if named.family != family:
            raise UsageError(
                f"{path} is a checkpoint of {family.upper()}, and the preset {named.name} is {named.about}.",
                f"Give --preset {words}.",
            )
        return named
    if said.labels is None:
        raise UsageError(
            f"{path} is a checkpoint of {family.upper()} that tells {classes} classes apart and does not say which.",
            f"Give --preset {words}, or --labels the set that it was trained on.",
        )
    meant = [one for one in own if label_set(one.labels) == said.labels]
    if meant:
        return meant[0]
    if said.input_size is None:
        raise UsageError(
            f"{path} is a checkpoint of {family.upper()}, and at which size one of {said.labels} was trained nobody "
            "said.",
            f"Give --input-size HEIGHTxWIDTH as well; those of {words} are "
            + ", ".join("{}x{}".format(*one.framing.input_size) for one in own)
            + ".",
        )
    return own[0]
