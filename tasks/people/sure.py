"""From which score on a box is somebody: chosen on images that judge nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ...data.dataset import Images
from ...data.reading import read_frame
from ...errors import DataError, UsageError
from ..predictor import Predictor
from .matching import Shares, best_threshold, matches
from .rows import Rows, detections

BETA = 2.0
"""Recall counts twice as much as precision: whoever is missed is not parsed at all."""


def choose_sure(
    predictor: Predictor[Rows], dataset: Images, progress: Callable[[int, int], None] = lambda _, __: None
) -> Shares:
    """The score at which F2 is highest, in the middle between the last box that it takes and the first that it leaves.

    Args:
        predictor: of a finder.
        dataset: with boxes; none that a figure is told of, as the score fits it.
        progress: called with (done, total) images.

    Raises:
        UsageError: the images have no boxes.
        DataError: nobody is in them or found in them, or an image cannot be read.
    """
    if not dataset.labelled:
        raise UsageError(
            f"{dataset.description}: a score cannot be chosen where nobody says who is there.",
            "Give --sure images with people's boxes, 'synthetic' or a score.",
        )
    scorer = predictor.task.scorer(dataset, predictor.name)
    found, there, doubtful = [], [], []
    for index in range(len(dataset)):
        frame = read_frame(dataset, index, predictor.framing)
        marks = scorer.against_truth(frame, predictor.infer_one(frame.pixels))
        assert marks is not None
        found.append(detections(marks[0]))
        there.append(marks[1])
        doubtful.append(marks[2])
        progress(index + 1, len(dataset))
    best = best_threshold(found, there, doubtful, beta=BETA)
    if not best.f1:
        raise DataError(
            f"{predictor.name} finds nobody of those who are in {dataset.description}.",
            "Give --sure images like those that it was trained for.",
        )
    scores, _ = matches(found, there, doubtful)
    left = float(scores[scores < best.threshold].max(initial=0.0))
    return replace(best, threshold=(best.threshold + left) / 2)
