"""C-DLinkNet: the human-parsing teacher.

Source: "C-DLinkNet: considering multi-level semantic features for human parsing" (arXiv 2001.11690), in what
follows *the paper*. A ResNet, dilated to stride 16; an atrous pyramid; LinkNet's decoder, D5 to D2; and the
smooth module, which brings the outputs of all decoder blocks to one size and blends them.

The paper states: E5 dilated by 2, the pyramid's rates and channels, the decoder's layers and that its sum with
the encoder is plain, two 3x3 and a 1x1 convolution for each intermediate loss and its weight, decoder blocks as
projections, 512 channels for the blend. What it leaves open and is chosen here:

- Four branches in the pyramid (reading "A"): the channel trace 2048, 1024, 256, 1024, 2048 of its equation 1
  leaves room for no more, and the pooled branch explains the interpolation it speaks of. Its text has each
  branch "reduced to 1/5", which points to five; that is "B", with DeepLab's 1x1 branch.
- D5 keeps the size, as E5 and E4 have the same.
- D2 adds E1, since "outputs size of each Encoder layer and Decoder layer are same".
- 64 channels for each projection of the smooth module; a quarter of the input's, 64 at the least, for the
  intermediate heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from .layers import conv_bn_relu, fixed_average_pool, initialise, resize_like
from .network import NetworkSpec, ParsingNetwork, check_choice, check_minimum
from .resnet import ResNet

BACKBONES = {"resnet34": 34, "resnet50": 50, "resnet101": 101}
PROJECTION_CHANNELS = 64
"""Width that the smooth module brings a decoder output to."""


@dataclass(frozen=True)
class CDLinkNetSpec(NetworkSpec):
    """The options of a C-DLinkNet. The defaults are the paper's network; the rest serves its ablation (table I).

    Its baseline B, a D-LinkNet, is ``aspp="none", smooth=False, intermediate_losses=False``; A puts the pyramid
    in the centre's place, S adds the smooth module and L the intermediate losses. With ``d2_skip=False`` the
    baseline's decoder ends as D-LinkNet's does. The encoder stays dilated to stride 16 in every row, so that one
    row differs from another in one part; whether the paper did so is not said.

    Args:
        num_classes: output channels.
        backbone: ``resnet101``, ``resnet50`` or ``resnet34``.
        aspp: reading ``A`` or ``B`` of the atrous pyramid, or ``none``: D-LinkNet's centre.
        aspp_rates: dilations of the pyramid's 3x3 branches. At 256x192 the last two reach past the 16x12 map and
            act as 1x1 convolutions; they are kept as the paper has them.
        smooth: the smooth module; without it D-LinkNet's deconvolution head reads D2.
        smooth_level: stride at which the decoder ends and the smooth module blends: 2, or 4, which leaves D2 out
            and saves 9.6 of 28.6 GMAC at 256x192. It has no effect without the smooth module.
        smooth_channels: width of the blend.
        d2_skip: D2 adds E1 and is 64 wide; without, it adds nothing and is as wide as D3, as in D-LinkNet.
        intermediate_losses: in training every decoder output has an auxiliary head.
    """

    backbone: str = "resnet101"
    aspp: str = "A"
    aspp_rates: tuple[int, ...] = (12, 24, 36)
    smooth: bool = True
    smooth_level: int = 2
    smooth_channels: int = 512
    d2_skip: bool = True
    intermediate_losses: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("backbone", self.backbone, tuple(BACKBONES))
        check_choice("aspp", self.aspp, ("A", "B", "none"))
        check_choice("smooth_level", self.smooth_level, (2, 4))
        check_minimum("smooth_channels", self.smooth_channels, 1)


class AtrousPyramid(nn.Module):
    """The paper's ASPP: as many channels out as in, so that the decoder stays symmetric to the encoder.

    11,542,528 parameters for 2048 channels and three rates in reading A, 13,117,952 in B.

    Args:
        channels: in and out; half of them inside, an eighth in each branch.
        rates: dilations of the 3x3 branches.
        with_pointwise: reading B: a 1x1 branch more, and the branches are mixed before the width is restored.
    """

    def __init__(self, channels: int, rates: tuple[int, ...], with_pointwise: bool) -> None:
        super().__init__()
        inner, branch = channels // 2, channels // 8
        self.reduce = conv_bn_relu(channels, inner, 1)
        self.pool = conv_bn_relu(inner, branch, 1)
        self.branches = nn.ModuleList(conv_bn_relu(inner, branch, 3, rate) for rate in rates)
        if with_pointwise:
            self.branches.insert(0, conv_bn_relu(inner, branch, 1))
        together = branch * (1 + len(self.branches))
        mix = (conv_bn_relu(together, inner, 1),) if with_pointwise else ()
        self.restore = nn.Sequential(*mix, conv_bn_relu(inner if with_pointwise else together, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        height, width = int(x.shape[-2]), int(x.shape[-1])
        x = self.reduce(x)
        pooled = resize_like(self.pool(fixed_average_pool(x, 1)), height, width)
        return self.restore(torch.cat((pooled, *(branch(x) for branch in self.branches)), 1))  # type: ignore[no-any-return]


class DilatedCascade(nn.Module):
    """D-LinkNet's centre: 3x3 convolutions one after the other, dilated ever wider; all their outputs are summed.

    Biases and no batch norm, as in its source. 188,753,920 parameters for 2048 channels and five convolutions.
    """

    def __init__(self, channels: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(channels, channels, 3, 1, rate, rate) for rate in dilations)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        total = x
        for convolution in self.convolutions:
            x = self.relu(convolution(x))
            total = total + x
        return total


class DecoderBlock(nn.Module):
    """LinkNet's: 1x1 to a quarter of the channels, 3x3 transposed with the stride, 1x1 to the new width.

    Every convolution is followed by batch norm and ReLU. As the encoder's features are not negative either, the
    ReLU that LinkNet has after the sum of both, and D-LinkNet has not, would change nothing.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        quarter = channels_in // 4
        self.reduce = conv_bn_relu(channels_in, quarter, 1)
        self.deconv = nn.ConvTranspose2d(quarter, quarter, 3, stride, 1, bias=False)
        self.bn = nn.BatchNorm2d(quarter)
        self.relu = nn.ReLU(inplace=True)
        self.expand = conv_bn_relu(quarter, channels_out, 1)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """(N, C, h, w) to (N, channels_out, *size); the output padding follows from the size, 1 where it is even."""
        x = self.deconv(self.reduce(x), output_size=list(size))
        return self.expand(self.relu(self.bn(x)))  # type: ignore[no-any-return]


class DecoderChain(nn.ModuleList):
    """Decoder blocks one after the other, each doubling the size; ``widths`` has one entry more than there are."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__(DecoderBlock(wide, narrow, 2) for wide, narrow in pairwise(widths))

    def forward(self, x: Tensor, sizes: list[tuple[int, int]]) -> Tensor:
        for block, size in zip(self, sizes):
            x = block(x, size)
        return x


class SmoothModule(nn.Module):
    """Brings the decoder's outputs to the size of the last one, by decoder blocks, and blends them.

    Args:
        channels: of each decoder output, the deepest first; the last one enters as it is.
        channels_out: of the blend.
    """

    def __init__(self, channels: tuple[int, ...], channels_out: int) -> None:
        super().__init__()
        self.projections = nn.ModuleList()
        for position, width in enumerate(channels[:-1]):
            widths = [width] + [PROJECTION_CHANNELS] * (len(channels) - 1 - position)
            self.projections.append(DecoderChain(widths))
        self.blend = conv_bn_relu(PROJECTION_CHANNELS * (len(channels) - 1) + channels[-1], channels_out, 3)

    def forward(self, decoded: list[Tensor]) -> Tensor:
        """Decoder outputs, the deepest first, each half as large as the next."""
        projected = []
        for position, projection in enumerate(self.projections):
            sizes = [_size(larger) for larger in decoded[position + 1 :]]
            projected.append(projection(decoded[position], sizes))
        return self.blend(torch.cat((*projected, decoded[-1]), 1))  # type: ignore[no-any-return]


class DeconvolutionHead(nn.Module):
    """D-LinkNet's last layers: 4x4 transposed convolution to twice the size, and two 3x3 convolutions."""

    def __init__(self, channels_in: int, num_classes: int) -> None:
        super().__init__()
        self.deconv = nn.ConvTranspose2d(channels_in, 32, 4, 2, 1)
        self.conv = nn.Conv2d(32, 32, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.logits = nn.Conv2d(32, num_classes, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.relu(self.conv(self.relu(self.deconv(x)))))  # type: ignore[no-any-return]


class CDLinkNet(ParsingNetwork):
    """C-DLinkNet: 61,622,164 parameters with the default options.

    Any height and width from 64 up. The auxiliary heads exist only with ``auxiliary=True`` (training) and
    are not counted above.
    """

    kind = "c-dlinknet"
    auxiliary_weight = 0.5  # equation 2
    spec_class = CDLinkNetSpec
    spec: CDLinkNetSpec

    def __init__(self, spec: CDLinkNetSpec = CDLinkNetSpec(), auxiliary: bool = False) -> None:
        super().__init__(spec, auxiliary)
        self.backbone = ResNet(BACKBONES[spec.backbone], output_stride=16)
        _, width2, width3, width4, width5 = self.backbone.channels
        self.centre = _centre(spec, width5)
        self.decoder5 = DecoderBlock(width5, width4, 1)
        self.decoder4 = DecoderBlock(width4, width3, 2)
        self.decoder3 = DecoderBlock(width3, width2, 2)
        widths: tuple[int, ...] = (width4, width3, width2)
        self.decoder2: DecoderBlock | None = None
        if not spec.smooth or spec.smooth_level == 2:
            width1 = self.backbone.channels[0] if spec.d2_skip else width2
            self.decoder2 = DecoderBlock(width2, width1, 2)
            widths = (*widths, width1)
        self.smooth: SmoothModule | None = None
        if spec.smooth:
            self.smooth = SmoothModule(widths, spec.smooth_channels)
            self.head: nn.Module = nn.Conv2d(spec.smooth_channels, spec.num_classes, 1)
        else:
            self.head = DeconvolutionHead(widths[-1], spec.num_classes)
        self.auxiliary_heads = (
            nn.ModuleList(_intermediate_head(width, spec.num_classes) for width in widths)
            if auxiliary and spec.intermediate_losses
            else None
        )
        initialise(self)
        _start_undecided(self.head, *(self.auxiliary_heads or ()))

    def features(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What the head reads, and the decoder's outputs, the deepest first."""
        level1, level2, level3, level4, level5 = self.backbone(image)
        decoded = [self.decoder5(self.centre(level5), _size(level4)) + level4]
        decoded.append(self.decoder4(decoded[-1], _size(level3)) + level3)
        decoded.append(self.decoder3(decoded[-1], _size(level2)) + level2)
        if self.decoder2 is not None:
            finest = self.decoder2(decoded[-1], _size(level1))
            decoded.append(finest + level1 if self.spec.d2_skip else finest)
        return (decoded[-1] if self.smooth is None else self.smooth(decoded)), decoded


def _centre(spec: CDLinkNetSpec, channels: int) -> nn.Module:
    if spec.aspp == "none":
        # D-LinkNet has five dilations on the deep backbones and four on ResNet-34.
        return DilatedCascade(channels, (1, 2, 4, 8) if spec.backbone == "resnet34" else (1, 2, 4, 8, 16))
    return AtrousPyramid(channels, spec.aspp_rates, with_pointwise=spec.aspp == "B")


def _intermediate_head(channels: int, num_classes: int) -> nn.Sequential:
    """Two 3x3 convolutions and a 1x1, as the paper has them."""
    inner = max(64, channels // 4)
    return nn.Sequential(
        conv_bn_relu(channels, inner, 3), conv_bn_relu(inner, inner, 3), nn.Conv2d(inner, num_classes, 1)
    )


def _start_undecided(*heads: nn.Module) -> None:
    """Small weights in the logit convolutions: He's rule, for a layer with few outputs, starts at a loss of tens."""
    for head in heads:
        *_, logits = (module for module in head.modules() if isinstance(module, nn.Conv2d))
        nn.init.normal_(logits.weight, std=0.01)


def _size(x: Tensor) -> tuple[int, int]:
    return int(x.shape[-2]), int(x.shape[-1])
