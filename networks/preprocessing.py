"""From frames to what the network sees; this is part of the exported graph.

ImageNet's mean and standard deviation, RGB: what torchvision's backbones are trained with.
"""

from __future__ import annotations

import torch
from torch import Tensor

MEAN_RGB = (0.485, 0.456, 0.406)
STD_RGB = (0.229, 0.224, 0.225)


def normalise(frames: Tensor) -> Tensor:
    """Frames as OpenCV reads them to the network's input.

    The cast stands before the transpose: NVIDIA's ONNX parser refuses a transpose of uint8.

    Args:
        frames: (N, H, W, 3) uint8, BGR.

    Returns:
        (N, 3, H, W) float32, RGB, normalised.
    """
    images = frames.float().permute(0, 3, 1, 2).flip(1)
    scale = torch.tensor([1 / (255 * s) for s in STD_RGB], device=frames.device).view(1, 3, 1, 1)
    offset = torch.tensor([-m / s for m, s in zip(MEAN_RGB, STD_RGB)], device=frames.device).view(1, 3, 1, 1)
    return images * scale + offset
