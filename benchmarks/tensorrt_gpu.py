"""Claims on a GPU, at 256×192: FP16 is 5 × PyTorch, INT8 is 1.2 × FP16 at batch 8, copies hide, accuracy stays.

Builds FP32, FP16 and INT8 engines at three sizes and two batches, runs the tests that need a GPU, validates and times
everything, and writes one JSON document, after each step anew: a run that was cut short goes on where it stopped.

python benchmarks/tensorrt_gpu.py [--bundles FOLDER] [--torch-python PYTHON] [--data DATA]

Graphs are exported and PyTorch is timed by PYTHON, which may be another one than TensorRT's.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import machine

ROOT = Path(__file__).resolve().parents[1]
STEPS = ("bundles", "engines", "conformance", "bench", "validate")
PRECISIONS = ("fp32", "fp16", "int8")
DYNAMIC = "256x192-dynamic"


class Runner:
    """Runs commands of trtparse and keeps what they said.

    Args:
        arguments: of the command line.
        package_folder: holds the package under its name, whatever the clone is called.
    """

    def __init__(self, arguments: argparse.Namespace, package_folder: Path) -> None:
        self.arguments = arguments
        path = os.pathsep.join(filter(None, (str(package_folder), os.environ.get("PYTHONPATH"))))
        self.environment = {**os.environ, "PYTHONPATH": path}
        self.output: Path = arguments.output
        self.results: dict[str, Any] = {"machine": machine(), "runs": {}}
        if self.output.is_file():
            self.results = json.loads(self.output.read_text())

    def once(self, name: str, make: Callable[[], dict[str, Any]]) -> None:
        """Do a step that is not in the document yet, and put it there."""
        if self.results["runs"].get(name, {}).get("returned") in (0, 4):
            return
        print(f"{name} …", flush=True)
        started = time.perf_counter()
        result = make()
        result["seconds"] = round(time.perf_counter() - started, 1)
        self.results["runs"][name] = result
        partial = self.output.with_suffix(".partial")
        partial.write_text(json.dumps(self.results, indent=1) + "\n")
        partial.replace(self.output)
        state = "done" if result["returned"] == 0 else f"returned {result['returned']}: {result.get('error', '')}"
        print(f"  {state}, {result['seconds']} s", flush=True)

    def command(self, *words: str, python: str | None = None, document: bool = True) -> dict[str, Any]:
        """Run one command of trtparse; with ``--json`` where its answer is a document."""
        line = [python or sys.executable, "-m", "trtparse.cli", *words, *(["--json"] if document else [])]
        done = subprocess.run(line, capture_output=True, text=True, env=self.environment, cwd=ROOT)
        result: dict[str, Any] = {"command": ["trtparse", *words], "returned": done.returncode}
        try:
            result["document"] = json.loads(done.stdout)
        except json.JSONDecodeError:
            result["output"] = done.stdout[-2000:]
        if done.returncode != 0:
            told = result.get("document", {})
            result["error"] = told.get("error") or done.stderr[-2000:]
        return result

    def torch(self, *words: str) -> dict[str, Any]:
        # TensorRT's Python may bring libraries that another one must not find.
        clean = {
            name: value for name, value in self.environment.items() if name not in ("PYTHONHOME", "LD_LIBRARY_PATH")
        }
        other = self.arguments.torch_python != sys.executable
        kept, self.environment = self.environment, clean if other else self.environment
        try:
            return self.command(*words, python=self.arguments.torch_python)
        finally:
            self.environment = kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundles", type=Path, default=ROOT / "build" / "gpu")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "tensorrt-gpu.json")
    parser.add_argument("--torch-python", default=sys.executable)
    parser.add_argument("--data", help="to calibrate on and to validate with; synthetic people without it")
    parser.add_argument("--sizes", default="256x192,473x473,512x320")
    parser.add_argument("--batches", default="1,8")
    parser.add_argument("--seconds", default="3")
    parser.add_argument("--steps", default=",".join(STEPS))
    arguments = parser.parse_args()
    if arguments.steps != "bundles" and not has_gpu():
        print("No NVIDIA GPU here: nothing to measure.")
        return
    arguments.bundles.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "trtparse").symlink_to(ROOT)
        runner = Runner(arguments, Path(folder))
        runner.once("doctor", lambda: runner.command("doctor"))
        steps = {
            "bundles": bundles,
            "engines": engines,
            "conformance": conformance,
            "bench": bench,
            "validate": validate,
        }
        for step in arguments.steps.split(","):
            steps[step](runner)
    report(runner.results["runs"])


def has_gpu() -> bool:
    try:
        return bool(ctypes.CDLL("libcuda.so.1").cuInit(0) == 0)
    except OSError:
        return False


def cases(runner: Runner) -> list[tuple[str, Path]]:
    """Size and batch ("473x473-8") with its bundle."""
    sizes, batches = runner.arguments.sizes.split(","), runner.arguments.batches.split(",")
    names = [f"{size}-{batch}" for size in sizes for batch in batches]
    return [(name, runner.arguments.bundles / name) for name in names]


def bundles(runner: Runner) -> None:
    """Graphs from the weights that ship; needs PyTorch."""
    data = ["--data", runner.arguments.data] if runner.arguments.data else []
    for name, bundle in [*cases(runner), (DYNAMIC, runner.arguments.bundles / DYNAMIC)]:
        size, batch = name.split("-")
        words = ["--int8", "--input-size", size, "--batch", batch, "--target", "cpu", "--output", str(bundle), *data]
        quick = ["--calibration-images", "64", "--calibration", "max", "--no-validate"]
        runner.once(f"bundle {name}", lambda words=words, quick=quick: runner.torch("build", *words, *quick))


def engines(runner: Runner) -> None:
    for name, bundle in [*cases(runner), (DYNAMIC, runner.arguments.bundles / DYNAMIC)]:
        for precision in PRECISIONS:
            words = ["build", str(bundle), f"--{precision}", "--target", "tensorrt"]
            runner.once(f"engine {name} {precision}", lambda words=words: runner.command(*words))


def conformance(runner: Runner) -> None:
    """Every test that is marked so, over a bundle whose engines take any number of frames."""

    def run() -> dict[str, Any]:
        environment = {**runner.environment, "TRTPARSE_GPU_BUNDLE": str((runner.arguments.bundles / DYNAMIC).resolve())}
        line = [sys.executable, "-m", "pytest", "tests/engines", "-m", "gpu", "-q", "-p", "no:cacheprovider", "-rs"]
        done = subprocess.run(line, capture_output=True, text=True, env=environment, cwd=ROOT)
        return {"returned": done.returncode, "output": done.stdout[-8000:], "error": done.stderr[-2000:]}

    runner.once("conformance", run)


def bench(runner: Runner) -> None:
    timing = ["--seconds", runner.arguments.seconds]
    for name, bundle in cases(runner):
        ours = ["bench", str(bundle), "--target", "tensorrt", *timing]
        runner.once(f"bench {name}", lambda ours=ours: runner.command(*ours, "--layers"))
        runner.once(f"bench {name} graph", lambda ours=ours: runner.command(*ours, "--cuda-graph"))
        torch = ["bench", str(bundle), "--target", "pytorch", *timing]
        runner.once(f"bench {name} pytorch", lambda torch=torch: runner.torch(*torch))
    name, bundle = cases(runner)[0]
    runner.once(f"bench {name} cpu", lambda: runner.command("bench", str(bundle), "--target", "cpu", *timing))


def validate(runner: Runner) -> None:
    """Against the FP32 graph on the CPU, which a build has compared with PyTorch: no PyTorch is needed here."""
    data = ["--data", runner.arguments.data] if runner.arguments.data else []
    for name, bundle in cases(runner):
        for precision in PRECISIONS:
            words = ["validate", str(bundle), "--target", "tensorrt", "--precision", precision, "--no-report", *data]
            runner.once(
                f"validate {name} {precision}",
                lambda words=words: runner.command(*words, "--reference", "fp32"),
            )


def report(runs: dict[str, dict[str, Any]]) -> None:
    """Each claim with the figure that was reached."""
    torch = speeds(runs, "bench 256x192-1 pytorch").get("fp32")
    for graph in ("", " graph"):
        one, eight = (speeds(runs, f"bench 256x192-{batch}{graph}") for batch in (1, 8))
        if torch and "fp16" in one:
            ratio = torch["host_to_host"]["p50"] / one["fp16"]["host_to_host"]["p50"]
            claim(f"FP16 over PyTorch FP32, eager, batch 1{graph}", ratio, least=5)
        if {"fp16", "int8"} <= set(eight):
            ratio = eight["int8"]["frames_per_second"] / eight["fp16"]["frames_per_second"]
            claim(f"INT8 over FP16, batch 8{graph}", ratio, least=1.2)
        for precision, speed in one.items():
            claim(f"host to host over the engine alone, {precision}{graph}", speed["overhead"], most=1.15)
    for precision, most in (("fp16", 0.05), ("int8", 0.3)):
        document = runs.get(f"validate 256x192-1 {precision}", {}).get("document", {})
        for engine in document.get("engines", []):
            if engine.get("loss"):
                claim(f"loss of mIoU, {precision}, points", engine["loss"]["points"], most=most)


def speeds(runs: dict[str, dict[str, Any]], name: str) -> dict[str, dict[str, Any]]:
    """What ``trtparse bench`` measured, by precision; of PyTorch's layouts the plain one."""
    found: dict[str, dict[str, Any]] = {}
    for engine in runs.get(name, {}).get("document", {}).get("engines", []):
        found.setdefault(engine["precision"], engine)
    return found


def claim(what: str, value: float, *, least: float | None = None, most: float | None = None) -> None:
    met = (least is None or value >= least) and (most is None or value <= most)
    bound = f"at least {least:g}" if least is not None else f"at most {most:g}"
    print(f"{what:58} {value:7.3f}  ({bound})  {'met' if met else 'MISSED'}")


if __name__ == "__main__":
    main()
