"""COCO's average precision of people's boxes: by faster-coco-eval, and drawn over images for intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...engines.machine.dependencies import require
from ..intervals import Weights
from .boxes import Boxes, Detections
from .matching import match

_RECALLS = np.linspace(0, 1, 101)
"""At which COCO reads the precision off."""


@dataclass(frozen=True)
class AveragePrecision:
    """From 0 to 1: ``ap`` over intersections over union of 0.5 to 0.95, ``ap50`` at 0.5."""

    ap: float
    ap50: float


def average_precision(
    found: Sequence[Detections], there: Sequence[Boxes], doubtful: Sequence[Boxes]
) -> AveragePrecision:
    """COCO's AP and AP50.

    Args:
        found: of each image.
        there: (n, 4) of each image.
        doubtful: (m, 4) of each image: what is found there counts neither as right nor as wrong, as crowds do not.

    Raises:
        MachineError: faster-coco-eval is not installed.
    """
    require("faster_coco_eval")
    from faster_coco_eval import COCO, COCOeval_faster

    annotations = [
        {
            "image_id": image,
            "category_id": 1,
            "bbox": [left, top, right - left, bottom - top],
            "area": (right - left) * (bottom - top),
            "iscrowd": crowd,
        }
        for crowd, boxes in ((0, there), (1, doubtful))
        for image, some in enumerate(boxes)
        for left, top, right, bottom in some.tolist()
    ]
    rows = [
        {"image_id": image, "category_id": 1, "bbox": [left, top, right - left, bottom - top], "score": score}
        for image, some in enumerate(found)
        for (left, top, right, bottom), score in zip(some.boxes.tolist(), some.scores.tolist())
    ]
    if not rows:
        return AveragePrecision(0.0, 0.0)
    labelled = COCO(
        {
            "info": {},
            "images": [{"id": image} for image in range(len(there))],
            "annotations": [{"id": number, **one} for number, one in enumerate(annotations, 1)],
            "categories": [{"id": 1, "name": "person"}],
        }
    )
    evaluation = COCOeval_faster(labelled, labelled.loadRes(rows), iouType="bbox", print_function=lambda *_: None)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    ap, ap50 = (max(float(value), 0.0) for value in evaluation.stats[:2])
    return AveragePrecision(ap, ap50)


@dataclass(frozen=True)
class Matched:
    """An image's boxes that count, the best first.

    Args:
        scores: (d,) float64.
        right: (d,) bool: whose box it is of somebody whom no better one has.
        people: who are there.
    """

    scores: NDArray[np.float64]
    right: NDArray[np.bool_]
    people: int


def matched(found: Detections, there: Boxes, doubtful: Boxes, least_overlap: float) -> Matched:
    """An image's boxes against who is there; arguments as of :func:`~trtparse.tasks.people.matching.match`."""
    right, counts = match(found, there, doubtful, least_overlap)
    return Matched(found.scores[counts], right[counts], len(there))


def precision_of(images: Sequence[Matched], weights: Weights) -> NDArray[np.float64]:
    """COCO's AP of many drawings of images, which faster-coco-eval would have to be asked for one after the other.

    Args:
        images: at one intersection over union.
        weights: (n, images): how often each was drawn.

    Returns:
        (n,) from 0 to 1; NaN where nobody is in what was drawn.
    """
    scores = np.concatenate([one.scores for one in images])
    order = np.argsort(-scores, kind="stable")
    right = np.concatenate([one.right for one in images])[order]
    image = np.repeat(np.arange(len(images)), [len(one.scores) for one in images])[order]
    people = weights @ np.array([one.people for one in images])
    if not len(order):
        return np.where(people > 0, 0.0, np.nan)
    drawn = weights[:, image]
    hits, boxes = np.cumsum(drawn * right, axis=1), np.cumsum(drawn, axis=1)
    precision = hits / np.maximum(boxes, 1)
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    found = np.full(len(weights), np.nan)
    for number in np.flatnonzero(people):
        at = np.searchsorted(hits[number] / people[number], _RECALLS)
        reached = at < len(order)
        found[number] = precision[number, at[reached]].sum() / len(_RECALLS)
    return found
