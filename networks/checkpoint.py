"""Read and write checkpoints without executing what is in them.

A checkpoint of ours is one safetensors file: the weights in half precision and, in its header, what the
network is. What others save is read by :mod:`~trtparse.networks.state_dict`.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..specs.decoding import LOGITS, Decoding, refuse_sure
from ..specs.framing import Framing
from ..specs.label_set import LabelSet, check_same, label_set, label_sets
from ..specs.origin import Origin
from ..specs.spec import Spec
from ..storage.files import replace_bytes
from ..storage.json_types import JsonObject, ReadJson
from .ce2p import recognise as recognise_released
from .file_kind import refuse_others
from .mobilenet import MobileNetV2, read_movenet
from .network import AUXILIARY_PREFIX, Network, ParsingNetwork, check_classes
from .registry import FINDERS, POSE_NETWORKS, create_network, recognise
from .state_dict import StateDict, digest_of, find_mismatch, find_state_dict, first_not_finite, read_pickle

DEFAULT_INPUT_SIZE = (256, 192)
"""(height, width) where a foreign checkpoint does not say."""

SCHEMA = 3
"""2: with the stretch of the images. 3: with the label set, the training data and the licence.
Older ones are read as well."""

HEADER = "trtparse"
"""The one entry of the file's header: safetensors writes several in no fixed order, and equal weights should
be equal files."""


@dataclass(frozen=True)
class Checkpoint:
    """A network with its weights, and what its file says about it.

    Args:
        network: on the CPU, float32, in evaluation mode.
        framing: how it was trained to see images.
        label_set: what its classes mean.
        source: where it came from, for messages.
        told: which of several networks in the file it is; empty where there was but one.
        origin: what its weights come from.
        int8: the ranges that it carries, learned together with its weights, as ``calibration.training.carried`` writes
            them; empty where it was not trained with INT8 in the loop.
    """

    network: ParsingNetwork
    framing: Framing
    label_set: LabelSet
    source: str = ""
    told: str = ""
    origin: Origin = field(default_factory=Origin)
    int8: ReadJson = field(default_factory=dict)
    task: ClassVar[str] = "parsing"
    decoding: ClassVar[Decoding] = LOGITS

    @property
    def spec(self) -> LabelSet:
        """What its answers speak of."""
        return self.label_set

    @property
    def options(self) -> JsonObject:
        """What a manifest says of it."""
        return self.network.options

    @property
    def properties(self) -> Mapping[str, str]:
        """What its graph's metadata says of its answers."""
        return {"label_set": json.dumps(self.label_set.to_dict())}

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) it was trained at."""
        return self.framing.input_size

    @property
    def stretch(self) -> float:
        """How far images' shapes were changed to fill the input."""
        return self.framing.stretch

    def framed(self, framing: Framing) -> Checkpoint:
        """The same, seeing images in another way."""
        return replace(self, framing=framing)

    def choosing(self, sure: float | None) -> Checkpoint:
        """None leaves it as it is.

        Raises:
            UsageError: a score from which a box is somebody.
        """
        refuse_sure(sure, self.source)
        return self

    def save(self, path: Path) -> None:
        """Write it into a safetensors file, losslessly."""
        save_checkpoint(
            self.network, path, self.framing, self.label_set, lossless=True, origin=self.origin, int8=self.int8
        )


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
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in network.state_dict().items() if _belongs(name)
    }
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
        **({"int8": {**int8, "weights": digest_of(tensors)}} if int8 else {}),
    }
    replace_bytes(path, safetensors.torch.save(tensors, {HEADER: json.dumps(header)}))


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
        values, framing, what = said.values, said.framing, said.kind
    else:
        network, framing = _recognised(state.tensors, path), Framing(DEFAULT_INPUT_SIZE)
        what = f"{network.kind} with default options"
    meant = _label_set(values, network.spec.num_classes, labels, who, path)
    fill(network, state.tensors, path, what)
    origin = Origin(str(values.get("training_data", "")), str(values.get("licence", "")))
    int8 = values.get("int8", {})
    if int8 and int8.get("weights") != digest_of(state.tensors):
        raise UsageError(
            f"{path} carries INT8 ranges that were learned with other weights than it holds.",
            "Get the file again; whoever changed the weights has to leave the header's int8 out.",
        )
    return Checkpoint(network.eval(), framing, meant, str(path), state.told, origin, int8)


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
