"""Claim: on a CPU our INT8 is faster than PyTorch, eager and compiled, than on ONNX Runtime alone, and than NNCF's.

python benchmarks/cpu_peers.py [BUNDLE] [--nncf PYTHON] [--data FOLDER] [--threads 2] [--batch 1] [--rounds 5]

Each contender runs alone, in a process of its own, once a round and all in turns; its time is the least of the rounds'
medians. Beside it stand the pixels labelled as eager PyTorch labels them, on images that calibrated nothing here. NNCF
quantises the bundle's FP32 graph in an environment of its own, whose interpreter --nncf names:

    python -m venv nncf && nncf/bin/pip install nncf openvino onnx opencv-python-headless

Batches other than 1 want a bundle that was built with --batch dynamic.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from measure import machine

CALIBRATION_IMAGES = 64
JUDGED_IMAGES = 16
WARM_UP_CALLS = 10

OURS = {
    "PyTorch eager": "pytorch-eager",
    "PyTorch torch.compile": "pytorch-compiled",
    "ONNX Runtime, FP32": "onnxruntime-fp32",
    "ONNX Runtime, INT8": "onnxruntime-int8",
    "OpenVINO, FP32": "openvino-fp32",
    "OpenVINO, BF16": "openvino-bf16",
    "OpenVINO, INT8 with FP32 between": "openvino-int8-f32",
    "OpenVINO, INT8 with BF16 between": "openvino-int8-bf16",
}
NNCF = {"NNCF's INT8, FP32 between": "nncf-f32", "NNCF's INT8, BF16 between": "nncf-bf16"}
BASES = ("PyTorch eager", "PyTorch torch.compile", "ONNX Runtime, INT8", *NNCF)

Infer = Callable[[Any], Any]


def opened(kind: str, graph: Path, size: tuple[int, int], threads: int) -> Infer:
    """What gives the label maps of a batch of frames."""
    runtime, _, form = kind.partition("-")
    if runtime == "nncf":
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
        import openvino

        settings = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": form}
        request = openvino.Core().compile_model(str(graph), "CPU", settings).create_infer_request()
        return lambda frames: np.array(request.infer({"frames": frames})["labels"])
    if runtime == "openvino":
        from trtparse.engines.openvino import OpenVinoEngine

        precision, _, between = form.partition("-")
        engine = OpenVinoEngine(graph, precision, threads=threads, between=between or None)
        return lambda frames: engine.infer(frames)[0]
    if runtime == "onnxruntime":
        from trtparse.engines.cpu import CpuEngine

        plain = CpuEngine(graph, form, threads=threads)
        return lambda frames: plain.infer(frames)[0]
    import torch

    from trtparse.engines.reference import PyTorchEngine

    reference = PyTorchEngine.from_checkpoint(graph, size, threads=threads)
    if form == "compiled":
        reference._network = torch.compile(reference._network)
    return lambda frames: reference.infer(frames)[0]


def work(kind: str, graph: str, frames: str, threads: str, batch: str, seconds: str, labels: str) -> None:
    """In a process of its own: print the median of a call, and keep the label maps."""
    images, count = np.load(frames), int(batch)
    infer = opened(kind, Path(graph), images.shape[1:3], int(threads))
    batches = [images[start : start + count] for start in range(0, len(images) - count + 1, count)]
    np.save(labels, np.concatenate([infer(one) for one in batches]))
    times: list[float] = []
    end = float("inf")
    while len(times) < WARM_UP_CALLS + 5 or time.perf_counter() < end:
        if len(times) == WARM_UP_CALLS:
            end = time.perf_counter() + float(seconds)
        started = time.perf_counter()
        infer(batches[len(times) % len(batches)])
        times.append(1e3 * (time.perf_counter() - started))
    print(json.dumps(median(times[WARM_UP_CALLS:])))


def frames_of(data: str | None, bundle: Any) -> Any:
    """Images to calibrate NNCF on, and then those to judge all on."""
    from trtparse.data.images import read_image
    from trtparse.data.letterbox import Letterbox
    from trtparse.data.synthetic import SyntheticPeople

    count = CALIBRATION_IMAGES + JUDGED_IMAGES
    if data is None:
        people = SyntheticPeople(count, seed=5)
        images = [people[index].image for index in range(count)]
    else:
        paths = sorted(path for path in Path(data).rglob("*") if path.suffix.lower() in (".jpg", ".png"))
        chosen = np.linspace(0, len(paths) - 1, count).astype(int)
        images = [read_image(paths[index]) for index in chosen]
    manifest = bundle.manifest
    fitted = (Letterbox.fit(image.shape[:2], manifest.input_size, manifest.stretch).apply(image) for image in images)
    return np.stack(list(fitted))


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        work(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", nargs="?", default="build/student")
    parser.add_argument("--nncf", metavar="PYTHON")
    parser.add_argument("--data", metavar="FOLDER")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    asked = parser.parse_args()
    from trtparse.engines import open_bundle
    from trtparse.engines.openvino import capabilities_of, load_openvino

    bundle = open_bundle(asked.bundle)
    has_bf16 = "BF16" in capabilities_of(load_openvino().Core())
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        images = frames_of(asked.data, bundle)
        np.save(here / "calibration.npy", images[:CALIBRATION_IMAGES])
        np.save(here / "judged.npy", images[CALIBRATION_IMAGES:])
        contenders = {name: kind for name, kind in OURS.items() if has_bf16 or not kind.endswith("bf16")}
        if asked.nncf:
            quantiser = Path(__file__).with_name("peer_quantisers.py")
            given = [bundle.graph("fp32"), here / "calibration.npy", CALIBRATION_IMAGES, here / "nncf"]
            subprocess.run([asked.nncf, quantiser, "nncf", "openvino", *map(str, given)], check=True, stdout=sys.stderr)
            contenders |= {name: kind for name, kind in NNCF.items() if has_bf16 or not kind.endswith("bf16")}

        def graph(kind: str) -> Path:
            if kind.startswith("pytorch"):
                return bundle.weights
            if kind.startswith("nncf"):
                return here / "nncf.xml"
            return bundle.graph("int8-cpu" if "int8" in kind else "fp32")

        times: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(asked.rounds):
            for name, kind in contenders.items():
                python = asked.nncf if kind.startswith("nncf") else sys.executable
                words = [kind, graph(kind), here / "judged.npy", asked.threads, asked.batch, asked.seconds]
                command = [python, __file__, "--worker", *map(str, words), str(here / f"{kind}.npy")]
                answer = subprocess.run(command, stdout=subprocess.PIPE, text=True)
                if answer.returncode:
                    print(f"{name}: it does not run here", file=sys.stderr)
                    continue
                times[name].append(json.loads(answer.stdout.splitlines()[-1]))
        reference = np.load(here / "pytorch-eager.npy")
        pixels = {
            name: float((np.load(here / f"{kind}.npy") == reference).mean())
            for name, kind in contenders.items()
            if times[name]
        }
    least = {name: min(found) for name, found in times.items() if found}
    bases = [name for name in BASES if name in least]
    print(f"{machine()}, {asked.threads} threads, batch {asked.batch}, {asked.rounds} rounds of {asked.seconds:g} s")
    print(f"{'':34} {'ms/frame':>9} {'pixels':>8}   times as fast as: {'; '.join(bases)}")
    for name, value in least.items():
        ratios = "  ".join(f"{least[base] / value:6.2f}" for base in bases)
        print(f"{name:34} {value / asked.batch:9.2f} {100 * pixels[name]:7.2f} %   {ratios}")


if __name__ == "__main__":
    main()
