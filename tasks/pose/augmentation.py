"""From a person to a training sample: a jittered crop, its joints with it, other colours."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...data.crops import Jitter, apply, crop_matrix, cut
from ...data.dataset import Box, Image
from ...specs.framing import CropRule
from ...specs.skeleton import Skeleton
from ..parsing.augmentation import Augmentation
from .examples import Example

_UPPER = ("nose", "eye", "ear", "head_top", "neck", "thorax", "shoulder", "elbow", "wrist")
"""Words in the names of the joints above the waist."""

_HALF_BODY_BOX = 1.5
"""The box of half a body over the extent of its joints: HRNet's factor."""


@dataclass(frozen=True)
class PoseAugmentation:
    """How far a person's crop is changed.

    Args:
        scale: range of the person's size against inference's, uniform on a log scale.
        rotation: degrees, the deviation of a normal distribution that is cut at twice it.
        rotated: probability of a rotation.
        any_way_up: probability of any angle at all: hands stand on the floor as well.
        shift: parts of the input, uniform in both directions.
        flip: probability of a mirror image with joints exchanged.
        half_body: probability that the crop is of the upper or lower body, for people with more than ``half_joints``.
        half_joints: joints that count.
        colours: of the rest; its geometry is not used.
    """

    scale: tuple[float, float] = (0.75, 1.35)
    rotation: float = 25.0
    rotated: float = 0.6
    any_way_up: float = 0.0
    shift: float = 0.04
    flip: float = 0.5
    half_body: float = 0.0
    half_joints: int = 8
    colours: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale is a range above 0, not {list(self.scale)}")

    def __call__(
        self, example: Example, skeleton: Skeleton, size: tuple[int, int], rule: CropRule, rng: np.random.Generator
    ) -> Sample:
        """A changed copy.

        Args:
            example: whom to show.
            skeleton: of its joints.
            size: (height, width) of the input.
            rule: the crop that inference takes.
            rng: all randomness comes from here.
        """
        jitter = self._jitter(rng)
        box = example.box
        if rng.random() < self.half_body:
            box = half_body(example, skeleton, rng, self.half_joints) or box
        matrix = crop_matrix(box, size, rule, jitter)
        frame = self.colours.colour(cut(example.read(), matrix, size), rng)
        places, masses, weights = apply(matrix, example.places), example.masses, example.weights
        if jitter.mirrored:
            order = list(skeleton.flip_order)
            places, masses, weights = places[order], masses[order], weights[order]
        return Sample(frame, places, masses, weights)

    def _jitter(self, rng: np.random.Generator) -> Jitter:
        zoom = float(np.exp(rng.uniform(*np.log(self.scale))))
        angle = 0.0
        if rng.random() < self.rotated:
            angle = float(np.clip(rng.normal(0, self.rotation), -2 * self.rotation, 2 * self.rotation))
        if rng.random() < self.any_way_up:
            angle = float(rng.uniform(-180, 180))
        across, down = (float(value) for value in rng.uniform(-self.shift, self.shift, 2))
        return Jitter(zoom, float(np.deg2rad(angle)), (across, down), bool(rng.random() < self.flip))


@dataclass(frozen=True)
class Sample:
    """One crop to learn from.

    Args:
        frame: (H, W, 3) uint8, BGR.
        places: (K, G, 2) float32 pixels of the frame, also beyond it.
        masses: (K, G) float32.
        weights: (K,) float32.
    """

    frame: Image
    places: NDArray[np.float32]
    masses: NDArray[np.float32]
    weights: NDArray[np.float32]


def half_body(example: Example, skeleton: Skeleton, rng: np.random.Generator, least: int) -> Box | None:
    """A box around the joints above or below the waist, as HRNet makes it.

    Returns:
        None for people with ``least`` joints that count or fewer, and where the chosen half has fewer than 3.
    """
    counts = example.weights > 0
    if counts.sum() <= least:
        return None
    upper = np.array([any(word in joint for word in _UPPER) for joint in skeleton.joints])
    chosen = counts & (upper if rng.random() < 0.5 else ~upper)
    if chosen.sum() < 3:
        return None
    best = example.places[np.arange(len(skeleton)), example.masses.argmax(1)][chosen]
    low, high = best.min(0), best.max(0)
    middle, extent = (low + high) / 2, np.maximum((high - low) * _HALF_BODY_BOX, 8)
    left, top = middle - extent / 2
    return float(left), float(top), float(extent[0]), float(extent[1])
