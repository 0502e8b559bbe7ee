"""Made-up results, for the tests of what shows them."""

from __future__ import annotations

import cv2
import numpy as np

from trtparse.data.dataset import LabelMap
from trtparse.specs.label_set import LabelSet
from trtparse.tasks.intervals import Loss, RowLoss
from trtparse.tasks.parsing.metrics import Counts, agreement, score
from trtparse.tasks.parsing.pictures import Picture
from trtparse.tasks.parsing.task import Parsing
from trtparse.tasks.protocol import Protocol
from trtparse.tasks.scoring import Confusion, Disagreement
from trtparse.tests.predicting import LIP
from trtparse.validation.latency import Latency
from trtparse.validation.result import (
    EngineComparison,
    EngineRun,
    SkippedImage,
    ValidationResult,
    WorstImage,
)

_ABSENT = 10
"""Jumpsuits are nowhere."""

_LOW, _HIGH = 0.1, 1.2
"""Widths of the intervals, in points, halved, of the first and of the last class."""

_VERSIONS = {
    "processor": "Example CPU, 8 cores",
    "system": "Linux 6.1, x86-64",
    "python": "3.11.9",
    "trtparse": "0.1.0",
    "numpy": "2.4.6",
    "onnxruntime": "1.31.1",
    "torch": "2.13.0",
}


def made_up(
    losses: tuple[float, ...] = (0.42,),
    *,
    labelled: bool = True,
    partial: bool = False,
    dataset: str = "LIP val, 10000 images",
    images: int = 10_000,
    skipped: tuple[tuple[str, str], ...] = (),
    pictures: bool = True,
    size: tuple[int, int] = (64, 48),
    precisions: tuple[str, ...] = ("int8", "fp16", "fp32"),
    labels: LabelSet = LIP,
) -> ValidationResult:
    """A result of nothing.

    Args:
        losses: points of mean IoU, one for each engine.
        size: (height, width) of the pictures.
        labels: the label set.
    """
    rng = np.random.default_rng(1)
    counts = _counts(rng, 0.8, images, len(labels))
    support = np.minimum(counts.sum(axis=1) // 900, images)
    reference = score(counts, support, images)
    engines = tuple(
        _comparison(rng, position, precisions[position % 3], points, counts, support, images, labelled, pictures, size)
        for position, points in enumerate(losses)
    )
    return ValidationResult(
        task=Parsing(labels),
        dataset=dataset,
        images=images // 4 if partial else images,
        total=images,
        partial=partial,
        skipped=tuple(SkippedImage(name, reason) for name, reason in skipped),
        input_size=size,
        stretch=1.0,
        protocol=Protocol("ce2p"),
        tolerance=1.0,
        reference_run=EngineRun("PyTorch 2.13.0, 2 threads", "pytorch", "fp32", 402.0, _latency(rng, 40.0)),
        reference=reference if labelled else None,
        reference_confusion=_confusion(counts) if labelled else None,
        engines=engines,
        seconds=690.0,
        machine=_VERSIONS,
        created="2026-11-21T10:00:00+00:00",
    )


def _comparison(
    rng: np.random.Generator,
    position: int,
    precision: str,
    points: float,
    expected: Counts,
    support: Counts,
    images: int,
    labelled: bool,
    pictures: bool,
    size: tuple[int, int],
) -> EngineComparison:
    number = len(expected)
    losses = rng.normal(points, 0.5, number)
    counts, agreeing = _spoilt(expected, losses / 100), _counts(rng, 0.97, images, number)
    scores, agreed = score(counts, support, images), agreement(agreeing, support, images)
    classes = [
        RowLoss(middle, middle - width, middle + width)
        for middle, width in zip(losses, np.linspace(_LOW, _HIGH, number))
    ]
    return EngineComparison(
        run=EngineRun(
            f"ONNX Runtime 1.31.1, {precision}, 2 threads",
            "cpu",
            precision,
            288.0,
            _latency(rng, 28.0),
            f"build/student{position}",
        ),
        scores=scores if labelled else None,
        confusion=_confusion(counts) if labelled else None,
        agreement=agreed,
        agreement_confusion=_confusion(agreeing),
        loss=Loss(
            points,
            points - 0.31,
            points + 0.33,
            tuple(None if index == _ABSENT else loss for index, loss in enumerate(classes)),
        )
        if labelled
        else None,
        disagreement=Disagreement(1 - agreed.pixel_accuracy, 0.093, 0.71, 0.16, 0.0067),
        worst=tuple(_worst(rng, number, labelled, pictures, size) for number in range(8)),
    )


def _spoilt(counts: Counts, shares: np.ndarray) -> Counts:
    """A confusion matrix in which every class loses a share of its pixels to the background, or gains it."""
    moved = np.minimum((np.diag(counts) * shares).astype(np.int64), np.diag(counts))
    moved = np.maximum(moved, -counts[:, 0])
    moved[0] = 0
    spoilt = counts - np.diag(moved)
    spoilt[:, 0] += moved
    return spoilt


def _counts(rng: np.random.Generator, share_right: float, images: int, number: int) -> Counts:
    """A confusion matrix in which one class is nowhere."""
    pixels = images * 20_000 * rng.dirichlet(np.linspace(4, 0.4, number))
    wrong = rng.dirichlet(np.full(number, 0.2), number)
    right = np.clip(rng.normal(share_right, 0.08, number), 0.05, 0.995)
    counts = (pixels * (1 - right))[:, None] * wrong + np.diag(pixels * right)
    if number > _ABSENT:
        counts[_ABSENT], counts[:, _ABSENT] = 0, 0
    return counts.astype(np.int64)


def _confusion(counts: Counts) -> Confusion:
    return tuple(tuple(int(pixels) for pixels in row) for row in counts)


def _latency(rng: np.random.Generator, typical: float) -> Latency:
    times = typical * (1 + 0.1 * rng.gamma(2.0, 1.0, 1000))
    p50, p90, p99 = (float(value) for value in np.percentile(times, (50, 90, 99)))
    counts, edges = np.histogram(times, 24, (float(times.min()), p99))
    return Latency(p50, p90, p99, 1, 1000, tuple(map(float, edges)), tuple(map(int, counts)), int((times > p99).sum()))


def _worst(rng: np.random.Generator, number: int, labelled: bool, pictures: bool, size: tuple[int, int]) -> WorstImage:
    return WorstImage(
        name=f"{100034 + number}_{482063 + number}.jpg",
        disagreement=0.21 - 0.02 * number,
        boundary_share=0.44,
        reference=0.512 if labelled else None,
        engine=0.387 if labelled else None,
        picture=_picture(rng, labelled, size) if pictures else None,
    )


def _picture(rng: np.random.Generator, labelled: bool, size: tuple[int, int]) -> Picture:
    """A figure of ellipses, with noise, as hard to compress as a photograph."""
    truth = np.zeros(size, np.uint8)
    height, width = size
    for label, across, down, wide, high in (
        (5, 0.5, 0.42, 0.2, 0.18),
        (9, 0.5, 0.72, 0.15, 0.2),
        (13, 0.5, 0.15, 0.08, 0.08),
        (2, 0.5, 0.08, 0.08, 0.05),
        (14, 0.7, 0.42, 0.05, 0.16),
        (15, 0.3, 0.42, 0.05, 0.16),
        (18, 0.58, 0.94, 0.06, 0.03),
        (19, 0.42, 0.94, 0.06, 0.03),
    ):
        middle = (int(width * across) + int(rng.integers(-4, 5)), int(height * down))
        cv2.ellipse(truth, middle, (int(width * wide), int(height * high)), 0, 0, 360, label, -1)
    photo = np.clip(LIP.palette_bgr()[truth] * 0.5 + 60 + rng.normal(0, 12, (*size, 3)), 0, 255).astype(np.uint8)
    reference = _shifted(truth, 2)
    engine = np.where(_shifted(truth, 6) == 14, 5, _shifted(truth, 3)).astype(np.uint8)
    return Picture(photo, truth if labelled else None, reference, engine, LIP)


def _shifted(labels: LabelMap, by: int) -> LabelMap:
    return np.roll(labels, by, axis=1)
