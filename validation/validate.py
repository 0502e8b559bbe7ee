"""Run a reference and an engine over a dataset and compare: with the labels, and with each other."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.dataset import Dataset, Image, LabelMap
from ..data.letterbox import Letterbox
from ..engines.base import Engine, Frames, LabelMaps
from ..errors import DataError, UsageError
from ..labels import NUM_CLASSES
from .metrics import ConfusionMatrix, Scores

SCHEMA_VERSION = 1

_FREE_BATCH = 8
"""Images at a time where neither engine asks for a number of its own."""

_ROUNDING = 1e-9
"""A loss that is the tolerance but for the last bits of a float passes."""


@dataclass(frozen=True)
class EngineRun:
    """One of the two engines that were compared.

    Args:
        name: what ran ("ONNX Runtime 1.31.1, 2 threads").
        target: the word that the command line knows it by.
        precision: ``fp32``, ``fp16`` or ``int8``.
        seconds: time spent in inference; no benchmark, as batches are small and nothing overlaps.
    """

    name: str
    target: str
    precision: str
    seconds: float = 0.0


@dataclass(frozen=True)
class ValidationResult:
    """What :func:`validate` found. Scores are fractions of 1; ``loss`` and ``tolerance`` are points of 100.

    Args:
        dataset: what the images are.
        images: how many were compared.
        skipped: name and reason for every image that could not be read.
        input_size: (height, width) of the networks' input.
        reference_run, engine_run: what ran.
        reference, engine: LIP's scores; None where the images have no labels.
        agreement: the engine scored against the reference's label maps, at the networks' input size, without
            the borders of the letterbox: ``pixel_accuracy`` is the share of equal pixels.
        loss: mean IoU of the reference minus that of the engine, in points; None where there are no labels.
        tolerance: the largest loss that passes.
    """

    dataset: str
    images: int
    skipped: tuple[tuple[str, str], ...]
    input_size: tuple[int, int]
    reference_run: EngineRun
    engine_run: EngineRun
    reference: Scores | None
    engine: Scores | None
    agreement: Scores
    loss: float | None
    tolerance: float

    @property
    def labelled(self) -> bool:
        """Whether there were labels to score against. If not, only the agreement is known, and it always passes."""
        return self.loss is not None

    @property
    def passed(self) -> bool:
        """Whether the loss is within the tolerance; True where there are no labels to lose anything on."""
        return self.loss is None or self.loss <= self.tolerance + _ROUNDING

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON knows it."""
        return {
            "schema": SCHEMA_VERSION,
            "dataset": self.dataset,
            "images": self.images,
            "skipped": [{"name": name, "reason": reason} for name, reason in self.skipped],
            "input_size": list(self.input_size),
            "reference_run": vars(self.reference_run).copy(),
            "engine_run": vars(self.engine_run).copy(),
            "reference": None if self.reference is None else self.reference.to_dict(),
            "engine": None if self.engine is None else self.engine.to_dict(),
            "agreement": self.agreement.to_dict(),
            "loss": self.loss,
            "tolerance": self.tolerance,
            "passed": self.passed,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ValidationResult:
        """The inverse of :meth:`to_dict`.

        Raises:
            DataError: ``values`` were written by another version.
        """
        if values.get("schema") != SCHEMA_VERSION:
            raise DataError(
                f"This validation result has schema {values.get('schema')!r}, not {SCHEMA_VERSION}.",
                "Run the validation again.",
            )
        height, width = values["input_size"]
        scores = {
            key: None if values[key] is None else Scores.from_dict(values[key]) for key in ("reference", "engine")
        }
        return cls(
            dataset=values["dataset"],
            images=values["images"],
            skipped=tuple((entry["name"], entry["reason"]) for entry in values["skipped"]),
            input_size=(height, width),
            reference_run=EngineRun(**values["reference_run"]),
            engine_run=EngineRun(**values["engine_run"]),
            reference=scores["reference"],
            engine=scores["engine"],
            agreement=Scores.from_dict(values["agreement"]),
            loss=values["loss"],
            tolerance=values["tolerance"],
        )


def validate(
    reference: Engine,
    engine: Engine,
    dataset: Dataset,
    *,
    tolerance: float = 1.0,
    strict: bool = False,
    progress: Callable[[int, int], None] | None = None,
    limit: int | None = None,
) -> ValidationResult:
    """Compare an engine with its reference on every image of a dataset.

    Both see the same letterboxed frames. By LIP's protocol their label maps go back to the size of the image by
    nearest neighbour, and all images are counted in one confusion matrix (never averaged image by image).
    What is in memory at a time is one batch.

    Args:
        reference: the network to match, usually PyTorch.
        engine: the engine to judge; ``input_size`` as the reference.
        tolerance: the largest loss of mean IoU that passes, in points of 100.
        strict: raise at the first image that cannot be read, instead of leaving it out and saying so.
        progress: called after every batch with the number of images seen and the number there are.
        limit: look at the first so many images only.

    Raises:
        UsageError: the engines differ in input size, ``tolerance`` or ``limit`` makes no sense, or a label map
            holds something that is no class.
        DataError: no image could be read; with ``strict``, one could not.
    """
    _check(reference, engine, tolerance, limit)
    total = len(dataset) if limit is None else min(limit, len(dataset))
    step = engine.batch or reference.batch or _FREE_BATCH
    comparison = _Comparison(reference, engine, dataset.labelled)
    skipped: list[tuple[str, str]] = []
    for start in range(0, total, step):
        stop = min(start + step, total)
        loaded = (_load(dataset, index, reference.input_size, strict, skipped) for index in range(start, stop))
        batch = [item for item in loaded if item is not None]
        if batch:
            comparison.add(batch)
        if progress is not None:
            progress(stop, total)
    if comparison.agreement.images == 0:
        first = f" {skipped[0][0]}: {skipped[0][1]}" if skipped else ""
        raise DataError(f"No usable image in {dataset.description}.{first}", "Check the dataset.")
    limited = "" if total == len(dataset) else f", the first {total} of them"
    return comparison.result(f"{dataset.description}{limited}", tuple(skipped), tolerance)


def _check(reference: Engine, engine: Engine, tolerance: float, limit: int | None) -> None:
    if reference.input_size != engine.input_size:
        (rh, rw), (eh, ew) = reference.input_size, engine.input_size
        raise UsageError(
            f"The engines differ in input size: {reference.name} takes {rh}x{rw} (height x width), "
            f"{engine.name} takes {eh}x{ew}.",
            "Compare an engine with the network it was built from.",
        )
    if not tolerance >= 0:
        raise UsageError(f"A tolerance of {tolerance} points makes no sense.", "Give 0 or more, such as 1.0.")
    if limit is not None and limit < 1:
        raise UsageError(f"A limit of {limit} images leaves nothing to compare.", "Give 1 or more.")


@dataclass(frozen=True)
class _Item:
    """An image on its way through the engines."""

    frame: Image
    letterbox: Letterbox
    labels: LabelMap | None


def _load(
    dataset: Dataset, index: int, input_size: tuple[int, int], strict: bool, skipped: list[tuple[str, str]]
) -> _Item | None:
    """The frame of one image; None, and a line in ``skipped``, where it cannot be read."""
    try:
        sample = dataset[index]
        labels = sample.labels if dataset.labelled else None
        if dataset.labelled and (labels is None or labels.shape != sample.image.shape[:2]):
            raise DataError(f"{sample.name} has no label map of the size of its image.", "Check the dataset.")
    except DataError as error:
        if strict:
            raise
        skipped.append((dataset.names[index], error.message))
        return None
    height, width = sample.image.shape[:2]
    letterbox = Letterbox.fit((height, width), input_size)
    return _Item(letterbox.apply(sample.image), letterbox, labels)


def _infer(engine: Engine, frames: Frames) -> LabelMaps:
    """Label maps of any number of frames: a fixed batch is filled up by repeating the last frame."""
    count, size = len(frames), engine.batch or len(frames)
    missing = -count % size
    if missing:
        frames = np.concatenate([frames, np.repeat(frames[-1:], missing, axis=0)])
    parts = [engine.infer(frames[start : start + size]) for start in range(0, len(frames), size)]
    maps = np.concatenate(parts)[:count] if len(parts) > 1 else parts[0][:count]
    if int(maps.max()) >= NUM_CLASSES:
        raise UsageError(
            f"{engine.name} labels pixels {int(maps.max())}; LIP-20 ends at {NUM_CLASSES - 1}.",
            "Use a network with LIP's 20 classes.",
        )
    return maps


class _Comparison:
    """The three confusion matrices, and the time it took to fill them."""

    def __init__(self, reference: Engine, engine: Engine, labelled: bool) -> None:
        self._engines = (reference, engine)
        self._seconds = [0.0, 0.0]
        self._matrices = (ConfusionMatrix(), ConfusionMatrix())
        self._labelled = labelled
        self.agreement = ConfusionMatrix()

    def add(self, batch: list[_Item]) -> None:
        frames = np.stack([item.frame for item in batch])
        maps: list[LabelMaps] = []
        for number, engine in enumerate(self._engines):
            started = time.perf_counter()
            maps.append(_infer(engine, frames))
            self._seconds[number] += time.perf_counter() - started
        for item, expected, found in zip(batch, *maps):
            box = item.letterbox
            inside = np.s_[box.top : box.top + box.height, box.left : box.left + box.width]
            self.agreement.update(expected[inside], found[inside])
            if item.labels is not None:
                for matrix, labels in zip(self._matrices, (expected, found)):
                    matrix.update(item.labels, box.restore(labels))

    def result(self, dataset: str, skipped: tuple[tuple[str, str], ...], tolerance: float) -> ValidationResult:
        reference, engine = (matrix.scores() if self._labelled else None for matrix in self._matrices)
        runs = [
            EngineRun(engine.name, engine.target, engine.precision, seconds)
            for engine, seconds in zip(self._engines, self._seconds)
        ]
        return ValidationResult(
            dataset=dataset,
            images=self.agreement.images,
            skipped=skipped,
            input_size=self._engines[0].input_size,
            reference_run=runs[0],
            engine_run=runs[1],
            reference=reference,
            engine=engine,
            agreement=self.agreement.scores(),
            loss=None if reference is None or engine is None else 100 * (reference.mean_iou - engine.mean_iou),
            tolerance=tolerance,
        )
