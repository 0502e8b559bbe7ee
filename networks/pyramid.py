"""Context for the student's deepest level: what the whole image says about each of its cells."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .layers import conv_bn_relu, fixed_average_pool, resize_like


class SimplifiedPyramid(nn.Module):
    """SPPM: pooled contexts are projected, resized and *summed*, then mixed by one 3x3 convolution.

    345,088 parameters from 512 to 128 channels with three bins. Source: PP-LiteSeg's ``PPContextModule``.
    """

    def __init__(self, channels_in: int, channels_out: int, bins: tuple[int, ...]) -> None:
        super().__init__()
        self.bins = bins
        self.contexts = nn.ModuleList(conv_bn_relu(channels_in, channels_out, 1) for _ in bins)
        self.mix = conv_bn_relu(channels_out, channels_out, 3)

    def forward(self, x: Tensor) -> Tensor:
        contexts = _contexts(x, self.bins, self.contexts)
        total = contexts[0]
        for context in contexts[1:]:
            total = total + context
        return self.mix(total)  # type: ignore[no-any-return]


class PyramidPooling(nn.Module):
    """PSP, which the above simplifies: the contexts are *concatenated*, with the input as well, then mixed.

    1,443,072 parameters from 512 to 128 channels with four bins: the concatenation makes the mixing convolution
    seven times as large. Source: Zhao et al., "Pyramid Scene Parsing Network" (CVPR 2017), with contexts as wide
    as the output, as CE2P has them.
    """

    def __init__(self, channels_in: int, channels_out: int, bins: tuple[int, ...]) -> None:
        super().__init__()
        self.bins = bins
        self.contexts = nn.ModuleList(conv_bn_relu(channels_in, channels_out, 1) for _ in bins)
        self.mix = conv_bn_relu(channels_in + len(bins) * channels_out, channels_out, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(torch.cat((x, *_contexts(x, self.bins, self.contexts)), 1))  # type: ignore[no-any-return]


def _contexts(x: Tensor, bins: tuple[int, ...], projections: nn.ModuleList) -> list[Tensor]:
    height, width = int(x.shape[-2]), int(x.shape[-1])
    return [
        resize_like(project(fixed_average_pool(x, count)), height, width) for count, project in zip(bins, projections)
    ]
