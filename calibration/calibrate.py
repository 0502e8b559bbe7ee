"""From a dataset to ranges: choose, letterbox, run, one image at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

from ..data.dataset import Dataset, Image
from ..data.letterbox import Letterbox
from ..errors import DataError
from .ranges import RangeCollector, Ranges
from .selection import Selection

Progress = Callable[[int, int], None]


def calibrate(
    model: onnx.ModelProto,
    dataset: Dataset,
    selection: Selection,
    *,
    threads: int = 0,
    strict: bool = False,
    progress: Progress | None = None,
) -> Ranges:
    """Collect the range of every activation over the chosen images.

    Args:
        model: FP32; where its batch is fixed, that many images go at once and the last batch is filled up
            by repeating its last image, which moves no minimum and no maximum.
        dataset: raw images; they are letterboxed here as for inference, normalised in the graph.
        selection: from :func:`~trtparse.calibration.selection.select`.
        threads: of the CPU runtime; 0 for one per core.
        strict: an unreadable image is an error instead of being skipped and listed.
        progress: called with (done, total) images.

    Raises:
        DataError: no image at all, or an unreadable one with ``strict``.
        BuildError: an activation is not finite.
    """
    shape = model.graph.input[0].type.tensor_type.shape.dim
    batch, input_size = shape[0].dim_value or 1, (shape[1].dim_value, shape[2].dim_value)
    collector = RangeCollector(model, threads)
    used: list[str] = []
    skipped: list[tuple[str, str]] = []
    waiting: list[tuple[str, Image]] = []
    for done, index in enumerate(selection.indices, 1):
        try:
            sample = dataset[index]
        except DataError as error:
            if strict:
                raise
            skipped.append((dataset.names[index], error.message))
        else:
            box = Letterbox.fit((sample.image.shape[0], sample.image.shape[1]), input_size)
            waiting.append((sample.name, box.apply(sample.image)))
            used.append(sample.name)
        if len(waiting) == batch:
            _flush(collector, waiting, batch)
        if progress is not None:
            progress(done, len(selection.indices))
    if waiting:
        _flush(collector, waiting, batch)
    if not used:
        raise DataError(
            f"INT8 needs calibration images, and none of {dataset.description} could be read.",
            skipped[0][1] if skipped else "Give --data a folder in LIP's layout or a folder of images.",
        )
    return Ranges(
        limits=collector.limits(),
        images=tuple(used),
        skipped=tuple(skipped),
        dataset=dataset.description,
        seed=selection.seed,
        classes=selection.classes,
        key=collector.key(),
    )


def _flush(collector: RangeCollector, waiting: list[tuple[str, Image]], batch: int) -> None:
    frames = [frame for _, frame in waiting]
    frames += [frames[-1]] * (batch - len(frames))
    collector.update(", ".join(name for name, _ in waiting), np.stack(frames))
    waiting.clear()
