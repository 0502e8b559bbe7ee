"""Read checkpoints of pose networks: ours, and those that the authors of HRNet and MSPN released.

MSPN's authors (and RSN's, whose "Res-18" is one) feed BGR and teach heatmaps that peak at 255; their weights are turned
into those of the same network for RGB and a peak of 1, as all networks are here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..errors import UsageError
from .checkpoint import DEFAULT_INPUT_SIZE, fill, named, parse_header, read_tensors
from .hrnet import LAYOUTS as HRNETS
from .hrnet import MODULES, HRNet
from .mspn import LAYOUTS as MSPNS
from .mspn import MSPN
from .pose import PoseNetwork
from .registry import NETWORKS, create_pose_network

STEM = "top.conv.conv.weight"
"""The first convolution of an MSPN."""

RELEASED_PEAK = 255.0
"""Of the heatmaps that a released MSPN was taught."""

TRUNK = ("conv1.", "bn1.", "conv2.", "bn2.", "layer1.", "transition", "stage")
"""How the names of tensors of HRNet's trunk begin."""

COARSER_OUTPUTS = tuple(f"stage4.{MODULES[-1] - 1}.fuse_layers.{branch}." for branch in (1, 2, 3))


@dataclass(frozen=True)
class PoseCheckpoint:
    """A pose network with its weights, and what its file says about it.

    Args:
        network: on the CPU, float32, in evaluation mode.
        input_size: (height, width) it was trained at; 256x192 where a released checkpoint does not say.
        source: where it came from, for messages.
    """

    network: PoseNetwork
    input_size: tuple[int, int]
    source: str


def load_pose_checkpoint(path: Path, joints: int | None = None) -> PoseCheckpoint:
    """Read a checkpoint: our safetensors, or a state dict that HRNet's, MSPN's or RSN's authors released.

    A file without our header is taken for theirs.

    Args:
        path: of the file.
        joints: how many the network must have; any number where it is left out.

    Raises:
        UsageError: no such file, not a checkpoint, one of another network, or of another number of joints.
    """
    header, state = read_tensors(path)
    tensors: Mapping[str, Tensor] = state.tensors
    input_size = DEFAULT_INPUT_SIZE
    if header:
        said = parse_header(header, path)
        if said.kind in NETWORKS:
            raise UsageError(
                f"{path} holds {said.kind}, a parsing network.", "Name a checkpoint of a pose network here."
            )
        with named(path):
            network = create_pose_network(said.kind, said.options)
        input_size = said.framing.input_size
    else:
        kind, released_joints = recognise_released(tensors, path)
        network = create_pose_network(kind, {"joints": released_joints})
        if isinstance(network, MSPN):
            tensors = _for_rgb_and_a_peak_of_1(tensors)
    if joints is not None and network.spec.joints != joints:
        raise UsageError(
            f"{path} answers {network.spec.joints} joints, where {joints} are wanted.",
            "Name a checkpoint that was trained on the same skeleton.",
        )
    fill(network, tensors, path, f"{network.kind} with {network.spec.joints} joints")
    return PoseCheckpoint(network.eval(), input_size, str(path))


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
