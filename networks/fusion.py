"""Fusion of a backbone level with the feature from the level above it.

All follow PaddleSeg's UAFM family (``layers/tensor_fusion.py``): project the low-level feature to the width of
the high-level one, upsample the latter, weigh one against the other, and mix by one more convolution.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .layers import conv_bn_relu, resize_like, separable_conv_bn_relu


class AddFusion(nn.Module):
    """Both features count alike: their sum. The base of the others, which weigh them.

    Args:
        channels_low: of the backbone's feature.
        channels_high: of the feature from above, and of the sum.
        channels_out: of the result.
        separable: both 3x3 convolutions depthwise-separable.
    """

    def __init__(self, channels_low: int, channels_high: int, channels_out: int, separable: bool = False) -> None:
        super().__init__()
        convolution = separable_conv_bn_relu if separable else conv_bn_relu
        self.project = convolution(channels_low, channels_high, 3)
        self.attention = self.attention_layers(channels_high)
        self.out = convolution(channels_high, channels_out, 3)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        """(N, channels_low, H, W) and (N, channels_high, h, w) to (N, channels_out, H, W)."""
        low = self.project(low)
        high = resize_like(high, int(low.shape[-2]), int(low.shape[-1]))
        if self.attention is None:
            return self.out(low + high)  # type: ignore[no-any-return]
        attention = torch.sigmoid(self.attention(self.descriptors(low, high)))
        return self.out(low * attention + high * (1 - attention))  # type: ignore[no-any-return]

    def attention_layers(self, channels: int) -> nn.Sequential | None:
        """What makes the attention's logits from the descriptors."""
        return None

    def descriptors(self, low: Tensor, high: Tensor) -> Tensor:
        """What the attention sees of both features."""
        raise NotImplementedError


class SpatialAttentionFusion(AddFusion):
    """LSFA: one attention value per pixel weighs the backbone's feature against the one from above.

    The attention map comes from four descriptors, in this order: mean and maximum over the channels of the
    low-level feature, mean and maximum over those of the upsampled high-level feature.
    """

    def attention_layers(self, channels: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(4, 2, 3, padding=1, bias=False),
            nn.BatchNorm2d(2),
            nn.ReLU(inplace=True),
            nn.Conv2d(2, 1, 3, padding=1, bias=False),
            nn.BatchNorm2d(1),
        )

    def descriptors(self, low: Tensor, high: Tensor) -> Tensor:
        """(N, 4, H, W)."""
        return torch.cat(
            (
                low.mean(1, keepdim=True),
                low.amax(1, keepdim=True),
                high.mean(1, keepdim=True),
                high.amax(1, keepdim=True),
            ),
            1,
        )


class ChannelAttentionFusion(AddFusion):
    """One attention value per channel weighs the backbone's feature against the one from above.

    The values come from four descriptors of each channel, in the source's order: mean over the pixels of the
    low-level feature, of the upsampled high-level feature, and the maxima of both. In training a batch needs two
    images or more, as the attention's batch norms see one value per image.
    """

    def attention_layers(self, channels: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(4 * channels, channels // 2, 1, bias=False),
            nn.BatchNorm2d(channels // 2),
            nn.LeakyReLU(0.01, inplace=True),
            nn.Conv2d(channels // 2, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def descriptors(self, low: Tensor, high: Tensor) -> Tensor:
        """(N, 4 * C, 1, 1)."""
        pixels = (2, 3)
        means = low.mean(pixels, keepdim=True), high.mean(pixels, keepdim=True)
        maxima = low.amax(pixels, keepdim=True), high.amax(pixels, keepdim=True)
        return torch.cat((*means, *maxima), 1)
