"""Claim: of all INT8 graphs of one student, ours agree best with PyTorch, from a calibration that needs less.

Ahead of ONNX Runtime's quantize_static, NVIDIA ModelOpt and NNCF in agreement (the mean IoU with PyTorch over the
classes that it sees enough of; what a graph invents of the others stands beside it) on photographs with labels
(CCP's val split) and without (LIP's test images); no more than 0.1 mIoU lost; at most a quarter of the memory of
ONNX Runtime's entropy calibration, which does not grow with the images; in no more time than that takes.

    python benchmarks/calibration_peers.py CCP LIP [--modelopt PYTHON] [--nncf PYTHON] [--work FOLDER]

All quantise the same FP32 graph over the same letterboxed frames, which ``trtparse build`` chose from a pool of
LIP's images, on the same cores. Nobody is judged on an image of that pool. A second build, by contract, gives layers
back to FP16 until other LIP images agree by as much as asked. Graphs for TensorRT are simulated, graphs
for a CPU runtime run on it. What is not INT8 is FP32 in all of them but the build's own for TensorRT, where it is FP16.
ModelOpt and NNCF live in environments of their own, as they are no dependencies:

    python -m venv modelopt && modelopt/bin/pip install "nvidia-modelopt[onnx]" torch
    python -m venv nncf && nncf/bin/pip install nncf openvino onnx onnxruntime

With ``--work`` what is done is kept in that folder, and a second run goes on from there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from measure import machine, run
from numpy.typing import NDArray

from trtparse.data.dataset import Dataset
from trtparse.data.reading import Frame, read_frame
from trtparse.engines import Bundle, open_bundle
from trtparse.engines.cpu import CpuEngine
from trtparse.specs.label_set import LabelSet
from trtparse.storage.files import replace_bytes
from trtparse.tasks.open import open_predictor
from trtparse.tasks.parsing.files import open_dataset
from trtparse.tasks.parsing.metrics import ConfusionMatrix
from trtparse.tasks.parsing.scoring import Scorer

QUANTISERS = Path(__file__).with_name("peer_quantisers.py")
SHIPPED = Path(__file__).parent.parent / "networks" / "weights" / "student.safetensors"
HELD_OUT = 64
"""Images of the pool beyond those that calibrate, for what a build compares graphs on."""

LabelMaps = Iterable[NDArray[np.uint8]]


@dataclass(frozen=True)
class Contender:
    """A program of ``peer_quantisers.py`` with a method, and how its graph is run."""

    program: str
    method: str
    runtime: str

    @property
    def name(self) -> str:
        return f"{self.program} {self.method}"

    @property
    def environment(self) -> str:
        return self.program if self.program in ("modelopt", "nncf") else ""


CONTENDERS = (
    *(Contender("trtparse", method, "simulated") for method in ("max", "percentile", "entropy", "mse")),
    *(Contender("onnxruntime", method, "native") for method in ("MinMax", "Entropy", "Percentile")),
    *(Contender("onnxruntime-tensorrt", method, "simulated") for method in ("MinMax", "Entropy", "Percentile")),
    *(Contender("modelopt", method, "simulated") for method in ("max", "entropy")),
    Contender("nncf", "onnx", "native"),
    Contender("nncf", "openvino", "openvino"),
)
FOR_MEMORY = (
    Contender("trtparse", "entropy", "simulated"),
    Contender("onnxruntime", "Entropy", "native"),
    Contender("modelopt", "entropy", "simulated"),
    Contender("nncf", "onnx", "native"),
)


class Bench:
    """The options, the folder of results, and who can work here."""

    def __init__(self, options: argparse.Namespace, work: Path) -> None:
        self.options, self.work = options, work
        self.pythons = {"": sys.executable, "modelopt": options.modelopt, "nncf": options.nncf}
        self.missing: dict[str, str] = {}
        for name, python in self.pythons.items():
            if not name:
                continue
            if python is None:
                self.missing[name] = f"no --{name} PYTHON was given"
            elif subprocess.run([python, "-c", f"import {name}"], capture_output=True).returncode:
                self.missing[name] = f"{python} cannot import {name}"

    def kept(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The facts of a file of the work folder, made now where it is not there yet."""
        path = self.work / f"{name}.json"
        if not path.exists():
            facts = make()
            path.write_text(json.dumps(facts))
        result: dict[str, Any] = json.loads(path.read_text())
        return result

    def quantise(self, contender: Contender, model: Path, frames: Path, images: int) -> tuple[Path, dict[str, Any]]:
        """Where its graph is, without extension, and the facts of making it."""
        output = self.work / f"{contender.name.replace(' ', '-')}-{images}"

        def make() -> dict[str, Any]:
            python = self.pythons[contender.environment]
            names = [contender.program, contender.method, str(model), str(frames), str(images), str(output)]
            print(f"{contender.name}, {images} images", file=sys.stderr)
            done = subprocess.run(
                [python, str(QUANTISERS), *names, str(self.options.memory_limit)], capture_output=True, text=True
            )
            if done.returncode == 0:
                return dict(json.loads(Path(f"{output}.json").read_text()))
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            return {"failed": f"{last} (exit {done.returncode}, memory limit {self.options.memory_limit:g} GB)"}

        return output, self.kept(output.name, make)


def write_pool(bench: Bench, lip: Dataset, name: str, indices: Sequence[int]) -> Path:
    """A folder of the images, as a user has them."""
    folder = bench.work / name
    folder.mkdir(exist_ok=True)
    for index in indices:
        path = folder / f"{Path(lip.names[index]).stem}.png"
        if not path.exists():
            # Whole or not at all: a second run takes what is there.
            replace_bytes(path, cv2.imencode(".png", lip[index].image)[1].tobytes())
    return folder


def build(bench: Bench, name: str, options: Sequence[str]) -> tuple[Bundle, dict[str, Any]]:
    """The product itself over the pool: a bundle, with its time and memory."""
    bundle = bench.work / name.replace(" ", "-")

    def make() -> dict[str, Any]:
        command = [sys.executable, "-m", "trtparse.cli", "build", bench.options.student, "--int8"]
        command += ["--data", bench.work / "pool", "--calibration-images", bench.options.images]
        command += ["--threads", bench.options.threads]
        print(f"trtparse {name}", file=sys.stderr)
        seconds, memory = run([*map(str, command), "--output", str(bundle), *options])
        return {"seconds": seconds, "peak_mb": memory}

    facts = bench.kept(bundle.name, make)
    opened = open_bundle(bundle)
    return opened, facts | _contract(opened)


def _contract(bundle: Bundle) -> dict[str, Any]:
    """What a search for a budget ended with; nothing where there was none."""
    search = bundle.manifest.calibration.get("search")
    if search is None:
        return {}
    chosen = next(point for point in search["points"] if point["int8"] == search["int8"])
    return {"given_back": search["given_back"], "int8_layers": len(search["int8"]), "int8_share": chosen["share"]}


def calibration_frames(bench: Bench, bundle: Bundle) -> tuple[Path, int]:
    """The frames that the build calibrated on, in its order, then the rest of the pool up to the largest count."""
    path = bench.work / "frames.npy"
    dataset = open_dataset(bench.work / "pool", purpose="calibration")
    chosen = json.loads((bundle.path / "calibration.json").read_text())["images"]
    if not path.exists():
        position = {name: index for index, name in enumerate(dataset.names)}
        first = [position[name] for name in chosen]
        order = [*first, *sorted(set(range(len(dataset))) - set(first))]
        frames = [read_frame(dataset, index, bundle.manifest.framing).pixels for index in order]
        # A pool smaller than the counts of --memory-images is gone through again: memory does not mind.
        count = max([len(chosen), *bench.options.memory_images])
        np.save(path, np.stack([frames[index % len(frames)] for index in range(count)]))
    return path, len(chosen)


def on_cpu(graph: Path, frames: Sequence[Frame], threads: int, *, simulate: bool) -> Iterator[NDArray[np.uint8]]:
    with CpuEngine(graph, "int8", threads=threads, simulate=simulate) as engine:
        for frame in frames:
            yield engine.infer(frame.pixels[None])[0][0]


def in_openvino(bench: Bench, graph: Path, frames: Sequence[Frame], name: str) -> Iterator[NDArray[np.uint8]]:
    inputs, output = bench.work / f"{name}-judged.npy", bench.work / f"{name}-labels"
    np.save(inputs, np.stack([frame.pixels for frame in frames]))
    command = [bench.options.nncf, QUANTISERS, "openvino-labels", str(bench.options.threads), graph]
    subprocess.run([*command, inputs, str(len(frames)), output], check=True, stdout=subprocess.DEVNULL)
    yield from np.load(output.with_suffix(".npy"))


def judge(
    frames: Sequence[Frame], expected: Sequence[NDArray[np.uint8]], found: LabelMaps, label_set: LabelSet
) -> dict[str, Any]:
    """Agreement with PyTorch and, where there are labels, LIP's mIoU and the loss; in points."""
    scorer = Scorer(label_set)
    every, agreement = ConfusionMatrix(label_set), scorer.agreement_tally()
    before, after = scorer.truth_tally(), scorer.truth_tally()
    for frame, labels, mine in zip(frames, expected, found, strict=True):
        marks = scorer.against_reference(frame, labels, mine)
        agreement.add(marks)
        every.add(marks[0])
        truths = scorer.against_truth(frame, labels), scorer.against_truth(frame, mine)
        for tally, truth in zip((before, after), truths):
            if truth is not None:
                tally.add(truth)
    found_agreement = agreement.scores()
    result: dict[str, Any] = {
        "agreement": 100 * found_agreement.mean_iou,
        "pixel_agreement": 100 * found_agreement.pixel_accuracy,
        "left_out": label_set.names(found_agreement.left_out),
        "invented_pixels": found_agreement.invented_total,
        "invented_classes": label_set.names(found_agreement.invented_rows),
        "agreement_of_all_classes": 100 * every.scores().mean_iou,
        "mean_iou": None,
        "loss": None,
    }
    if after.images:
        result |= {"mean_iou": 100 * after.scores().mean_iou, "loss": before.loss_of(after).points}
    return result


def judge_everything(
    bench: Bench, bundle: Bundle, graphs: dict[str, tuple[Path, str]], sets: dict[str, list[Frame]]
) -> dict[str, dict[str, Any]]:
    """Name of a graph to the scores on each set."""
    threads = bench.options.threads
    with open_predictor(bundle, "pytorch", threads=threads) as reference:
        expected = {name: [reference.infer(frame.pixels[None])[0] for frame in frames] for name, frames in sets.items()}

    def make(name: str) -> dict[str, Any]:
        print(f"judging {name}", file=sys.stderr)
        path, runtime = graphs[name]
        result = {}
        for kind, frames in sets.items():
            if runtime == "openvino":
                found = in_openvino(bench, path, frames, kind)
            else:
                found = on_cpu(path, frames, threads, simulate=runtime == "simulated")
            result[kind] = judge(frames, expected[kind], found, bundle.manifest.spec)
        return result

    return {name: bench.kept(f"score-{name.replace(' ', '-')}", partial(make, name)) for name in graphs}


def table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def figure(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def measure(bench: Bench) -> dict[str, Any]:
    options = bench.options
    ccp, lip = open_dataset(options.ccp, "val"), open_dataset(options.lip, purpose="calibration")
    order = [int(index) for index in np.random.default_rng(options.seed).permutation(len(lip))]
    # In this order, none twice: those that calibrate, those the table is of, those that judge for the contract.
    ends = np.cumsum([options.images + HELD_OUT, options.lip_images, options.contract_images])
    pool, table_of, judging = order[: ends[0]], order[ends[0] : ends[1]], order[ends[1] : ends[2]]
    write_pool(bench, lip, "pool", pool)
    promised = f"--min-agreement {options.min_agreement:g}"
    contract = [*promised.split(), "--held-out", str(write_pool(bench, lip, "judging", judging))]
    facts: dict[str, dict[str, Any]] = {}
    graphs: dict[str, tuple[Path, str]] = {}
    bundles: list[Bundle] = []
    for name, given in (("build", options.build_options), (f"build {promised}", contract)):
        made, facts[f"trtparse {name}"] = build(bench, name, given)
        graphs[f"trtparse {name}"] = (made.graph("int8"), "simulated")
        graphs[f"trtparse {name}, CPU"] = (made.graph("int8-cpu"), "native")
        bundles.append(made)
    bundle = bundles[0]
    model = bundle.graph("fp32")
    frames, images = calibration_frames(bench, bundle)
    for contender in CONTENDERS:
        if contender.environment in bench.missing or contender.program not in options.programs:
            continue
        output, facts[contender.name] = bench.quantise(contender, model, frames, images)
        if "failed" in facts[contender.name]:
            continue
        suffix = ".xml" if contender.runtime == "openvino" else ".onnx"
        graphs[contender.name] = (output.with_suffix(suffix), contender.runtime)
        if contender.program == "trtparse":
            graphs[f"{contender.name}, CPU"] = (output.with_suffix(".cpu.onnx"), "native")
    memory = {
        contender.name: {str(n): bench.quantise(contender, model, frames, n)[1] for n in options.memory_images}
        for contender in FOR_MEMORY
        if contender.environment not in bench.missing and contender.program in options.programs
    }
    framing = bundle.manifest.framing
    judged = {
        "ccp": [read_frame(ccp, index, framing) for index in range(min(options.ccp_images, len(ccp)))],
        "lip": [read_frame(lip, index, framing) for index in table_of],
    }
    scores = judge_everything(bench, bundle, graphs, judged)
    return {
        "benchmark": "calibration_peers",
        "machine": machine(),
        "threads": options.threads,
        "calibration_images": images,
        "judged_images": {name: len(frames) for name, frames in judged.items()},
        "graphs": {name: {"runtime": runtime, **scores[name]} for name, (_, runtime) in graphs.items()},
        "calibration": facts,
        "memory": memory,
        "missing": bench.missing,
    }


def show(result: dict[str, Any]) -> None:
    print(f"{result['machine']}, {result['threads']} threads, {result['calibration_images']} calibration images")
    counts = result["judged_images"]
    agreement = (f"agreement, {counts['ccp']} CCP", f"{counts['lip']} LIP")
    judged = ("pixels, CCP", "LIP", "invented, CCP", "LIP", "mIoU CCP", "lost")
    rows = [["graph", "runs", *agreement, *judged, "s", "MB"]]
    for name, scores in result["graphs"].items():
        cost = result["calibration"].get(name, {})
        ccp, lip = scores["ccp"], scores["lip"]
        agreed = [ccp["agreement"], lip["agreement"], ccp["pixel_agreement"], lip["pixel_agreement"]]
        invented = [f"{one['invented_pixels']} ({len(one['invented_classes'])})" for one in (ccp, lip)]
        spent = [figure(cost.get("seconds"), 1), figure(cost.get("peak_mb"), 0)]
        cells = [*map(figure, agreed), *invented, *map(figure, (ccp["mean_iou"], ccp["loss"])), *spent]
        rows.append([name, scores["runtime"], *cells])
    print(table(rows))
    print("invented: pixels (classes) given to classes that the agreement leaves out, and by PyTorch to others")
    # The same for every graph, as it hangs on PyTorch alone.
    for name, found in next(iter(result["graphs"].values())).items():
        if name in counts:
            print(f"left out of the agreement, {name.upper()}: {', '.join(found['left_out'])}")
    for name, facts in result["calibration"].items():
        if "failed" in facts:
            print(f"{name} failed: {facts['failed']}")
        if "given_back" in facts:
            share = f"{100 * facts['int8_share']:.1f} % of the multiply-adds"
            print(f"{name}: {facts['int8_layers']} layers in INT8, {share}; in FP16: {', '.join(facts['given_back'])}")
    print("\npeak memory, MB (seconds), by number of calibration images")
    for name, by_count in result["memory"].items():
        cells = [
            f"{count}: {facts.get('failed') or '{peak_mb:.0f} ({seconds:.0f})'.format_map(facts)}"
            for count, facts in by_count.items()
        ]
        print(f"{name:24} {'   '.join(cells)}")
    for name, reason in result["missing"].items():
        print(f"left out: {name}: {reason}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("ccp", help="photographs with label maps, in LIP's layout; val is used")
    parser.add_argument("lip", help="LIP, or any images: calibration, and agreement on others of them")
    parser.add_argument("--student", type=Path, default=SHIPPED, help="checkpoint; the one that comes along")
    for peer in ("modelopt", "nncf"):
        parser.add_argument(f"--{peer}", metavar="PYTHON", help=f"interpreter of an environment that has {peer}")
    programs = sorted({contender.program for contender in CONTENDERS})
    parser.add_argument("--programs", nargs="*", default=programs, choices=programs, help="beside our builds; all")
    parser.add_argument("--images", type=int, default=256, help="that calibrate")
    parser.add_argument("--ccp-images", type=int, default=139)
    parser.add_argument("--lip-images", type=int, default=1000)
    parser.add_argument("--min-agreement", type=float, default=98, help="of the build that gives layers back")
    parser.add_argument("--contract-images", type=int, default=256, help="that judge for it, other images of LIP")
    parser.add_argument("--memory-images", type=int, nargs="*", default=[64, 500, 1024])
    parser.add_argument("--memory-limit", type=float, default=free_memory(), metavar="GB", help="of each quantiser")
    parser.add_argument("--threads", type=int, default=2, help="and cores that everybody is held to")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--build-options", nargs=argparse.REMAINDER, default=[], help="the rest goes to trtparse build")
    parser.add_argument("--work", type=Path, help="folder for graphs and figures; a second run goes on from it")
    return parser.parse_args()


def free_memory() -> float:
    """Nine tenths of what is free now, in GB."""
    return round(0.9 * os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1)


def main() -> None:
    options = parse()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary) if options.work is None else options.work
        work.mkdir(parents=True, exist_ok=True)
        # What may differ when a run is taken up again: where the peers are, and how much memory is free now.
        free = ("work", "modelopt", "nncf", "memory_limit")
        wanted = {name: str(value) for name, value in vars(options).items() if name not in free}
        bench = Bench(options, work)
        if bench.kept("options", lambda: wanted) != wanted:
            raise SystemExit(f"{work} holds a run with other options; give another --work.")
        result = measure(bench)
    show(result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
