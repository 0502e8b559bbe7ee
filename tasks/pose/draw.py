"""Draw skeletons."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ...data.dataset import Image
from ...specs.skeleton import Skeleton
from .oks import LEAST_SCORE

_DARK = (25, 25, 25)
_FINE = 4  # bits after the point: lines move smoothly from frame to frame


def draw_pose(
    frame: Image,
    keypoints: NDArray[np.float32],
    skeleton: Skeleton,
    *,
    least: float = LEAST_SCORE,
    thickness: int | None = None,
    colour: tuple[int, int, int] | None = None,
) -> None:
    """Draw one person's joints and limbs, in place.

    Args:
        frame: (H, W, 3) uint8, BGR.
        keypoints: (K, 3) x, y and score, in the frame's pixels; what is not finite is left out.
        skeleton: of the joints.
        least: score below which a joint, and each limb that ends in it, is left out.
        thickness: of limbs, in pixels; by the frame's size where it is not given.
        colour: BGR of everything; the skeleton's colours where it is not given.
    """
    shown = np.isfinite(keypoints).all(1) & (keypoints[:, 2] >= least)
    width = thickness or line_width((frame.shape[0], frame.shape[1]))
    # Far outside of the frame OpenCV's fixed-point coordinates would overflow.
    limit = 4 * max(frame.shape[:2])
    points = [
        tuple(round(float(value) * (1 << _FINE)) for value in np.clip(point, -limit, limit)) if there else (0, 0)
        for point, there in zip(keypoints[:, :2], shown)
    ]
    colours = [colour or (blue, green, red) for red, green, blue in skeleton.colours]
    limbs = [(one, other) for one, other in skeleton.limb_indices if shown[one] and shown[other]]
    for rim in (True, False):
        for one, other in limbs:
            middle = tuple((a + b) // 2 for a, b in zip(points[one], points[other]))
            for end in (one, other):
                drawn = _DARK if rim else colours[end]
                cv2.line(frame, points[end], middle, drawn, width + 2 * rim, cv2.LINE_AA, _FINE)
    for number in np.flatnonzero(shown):
        radius = int((width + 1) * (1 << _FINE) * 0.9)
        cv2.circle(frame, points[number], radius + (1 << _FINE), _DARK, -1, cv2.LINE_AA, _FINE)
        cv2.circle(frame, points[number], radius, colours[number], -1, cv2.LINE_AA, _FINE)


def line_width(size: tuple[int, int]) -> int:
    """Of limbs, in pixels, for a frame of (height, width)."""
    return max(1, round(min(size) / 180))
