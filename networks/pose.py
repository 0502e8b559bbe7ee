"""What all pose networks have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from ..errors import UsageError
from .network import Options


@dataclass(frozen=True)
class PoseSpec(Options):
    """The options of a pose network.

    Args:
        joints: output channels, one heatmap each: 17 in COCO, 16 in MPII and LIP.
    """

    joints: int = 17

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.joints <= 255:
            raise UsageError(f"joints must lie between 1 and 255, not {self.joints}.")


class PoseNetwork(nn.Module):
    """A top-down pose network: the image of one person in, one heatmap a joint out, at a quarter of the size.

    In training ``forward`` gives every heatmap that can be supervised (:meth:`supervised`), in evaluation the one that
    counts (:meth:`heatmaps`); the last of the former is the latter.
    """

    spec_class: ClassVar[type[PoseSpec]] = PoseSpec
    multiple: ClassVar[int] = 32
    """Of which height and width of the input are."""

    kind: str
    """The network's name in checkpoints, bundles and recipes."""
    spec: PoseSpec
    unit_weights: tuple[float, ...] = (1.0,)
    """What the loss of each unit of a stage counts, as its authors have it; the same in every stage."""

    def __init__(self, kind: str, spec: PoseSpec) -> None:
        super().__init__()
        self.kind = kind
        self.spec = spec

    @property
    def first_convolution(self) -> nn.Conv2d:
        """What sees the image; the exporter turns its input channels round, so that BGR frames need no flip."""
        raise NotImplementedError

    def heatmaps(self, image: Tensor) -> Tensor:
        """The heatmaps that are decoded.

        Args:
            image: (N, 3, H, W) float, RGB, normalised; H and W multiples of 32.

        Returns:
            (N, joints, H / 4, W / 4) float; a joint that is certain peaks at about 1.
        """
        raise NotImplementedError

    def supervised(self, image: Tensor) -> list[list[Tensor]]:
        """For training: the heatmaps of every stage, and in it of every unit, the coarsest first, all of one size."""
        raise NotImplementedError

    def forward(self, image: Tensor) -> Tensor | list[list[Tensor]]:
        height, width = int(image.shape[-2]), int(image.shape[-1])
        if height % self.multiple or width % self.multiple or not height or not width:
            raise ValueError(f"input {height}x{width} is no multiple of {self.multiple}x{self.multiple}")
        return self.supervised(image) if self.training else self.heatmaps(image)
