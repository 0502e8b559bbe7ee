"""HRNet, which keeps a fine branch from end to end, and S-HRNet, the same with light units.

Sun et al., "Deep High-Resolution Representation Learning for Human Pose Estimation" (CVPR 2019). Layers, widths and
tensor names are those of the authors' public code (leoxiaobin/deep-high-resolution-net.pytorch), so their checkpoints
load as they are.

S-HRNet is known to put group convolution and channel shuffle into HRNet's units, no more. S1, the default, does that
alone: a third of the parameters at the same depth and receptive field. The others go further, to the units of
ShuffleNet (v1 and v2, as in Lite-HRNet's naive form) and to depthwise convolutions where branches of two sizes meet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .layers import initialise
from .pose import PoseNetwork, PoseSpec
from .resnet import BasicBlock, Bottleneck

UNITS_A_BRANCH = 4
MODULES = (1, 4, 3)
"""In stages 2, 3 and 4, which have two, three and four branches."""


@dataclass(frozen=True)
class Layout:
    """The size of an HRNet.

    Args:
        width: of the finest branch; each coarser one has twice the width of the one before it.
        unit: ``basic`` (ResNet's block), ``grouped``, ``shuffle_v1`` or ``shuffle_v2``.
        groups: of the convolutions of ``grouped`` and ``shuffle_v1``.
        depthwise: where branches meet, a 3x3 convolution is a depthwise and a 1x1 one.
    """

    width: int
    unit: str = "basic"
    groups: int = 1
    depthwise: bool = False

    @property
    def widths(self) -> tuple[int, ...]:
        """Of the four branches, the finest first."""
        return tuple(self.width << branch for branch in range(4))


LAYOUTS = {
    "hrnet-w18": Layout(18),
    "hrnet-w32": Layout(32),
    "hrnet-w48": Layout(48),
    "s-hrnet-s1": Layout(32, "grouped", 4),
    "s-hrnet-s2": Layout(32, "grouped", 4, depthwise=True),
    "s-hrnet-s3": Layout(32, "grouped", 8, depthwise=True),
    "s-hrnet-s4": Layout(32, "shuffle_v1", 4),
    "s-hrnet-s5": Layout(32, "shuffle_v1", 4, depthwise=True),
    "s-hrnet-s6": Layout(32, "shuffle_v2", depthwise=True),
}
"""The networks of the family by name."""


class ChannelShuffle(nn.Module):
    """Deal the channels of each group out to all groups, so that the next grouped convolution sees all of them."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        _, channels, height, width = x.shape
        parted = x.reshape(-1, self.groups, channels // self.groups, height, width)
        return parted.transpose(1, 2).reshape(-1, channels, height, width)


class GroupedUnit(nn.Module):
    """ResNet's basic block with grouped convolutions and a shuffle between them."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, groups=groups, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.shuffle = ChannelShuffle(groups)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.shuffle(F.relu(self.bn1(self.conv1(x))))
        return F.relu(self.bn2(self.conv2(inner)) + x)


class ShuffleUnit1(nn.Module):
    """ShuffleNet's unit: grouped 1x1, shuffle, depthwise 3x3 and grouped 1x1 convolutions beside a shortcut.

    Zhang et al., "ShuffleNet" (CVPR 2018), without its bottleneck.
    """

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 1, groups=groups, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            ChannelShuffle(groups),
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, channels, 1, groups=groups, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.layers(x) + x)


class ShuffleUnit2(nn.Module):
    """ShuffleNet v2's unit: one half of the channels goes through three convolutions, then both are shuffled.

    Ma et al., "ShuffleNet V2" (ECCV 2018).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.layers = nn.Sequential(
            nn.Conv2d(half, half, 1, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(inplace=True),
            nn.Conv2d(half, half, 3, padding=1, groups=half, bias=False),
            nn.BatchNorm2d(half),
            nn.Conv2d(half, half, 1, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(inplace=True),
        )
        self.shuffle = ChannelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        kept, changed = x.chunk(2, 1)
        return self.shuffle(torch.cat((kept, self.layers(changed)), 1))  # type: ignore[no-any-return]


def _unit(layout: Layout, channels: int) -> nn.Module:
    if layout.unit == "grouped":
        return GroupedUnit(channels, layout.groups)
    if layout.unit == "shuffle_v1":
        return ShuffleUnit1(channels, layout.groups)
    if layout.unit == "shuffle_v2":
        return ShuffleUnit2(channels)
    return BasicBlock(channels, channels, 1)


def _step(channels_in: int, channels: int, stride: int, relu: bool, depthwise: bool) -> nn.Sequential:
    """A 3x3 convolution, or a depthwise and a 1x1 one, each with its norm, then ReLU if asked for."""
    layers: list[nn.Module]
    if depthwise:
        layers = [
            nn.Conv2d(channels_in, channels_in, 3, stride, 1, groups=channels_in, bias=False),
            nn.BatchNorm2d(channels_in),
            nn.Conv2d(channels_in, channels, 1, bias=False),
        ]
    else:
        layers = [nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)]
    layers.append(nn.BatchNorm2d(channels))
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))


class Exchange(nn.Module):
    """Units on each branch, then every branch adds what all others have.

    Args:
        layout: of the network.
        branches: how many.
        outputs: how many of them, from the finest, are wanted.
    """

    def __init__(self, layout: Layout, branches: int, outputs: int) -> None:
        super().__init__()
        widths = layout.widths[:branches]
        self.branches = nn.ModuleList(
            nn.Sequential(*(_unit(layout, width) for _ in range(UNITS_A_BRANCH))) for width in widths
        )
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(self._bring(layout, source, target) for source in range(branches))
            for target in range(outputs)
        )

    @staticmethod
    def _bring(layout: Layout, source: int, target: int) -> nn.Module:
        """What brings one branch to the size and width of another."""
        have, want = layout.widths[source], layout.widths[target]
        if source == target:
            return nn.Identity()
        if source > target:
            return nn.Sequential(
                nn.Conv2d(have, want, 1, bias=False),
                nn.BatchNorm2d(want),
                nn.Upsample(scale_factor=2 ** (source - target), mode="nearest"),
            )
        between = (_step(have, have, 2, True, layout.depthwise) for _ in range(target - source - 1))
        return nn.Sequential(*between, _step(have, want, 2, False, layout.depthwise))

    def forward(self, inputs: list[Tensor]) -> list[Tensor]:
        features = [branch(x) for branch, x in zip(self.branches, inputs)]
        outputs = []
        for row in self.fuse_layers:
            assert isinstance(row, nn.ModuleList)
            outputs.append(F.relu(reduce(torch.add, [bring(x) for bring, x in zip(row, features)])))
        return outputs


class HRNet(PoseNetwork):
    """HRNet-W18, W32 and W48: 9,318,215, 28,536,113 and 63,595,745 parameters with 17 joints.

    S-HRNet: 9,514,289 (S1), 7,246,929, 4,076,625, 3,985,201 (S4), 1,717,841 and 1,644,881 (S6).
    """

    def __init__(self, kind: str = "hrnet-w32", spec: PoseSpec = PoseSpec()) -> None:
        super().__init__(kind, spec)
        layout = LAYOUTS[kind]
        self.make_branches(layout, outputs=1)
        self.final_layer = nn.Conv2d(layout.width, spec.joints, 1)
        start(self, self.final_layer)

    def make_branches(self, layout: Layout, outputs: int) -> None:
        """Build all but the head; ``outputs`` is how many branches the last stage gives."""
        self.conv1 = nn.Conv2d(3, 64, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.conv2 = nn.Conv2d(64, 64, 3, 2, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(Bottleneck(64, 64, 1), *(Bottleneck(256, 64, 1) for _ in range(3)))
        width, wider, *_ = layout.widths
        self.transition1 = nn.ModuleList(
            [
                _step(256, width, 1, True, layout.depthwise),
                nn.Sequential(_step(256, wider, 2, True, layout.depthwise)),
            ]
        )
        self.stage2 = self._stage(layout, 2, 2)
        self.transition2 = self._transition(layout, 2)
        self.stage3 = self._stage(layout, 3, 3)
        self.transition3 = self._transition(layout, 3)
        self.stage4 = self._stage(layout, 4, outputs)

    @staticmethod
    def _transition(layout: Layout, branches: int) -> nn.ModuleList:
        """One more branch, made of the coarsest; the others stay."""
        have, want = layout.widths[branches - 1 : branches + 1]
        new = nn.Sequential(_step(have, want, 2, True, layout.depthwise))
        return nn.ModuleList([*(nn.Identity() for _ in range(branches)), new])

    @staticmethod
    def _stage(layout: Layout, branches: int, outputs: int) -> nn.Sequential:
        count = MODULES[branches - 2]
        modules = (Exchange(layout, branches, branches) for _ in range(count - 1))
        return nn.Sequential(*modules, Exchange(layout, branches, outputs))

    def stages(self, image: Tensor) -> Iterator[list[Tensor]]:
        """The branches after stages 2, 3 and 4, the finest first."""
        x = F.relu(self.bn1(self.conv1(image)))
        x = self.layer1(F.relu(self.bn2(self.conv2(x))))
        branches: list[Tensor] = self.stage2([make(x) for make in self.transition1])
        yield branches
        branches = self.stage3([make(x) for make, x in zip(self.transition2, [*branches, branches[-1]])])
        yield branches
        yield self.stage4([make(x) for make, x in zip(self.transition3, [*branches, branches[-1]])])

    @property
    def first_convolution(self) -> nn.Conv2d:
        return self.conv1

    def heatmaps(self, image: Tensor) -> Tensor:
        *_, branches = self.stages(image)
        return self.final_layer(branches[0])  # type: ignore[no-any-return]

    def supervised(self, image: Tensor) -> list[list[Tensor]]:
        return [[self.heatmaps(image)]]


def start(network: nn.Module, *heads: nn.Module) -> None:
    """Initial weights: He's, but for the convolutions that make heatmaps, which start near 0 as most of a heatmap is.

    The authors start every convolution from N(0, 0.001), as theirs are replaced by ImageNet's. From nothing, a step of
    Adam at their learning rate would be as large as such weights.
    """
    initialise(network)
    for head in heads:
        for module in head.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.001)
