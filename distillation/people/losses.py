"""What a finder is trained with: pure functions of its answer and the targets, in float32."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_TINY = 1e-6


def focal(logits: Tensor, heat: Tensor, counts: Tensor) -> Tensor:
    """CornerNet's and CenterNet's focal loss of a heatmap (Law and Deng, ECCV 2018), for each middle.

    A cell near a middle is punished the less for a high answer the higher its own target is.

    Args:
        logits: (N, h, w) float.
        heat: (N, h, w) float32: 1 in the middles, less around them.
        counts: (N, h, w) float32: 0 where nothing is asked for.

    Returns:
        () float32: the sum over the cells, divided by the number of middles, by 1 where there are none.
    """
    logits = logits.float()
    middles = (heat == 1).float()
    chance = torch.sigmoid(logits)
    found = middles * (1 - chance).square() * F.logsigmoid(logits)
    empty = (1 - middles) * (1 - heat).pow(4) * chance.square() * F.logsigmoid(-logits)
    return -((found + empty) * counts).sum() / middles.sum().clamp(min=1)


def generalised_iou(boxes: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """1 - GIoU of boxes (Rezatofighi et al., CVPR 2019), the weighted mean.

    Args:
        boxes, targets: (N, 4, h, w) float32: left, top, right, bottom.
        weights: (N, h, w) float32, 0 for a cell whose box does not count.

    Returns:
        () float32, 0 to 2.
    """
    shared = _area(torch.maximum(boxes[:, :2], targets[:, :2]), torch.minimum(boxes[:, 2:], targets[:, 2:]))
    around = _area(torch.minimum(boxes[:, :2], targets[:, :2]), torch.maximum(boxes[:, 2:], targets[:, 2:]))
    union = _area(boxes[:, :2], boxes[:, 2:]) + _area(targets[:, :2], targets[:, 2:]) - shared
    giou = shared / union.clamp(min=_TINY) - (around - union) / around.clamp(min=_TINY)
    return ((1 - giou) * weights).sum() / weights.sum().clamp(min=1)


def distance_difference(answer: Tensor, boxes: Tensor, weights: Tensor, stride: int) -> Tensor:
    """Mean absolute difference between logarithms of the four distances, weighted.

    Args:
        answer: (N, 4, h, w) float, logarithms of distances in cells.
        boxes: (N, 4, h, w) float32 pixels.
        weights: (N, h, w) float32, 0 for a cell that does not count.
        stride: pixels a cell.

    Returns:
        () float32.
    """
    rows, columns = int(answer.shape[-2]), int(answer.shape[-1])
    y = torch.arange(rows, device=answer.device, dtype=torch.float32).view(1, rows, 1) + 0.5
    x = torch.arange(columns, device=answer.device, dtype=torch.float32).view(1, 1, columns) + 0.5
    left, top, right, bottom = (boxes / stride).unbind(1)
    # The side that a middle lies on by chance is no reason for a logarithm of nothing.
    wanted = torch.stack([x - left, y - top, right - x, bottom - y], 1).clamp(min=0.1).log()
    difference = (answer.float() - wanted).abs().mean(1)
    return (difference * weights).sum() / weights.sum().clamp(min=1)


def _area(corner: Tensor, far: Tensor) -> Tensor:
    return (far - corner).clamp(min=0).prod(1)
