"""COCO's average precision of people's boxes, by faster-coco-eval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...engines.machine.dependencies import require
from .boxes import Boxes, Detections


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
