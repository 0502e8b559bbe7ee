"""Checkpoints of parsing networks: ours, and state dicts of them that others saved."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from ..errors import UsageError
from ..specs.framing import Framing
from ..specs.label_set import LabelSet, check_same, label_set, label_sets
from ..specs.origin import Origin
from ..storage.json_types import ReadJson
from .ce2p import recognise as recognise_released
from .checkpoint_file import belongs, fill, named, parse_header, read_tensors
from .mobilenet import MobileNetV2, read_movenet
from .network import ParsingNetwork, check_classes
from .registry import FINDERS, POSE_NETWORKS, create_network, recognise
from .state_dict import StateDict, tensors_digest
from .trained import DEFAULT_INPUT_SIZE, Trained


@dataclass(frozen=True)
class Checkpoint(Trained):
    """A parsing network with its weights; ``spec`` is what its classes mean."""

    network: ParsingNetwork
    spec: LabelSet
    task: ClassVar[str] = "parsing"


def load_checkpoint(path: Path, labels: LabelSet | None = None, who: str = "--labels") -> Checkpoint:
    """Read a checkpoint: ours, or a state dict as torch.save or safetensors wrote it, whatever wraps it.

    A file without our header is taken for the network, with default options, that has most of its tensor names.

    Args:
        path: the file.
        labels: what its classes mean, where the file does not say; 20 classes are LIP's unless told otherwise.
        who: says so, for messages.

    Raises:
        UsageError: no such file, not a checkpoint, a checkpoint of another network, or a label set that does not fit.
    """
    return parse_checkpoint(*read_tensors(path), path, labels, who)


def parse_checkpoint(
    header: str, state: StateDict, path: Path, labels: LabelSet | None = None, who: str = "--labels"
) -> Checkpoint:
    """The checkpoint of a file that was read already; see :func:`load_checkpoint`."""
    values: ReadJson = {}
    if header:
        said = parse_header(header, path)
        if said.kind in POSE_NETWORKS:
            raise UsageError(
                f"{path} holds {said.kind}, a pose network.", "Name a checkpoint of a parsing network here."
            )
        if said.kind in FINDERS:
            raise UsageError(
                f"{path} holds {said.kind}, which finds people.", "Name a checkpoint of a parsing network here."
            )
        with named(path):
            network = create_network(said.kind, said.options)
        values, framing, what, origin = said.values, said.framing, said.kind, said.origin
    else:
        network, framing, origin = _recognised(state.tensors, path), Framing(DEFAULT_INPUT_SIZE), Origin()
        what = f"{network.kind} with default options"
    meant = _label_set(values, network.spec.num_classes, labels, who, path)
    fill(network, state.tensors, path, what)
    int8 = values.get("int8", {})
    if int8 and int8.get("weights") != tensors_digest(state.tensors):
        raise UsageError(
            f"{path} carries INT8 ranges that were learned with other weights than it holds.",
            "Get the file again; whoever changed the weights has to leave the header's int8 out.",
        )
    return Checkpoint(network.eval(), framing, meant, str(path), state.told, origin, int8=int8)


def _label_set(values: ReadJson, count: int, given: LabelSet | None, who: str, path: Path) -> LabelSet:
    """What a checkpoint's classes mean: as it says, else as somebody says, else LIP's where there are 20 of them."""
    if "label_set" in values:
        told = LabelSet.from_dict(values["label_set"], str(path))
        if given is not None:
            check_same(told, str(path), given, who)
        check_classes(count, told, str(path))
        return told
    lip = label_set("lip")
    if given is None and count != len(lip):
        raise UsageError(
            f"{path} tells {count} classes apart and does not say which.",
            f"Give --labels the set that it was trained on: one of {', '.join(label_sets())}, or a TOML file.",
        )
    meant = lip if given is None else given
    check_classes(count, meant, str(path))
    return meant


def load_backbone(network: ParsingNetwork, path: Path) -> str:
    """Start a network's trunk from a checkpoint of it, such as one trained on ImageNet.

    A ResNet's has torchvision's names, an EfficientNet-Lite's those of ``efficientnet_lite_pytorch``; a
    MobileNetV2's is MoveNet Thunder's ONNX file.

    Returns:
        Which of several networks in the file was taken; empty where there was but one.

    Raises:
        UsageError: no such file, not a checkpoint, or one of another trunk.
    """
    if isinstance(network.backbone, MobileNetV2) and path.suffix.lower() == ".onnx":
        tensors = network.backbone.adapt(read_movenet(path))
        fill(network.backbone, tensors, path, f"the trunk of {network.kind}")
        return ""
    _, state = read_tensors(path)
    fill(network.backbone, network.backbone.adapt(state.tensors), path, f"the trunk of {network.kind}")
    return state.told


def _recognised(tensors: dict[str, Tensor], path: Path) -> ParsingNetwork:
    """The network, with default options, that a foreign state dict is of, with random weights."""
    family = recognise_released(tensors)
    if family is not None:
        raise UsageError(
            f"{path} is a checkpoint of {family.upper()}, which is no network that is trained here.",
            "trtparse build makes engines of it as it is, with --preset. Or distil a student of it: "
            f"trtparse distill --teacher {shlex.quote(str(path))} --data FOLDER",
        )
    network = create_network(recognise(tensors), {})
    classes = _other_classes(tensors, network)
    if classes is not None:
        network = create_network(network.kind, {"num_classes": classes})
    return network


def _other_classes(tensors: dict[str, Tensor], network: ParsingNetwork) -> int | None:
    """The number of classes, where it is all that tells tensors from a network's."""
    wanted = {name: value.shape for name, value in network.state_dict().items() if belongs(name)}
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
