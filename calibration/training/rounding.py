"""INT8's rounding with gradients: straight through for values, learned for the scales.

Esser et al., "Learned Step Size Quantization" (ICLR 2020): a value that int8 holds passes its gradient on as if nothing
had been rounded, one beyond its ends passes none; the scale learns from both, from the rounding error of the one and
from the clipping of the other. Beyond the ends alone it is PACT's rule (Choi et al., "PACT: Parameterized Clipping
Activation for Quantized Neural Networks", 2018). Thresholds are learned by their logarithms, as in Jain et al.,
"Trained Quantization Thresholds" (MLSys 2020): a step moves large and small ones by one share, and none reaches 0.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..quantise.weights import LEVELS

INT8_ENDS = (-128, 127)
"""Of TensorRT's activations."""

UINT8_ENDS = (0, 255)
"""Of the CPU's activations."""


class _Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, zero: Tensor, ends: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(x, scale, zero)
        ctx.ends = ends
        integers = (torch.round(x / scale) + zero).clamp_(*ends)
        return (integers - zero) * scale

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, scale, zero = ctx.saved_tensors
        lowest, highest = ctx.ends
        exact = x / scale
        rounded = torch.round(exact)
        integers = rounded + zero
        inside = (integers >= lowest) & (integers <= highest)
        of_scale = torch.where(inside, rounded - exact, integers.clamp(lowest, highest) - zero)
        passed = gradient * inside
        # The paper's factor: thresholds and weights then learn at one pace.
        share = (x.numel() * highest) ** -0.5
        clipped = (gradient - passed).sum()  # not of two sums: few are clipped, and the rest would drown them
        return passed, (gradient * of_scale).sum() * share, -clipped * scale * share, None


def rounded(x: Tensor, scale: Tensor, zero: Tensor, ends: tuple[int, int]) -> Tensor:
    """What Q/DQ makes of a tensor.

    Args:
        x: float32 of any shape.
        scale: () float32.
        zero: () float32, a whole number: the integer of 0.
        ends: smallest and largest integer.

    Returns:
        float32 of the same shape; gradients go to ``x``, ``scale`` and ``zero``.
    """
    result: Tensor = _Rounded.apply(x, scale, zero, ends)  # type: ignore[no-untyped-call]
    return result


def rounded_weight(weight: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """A weight as INT8 holds it, per channel, clipping nothing.

    Args:
        weight: float32.
        axis: of the channels.

    Returns:
        The rounded weight, whose gradient goes straight through, and the (channels,) scales.
    """
    others = [dimension for dimension in range(weight.ndim) if dimension != axis]
    maxima = weight.detach().abs().amax(others)
    scales = half_up(maxima / LEVELS)
    scales = torch.where(scales > 0, scales, torch.ones_like(scales))
    shape = [-1 if dimension == axis else 1 for dimension in range(weight.ndim)]
    spread = scales.view(shape)
    return straight(weight, torch.round(weight.detach() / spread) * spread), scales


def straight(exact: Tensor, rounded: Tensor) -> Tensor:
    """The value of ``rounded`` with the gradient of ``exact``."""
    return exact + (rounded - exact).detach()


def half_up(values: Tensor) -> Tensor:
    """Scales rounded up to what FP16 holds, as :func:`~trtparse.calibration.ranges.scale_of` does; no gradient.

    Args:
        values: float32, 0 or more.
    """
    values = values.detach()
    half = values.half()
    # The next number up is the next pattern of bits, of numbers that are not negative.
    next_up = (half.view(torch.int16) + 1).view(torch.float16)
    return torch.where(half.float() < values, next_up, half).float()
