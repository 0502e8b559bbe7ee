"""The layers that the networks share.

Every pooling window, resize target and padding is a number known when the graph is traced, so the exported
graph is static, and every bilinear resize uses ``align_corners=False``.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


def conv_bn_relu(channels_in: int, channels_out: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU; stride 1, "same" padding."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2 * dilation, dilation=dilation, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


def separable_conv_bn_relu(channels_in: int, channels_out: int, kernel: int) -> nn.Sequential:
    """A depthwise convolution, batch norm, a 1x1 convolution, batch norm, ReLU; stride 1, "same" padding.

    No activation between the two, as in PaddleSeg's ``SeparableConvBNReLU``.
    """
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_in, kernel, padding=kernel // 2, groups=channels_in, bias=False),
        nn.BatchNorm2d(channels_in),
        *conv_bn_relu(channels_in, channels_out, 1),
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


class SegmentationHead(nn.Module):
    """3x3 convolution, batch norm, ReLU, then the bias-free logit convolution."""

    def __init__(self, channels_in: int, channels_mid: int, num_classes: int) -> None:
        super().__init__()
        self.conv = conv_bn_relu(channels_in, channels_mid, 3)
        self.logits = nn.Conv2d(channels_mid, num_classes, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.conv(x))  # type: ignore[no-any-return]


def initialise(network: nn.Module) -> None:
    """He's normal initialisation of every convolution, transposed ones included; biases start at 0.

    The variance is 2 / (kernel area * output channels) for both kinds, LinkNet's rule as well; PyTorch calls
    that the fan-out of a convolution and, as its weight is stored the other way round, the fan-in of a
    transposed one.
    """
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            else:
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
