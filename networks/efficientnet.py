"""EfficientNet-Lite: a trunk for teachers, small and good after little training on few images.

Tan and Le, "EfficientNet" (ICML 2019), in the Lite form of the TensorFlow TPU repository: no squeeze and
excitation, ReLU6, stem and last stage of fixed width. As a teacher's trunk it starts from ImageNet weights.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from .preprocessing import MEAN_RGB, STD_RGB

STAGES = (
    # (blocks, kernel, stride, expansion, channels out) of Lite0
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_LEVEL_STAGES = (0, 1, 2, 4, 6)
"""The stages whose outputs are the levels at strides 2, 4, 8, 16 and 32."""

_EPSILON = 1e-3  # of the batch norms, as in TensorFlow

_RELEASED_NAMES = (
    (r"^_conv_stem\.", "conv1."),
    (r"^_bn0\.", "bn1."),
    (r"^_blocks\.(\d+)\._(expand|depthwise|project)_conv\.", r"blocks.\1.\2.conv."),
    (r"^_blocks\.(\d+)\._bn0\.", r"blocks.\1.expand.bn."),
    (r"^_blocks\.(\d+)\._bn1\.", r"blocks.\1.depthwise.bn."),
    (r"^_blocks\.(\d+)\._bn2\.", r"blocks.\1.project.bn."),
)
"""The names of ``efficientnet_lite_pytorch``'s checkpoints, and ours."""


class EfficientNetLite(nn.Module):
    """The trunk: 2,958,848 parameters as Lite0, 4,357,952 as Lite2.

    Args:
        width, depth: factors on Lite0's channels and on its blocks per stage: 1.0 and 1.0, or 1.1 and 1.2 for Lite2.
            Stem, first and last stage keep their number of blocks, the stem its channels.
    """

    channels: tuple[int, ...]
    """Width of each level that ``forward`` returns."""

    def __init__(self, width: float = 1.0, depth: float = 1.0) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, 2, bias=False)
        self.bn1 = nn.BatchNorm2d(32, _EPSILON)
        blocks: list[nn.Module] = []
        self._levels: list[int] = []
        channels, widths = 32, []
        for stage, (count, kernel, stride, expansion, base) in enumerate(STAGES):
            channels_out = _widened(base, width)
            if 0 < stage < len(STAGES) - 1:
                count = math.ceil(count * depth)
            for number in range(count):
                blocks.append(InvertedResidual(channels, channels_out, kernel, 1 if number else stride, expansion))
                channels = channels_out
            if stage in _LEVEL_STAGES:
                self._levels.append(len(blocks) - 1)
                widths.append(channels)
        self.channels = tuple(widths)
        self.blocks = nn.ModuleList(blocks)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) float to the levels at strides 2, 4, 8, 16 and 32."""
        x = F.relu6(self.bn1(self.conv1(same_padding(image, 3))))
        levels = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in self._levels:
                levels.append(x)
        return tuple(levels)

    @staticmethod
    def adapt(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A released checkpoint in the names and for the normalisation of this package.

        Released ones see (RGB - 127) / 128; ours see ImageNet's mean and standard deviation. The stem takes in the
        difference: a factor on its weights, and a constant, which the first batch norm's mean absorbs. (At the
        border it does not quite, as zero padding stands for another grey.)

        Args:
            tensors: of ``efficientnet_lite_pytorch``; the classifier's are left out. Ours are returned as they are.
        """
        if "_conv_stem.weight" not in tensors:
            return dict(tensors)
        renamed: dict[str, Tensor] = {}
        for name, value in tensors.items():
            for pattern, replacement in _RELEASED_NAMES:
                new, count = re.subn(pattern, replacement, name)
                if count:
                    renamed[new] = value
        weight = renamed["conv1.weight"]
        scale = weight.new_tensor([255 * std / 128 for std in STD_RGB]).view(1, 3, 1, 1)
        shift = weight.new_tensor([(255 * mean - 127) / 128 for mean in MEAN_RGB]).view(1, 3, 1, 1)
        renamed["conv1.weight"] = weight * scale
        renamed["bn1.running_mean"] = renamed["bn1.running_mean"] - (weight * shift).sum((1, 2, 3))
        return renamed


class InvertedResidual(nn.Module):
    """1x1 convolution to more channels, depthwise convolution, 1x1 convolution back; the first two with ReLU6."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels_in * expansion
        self.kernel, self.stride = kernel, stride
        self.expand = _conv_bn(nn.Conv2d(channels_in, wide, 1, bias=False)) if expansion > 1 else None
        padding = kernel // 2 if stride == 1 else 0
        self.depthwise = _conv_bn(nn.Conv2d(wide, wide, kernel, stride, padding, groups=wide, bias=False))
        self.project = _conv_bn(nn.Conv2d(wide, channels_out, 1, bias=False))
        self.residual = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x))
        if self.stride == 2:
            y = same_padding(y, self.kernel)
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.residual else y  # type: ignore[no-any-return]


def _widened(channels: int, width: float) -> int:
    """To the nearest multiple of 8, and not below nine tenths of what was asked for: EfficientNet's rule."""
    wanted = channels * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


def _conv_bn(conv: nn.Conv2d) -> nn.Sequential:
    pair = nn.Sequential()
    pair.add_module("conv", conv)
    pair.add_module("bn", nn.BatchNorm2d(conv.out_channels, _EPSILON))
    return pair


def same_padding(x: Tensor, kernel: int) -> Tensor:
    """TensorFlow's "same" padding for stride 2: of an even size, one less before than after."""
    before_after = []
    for length in (int(x.shape[-1]), int(x.shape[-2])):
        total = max((-(-length // 2) - 1) * 2 + kernel - length, 0)
        before_after += [total // 2, total - total // 2]
    return F.pad(x, before_after)
