"""What nvinfer makes of a network's outputs, in NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...data.dataset import LabelMap


def nvinfer_labels(probabilities: NDArray[np.float32], threshold: float = 0.0) -> NDArray[np.int32]:
    """What nvinfer makes of a segmentation's output.

    The class of the highest value above ``threshold``, of several the first; −1 where there is none
    (``fillSegmentationOutput`` of NVIDIA's ``nvdsinfer``).

    Args:
        probabilities: (N, C, H, W) float32.
        threshold: ``segmentation-threshold``.
    """
    best = probabilities.argmax(axis=1).astype(np.int32)
    return np.asarray(np.where(probabilities.max(axis=1) > max(threshold, -1.0), best, -1), np.int32)


def agreement(labels: LabelMap, found: NDArray[np.int32]) -> float:
    """The share of pixels that are of one class."""
    return float(np.mean(labels == found))
