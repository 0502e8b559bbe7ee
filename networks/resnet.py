"""ResNet: the trunk of every network here.

Module names are torchvision's without ``fc``, so its checkpoints load. He et al., "Deep Residual Learning for
Image Recognition" (CVPR 2016); the stride of a bottleneck is on its 3x3 convolution, as torchvision has it.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions: ResNet-18 and 34."""

    expansion = 1

    def __init__(self, channels_in: int, channels: int, stride: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, dilation, dilation, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = _projection(channels_in, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)) + shortcut)  # type: ignore[no-any-return]


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions: ResNet-50 and 101."""

    expansion = 4

    def __init__(self, channels_in: int, channels: int, stride: int, dilation: int = 1) -> None:
        super().__init__()
        channels_out = channels * self.expansion
        self.conv1 = nn.Conv2d(channels_in, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, channels_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(channels_in, channels_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.relu(self.bn3(self.conv3(x)) + shortcut)  # type: ignore[no-any-return]


def _projection(channels_in: int, channels_out: int, stride: int) -> nn.Module | None:
    """The shortcut where a block changes size or width."""
    if stride == 1 and channels_in == channels_out:
        return None
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out))


BLOCKS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
}
"""Depth to kind of block and number of blocks in each layer."""


class ResNet(nn.Module):
    """The trunk: 11,176,512 parameters at depth 18, 42,500,160 at 101.

    Args:
        depth: 18, 34, 50 or 101.
        output_stride: 32, or 16: the last layer keeps the size, and all its 3x3 convolutions are dilated by 2.
            Neither changes a parameter's name or shape.
    """

    def __init__(self, depth: int, output_stride: int = 32) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise ValueError(f"depth must be one of {', '.join(map(str, BLOCKS))}, not {depth}")
        if output_stride not in (16, 32):
            raise ValueError(f"output_stride must be 16 or 32, not {output_stride}")
        block, counts = BLOCKS[depth]
        self.channels = (64, *(width * block.expansion for width in (64, 128, 256, 512)))
        """Width of each level that ``forward`` returns."""
        last = (2, 1) if output_stride == 32 else (1, 2)
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = _layer(block, 64, 64, counts[0], 1)
        self.layer2 = _layer(block, self.channels[1], 128, counts[1], 2)
        self.layer3 = _layer(block, self.channels[2], 256, counts[2], 2)
        self.layer4 = _layer(block, self.channels[3], 512, counts[3], *last)

    @staticmethod
    def adapt(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """torchvision's checkpoint without its classifier."""
        return {name: value for name, value in tensors.items() if not name.startswith("fc.")}

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """(N, 3, H, W) float to the levels at strides 2 (before the max pool), 4, 8, 16 and ``output_stride``.

        A level of stride s is (N, C, ceil(H / s), ceil(W / s)).
        """
        level2 = self.relu(self.bn1(self.conv1(image)))
        level4 = self.layer1(self.maxpool(level2))
        level8 = self.layer2(level4)
        level16 = self.layer3(level8)
        return level2, level4, level8, level16, self.layer4(level16)


def _layer(
    block: type[BasicBlock] | type[Bottleneck],
    channels_in: int,
    channels: int,
    count: int,
    stride: int,
    dilation: int = 1,
) -> nn.Sequential:
    rest = [block(channels * block.expansion, channels, 1, dilation) for _ in range(count - 1)]
    return nn.Sequential(block(channels_in, channels, stride, dilation), *rest)
