"""The networks by name."""

from __future__ import annotations

from collections.abc import Collection

import torch

from ..storage.json_types import ReadJson
from .c_dlinknet import CDLinkNet
from .finder import Finder
from .h_hrnet import LAYOUTS as H_HRNETS
from .h_hrnet import HHRNet
from .hrnet import LAYOUTS as HRNETS
from .hrnet import HRNet
from .mspn import LAYOUTS as MSPNS
from .mspn import MSPN
from .network import ParsingNetwork, check_choice
from .pose import PoseNetwork
from .student import EfficientStudent, EfficientStudent2, MobileNetStudent, Student

NETWORKS: dict[str, type[ParsingNetwork]] = {
    network.kind: network for network in (Student, EfficientStudent, EfficientStudent2, MobileNetStudent, CDLinkNet)
}

POSE_NETWORKS: dict[str, type[PoseNetwork]] = {
    **dict.fromkeys(HRNETS, HRNet),
    **dict.fromkeys(H_HRNETS, HHRNet),
    **dict.fromkeys(MSPNS, MSPN),
}


FINDERS: dict[str, type[Finder]] = {Finder.kind: Finder}


def create_network(kind: str, options: ReadJson, auxiliary: bool = False) -> ParsingNetwork:
    """A network with random weights.

    Args:
        kind: one of ``NETWORKS``.
        options: of its spec; those that are left out have their defaults.
        auxiliary: with auxiliary heads, for training.

    Raises:
        UsageError: an unknown kind, option or value; the nearest that is allowed is named.
    """
    check_choice("network", kind, NETWORKS)
    network = NETWORKS[kind]
    return network(network.spec_class.from_dict(options), auxiliary)


def create_pose_network(kind: str, options: ReadJson) -> PoseNetwork:
    """A pose network with random weights.

    Args:
        kind: one of ``POSE_NETWORKS``.
        options: of its spec; those that are left out have their defaults.

    Raises:
        UsageError: an unknown kind, option or value; the nearest that is allowed is named.
    """
    check_choice("pose network", kind, POSE_NETWORKS)
    network = POSE_NETWORKS[kind]
    return network(kind, network.spec_class.from_dict(options))


def create_finder(kind: str, options: ReadJson) -> Finder:
    """A finder with random weights.

    Args:
        kind: one of ``FINDERS``.
        options: of its spec; those that are left out have their defaults.

    Raises:
        UsageError: an unknown kind, option or value; the nearest that is allowed is named.
    """
    check_choice("finder", kind, FINDERS)
    network = FINDERS[kind]
    return network(network.spec_class.from_dict(options))


def recognise(tensors: Collection[str]) -> str:
    """The kind of network, with default options, that most of these tensor names belong to."""

    def known(kind: str) -> int:
        with torch.device("meta"):
            network = create_network(kind, {})
        return sum(name in tensors for name in network.state_dict())

    return max(NETWORKS, key=known)
