"""LSFA-R18: the human-parsing student.

A ResNet-18 with a simplified pyramid (one 3x3 convolution over the *sum* of pooled contexts) and spatial
attention that fuses each backbone level with the level above it. Structure: Lang, Liu, Wang and Hwang,
"Class relationship-based knowledge distillation for efficient human parsing" (Electronics Letters, 2023);
widths, bins and the fusion's layers follow PP-LiteSeg's public description (SPPM and UAFM), continued to
stride 4 because LIP's small parts (gloves, sunglasses, socks) need it.

Every pooling window and resize target is a number known when the graph is traced, so the exported graph
is static, and every bilinear resize uses ``align_corners=False``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..labels import NUM_CLASSES

MINIMUM_INPUT = 64
"""Smallest height and width: below it the deepest level has fewer than 2x2 cells."""


@dataclass(frozen=True)
class StudentSpec:
    """The options of an LSFA-R18.

    Args:
        num_classes: output channels.
        finest_stride: 4 (default) or 8; the level at which fusion ends.
        pyramid_bins: grid sizes of the pyramid's pooled contexts.
        pyramid_channels: width of the pyramid and of the deepest fusion.
    """

    num_classes: int = NUM_CLASSES
    finest_stride: int = 4
    pyramid_bins: tuple[int, ...] = (1, 2, 4)
    pyramid_channels: int = 128

    def __post_init__(self) -> None:
        if self.finest_stride not in (4, 8):
            raise ValueError(f"finest_stride must be 4 or 8, not {self.finest_stride}")

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "pyramid_bins": list(self.pyramid_bins)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> StudentSpec:
        return cls(**{**values, "pyramid_bins": tuple(values["pyramid_bins"])})


def conv_bn_relu(channels_in: int, channels_out: int, kernel: int) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU; stride 1, "same" padding."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


def resize_like(x: Tensor, height: int, width: int) -> Tensor:
    """Bilinear resize of (N, C, h, w) to (N, C, height, width), half-pixel centres."""
    return F.interpolate(x, size=(height, width), mode="bilinear", align_corners=False)


def fixed_average_pool(x: Tensor, bins: int) -> Tensor:
    """Average pooling to about ``bins`` x ``bins`` cells with one window size and stride.

    ``adaptive_avg_pool2d`` has windows of varying size, which no runtime's average pooling expresses; here
    ``stride = size // bins`` and ``window = size - (bins - 1) * stride``. Where ``bins`` divides the size
    the two are the same. A level with fewer cells than ``bins`` is kept as it is.

    Args:
        x: (N, C, H, W) float.
        bins: cells along each axis.

    Returns:
        (N, C, min(bins, H), min(bins, W)) float.
    """
    height, width = int(x.shape[-2]), int(x.shape[-1])
    rows, columns = min(bins, height), min(bins, width)
    stride = (height // rows, width // columns)
    window = (height - (rows - 1) * stride[0], width - (columns - 1) * stride[1])
    return F.avg_pool2d(x, window, stride)


class BasicBlock(nn.Module):
    """ResNet's basic block; module names as in torchvision, so that its checkpoints load."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels_in != channels_out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)) + shortcut)  # type: ignore[no-any-return]


class ResNet18(nn.Module):
    """The trunk: 11,176,512 parameters, torchvision's names without ``fc``."""

    channels = (64, 128, 256, 512)

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(BasicBlock(64, 64, 1), BasicBlock(64, 64, 1))
        self.layer2 = nn.Sequential(BasicBlock(64, 128, 2), BasicBlock(128, 128, 1))
        self.layer3 = nn.Sequential(BasicBlock(128, 256, 2), BasicBlock(256, 256, 1))
        self.layer4 = nn.Sequential(BasicBlock(256, 512, 2), BasicBlock(512, 512, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        level4 = self.layer1(x)
        level8 = self.layer2(level4)
        level16 = self.layer3(level8)
        return level4, level8, level16, self.layer4(level16)


class SimplifiedPyramid(nn.Module):
    """SPPM: pooled contexts are projected, resized and *summed*, then mixed by one 3x3 convolution."""

    def __init__(self, channels_in: int, channels_out: int, bins: tuple[int, ...]) -> None:
        super().__init__()
        self.bins = bins
        self.contexts = nn.ModuleList(conv_bn_relu(channels_in, channels_out, 1) for _ in bins)
        self.mix = conv_bn_relu(channels_out, channels_out, 3)

    def forward(self, x: Tensor) -> Tensor:
        height, width = int(x.shape[-2]), int(x.shape[-1])
        pooled = [
            resize_like(context(fixed_average_pool(x, bins)), height, width)
            for bins, context in zip(self.bins, self.contexts)
        ]
        total = pooled[0]
        for context in pooled[1:]:
            total = total + context
        return self.mix(total)  # type: ignore[no-any-return]


class SpatialAttentionFusion(nn.Module):
    """LSFA: one attention value per pixel weighs the backbone's feature against the one from above.

    The attention map comes from four descriptors, in this order: mean and maximum over the channels of the
    low-level feature, mean and maximum over those of the upsampled high-level feature.
    """

    def __init__(self, channels_low: int, channels_high: int, channels_out: int) -> None:
        super().__init__()
        self.project = conv_bn_relu(channels_low, channels_high, 3)
        self.attention = nn.Sequential(
            nn.Conv2d(4, 2, 3, padding=1, bias=False),
            nn.BatchNorm2d(2),
            nn.ReLU(inplace=True),
            nn.Conv2d(2, 1, 3, padding=1, bias=False),
            nn.BatchNorm2d(1),
        )
        self.out = conv_bn_relu(channels_high, channels_out, 3)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        low = self.project(low)
        high = resize_like(high, int(low.shape[-2]), int(low.shape[-1]))
        descriptors = torch.cat(
            (
                low.mean(1, keepdim=True),
                low.amax(1, keepdim=True),
                high.mean(1, keepdim=True),
                high.amax(1, keepdim=True),
            ),
            1,
        )
        attention = torch.sigmoid(self.attention(descriptors))
        return self.out(low * attention + high * (1 - attention))  # type: ignore[no-any-return]


class SegmentationHead(nn.Module):
    """3x3 convolution, batch norm, ReLU, then the bias-free logit convolution."""

    def __init__(self, channels_in: int, channels_mid: int, num_classes: int) -> None:
        super().__init__()
        self.conv = conv_bn_relu(channels_in, channels_mid, 3)
        self.logits = nn.Conv2d(channels_mid, num_classes, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.conv(x))  # type: ignore[no-any-return]


class Student(nn.Module):
    """LSFA-R18: 12,944,192 parameters with ``finest_stride=4``, 12,870,112 with 8.

    Any height and width from 64 up. The auxiliary heads exist only with ``auxiliary=True`` (training) and
    are not counted above.
    """

    def __init__(self, spec: StudentSpec = StudentSpec(), auxiliary: bool = False) -> None:
        super().__init__()
        self.spec = spec
        wide = spec.pyramid_channels
        self.backbone = ResNet18()
        self.pyramid = SimplifiedPyramid(512, wide, spec.pyramid_bins)
        self.fuse32 = SpatialAttentionFusion(512, wide, wide)
        self.fuse16 = SpatialAttentionFusion(256, wide, 96)
        self.fuse8 = SpatialAttentionFusion(128, 96, 64)
        self.fuse4 = SpatialAttentionFusion(64, 64, 64) if spec.finest_stride == 4 else None
        self.head = SegmentationHead(64, 64, spec.num_classes)
        self.auxiliary_heads = (
            nn.ModuleList(SegmentationHead(width, 64, spec.num_classes) for width in (wide, 96, 64))
            if auxiliary
            else None
        )
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, image: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """The finest fused feature, and the ones at strides 32, 16 and 8 that feed auxiliary heads."""
        level4, level8, level16, level32 = self.backbone(image)
        fused32 = self.fuse32(level32, self.pyramid(level32))
        fused16 = self.fuse16(level16, fused32)
        fused8 = self.fuse8(level8, fused16)
        finest = fused8 if self.fuse4 is None else self.fuse4(level4, fused8)
        return finest, (fused32, fused16, fused8)

    def forward(self, image: Tensor) -> Tensor:
        """Class logits at the input's size.

        Args:
            image: (N, 3, H, W) float, RGB, normalised; H and W at least 64.

        Returns:
            (N, num_classes, H, W) float.
        """
        height, width = int(image.shape[-2]), int(image.shape[-1])
        if min(height, width) < MINIMUM_INPUT:
            raise ValueError(f"input {height}x{width} is smaller than {MINIMUM_INPUT}x{MINIMUM_INPUT}")
        finest, _ = self.features(image)
        return resize_like(self.head(finest), height, width)

    def forward_coarse(self, image: Tensor) -> list[Tensor]:
        """For training: the logits of the main head and of each auxiliary head, each at its own stride."""
        finest, deeper = self.features(image)
        logits = [self.head(finest)]
        if self.auxiliary_heads is not None:
            logits += [head(feature) for head, feature in zip(self.auxiliary_heads, deeper)]
        return logits
