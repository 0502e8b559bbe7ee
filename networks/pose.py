"""What all pose networks have in common."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from ..errors import UsageError
from ..specs.decoding import LOGITS, Decoding
from ..specs.skeleton import Skeleton
from ..specs.spec import Spec
from ..storage.json_types import JsonObject
from .network import Network, Options, told_spec
from .pose_decoding.create import create_decoder
from .tail import Tail


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


class PoseNetwork(Network):
    """A top-down pose network: the image of one person in, one heatmap a joint out, at a quarter of the size.

    In training ``forward`` gives every heatmap that can be supervised (:meth:`supervised`), in evaluation the one that
    counts (:meth:`heatmaps`); the last of the former is the latter.
    """

    spec_class: ClassVar[type[PoseSpec]] = PoseSpec
    multiple = 32
    called = "a pose network"

    spec: PoseSpec
    unit_weights: tuple[float, ...] = (1.0,)
    """What the loss of each unit of a stage counts, as its authors have it; the same in every stage."""

    def __init__(self, kind: str, spec: PoseSpec) -> None:
        super().__init__()
        self.kind = kind
        self.spec = spec

    def tail(self, input_size: tuple[int, int], decoding: Decoding = LOGITS) -> Tail:
        size = (input_size[0] // decoding.stride, input_size[1] // decoding.stride)
        return create_decoder(decoding, self.spec.joints, size)

    def meaning(self, spec: Spec | None, decoding: Decoding, sure: float | None, path: Path) -> JsonObject:
        spec = told_spec(self, spec, path)
        if not isinstance(spec, Skeleton) or len(spec) != self.spec.joints:
            raise UsageError(
                f"{path} would answer {self.spec.joints} joints, and was taught {len(spec)} of {spec.name}."
            )
        return {"skeleton": spec.to_dict(), "decoding": decoding.to_dict()}

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
