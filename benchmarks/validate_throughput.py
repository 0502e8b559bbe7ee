"""Claim: `trtparse validate` takes hardly longer than its engines do: at least 0.9 of their own images per second.

The engines' own time is that of the same calls on the same frames, which lie in memory, without reading, scoring or a
report. Both are taken in turns, several times, and the median ratio counts.

python benchmarks/validate_throughput.py [BUNDLE [DATA [IMAGES]]]

DATA is LIP's layout or a folder of images; without it, people are rendered into files first.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from measure import machine

from trtparse.data.dataset import Dataset, LabelMap
from trtparse.data.reading import read_frame
from trtparse.data.synthetic import write_lip_layout
from trtparse.engines import open_bundle
from trtparse.engines.base import Frames
from trtparse.tasks.open import open_predictor
from trtparse.tasks.parsing.files import open_dataset
from trtparse.tasks.predictor import Predictor
from trtparse.validation.validate import validate

IMAGES = 64
REPEATS = 3
CLAIM = 0.9


def engines_alone(predictors: list[Predictor[LabelMap]], batches: list[Frames]) -> float:
    """Seconds that the engines take for frames in memory, one after the other."""
    started = time.perf_counter()
    for predictor in predictors:
        for frames in batches:
            predictor.engine.infer(frames)
    return time.perf_counter() - started


def in_batches(dataset: Dataset, images: int, predictors: list[Predictor[LabelMap]]) -> list[Frames]:
    """The frames as validation cuts them; the last batch is filled up."""
    size = max(predictor.engine.batch or 0 for predictor in predictors) or 8
    frames = [read_frame(dataset, index, predictors[0].framing).pixels for index in range(images)]
    frames += [frames[-1]] * (-images % size)
    return [np.stack(frames[start : start + size]) for start in range(0, len(frames), size)]


def measure(bundle: Path, dataset: Dataset, images: int) -> dict[str, object]:
    opened = open_bundle(bundle)
    rates, alone_rates = [], []
    with contextlib.ExitStack() as stack:
        kinds = [("pytorch", "fp32"), *(("cpu", precision) for precision in opened.manifest.precisions)]
        predictors = [stack.enter_context(open_predictor(opened, target, precision)) for target, precision in kinds]
        batches = in_batches(dataset, images, predictors)
        engines_alone(predictors, batches[:2])
        for _ in range(REPEATS):
            alone_rates.append(images / engines_alone(predictors, batches))
            started = time.perf_counter()
            validate(predictors[0], predictors[1:], dataset, limit=images)
            rates.append(images / (time.perf_counter() - started))
    return {
        "images": images,
        "engines": [" ".join(kind) for kind in kinds],
        "validate_images_per_second": round(median(rates), 3),
        "engines_alone_images_per_second": round(median(alone_rates), 3),
        "ratio": round(median(one / other for one, other in zip(rates, alone_rates)), 3),
        "claim": CLAIM,
        "machine": machine(),
    }


def main() -> None:
    bundle = Path(sys.argv[1] if len(sys.argv) > 1 else "build/student")
    with tempfile.TemporaryDirectory() as folder:
        images = int(sys.argv[3]) if len(sys.argv) > 3 else IMAGES
        data = sys.argv[2] if len(sys.argv) > 2 else folder
        if len(sys.argv) < 3:
            write_lip_layout(Path(folder), 0, images)
        dataset = open_dataset(data)
        print(json.dumps({"benchmark": "validate_throughput", **measure(bundle, dataset, min(images, len(dataset)))}))


if __name__ == "__main__":
    main()
