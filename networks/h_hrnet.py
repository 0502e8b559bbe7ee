"""H-HRNet: HRNet with attention over its branches, a correction of its own answer, and supervision at several levels.

The parts and their order are known from the paper's abstract, their layers are not; these are the field's own blocks
for what it names:

- *attention fusion*: every branch at the finest one's size and 64 channels, weighed by channel and place (Woo et al.,
  "CBAM", ECCV 2018), then by branch, one softmax a channel (Li et al., "Selective Kernel Networks", CVPR 2019);
- *posture tuning*: the pose refine machine of Cai et al., "Learning Delicate Local Representations" (ECCV 2020);
- *multi-level supervision*: heatmaps of the finest branch after stages 2 and 3, before tuning and after it.

Each can be left out; without all of them it is HRNet, tensor for tensor.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .hrnet import LAYOUTS as HRNET_LAYOUTS
from .hrnet import HRNet, start
from .layers import conv_bn_relu, resize_like
from .network import check_choice
from .pose import PoseSpec

FUSED_CHANNELS = 64
"""Width to which every branch is brought."""

TUNINGS = ("correction", "feature", "heatmap", "none")

LAYOUTS = {f"h-{kind}": layout for kind, layout in HRNET_LAYOUTS.items() if layout.unit == "basic"}
"""The networks of the family by name."""


@dataclass(frozen=True)
class HHRNetSpec(PoseSpec):
    """The options of an H-HRNet.

    Args:
        joints: output channels.
        fusion: attention over all branches; without it the finest one alone is read.
        tuning: ``correction`` adds to the coarse heatmaps what is made from them and the feature; ``feature`` tunes the
            feature before the heatmaps are made; ``heatmap`` replaces the coarse heatmaps by tuned ones, none of them
            negative, as RSN does; or ``none``.
        multi_level: heads for training at the levels before the last.
    """

    fusion: bool = True
    tuning: str = "correction"
    multi_level: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("tuning", self.tuning, TUNINGS)


class ChannelAndPlace(nn.Module):
    """CBAM: a gate a channel, from the mean and the maximum over all places; then a gate a place, over all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 16
        self.channel = nn.Sequential(nn.Conv2d(channels, inner, 1), nn.ReLU(), nn.Conv2d(inner, channels, 1))
        self.place = nn.Sequential(nn.Conv2d(2, 1, 7, padding=3, bias=False), nn.BatchNorm2d(1, momentum=0.01))

    def forward(self, x: Tensor) -> Tensor:
        places = (2, 3)
        mean, most = x.mean(places, keepdim=True), x.amax(places, keepdim=True)
        x = x * torch.sigmoid(self.channel(mean) + self.channel(most))
        return x * torch.sigmoid(self.place(torch.cat((x.amax(1, keepdim=True), x.mean(1, keepdim=True)), 1)))


class BranchFusion(nn.Module):
    """All branches in one feature of the finest one's size.

    In training a batch needs two images or more, as one batch norm sees one value per image.

    Args:
        widths: of the branches, the finest first.
        channels: of the result.
    """

    def __init__(self, widths: tuple[int, ...], channels: int) -> None:
        super().__init__()
        wide = FUSED_CHANNELS
        self.project = nn.ModuleList(conv_bn_relu(width, wide, 1) for width in widths)
        self.attend = nn.ModuleList(ChannelAndPlace(wide) for _ in widths)
        self.summary = conv_bn_relu(wide, wide // 2, 1)
        self.choice = nn.ModuleList(nn.Conv2d(wide // 2, wide, 1) for _ in widths)
        self.out = conv_bn_relu(wide, channels, 3)

    def forward(self, branches: list[Tensor]) -> Tensor:
        height, width = int(branches[0].shape[-2]), int(branches[0].shape[-1])
        features: list[Tensor] = []
        for branch, project, attend in zip(branches, self.project, self.attend):
            projected = project(branch)
            features.append(attend(resize_like(projected, height, width) if features else projected))
        total = features[0]
        for feature in features[1:]:
            total = total + feature
        summary = self.summary(total.mean((2, 3), keepdim=True))
        # (branch, N, C, 1, 1): for each channel, how much of it comes from which branch.
        shares = torch.stack([choose(summary) for choose in self.choice]).softmax(0)
        fused = features[0]
        for feature, share in zip(features, shares.unbind(0)):
            fused = fused + feature * share
        return self.out(fused)  # type: ignore[no-any-return]


class PoseRefineMachine(nn.Module):
    """A feature, times one and a gate of channel and place; no value of it is negative.

    A ReLU stands before each sigmoid, as in the source, so that a gate lies in [0.5, 1). In training a batch needs two
    images or more.

    Args:
        channels: of feature and result.
        one_map: the gate of place is one map for all channels, not one each.
    """

    def __init__(self, channels: int, one_map: bool = False) -> None:
        super().__init__()
        self.mix = conv_bn_relu(channels, channels, 3)
        self.channel = nn.Sequential(conv_bn_relu(channels, channels, 1), conv_bn_relu(channels, channels, 1))
        self.place = nn.Sequential(
            conv_bn_relu(channels, channels, 1),
            nn.Conv2d(channels, channels, 9, padding=4, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            *([conv_bn_relu(channels, 1, 1)] if one_map else []),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.mix(x)
        by_channel = torch.sigmoid(self.channel(x.mean((2, 3), keepdim=True)))
        return x * (1 + by_channel * torch.sigmoid(self.place(x)))


class Correction(nn.Module):
    """What is added to coarse heatmaps, made from them and the feature that they were made of."""

    def __init__(self, channels: int, joints: int) -> None:
        super().__init__()
        self.refine = PoseRefineMachine(channels + joints)
        self.out = nn.Conv2d(channels + joints, joints, 1)

    def forward(self, feature: Tensor, coarse: Tensor) -> Tensor:
        return coarse + self.out(self.refine(torch.cat((feature, coarse), 1)))  # type: ignore[no-any-return]


class HHRNet(HRNet):
    """H-HRNet-W18, W32 and W48: 9,623,202, 29,404,348 and 65,472,972 parameters with 17 joints.

    ``supervised`` gives one stage of up to four units: after stage 2, after stage 3, coarse, final.
    """

    spec_class = HHRNetSpec
    spec: HHRNetSpec

    def __init__(self, kind: str = "h-hrnet-w32", spec: HHRNetSpec = HHRNetSpec()) -> None:
        super(HRNet, self).__init__(kind, spec)
        layout, joints = LAYOUTS[kind], spec.joints
        self.make_branches(layout, outputs=4 if spec.fusion else 1)
        self.fusion = BranchFusion(layout.widths, layout.width) if spec.fusion else None
        self.final_layer = nn.Conv2d(layout.width, joints, 1)
        self.tuning = _tuning(spec.tuning, layout.width, joints)
        # Where the feature itself is tuned, what it was before has no heatmaps but for training.
        levels = (3 if spec.tuning == "feature" else 2) if spec.multi_level else 0
        self.level_heads = nn.ModuleList(nn.Conv2d(layout.width, joints, 1) for _ in range(levels))
        if spec.multi_level:
            self.unit_weights = (0.25, 0.25, 1.0) if self.tuning is None else (0.25, 0.25, 0.5, 1.0)
        heads = [self.tuning.out] if isinstance(self.tuning, Correction) else []
        start(self, self.final_layer, self.level_heads, *heads)

    def heatmaps(self, image: Tensor) -> Tensor:
        *_, branches = self.stages(image)
        return self._predict(self._feature(branches))[-1]

    def supervised(self, image: Tensor) -> list[list[Tensor]]:
        early, middle, branches = self.stages(image)
        feature = self._feature(branches)
        predicted = self._predict(feature)
        if not self.spec.multi_level:
            return [predicted[-1:]]
        levels = [head(x) for head, x in zip(self.level_heads, (early[0], middle[0], feature))]
        return [[*levels, *predicted]]

    def _feature(self, branches: list[Tensor]) -> Tensor:
        return branches[0] if self.fusion is None else self.fusion(branches)

    def _predict(self, feature: Tensor) -> list[Tensor]:
        """The coarse heatmaps, where the final ones are made of them, and the final ones."""
        if self.tuning is None:
            return [self.final_layer(feature)]
        if self.spec.tuning == "feature":
            return [self.final_layer(self.tuning(feature))]
        coarse = self.final_layer(feature)
        final = self.tuning(feature, coarse) if isinstance(self.tuning, Correction) else self.tuning(coarse)
        return [coarse, final]


def _tuning(tuning: str, channels: int, joints: int) -> Correction | PoseRefineMachine | None:
    if tuning == "correction":
        return Correction(channels, joints)
    if tuning == "feature":
        return PoseRefineMachine(channels)
    if tuning == "heatmap":
        return PoseRefineMachine(joints, one_map=True)
    return None
