"""Claim: the pipeline is as fast as the cores allow, and much faster than the loop that people write.

The peer is that loop, in the same process, on the same video, with the same network, runtime, number of threads and
encoder: read, resize, normalise in NumPy, logits out, argmax in NumPy, the palette by indexing, ``addWeighted``,
write. With the same INT8 graph, on two cores, the pipeline reaches 1.4 times its frames per second in 0.75 of its CPU
time per frame; and 3 times those of the loop as it is found today, in FP32. What it reaches end to end is 0.9 of the
bound that its own CPU time sets: cores over CPU time per frame. Both draw, and the pipeline draws more: outlines,
rounded stairs and a legend.

With VIDEO the pipeline runs once more with people found, as ``trtparse demo`` does by default, each parsed on a crop of
their own: 110 frames of 768x432 a second on two cores. A frame that shows nobody costs next to nothing, so name FRAMES
in which somebody is.

All are taken in turns, several times, and the median ratio counts. The loop's graphs are the bundle's, cut behind
the normalisation and before the argmax, and are seen to give the same labels first.

python benchmarks/demo.py [BUNDLE [VIDEO [FRAMES]]]

Without VIDEO, a walking figure is rendered into one first.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
from measure import machine

from trtparse.data.dataset import Image, LabelMap
from trtparse.data.synthetic import WalkingFigure
from trtparse.demo.people.finder import PeopleFinder
from trtparse.demo.pipeline import run_demo
from trtparse.demo.sources import ArraySource, VideoSource
from trtparse.engines import open_bundle
from trtparse.specs.label_set import label_set
from trtparse.tasks.open import open_predictor
from trtparse.tasks.people.detector import PersonDetector, open_detector
from trtparse.tasks.predictor import Predictor

FRAMES = 200
REPEATS = 3
LEAST_AGREEMENT = 0.99  # NumPy normalises in float64
CLAIMS = {"fps_ratio_int8": 1.4, "cpu_ratio_int8": 0.75, "fps_ratio_fp32": 3.0, "share_of_bound": 0.9}
FPS_WITH_PEOPLE = 110
DETECT_EVERY = 5  # as the command has it
MEAN, STD = np.array([0.406, 0.456, 0.485]), np.array([0.225, 0.224, 0.229])  # BGR, as the graphs have it

Run = Callable[[], int]


class PlainWriter:
    """The encoder of both: OpenCV's MPEG-4 in this process, so that its time is counted."""

    latest_only = False
    path: Path | None = None

    def __init__(self, path: Path, fps: float, size: tuple[int, int]) -> None:
        self._writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (size[1], size[0]))

    def write(self, frame: Image, seconds: float | None = None) -> bool:
        self._writer.write(frame)
        return True

    def __enter__(self) -> PlainWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.release()


def plain_session(graph: Path, folder: Path, threads: int) -> onnxruntime.InferenceSession:
    """Of the part of a bundle's graph from the normalised picture to the logits."""
    model = onnx.load(graph)
    after = {node.input[0]: node for node in model.graph.node if node.input}
    tensor = "frames"
    while after[tensor].op_type in ("Cast", "Transpose", "Mul", "Add"):
        tensor = after[tensor].output[0]
    logits = next(node.input[0] for node in model.graph.node if node.op_type == "ArgMax")
    cut = folder / f"plain-{graph.name}"
    onnx.utils.extract_model(graph, cut, [tensor], [logits])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(cut), options, providers=["CPUExecutionProvider"])


def normalised(small: Image) -> np.ndarray[Any, np.dtype[np.float32]]:
    picture = (small / 255.0 - MEAN) / STD
    return picture.transpose(2, 0, 1)[None].astype(np.float32)


def plain_loop(session: onnxruntime.InferenceSession, video: Path, output: Path) -> int:
    """What is found in READMEs."""
    palette = label_set("lip").palette_bgr()
    name, shape = session.get_inputs()[0].name, session.get_inputs()[0].shape
    capture = cv2.VideoCapture(str(video))
    size = (int(capture.get(4)), int(capture.get(3)))
    frames = 0
    with PlainWriter(output, capture.get(cv2.CAP_PROP_FPS), size) as writer:
        while True:
            ok, frame = capture.read()
            if not ok:
                return frames
            small = cv2.resize(frame, (shape[3], shape[2]))
            logits = session.run(None, {name: normalised(small)})[0]
            labels = np.argmax(logits[0], axis=0).astype(np.uint8)
            labels = cv2.resize(labels, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
            writer.write(cv2.addWeighted(frame, 0.5, palette[labels], 0.5, 0))
            frames += 1


def pipeline(predictor: Predictor[LabelMap], video: Path, output: Path, detector: PersonDetector | None = None) -> int:
    people = None if detector is None else PeopleFinder(detector, every=DETECT_EVERY)
    with VideoSource(video) as source, PlainWriter(output, source.fps, source.size) as writer:
        return run_demo(source, predictor, [writer], people=people).frames


def measured(run: Run) -> tuple[float, float]:
    """Frames per second, and CPU seconds per frame of all threads."""
    cpu, wall = time.process_time(), time.perf_counter()
    frames = run()
    return frames / (time.perf_counter() - wall), (time.process_time() - cpu) / frames


def shortened(video: Path | None, folder: Path, frames: int) -> Path:
    """The first frames, so that every run has the same and few enough; or a walking figure."""
    path = folder / "input.mp4"
    with contextlib.ExitStack() as stack:
        if video is None:
            figure = WalkingFigure(frames, (480, 640))
            pictures: Iterator[Image] = (image for image, _ in figure)
            source: Any = ArraySource(pictures, figure.size, figure.fps)
        else:
            source = stack.enter_context(VideoSource(video))
        writer = stack.enter_context(PlainWriter(path, source.fps, source.size))
        for frame in islice(source, frames):
            writer.write(frame)
    return path


def same_labels(predictor: Predictor[LabelMap], session: onnxruntime.InferenceSession, video: Path) -> float:
    """The share of pixels on which the cut graph agrees with the bundle's."""
    capture = cv2.VideoCapture(str(video))
    frame = cv2.resize(capture.read()[1], predictor.framing.input_size[::-1])
    capture.release()
    logits = session.run(None, {session.get_inputs()[0].name: normalised(frame)})[0]
    return float((logits[0].argmax(0) == predictor.infer(frame[None])[0]).mean())


def measure(bundle: Path, video: Path, folder: Path, threads: int, *, with_people: bool) -> dict[str, object]:
    opened = open_bundle(bundle)
    graphs = {"int8": bundle / "student.int8-cpu.onnx", "fp32": bundle / "student.fp32.onnx"}
    sessions = {precision: plain_session(graph, folder, threads) for precision, graph in graphs.items()}
    with contextlib.ExitStack() as stack:
        # ONNX Runtime as in the loop: where OpenVINO computes in BF16 between, it would be another network.
        predictor = stack.enter_context(open_predictor(opened, "onnxruntime", "int8", threads=threads, streams=2))
        agreement = same_labels(predictor, sessions["int8"], video)
        if agreement < LEAST_AGREEMENT:
            raise SystemExit(f"The loop's graph agrees with the bundle's on {agreement:.3f} of the pixels only.")
        runs: dict[str, Run] = {
            "pipeline": lambda: pipeline(predictor, video, folder / "pipeline.mp4"),
            "loop_int8": lambda: plain_loop(sessions["int8"], video, folder / "loop.mp4"),
            "loop_fp32": lambda: plain_loop(sessions["fp32"], video, folder / "loop.mp4"),
        }
        if with_people:
            fastest = stack.enter_context(open_predictor(opened, "cpu", "int8", threads=threads, streams=2))
            detector = open_detector(threads=1)
            runs["people"] = lambda: pipeline(fastest, video, folder / "people.mp4", detector)
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
        for _ in range(REPEATS):
            for name, run in runs.items():
                taken[name].append(measured(run))
    rounds = list(zip(taken["pipeline"], taken["loop_int8"], taken["loop_fp32"]))
    ratios = {
        "fps_ratio_int8": median(ours[0] / int8[0] for ours, int8, _ in rounds),
        "cpu_ratio_int8": median(ours[1] / int8[1] for ours, int8, _ in rounds),
        "fps_ratio_fp32": median(ours[0] / fp32[0] for ours, _, fp32 in rounds),
        "share_of_bound": median(ours[0] * ours[1] / threads for ours, _, _ in rounds),
    }
    return {
        "frames_per_second": {name: round(median(fps for fps, _ in pairs), 2) for name, pairs in taken.items()},
        "cpu_ms_per_frame": {name: round(1e3 * median(cpu for _, cpu in pairs), 2) for name, pairs in taken.items()},
        **{name: round(value, 3) for name, value in ratios.items()},
        "claims": {**CLAIMS, "fps_with_people": FPS_WITH_PEOPLE} if with_people else CLAIMS,
        "agreement_of_cut_graph": round(agreement, 4),
    }


def main() -> None:
    bundle = Path(sys.argv[1] if len(sys.argv) > 1 else "build/student")
    video = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    frames = int(sys.argv[3]) if len(sys.argv) > 3 else FRAMES
    threads = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result = measure(bundle, shortened(video, folder, frames), folder, threads, with_people=video is not None)
    told = {"benchmark": "demo", "video": video.name if video else "a walking figure", "frames": frames, **result}
    print(json.dumps({**told, "cores": threads, "machine": machine()}))


if __name__ == "__main__":
    main()
