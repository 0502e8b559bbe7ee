"""Claim: the CPU runtime's INT8 graph is faster than its FP32 graph and than PyTorch, on two threads.

python benchmarks/cpu_latency.py [BUNDLE]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from measure import machine, milliseconds

from trtparse.data.letterbox import Letterbox
from trtparse.data.synthetic import SyntheticPeople
from trtparse.engines import open_bundle, open_engine

THREADS = 2


def main() -> None:
    bundle = open_bundle(Path(sys.argv[1] if len(sys.argv) > 1 else "build/student"))
    image = SyntheticPeople(1)[0].image
    frame = Letterbox.fit((image.shape[0], image.shape[1]), bundle.manifest.input_size, bundle.manifest.stretch).apply(
        image
    )
    print(machine(), f"{THREADS} threads, batch 1, {bundle.manifest.input_size}")
    times: dict[str, float] = {}
    for target, precision in (("pytorch", "fp32"), ("cpu", "fp32"), ("cpu", "fp16"), ("cpu", "int8")):
        with open_engine(bundle, target, precision, threads=THREADS) as engine:
            frames = np.repeat(frame[None], engine.batch or 1, axis=0)
            times[engine.name] = milliseconds(lambda engine=engine, frames=frames: engine.infer(frames))  # type: ignore[misc]
    base = next(iter(times.values()))
    for name, value in times.items():
        print(f"{name:42} {value:7.2f} ms   {base / value:5.2f} x PyTorch")


if __name__ == "__main__":
    main()
