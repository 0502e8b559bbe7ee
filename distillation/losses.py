"""What a student is trained with: pure functions of logits, labels and a teacher's logits.

All of them compute in float32, whatever the logits' type and whatever autocast says: a class's correlation
is a sum over some 100,000 pixels, which float16 cannot hold. Pixels that do not count are dropped before
anything is computed from them, so their values change neither a loss nor its gradient. A batch without any
pixel that counts gives 0 with a gradient of 0.

A *grid* is a map of logits. Its cells lie at half-pixel centres: cell i of h covers the rows from i * H / h
to (i + 1) * H / h of an image of H rows, which is what ``align_corners=False`` means.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.dataset import IGNORE_LABEL

EPSILON = 1e-8
"""Added to the product of the norms in a correlation, as in DIST's published code."""


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy, the weighted mean over the pixels that are not 255.

    Args:
        logits: (N, C, h, w) float.
        labels: (N, h, w) uint8 or int64: 0 to C - 1, or 255.
        weights: (C,) float, of each class; 1 where not given.

    Returns:
        () float32.
    """
    _check_grid(logits, labels, "labels")
    targets = labels.long()
    valid = targets != IGNORE_LABEL
    weights = None if weights is None else weights.float()
    total = F.cross_entropy(logits.float(), targets, weights, ignore_index=IGNORE_LABEL, reduction="sum")
    mass = valid.sum() if weights is None else weights[targets[valid]].sum()
    # The smallest normal number: it only matters where the sum above is 0.
    return total / mass.float().clamp(min=torch.finfo(torch.float32).tiny)


def lovasz_softmax(logits: Tensor, labels: Tensor) -> Tensor:
    """The Lovász extension of 1 - IoU, over all images of the batch together.

    Berman, Triki and Blaschko, "The Lovász-Softmax loss: a tractable surrogate for the optimization of the
    intersection-over-union measure in neural networks" (CVPR 2018), the mean over the classes that are
    present among the pixels that are not 255. At predictions that are certain it is that mean of 1 - IoU.

    Args:
        logits: (N, C, h, w) float.
        labels: (N, h, w) uint8 or int64: 0 to C - 1, or 255.

    Returns:
        () float32, between 0 and 1.
    """
    _check_grid(logits, labels, "labels")
    valid = labels != IGNORE_LABEL
    rows = _rows(logits, valid)
    targets = labels[valid].long()
    present = torch.unique(targets).tolist()
    if not present:
        return rows.sum()
    # (C, n): a class's probabilities lie together in memory, which is what its sort reads.
    probabilities = rows.softmax(1).t().contiguous()
    losses = [_lovasz_of_one_class(probabilities[index], targets == index) for index in present]
    return torch.stack(losses).mean()


def _lovasz_of_one_class(probabilities: Tensor, foreground: Tensor) -> Tensor:
    """Args: (n,) float probabilities of a class; (n,) bool, where it is, at least one True."""
    errors = (foreground.float() - probabilities).abs()
    # Floats of 0 or more are in the order of their bits. One CPU core sorts 49,152 integers upwards in 0.5 ms,
    # downwards in 2.3 ms, and floats in 3.5 ms.
    order = (-errors.detach().view(torch.int32)).argsort()
    # Of the k worst pixels counted as wrong: 1 - IoU. Its differences are the weights of the sorted errors.
    missed = foreground[order].cumsum(0)
    wrong = torch.arange(1, len(order) + 1, device=order.device)
    total = missed[-1]
    jaccard = 1 - (total - missed).float() / (total + wrong - missed).float()
    differences = torch.cat((jaccard[:1], jaccard[1:] - jaccard[:-1]))
    return (errors[order] * differences).sum()


def kl_divergence(student_logits: Tensor, teacher_logits: Tensor, mask: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(teacher || student) of each pixel's classes, times temperature², the mean over the pixels of the mask.

    Args:
        student_logits: (N, C, h, w) float, on the teacher's grid.
        teacher_logits: (N, C, h, w) float; gets no gradient.
        mask: (N, h, w) bool, True where a pixel counts.
        temperature: divides both logits.

    Returns:
        () float32, 0 or more.
    """
    student, teacher = _pairs(student_logits, teacher_logits, mask)
    log_p, log_q = (student / temperature).log_softmax(1), (teacher / temperature).log_softmax(1)
    total = (log_q.exp() * (log_q - log_p)).sum()
    return total / max(len(student), 1) * temperature**2


def class_relation(
    student_logits: Tensor,
    teacher_logits: Tensor,
    mask: Tensor,
    *,
    inter: float = 1.0,
    intra: float = 1.0,
    temperature: float = 1.0,
    minimum_std: float = 0.0,
) -> Tensor:
    """The student shall relate classes and pixels as the teacher does: DIST.

    Huang et al., "Knowledge distillation from a stronger teacher" (NeurIPS 2022). With n pixels and C classes,
    both sides' probabilities are (n, C) tables; the inter-class term is 1 - the mean correlation of their
    rows, the intra-class term 1 - the mean correlation of their columns. The published code multiplies both
    terms by temperature², and so does this.

    Args:
        student_logits: (N, C, h, w) float, on the teacher's grid.
        teacher_logits: (N, C, h, w) float; gets no gradient.
        mask: (N, h, w) bool, True where a pixel counts.
        inter: weight of the inter-class term, which lies in [0, 2].
        intra: weight of the intra-class term, which lies in [0, 2].
        temperature: divides both logits.
        minimum_std: classes whose column of the teacher's table has a smaller standard deviation are left
            out of the intra-class term; an absent class's column is noise, and 1e-4 tells it apart.

    Returns:
        () float32.
    """
    student, teacher = _pairs(student_logits, teacher_logits, mask)
    if len(student) == 0:
        return student.sum()
    p, q = (student / temperature).softmax(1), (teacher / temperature).softmax(1)
    rows = 1 - correlation(p, q, 1).mean()
    kept = (q.std(0, correction=0) >= minimum_std).float()
    columns = ((1 - correlation(p, q, 0)) * kept).sum() / kept.sum().clamp(min=1)
    return (inter * rows + intra * columns) * temperature**2


def correlation(u: Tensor, v: Tensor, dim: int) -> Tensor:
    """Pearson's correlation along one dimension; 0 where a side is constant.

    Args:
        u, v: float32 of one shape.
        dim: the dimension that disappears.

    Returns:
        float32 in [-1, 1].
    """
    u, v = u - u.mean(dim, keepdim=True), v - v.mean(dim, keepdim=True)
    norms: Tensor = torch.linalg.vector_norm(u, dim=dim) * torch.linalg.vector_norm(v, dim=dim)
    return (u * v).sum(dim) / (norms + EPSILON)


def person_or_background(logits: Tensor, person: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy of the background against all other classes together, the mean over the pixels of the mask.

    Which class a person's pixel is, it leaves open.

    Args:
        logits: (N, C, h, w) float; the background is the first class.
        person: (N, h, w) bool: somebody is there.
        mask: (N, h, w) bool, True where a pixel counts.

    Returns:
        () float32.
    """
    _check_grid(logits, person, "person")
    _check_grid(logits, mask, "mask")
    rows, somebody = _rows(logits, mask), person[mask]
    chosen = torch.where(somebody, rows[:, 1:].logsumexp(1), rows[:, 0])
    return (rows.logsumexp(1) - chosen).sum() / max(len(rows), 1)


def left_or_right(logits: Tensor, left: int, right: int, is_left: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy of a left class against the right one, whatever both have together; summed over the mask.

    Args:
        logits: (N, C, h, w) float.
        left, right: the two classes.
        is_left: (N, h, w) bool: which one it is.
        mask: (N, h, w) bool, True where a pixel counts.

    Returns:
        () float32.
    """
    _check_grid(logits, is_left, "is_left")
    _check_grid(logits, mask, "mask")
    towards_left = (logits[:, left] - logits[:, right])[mask].float()
    return F.softplus(torch.where(is_left[mask], -towards_left, towards_left)).sum()


def on_teacher_grid(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """The student's logits, resized bilinearly to the teacher's grid.

    Args:
        student_logits: (N, C, H, W) float.
        teacher_logits: (N, C, h, w) float.

    Returns:
        (N, C, h, w) float32.
    """
    size = (int(teacher_logits.shape[-2]), int(teacher_logits.shape[-1]))
    logits = student_logits.float()
    if logits.shape[-2:] == size:
        return logits
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)


def downsample_labels(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """The label at the centre of each cell of a grid.

    A centre that falls between two pixels takes the later one, as PyTorch's ``nearest-exact`` does.

    Args:
        labels: (N, H, W) of any type.
        size: (h, w) of the grid.

    Returns:
        (N, h, w) of the same type.
    """
    rows, columns = (_centres(length, cells, labels.device) for length, cells in zip(labels.shape[-2:], size))
    return labels[:, rows[:, None], columns]


def downsample_mask(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """The mask at the centre of each cell of a grid; as :func:`downsample_labels`.

    Args:
        mask: (N, H, W) bool.
        size: (h, w) of the grid.

    Returns:
        (N, h, w) bool.
    """
    return downsample_labels(mask, size)


def _centres(length: int, cells: int, device: torch.device) -> Tensor:
    """(cells,) int64: the pixel that holds the centre of each cell, in exact arithmetic."""
    return (2 * torch.arange(cells, device=device) + 1) * length // (2 * cells)


def _rows(logits: Tensor, mask: Tensor) -> Tensor:
    """(n, C) float32: the logits of the pixels of the mask."""
    return logits.permute(0, 2, 3, 1)[mask].float()


def _pairs(student_logits: Tensor, teacher_logits: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """(n, C) float32 of each side; the teacher's cut off from the graph."""
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"the student's logits are {tuple(student_logits.shape)} and the teacher's {tuple(teacher_logits.shape)}; "
            "on_teacher_grid brings them to one grid"
        )
    _check_grid(student_logits, mask, "mask")
    return _rows(student_logits, mask), _rows(teacher_logits.detach(), mask)


def _check_grid(logits: Tensor, plane: Tensor, name: str) -> None:
    """Without this, labels of another size would be broadcast or cut silently."""
    expected = (logits.shape[0], *logits.shape[-2:])
    if tuple(plane.shape) != expected:
        raise ValueError(f"{name} are {tuple(plane.shape)}, but the logits' grid is {expected}")
