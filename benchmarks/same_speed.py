"""Claim: label sets, tasks and framings as values cost no speed: calibration and demo are 0.97 times as fast, or more.

The peer is an earlier tree. Both do the same work in turns, in one run, each in a process of its own: they calibrate
one graph on the same images (``mse``: ranges and histograms), and draw one video through the command, end to end, with
the INT8 graph that each has built of that graph, whole frames: how people are found has changed. What counts is the
median over the rounds of new over old.

    python benchmarks/same_speed.py OLD NEW GRAPH [--images N] [--frames N] [--rounds N] [--old-target cpu]

``OLD`` and ``NEW`` each hold a folder or a link ``trtparse``; ``GRAPH`` is an FP32 graph of LIP's classes with our
input and output, as in a bundle (``student.fp32.onnx``). Images and video are rendered by NEW. For the tree before
label sets were values:

    git worktree add /tmp/before 53ad0d4 && mkdir /tmp/old /tmp/new
    ln -s /tmp/before /tmp/old/trtparse; ln -s "$PWD" /tmp/new/trtparse
    python benchmarks/same_speed.py /tmp/old /tmp/new build/student/student.fp32.onnx
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from measure import machine

LEAST = 0.97

CALIBRATE = """
import sys, time
from pathlib import Path
import cv2, onnx
from trtparse.calibration.calibrate import calibrate
from trtparse.calibration.methods import Method
from trtparse.calibration.selection import Selection
from trtparse.data.dataset import Sample

class Kept:
    description, labelled = "kept images", False
    def __init__(self, paths):
        self.names = [path.name for path in paths]
        self._samples = [Sample(path.name, cv2.imread(str(path)), None) for path in paths]
    def __len__(self):
        return len(self.names)
    def __getitem__(self, index):
        return self._samples[index]

graph, folder, threads = sys.argv[1:]
images = Kept(sorted(Path(folder).rglob("*.jpg")))
chosen = Selection(tuple(range(len(images))), {}, 0)
started = time.perf_counter()
ranges = calibrate(onnx.load(graph), images, chosen, method=Method("mse"), threads=int(threads))
print(time.perf_counter() - started, len(ranges.limits))
"""
"""Seconds, and how many tensors have ranges."""

FILM = """
import sys
from itertools import islice
import cv2
from trtparse.data.synthetic import WalkingFigure

path, frames = sys.argv[1], int(sys.argv[2])
figure = WalkingFigure(frames, (480, 640))
writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"mp4v"), figure.fps, figure.size[::-1])
for image, _ in islice(iter(figure), frames):
    writer.write(image)
writer.release()
"""


class Tree:
    """One of the two.

    Args:
        root: holds ``trtparse``.
        target: what it calls ONNX Runtime.
        threads: of the CPU runtime.
    """

    def __init__(self, root: Path, target: str, threads: int) -> None:
        self.root, self.target, self.threads = root, target, threads

    def python(self, *words: object) -> str:
        """What a Python that imports this tree prints."""
        environment = {**os.environ, "PYTHONPATH": str(self.root.resolve())}
        command = [sys.executable, *map(str, words)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command[:6])} of {self.root} failed:\n{done.stderr}")
        return done.stdout

    def program(self, *words: object) -> str:
        """What the command prints."""
        return self.python("-m", "trtparse.cli", *words, "--threads", self.threads)

    def build(self, graph: Path, images: Path, output: Path) -> None:
        made = ("--calibration", "max", "--no-validate", "--output", output)
        self.program("build", graph, "--int8", "--data", images, *made)

    def calibrate(self, graph: Path, images: Path) -> tuple[float, int]:
        """Seconds, and how many tensors have ranges."""
        seconds, tensors = self.python("-c", CALIBRATE, graph, images, self.threads).split()
        return float(seconds), int(tensors)

    def draw(self, video: Path, bundle: Path, output: Path) -> float:
        """Frames per second, end to end."""
        where = ("--bundle", bundle, "--target", self.target, "--people", "full", "--output", output)
        return float(json.loads(self.program("demo", video, *where, "--json"))["fps"])


def measure(old: Tree, new: Tree, graph: Path, folder: Path, images: int, frames: int, rounds: int) -> dict[str, Any]:
    people, video = folder / "people", folder / "walk.mp4"
    new.python("-m", "trtparse.cli", "synthesize", people, "--train", images, "--val", 1)
    new.python("-c", FILM, video, frames)
    for name, tree in (("old", old), ("new", new)):
        tree.build(graph, people, folder / name)
    seconds: dict[str, list[float]] = {"old": [], "new": []}
    fps: dict[str, list[float]] = {"old": [], "new": []}
    for number in range(rounds):
        # Whoever comes second finds the files in memory: in turns.
        order = [("old", old), ("new", new)]
        tensors = set()
        for name, tree in order if number % 2 == 0 else reversed(order):
            took, found = tree.calibrate(graph, people)
            seconds[name].append(took)
            tensors.add(found)
            fps[name].append(tree.draw(video, folder / name, folder / f"{name}.mp4"))
        if len(tensors) > 1:
            raise SystemExit(f"The trees find ranges of {tensors} tensors: they do not do the same work.")
    return {
        "calibration_seconds": {name: round(median(values), 3) for name, values in seconds.items()},
        "frames_per_second": {name: round(median(values), 2) for name, values in fps.items()},
        "calibration_speed_ratio": round(median(a / b for a, b in zip(seconds["old"], seconds["new"])), 3),
        "demo_speed_ratio": round(median(b / a for a, b in zip(fps["old"], fps["new"])), 3),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("graph", type=Path)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--old-target", default="cpu", help="what OLD calls ONNX Runtime; onnxruntime since it knows two"
    )
    options = parser.parse_args()
    threads = len(os.sched_getaffinity(0))
    old, new = Tree(options.old, options.old_target, threads), Tree(options.new, "onnxruntime", threads)
    with tempfile.TemporaryDirectory() as name:
        found = measure(old, new, options.graph, Path(name), options.images, options.frames, options.rounds)
    told = {"benchmark": "same_speed", "images": options.images, "frames": options.frames, "rounds": options.rounds}
    print(json.dumps({**told, **found, "least": LEAST, "cores": threads, "machine": machine()}))
    return 0 if min(found["calibration_speed_ratio"], found["demo_speed_ratio"]) >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
