"""Read checkpoints of pose networks: ours, and those that the authors of HRNet and MSPN released.

MSPN's authors (and RSN's, whose "Res-18" is one) feed BGR and teach heatmaps that peak at 255; their weights are turned
into those of the same network for RGB and a peak of 1, as all networks are here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from ..data.crops import RULES
from ..errors import UsageError
from ..specs.decoding import HRNET as HRNET_DECODING
from ..specs.decoding import MSPN as MSPN_DECODING
from ..specs.decoding import Decoding
from ..specs.framing import Framing
from ..specs.origin import Origin
from ..specs.skeleton import Skeleton, load_skeleton, shipped_skeletons
from ..storage.json_types import JsonObject, ReadJson
from .checkpoint_file import fill, named, parse_header, read_tensors
from .hrnet import LAYOUTS as HRNETS
from .hrnet import MODULES, HRNet
from .mspn import LAYOUTS as MSPNS
from .mspn import MSPN
from .pose import PoseNetwork
from .registry import FINDERS, NETWORKS, POSE_NETWORKS, create_pose_network
from .state_dict import StateDict
from .trained import DEFAULT_INPUT_SIZE, Trained

STEM = "top.conv.conv.weight"
"""The first convolution of an MSPN."""

RELEASED_PEAK = 255.0
"""Of the heatmaps that a released MSPN was taught."""

TRUNK = ("conv1.", "bn1.", "conv2.", "bn2.", "layer1.", "transition", "stage")
"""How the names of tensors of HRNet's trunk begin."""

COARSER_OUTPUTS = tuple(f"stage4.{MODULES[-1] - 1}.fuse_layers.{branch}." for branch in (1, 2, 3))


MPII_JOINTS, MPII_BLUR = 16, 9
"""MSPN's code blurs heatmaps wider on MPII, which has so many joints."""


@dataclass(frozen=True)
class PoseCheckpoint(Trained):
    """A pose network with its weights; ``spec`` is what its joints are."""

    network: PoseNetwork
    spec: Skeleton
    task: ClassVar[str] = "pose"

    @property
    def options(self) -> JsonObject:
        return {**self.network.options, "decoding": self.decoding.to_dict()}

    @property
    def properties(self) -> Mapping[str, str]:
        return {"skeleton": self.spec.to_json(), "decoding": json.dumps(self.decoding.to_dict())}


def load_pose_checkpoint(path: Path, skeleton: Skeleton | None = None) -> PoseCheckpoint:
    """Read a checkpoint: our safetensors, or a state dict that HRNet's, MSPN's or RSN's authors released.

    A file without our header is taken for theirs.

    Args:
        path: of the file.
        skeleton: of the joints that the network must have. Where it is left out, and the file does not say, its joints
            are those of the shipped skeleton that has as many.

    Raises:
        UsageError: no such file, not a checkpoint, one of another network, or of other joints.
    """
    return parse_pose_checkpoint(*read_tensors(path), path, skeleton)


def parse_pose_checkpoint(
    header: str, state: StateDict, path: Path, skeleton: Skeleton | None = None
) -> PoseCheckpoint:
    """The checkpoint of a file that was read already; see :func:`load_pose_checkpoint`."""
    tensors: Mapping[str, Tensor] = state.tensors
    framing: Framing = Framing(DEFAULT_INPUT_SIZE)
    values: ReadJson = {}
    origin = Origin()
    if header:
        said = parse_header(header, path)
        if said.kind in NETWORKS:
            raise UsageError(
                f"{path} holds {said.kind}, a parsing network.", "Name a checkpoint of a pose network here."
            )
        if said.kind in FINDERS:
            raise UsageError(
                f"{path} holds {said.kind}, which finds people.", "Name a checkpoint of a pose network here."
            )
        with named(path):
            network = create_pose_network(said.kind, said.options)
            # Those without one are of a cross-entropy: all that were trained here before it was written down.
            decoding = Decoding.from_dict(said.values.get("decoding", {}))
        framing, values, origin = said.framing, said.values, said.origin
        framing = framing if framing.crop else replace(framing, crop=RULES["trtparse"])
    else:
        kind, released_joints = recognise_released(tensors, path)
        network = create_pose_network(kind, {"joints": released_joints})
        decoding, framing = HRNET_DECODING, replace(framing, crop=RULES["hrnet"])
        if isinstance(network, MSPN):
            tensors = _for_rgb_and_a_peak_of_1(tensors)
            framing = replace(framing, crop=RULES["mspn"])
            decoding = replace(MSPN_DECODING, blur=MPII_BLUR) if released_joints == MPII_JOINTS else MSPN_DECODING
    meant = _skeleton(values, network.spec.joints, skeleton, path)
    fill(network, tensors, path, f"{network.kind} with {network.spec.joints} joints")
    return PoseCheckpoint(network.eval(), framing, meant, str(path), state.told, origin, decoding)


def is_pose_checkpoint(header: str, state: StateDict, path: Path) -> bool:
    """Whether a file that was read holds a pose network: by its header, or by the names of its tensors."""
    if header:
        return parse_header(header, path).kind in POSE_NETWORKS
    return STEM in state.tensors or {"final_layer.weight", "transition1.0.0.weight"} <= state.tensors.keys()


def _skeleton(values: ReadJson, joints: int, given: Skeleton | None, path: Path) -> Skeleton:
    """What a checkpoint's joints are: as it says, else as somebody says, else a shipped skeleton of as many."""
    told = Skeleton.from_dict(values["skeleton"]) if "skeleton" in values else None
    if told is not None and len(told) != joints:
        raise UsageError(
            f"{path} answers {joints} joints, and its skeleton {told.name} has {len(told)}.", "Get the file again."
        )
    if given is not None and (told.joints != given.joints if told is not None else joints != len(given)):
        what = f"the joints of {told.name}" if told is not None and joints == len(given) else f"{joints} joints"
        raise UsageError(
            f"{path} answers {what}, where the {len(given)} of {given.name} are wanted.",
            "Name a checkpoint that was trained on the same skeleton.",
        )
    meant = told or given or next((s for s in map(load_skeleton, shipped_skeletons()) if len(s) == joints), None)
    if meant is None:
        raise UsageError(
            f"{path} answers {joints} joints and does not say which.",
            f"Known skeletons are {', '.join(shipped_skeletons())}; give --skeleton a TOML file.",
        )
    return meant


def recognise_released(tensors: Mapping[str, Tensor], path: Path) -> tuple[str, int]:
    """The kind of network, and its joints, that a released state dict belongs to.

    Raises:
        UsageError: none, or one of another size than are known here.
    """
    if STEM in tensors:
        decoder, deepest = _shape(tensors, "stage0.upsample.up1.u_skip.conv.weight", path)[:2]
        stages = len({name.split(".")[0] for name in tensors if name.startswith("stage")})
        joints = _shape(tensors, "stage0.upsample.up4.res_conv2.conv.weight", path)[0]
        known = {kind: layout for kind, layout in MSPNS.items() if kind != "l-mspn"}  # that one is nobody else's
        for kind, layout in known.items():
            if (layout.stages, layout.decoder, layout.widths[-1]) == (stages, decoder, deepest):
                return kind, joints
        size = f"an MSPN of {stages} stages, {deepest} channels in its deepest level and {decoder} in its decoder"
        raise UsageError(f"{path} holds {size}, which is unknown here.", f"Known are {', '.join(known)}.")
    if "final_layer.weight" in tensors:
        width = _shape(tensors, "transition1.0.0.weight", path)[0]
        joints = _shape(tensors, "final_layer.weight", path)[0]
        if f"hrnet-w{width}" in HRNETS:
            return f"hrnet-w{width}", joints
        raise UsageError(
            f"{path} holds an HRNet of width {width}, which is unknown here.",
            f"Known are {', '.join(kind for kind, layout in HRNETS.items() if layout.unit == 'basic')}.",
        )
    raise UsageError(
        f"{path} has the tensor names of no pose network.",
        "Name a checkpoint that trtparse train wrote, or one of HRNet's (pose_hrnet_w32_256x192.pth) or MSPN's.",
    )


def _shape(tensors: Mapping[str, Tensor], name: str, path: Path) -> tuple[int, ...]:
    if name not in tensors or tensors[name].ndim != 4:
        raise UsageError(f"{path} is incomplete: it has no weight {name}.", "Get the file again.")
    return tuple(tensors[name].shape)


def _for_rgb_and_a_peak_of_1(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a released MSPN with its input channels turned round and its heatmaps divided by 255."""
    turned = {
        name: value / RELEASED_PEAK if re.search(r"\.res_conv2\.bn\.(weight|bias)$", name) else value
        for name, value in tensors.items()
    }
    return {**turned, STEM: turned[STEM].flip(1)}


def load_trunk(network: HRNet, path: Path) -> None:
    """Start a network of HRNet's family from weights under another head, such as ImageNet's or another skeleton's.

    Heads keep their values, and so do the coarser outputs of the last exchange where the file has none: an H-HRNet
    needs them and an HRNet does not.

    Raises:
        UsageError: no such file, not a checkpoint, or one of another trunk.
    """
    tensors = read_tensors(path)[1].tensors
    own = network.state_dict()
    kept = {name: value for name, value in own.items() if not name.startswith(TRUNK)}
    kept |= {name: value for name, value in own.items() if name.startswith(COARSER_OUTPUTS)}
    given = {name: value for name, value in tensors.items() if name in own and name.startswith(TRUNK)}
    fill(network, {**kept, **given}, path, f"the trunk of {network.kind}")
