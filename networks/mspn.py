"""MSPN: several encoders and decoders in a row, each seeing what the one before it made of the image.

Li et al., "Rethinking on Multi-Stage Networks for Human Pose Estimation" (2019). Layers, widths and tensor names are
those of the authors' public code (megvii-detection/MSPN), so their checkpoints load as they are: every convolution
has a bias, every heatmap ends in a batch norm, and resizes keep corners (``align_corners=True``). The block with equal
widths, and a stage of two blocks a level, are RSN's "Res-18" (caiyuanhao1998/RSN).

L-MSPN is the student of "s-MSPN", of whose layers nothing is public: two stages of that block at half the width, with
which the count comes to the published 4.31 million.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from .layers import initialise
from .pose import PoseNetwork, PoseSpec


@dataclass(frozen=True)
class Layout:
    """The size of an MSPN.

    Args:
        stages: encoders with their decoders.
        blocks: in each of the encoder's four levels.
        planes: inner width of the blocks of each level.
        expansion: a level's width over its blocks' inner width.
        stem: width of what a stage starts from.
        decoder: width of the decoder.
    """

    stages: int
    blocks: tuple[int, ...] = (3, 4, 6, 3)
    planes: tuple[int, ...] = (64, 128, 256, 512)
    expansion: int = 4
    stem: int = 64
    decoder: int = 256

    @property
    def widths(self) -> tuple[int, ...]:
        """Of the encoder's levels, the finest first."""
        return tuple(self.expansion * planes for planes in self.planes)


LAYOUTS = {
    "mspn-50-1": Layout(1),
    "mspn-50-2": Layout(2),
    "mspn-50-3": Layout(3),
    "mspn-50-4": Layout(4),
    "mspn-18-1": Layout(1, (2, 2, 2, 2), expansion=1),
    "l-mspn": Layout(2, (2, 2, 2, 2), (32, 64, 128, 256), expansion=1, stem=32, decoder=88),
}
"""The networks of the family by name."""


@dataclass(frozen=True)
class MSPNSpec(PoseSpec):
    """The options of an MSPN.

    Args:
        joints: output channels.
        half_pixel: resize by the centres of the cells instead of keeping the corners, which the published weights do.
    """

    half_pixel: bool = False


class ConvNorm(nn.Module):
    """A convolution with bias, batch norm and, if asked for, ReLU; "same" padding."""

    def __init__(self, channels_in: int, channels: int, kernel: int, stride: int = 1, relu: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2)
        self.bn = nn.BatchNorm2d(channels)
        self.activation = nn.ReLU(inplace=True) if relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.bn(self.conv(x)))  # type: ignore[no-any-return]


class Block(nn.Module):
    """1x1, 3x3 (with the stride) and 1x1 convolutions beside a shortcut."""

    def __init__(self, channels_in: int, planes: int, expansion: int, stride: int) -> None:
        super().__init__()
        channels = planes * expansion
        self.conv_bn_relu1 = ConvNorm(channels_in, planes, 1)
        self.conv_bn_relu2 = ConvNorm(planes, planes, 3, stride)
        self.conv_bn_relu3 = ConvNorm(planes, channels, 1, relu=False)
        self.downsample = (
            ConvNorm(channels_in, channels, 1, stride, relu=False) if stride != 1 or channels_in != channels else None
        )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(self.conv_bn_relu3(self.conv_bn_relu2(self.conv_bn_relu1(x))) + shortcut)


class Stem(nn.Module):
    """7x7 convolution and max pool, to a quarter of the size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = ConvNorm(3, channels, 7, 2)
        self.maxpool = nn.MaxPool2d(3, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.maxpool(self.conv(image))  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """Four levels of blocks, at strides 4, 8, 16 and 32 of the image."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        before = (layout.stem, *layout.widths)
        for level, (planes, count) in enumerate(zip(layout.planes, layout.blocks), 1):
            first = Block(before[level - 1], planes, layout.expansion, 1 if level == 1 else 2)
            rest = (Block(before[level], planes, layout.expansion, 1) for _ in range(count - 1))
            self.add_module(f"layer{level}", nn.Sequential(first, *rest))

    def forward(self, x: Tensor, skips: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
        """The levels, the finest first; ``skips`` holds what the stage before adds to each, or nothing."""
        levels: list[Tensor] = []
        for index, layer in enumerate(self.children()):
            x = layer(x)
            if skips:
                of_encoder, of_decoder = skips[index]
                x = x + of_encoder + of_decoder
            levels.append(x)
        return levels


class Unit(nn.Module):
    """One level of a decoder.

    Args:
        channels_in: width of the encoder's level.
        layout: of the network.
        spec: of the network.
        deepest: there is no coarser unit to add.
        finest: the next stage starts from this unit.
        hands_on: there is a next stage.
    """

    def __init__(
        self, channels_in: int, layout: Layout, spec: MSPNSpec, deepest: bool, finest: bool, hands_on: bool
    ) -> None:
        super().__init__()
        width = layout.decoder
        self.align_corners = not spec.half_pixel
        self.u_skip = ConvNorm(channels_in, width, 1, relu=False)
        self.up_conv = None if deepest else ConvNorm(width, width, 1, relu=False)
        self.skip1 = ConvNorm(channels_in, channels_in, 1) if hands_on else None
        self.skip2 = ConvNorm(width, channels_in, 1) if hands_on else None
        self.cross_conv = ConvNorm(width, layout.stem, 1) if hands_on and finest else None
        self.res_conv1 = ConvNorm(width, width, 1)
        self.res_conv2 = ConvNorm(width, spec.joints, 3, relu=False)

    def forward(self, level: Tensor, coarser: Tensor | None) -> Tensor:
        """The decoder's feature at the level's size."""
        x = self.u_skip(level)
        if self.up_conv is not None and coarser is not None:
            x = x + self.up_conv(self._resize(coarser, level))
        return F.relu(x)

    def heatmaps(self, feature: Tensor, finest: Tensor) -> Tensor:
        """One heatmap a joint, at the size of ``finest``."""
        return self._resize(self.res_conv2(self.res_conv1(feature)), finest)

    def skip(self, level: Tensor, feature: Tensor) -> tuple[Tensor, Tensor]:
        """What the next stage's encoder adds at this level."""
        assert self.skip1 is not None
        assert self.skip2 is not None
        return self.skip1(level), self.skip2(feature)

    def _resize(self, x: Tensor, like: Tensor) -> Tensor:
        size = (int(like.shape[-2]), int(like.shape[-1]))
        if size == (int(x.shape[-2]), int(x.shape[-1])):
            return x
        return F.interpolate(x, size=size, mode="bilinear", align_corners=self.align_corners)


class Decoder(nn.Module):
    """Four units, the deepest first."""

    def __init__(self, layout: Layout, spec: MSPNSpec, hands_on: bool) -> None:
        super().__init__()
        for index, width in enumerate(reversed(layout.widths)):
            self.add_module(f"up{index + 1}", Unit(width, layout, spec, index == 0, index == 3, hands_on))

    def units(self) -> list[Unit]:
        return [unit for unit in self.children() if isinstance(unit, Unit)]

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        """The units' features, the deepest first; ``levels`` begins with the finest."""
        features: list[Tensor] = []
        for unit, level in zip(self.units(), reversed(levels)):
            features.append(unit(level, features[-1] if features else None))
        return features


class Stage(nn.Module):
    """An encoder with its decoder."""

    def __init__(self, layout: Layout, spec: MSPNSpec, hands_on: bool) -> None:
        super().__init__()
        self.downsample = Encoder(layout)
        self.upsample = Decoder(layout, spec, hands_on)

    def forward(self, x: Tensor, skips: list[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
        """The encoder's levels, the finest first, and the units' features, the deepest first."""
        levels = self.downsample(x, skips)
        return levels, self.upsample(levels)


class MSPN(PoseNetwork):
    """MSPN-50: 25,141,708, 56,867,032, 88,592,356 and 120,317,680 parameters with 1 to 4 stages and 17 joints.

    L-MSPN has 4,296,424 with 17 joints and 4,290,064 with 16.
    """

    spec_class = MSPNSpec
    spec: MSPNSpec
    unit_weights = (0.25, 0.25, 0.25, 1.0)

    def __init__(self, kind: str = "l-mspn", spec: MSPNSpec = MSPNSpec()) -> None:
        super().__init__(kind, spec)
        layout = LAYOUTS[kind]
        self.top = Stem(layout.stem)
        self.stages = layout.stages
        for index in range(layout.stages):
            self.add_module(f"stage{index}", Stage(layout, spec, index < layout.stages - 1))
        initialise(self)

    @property
    def first_convolution(self) -> nn.Conv2d:
        return self.top.conv.conv

    def heatmaps(self, image: Tensor) -> Tensor:
        *_, (decoder, features) = self._run(image)
        return decoder.units()[-1].heatmaps(features[-1], features[-1])

    def supervised(self, image: Tensor) -> list[list[Tensor]]:
        return [
            [unit.heatmaps(feature, features[-1]) for unit, feature in zip(decoder.units(), features)]
            for decoder, features in self._run(image)
        ]

    def _run(self, image: Tensor) -> Iterator[tuple[Decoder, list[Tensor]]]:
        """Each stage's decoder with its units' features."""
        x = self.top(image)
        skips: list[tuple[Tensor, Tensor]] = []
        for index in range(self.stages):
            stage = self.get_submodule(f"stage{index}")
            assert isinstance(stage, Stage)
            levels, features = stage(x, skips)
            yield stage.upsample, features
            units = stage.upsample.units()
            if units[-1].cross_conv is not None:
                x = units[-1].cross_conv(features[-1])
                skips = [unit.skip(level, feature) for unit, level, feature in zip(units[::-1], levels, features[::-1])]
