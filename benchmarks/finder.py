"""Claim: the shipped finder finds whom its teacher finds, and INT8 costs little of that.

Exports a checkpoint, calibrates it, writes INT8 for ONNX Runtime (the graph that comes with the package is one), and
judges FP32 and INT8 against a detector's boxes: those with a score of 0.5 or more that are at least 12 pixels high at
the finder's input are to be found, at an intersection over union of 0.5. ``--judge`` takes files of ``trtparse find``
with the folder of their images; the least of 31 runs on one thread is the latency.

    python benchmarks/finder.py finder.safetensors --calibrate FOLDER --judge street.json FOLDER [--graph finder.onnx]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import onnx
from measure import machine

from trtparse.calibration.calibrate import collect, ranges_of
from trtparse.calibration.methods import Method
from trtparse.calibration.quantise.cpu import quantise_for_cpu
from trtparse.calibration.quantise.lint import check
from trtparse.calibration.quantise.placement import place
from trtparse.calibration.quantise.qdq import quantise
from trtparse.calibration.selection import Selection
from trtparse.data.letterbox import Letterbox
from trtparse.engines.cpu import CpuEngine
from trtparse.graphs.half import to_half
from trtparse.networks.finder_checkpoint import load_finder
from trtparse.tasks.parsing.files import ImageFolder
from trtparse.tasks.people.average_precision import average_precision
from trtparse.tasks.people.boxes import Boxes, Detections
from trtparse.tasks.people.found import read_found
from trtparse.tasks.people.matching import Shares, at_threshold, best_threshold
from trtparse.tasks.people.rows import without_doubles
from trtparse.trt_builder.export import export_onnx

SURE, LEAST_HEIGHT = 0.5, 12
RUNS = 31


class Judged:
    """Images in frames, with those who are to be found and those who are not asked about."""

    def __init__(self, boxes: Path, images: Path, size: tuple[int, int]) -> None:
        self.name = boxes.stem
        self.frames: list[np.ndarray] = []
        self.there: list[Boxes] = []
        self.others: list[Boxes] = []
        for found in read_found(boxes, images):
            letterbox = Letterbox.fit(found.size, size, 1.0)
            self.frames.append(letterbox.apply(found.read()))
            across, down = letterbox.width / found.size[1], letterbox.height / found.size[0]
            placed = found.people.boxes * [across, down, across, down] + [letterbox.left, letterbox.top] * 2
            counts = (found.people.scores >= SURE) & (placed[:, 3] - placed[:, 1] >= LEAST_HEIGHT)
            self.there.append(placed[counts])
            self.others.append(placed[~counts])


def people_in(engine: CpuEngine, frames: list[np.ndarray]) -> list[Detections]:
    """One box a person, at least as high as those that count."""
    found = []
    for frame in frames:
        one = without_doubles(engine.infer(frame[None])[0][0])
        high = one.boxes[:, 3] - one.boxes[:, 1] >= LEAST_HEIGHT
        found.append(Detections(one.boxes[high], one.scores[high]))
    return found


def milliseconds(engine: CpuEngine, frame: np.ndarray) -> float:
    times = []
    for _ in range(RUNS):
        started = time.perf_counter()
        engine.infer(frame[None])
        times.append(time.perf_counter() - started)
    return 1e3 * min(times)


def row(shares: Shares) -> dict[str, float]:
    return {
        "threshold": round(shares.threshold, 3),
        "recall": round(100 * shares.recall, 1),
        "precision": round(100 * shares.precision, 1),
        "f1": round(100 * shares.f1, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--calibrate", type=Path, required=True, help="folder of images")
    parser.add_argument("--images", type=int, default=128, help="of them")
    parser.add_argument("--method", default="mse")
    parser.add_argument("--judge", nargs=2, type=Path, action="append", required=True)
    parser.add_argument("--graph", type=Path, help="where INT8 for ONNX Runtime goes")
    options = parser.parse_args()

    checkpoint = load_finder(options.checkpoint)
    model = export_onnx(checkpoint)
    images = ImageFolder(options.calibrate)
    chosen = tuple(int(index) for index in np.linspace(0, len(images) - 1, min(options.images, len(images))))
    statistics = collect(model, images, Selection(chosen, {}, 0), histograms=True, threads=1)
    ranges, placement = ranges_of(statistics, Method.parse(options.method)), place(model)
    check(to_half(quantise(model, placement, ranges)))
    int8 = quantise_for_cpu(model, placement, ranges)
    if options.graph is not None:
        onnx.save(int8, options.graph)

    sets = [Judged(boxes, folder, checkpoint.framing.input_size) for boxes, folder in options.judge]
    there = [boxes for one in sets for boxes in one.there]
    others = [boxes for one in sets for boxes in one.others]
    nobody = [np.zeros((0, 4))] * len(there)
    result: dict[str, object] = {"machine": machine(), "float layers": dict(placement.higher_precision)}
    threshold = None
    for name, graph in (("fp32", model), ("int8", int8)):
        with CpuEngine(graph, name, threads=1) as engine:
            found = {one.name: people_in(engine, one.frames) for one in sets}
            every = [detections for some in found.values() for detections in some]
            best = best_threshold(every, there, nobody)
            threshold = best.threshold if threshold is None else threshold
            precision = average_precision(every, there, nobody)
            result[name] = {
                "milliseconds": round(milliseconds(engine, sets[0].frames[0]), 2),
                "ap50": round(100 * precision.ap50, 2),
                "ap": round(100 * precision.ap, 2),
                "best": row(best),
                "best, not counting what the teacher doubts": row(best_threshold(every, there, others)),
                "at the threshold of fp32": row(at_threshold(every, there, nobody, threshold)),
                **{one.name: row(best_threshold(found[one.name], one.there, nobody[: len(one.there)])) for one in sets},
            }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
