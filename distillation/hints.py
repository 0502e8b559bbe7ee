"""Hints: the student's trunk learns the features of the teacher's, not its answers alone.

Romero et al., "FitNets: Hints for thin deep nets" (ICLR 2015), at four levels and by direction instead of distance. A
trunk that was trained on ImageNet hands on what it knows from images that nobody labelled.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..networks.network import ParsingNetwork

LEVELS = 4
"""How many of a trunk's levels are compared, from the deepest up."""


class Hints(nn.Module):
    """A 1x1 convolution for each level, from the student's width to the teacher's.

    It is trained with the student and thrown away after.

    Args:
        student, teacher: widths of the levels of their trunks, as ``backbone.channels`` has them.
    """

    def __init__(self, student: Sequence[int], teacher: Sequence[int]) -> None:
        super().__init__()
        pairs = zip(student[-LEVELS:], teacher[-LEVELS:], strict=True)
        self.projections = nn.ModuleList(nn.Conv2d(ours, theirs, 1) for ours, theirs in pairs)

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """Sum over the levels of the mean of 1 - cosine between the features of a place.

        The teacher's channels are brought to mean 0 and deviation 1 over the batch: otherwise the few that are
        always large would decide on every direction.

        Args:
            student, teacher: (N, C, h, w) float levels, the deepest last; a teacher's of another size is resized.

        Returns:
            () float32, from 0 to twice the number of levels.
        """
        losses = []
        for projection, ours, theirs in zip(self.projections, student[-LEVELS:], teacher[-LEVELS:]):
            target = theirs.detach().float()
            if target.shape[-2:] != ours.shape[-2:]:
                size = (int(ours.shape[-2]), int(ours.shape[-1]))
                target = F.interpolate(target, size=size, mode="bilinear", align_corners=False)
            mean, deviation = target.mean((0, 2, 3), keepdim=True), target.std((0, 2, 3), keepdim=True)
            target = (target - mean) / (deviation + 1e-4)
            losses.append((1 - F.cosine_similarity(projection(ours.float()), target, dim=1)).mean())
        return torch.stack(losses).sum()


@contextlib.contextmanager
def captured_levels(network: ParsingNetwork) -> Iterator[list[Tensor]]:
    """The levels that a network's trunk returns while the block runs, of the first call.

    A teacher with test-time augmentation is called again, with the mirror image.
    """
    levels: list[Tensor] = []

    def keep(module: nn.Module, arguments: object, output: Sequence[Tensor]) -> None:
        if not levels:
            levels.extend(output)

    handle = network.backbone.register_forward_hook(keep)
    try:
        yield levels
    finally:
        handle.remove()
