"""COCO's average precision and recall of keypoints, by faster-coco-eval, which evaluates as pycocotools does."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engines.machine.dependencies import require
from ...errors import UsageError
from ...specs.skeleton import Skeleton
from .oks import AREA_OF_BOX, Poses, distinct, person_scores
from .people import People, Person

NAMES = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")


@dataclass(frozen=True)
class AveragePrecision:
    """COCO's figures, each from 0 to 1, or None where nobody of that size was there.

    Args:
        figures: by ``NAMES``; m and l are people of medium size and large ones.
        told: what a reader has to know of how they were measured.
    """

    figures: dict[str, float | None]
    told: tuple[str, ...] = ()

    @property
    def value(self) -> float | None:
        """AP, the mean over similarities of 0.5 to 0.95."""
        return self.figures["AP"]


def results(people: Sequence[Person], answers: Poses, skeleton: Skeleton) -> list[dict[str, Any]]:
    """COCO's results of people whose boxes were given: scored anew, and nobody twice.

    A person's score is the box's times the mean score of the joints above 0.2; of two answers in one image that are
    alike by 0.9 the lower falls away.

    Args:
        people: whose boxes were given.
        answers: (N, K, 3) in pixels of their images.
        skeleton: of the K joints.
    """
    scores = person_scores(answers, np.array([person.score for person in people]))
    areas = np.array([person.box[2] * person.box[3] for person in people])
    in_image = defaultdict(list)
    for number, person in enumerate(people):
        in_image[person.image_id].append(number)
    found = []
    for numbers in in_image.values():
        own = np.array(numbers)
        for kept in distinct(answers[own], scores[own], np.array(skeleton.sigmas), areas[own]):
            number = own[kept]
            found.append(result(people[number].image_id, answers[number], float(scores[number])))
    return found


def result(image_id: int, keypoints: NDArray[np.float32], score: float) -> dict[str, Any]:
    """One entry of COCO's results.

    Args:
        image_id: of the image.
        keypoints: (K, 3) x, y and score.
        score: of the person.
    """
    values = np.where(np.isfinite(keypoints), keypoints, 0).astype(np.float64)
    return {
        "image_id": image_id,
        "category_id": 1,
        "keypoints": [round(float(value), 4) for value in values.ravel()],
        "score": round(score, 6),
    }


def average_precision(
    truth: People | Path, found: Sequence[Mapping[str, Any]], skeleton: Skeleton, images: Sequence[int] | None = None
) -> AveragePrecision:
    """COCO's figures of keypoints.

    Args:
        truth: labelled people; or COCO's file of them, whose crowds and people without joints then count as they do
            in COCO.
        found: COCO's results.
        skeleton: of both.
        images: ids that count; None for all.

    Raises:
        MachineError: faster-coco-eval is not installed.
        UsageError: the truth has other joints.
    """
    require("faster_coco_eval")
    from faster_coco_eval import COCO, COCOeval_faster

    told = []
    if isinstance(truth, People):
        if truth.skeleton.joints != skeleton.joints:
            raise UsageError(
                f"AP cannot be measured: the labels' joints are those of {truth.skeleton.name}, the network's those of "
                f"{skeleton.name}.",
                "Ask for PCK, which goes by the joints that both have.",
            )
        table = _table(truth)
        if any(person.area <= 0 for person in truth.people):
            told.append(f"areas are {AREA_OF_BOX} of the boxes")
    else:
        table = json.loads(truth.read_text("utf-8"))
    if skeleton.name != "coco17":
        told.append(f"sigmas are {skeleton.name}'s: {', '.join(f'{sigma:g}' for sigma in skeleton.sigmas)}")
    if not found:
        return AveragePrecision(dict.fromkeys(NAMES, 0.0), tuple(told))
    labelled = COCO(table)
    evaluation = COCOeval_faster(
        labelled,
        labelled.loadRes(list(found)),
        iouType="keypoints",
        print_function=lambda *_: None,
        kpt_oks_sigmas=list(skeleton.sigmas),
    )
    if images is not None:
        evaluation.params.imgIds = sorted(set(images))
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    figures = {name: None if value < 0 else float(value) for name, value in zip(NAMES, evaluation.stats)}
    return AveragePrecision(figures, tuple(told))


def _table(people: People) -> dict[str, Any]:
    """COCO's annotations of people."""
    images = {person.image_id: person.image.name for person in people.people}
    annotations = []
    for number, person in enumerate(people.people, 1):
        area = person.area or AREA_OF_BOX * person.box[2] * person.box[3]
        labelled = person.joints[:, 2] > 0
        annotations.append(
            {
                "id": number,
                "image_id": person.image_id,
                "category_id": 1,
                "iscrowd": 0,
                "keypoints": [float(value) for value in (person.joints * labelled[:, None]).ravel()],
                "num_keypoints": int(labelled.sum()),
                "bbox": list(person.box),
                "area": float(area),
            }
        )
    category = {"id": 1, "name": "person", "keypoints": list(people.skeleton.joints)}
    return {
        "info": {},
        "images": [{"id": number, "file_name": name} for number, name in images.items()],
        "annotations": annotations,
        "categories": [category],
    }
