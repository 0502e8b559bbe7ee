"""COCO's average precision and recall of keypoints, by faster-coco-eval, which evaluates as pycocotools does."""

from __future__ import annotations

import copy
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...engines.machine.dependencies import require
from ...errors import UsageError
from ...specs.skeleton import Skeleton
from ...storage.json_types import JsonObject
from ..coco import Table
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


def results(people: Sequence[Person], answers: Poses, skeleton: Skeleton) -> list[JsonObject]:
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
    found: list[JsonObject] = []
    for numbers in in_image.values():
        own = np.array(numbers)
        for kept in distinct(answers[own], scores[own], np.array(skeleton.sigmas), areas[own]):
            number = own[kept]
            found.append(result(people[number].image_id, answers[number], float(scores[number])))
    return found


def result(image_id: int, keypoints: NDArray[np.float32], score: float) -> dict[str, object]:
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


class Evaluation:
    """COCO's evaluation of keypoints, image by image, so that it can be summed up of other choices of the images.

    Args:
        truth: labelled people; or COCO's file of them, whose crowds and people without joints then count as they do
            in COCO.
        found: COCO's results, one or more.
        skeleton: of both.
        images: ids that count; None for all.

    Attributes:
        images: their ids, sorted.
        told: what a reader has to know of how it was measured.

    Raises:
        MachineError: faster-coco-eval is not installed.
        UsageError: the truth has other joints.
    """

    def __init__(
        self,
        truth: People | Path,
        found: Sequence[JsonObject],
        skeleton: Skeleton,
        images: Sequence[int] | None = None,
    ) -> None:
        require("faster_coco_eval")
        from faster_coco_eval import COCO, COCOeval_faster

        table, self.told = _told(truth, skeleton)
        labelled = COCO(table)
        self._evaluation = COCOeval_faster(
            labelled,
            labelled.loadRes(list(found)),
            iouType="keypoints",
            print_function=lambda *_: None,
            separate_eval=True,
            kpt_oks_sigmas=list(skeleton.sigmas),
        )
        if images is not None:
            self._evaluation.params.imgIds = sorted(set(images))
        self._evaluation.evaluate()
        self.images: tuple[int, ...] = tuple(self._evaluation.params.imgIds)

    def figures(self) -> dict[str, float | None]:
        """By ``NAMES``; None where nobody of that size was there."""
        self._evaluation.accumulate()
        self._evaluation.summarize()
        return {name: None if value < 0 else float(value) for name, value in zip(NAMES, self._evaluation.stats)}

    def drawn(self, weights: NDArray[np.int64]) -> NDArray[np.float64]:
        """(n,) AP of each of (n, images) drawings of ``images``, an image as often as it was drawn; NaN without people.

        The library's own summing up, over its own verdicts of each image.
        """
        from faster_coco_eval.faster_eval_api_cpp import COCOevalAccumulate

        count = len(self.images)
        # Of people of any size, which come first.
        verdicts = self._evaluation._evalImgs_cpp[:count]
        parameters = copy.deepcopy(self._evaluation._paramsEval)
        parameters.areaRng, parameters.areaRngLbl = parameters.areaRng[:1], parameters.areaRngLbl[:1]
        values = []
        for row in weights:
            chosen = np.repeat(np.arange(count), row)
            parameters.imgIds = [self.images[number] for number in chosen]
            precision = np.asarray(COCOevalAccumulate(parameters, [verdicts[i] for i in chosen])["precision"])
            measured = precision[precision >= 0]
            values.append(float(measured.mean()) if measured.size else np.nan)
        return np.array(values)


def average_precision(
    truth: People | Path, found: Sequence[JsonObject], skeleton: Skeleton, images: Sequence[int] | None = None
) -> AveragePrecision:
    """COCO's figures of keypoints; arguments and errors as of :class:`Evaluation`, but that nobody may be found."""
    if not found:
        return AveragePrecision(dict.fromkeys(NAMES, 0.0), _told(truth, skeleton)[1])
    evaluation = Evaluation(truth, found, skeleton, images)
    return AveragePrecision(evaluation.figures(), evaluation.told)


def _told(truth: People | Path, skeleton: Skeleton) -> tuple[Table, tuple[str, ...]]:
    """COCO's table of the truth, and what a reader has to know of how figures of it come to be."""
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
    return table, tuple(told)


def _table(people: People) -> Table:
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
