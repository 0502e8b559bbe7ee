"""Claim: two Ray workers of one thread each parse at least 0.9 times as many images per second as one process of two.

The start of Ray and of its workers is told apart from the rate: images per second are those after the first results.
One process of one thread is measured as well, for what a second worker brings, and one worker, and four where the
machine has the cores. Every run writes label maps and overlays anew; the bytes of all are compared.

python benchmarks/parse_ray.py [BUNDLE [IMAGES]]
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
from measure import machine

from trtparse.data.dataset import LabelMap
from trtparse.data.synthetic import write_lip_layout
from trtparse.engines import open_bundle
from trtparse.engines.machine.facts import cores
from trtparse.parse.images import ImagesDone, parse_images
from trtparse.parse.provenance import MadeBy
from trtparse.parse.ray import parse_on_ray
from trtparse.tasks.open import open_predictor
from trtparse.tasks.predictor import Predictor

IMAGES = 400
WORKERS = (1, 2, 4)
WARM_UP = 0.25  # of the images, before the rate is taken
CLAIM = 0.9


def opened(bundle: Path, threads: int) -> tuple[Predictor[LabelMap], MadeBy]:
    whole = open_bundle(bundle)
    predictor = open_predictor(whole, threads=threads)
    return predictor, MadeBy.of(whole, predictor.engine)


def plain(photos: Path, bundle: Path, output: Path, threads: int, progress: ImagesDone) -> None:
    cv2.setNumThreads(threads)
    predictor, made_by = opened(bundle, threads)
    with predictor:
        parse_images([photos], predictor, output, made_by=made_by, progress=progress)


def on_ray(photos: Path, bundle: Path, output: Path, workers: int, progress: ImagesDone) -> None:
    make = partial(opened, bundle.absolute(), 1)
    parse_on_ray([str(photos)], make, str(output), address="local", workers=workers, threads=1, progress=progress)


def measured(run: Callable[[ImagesDone], None]) -> dict[str, float]:
    """Seconds until the first result, and images per second from a quarter of them on."""
    started = time.perf_counter()
    times: list[float] = []
    run(lambda done, total: times.append(time.perf_counter()))
    first = int(len(times) * WARM_UP)
    rate = (len(times) - 1 - first) / (times[-1] - times[first])
    return {"seconds_to_first": round(times[0] - started, 2), "images_per_second": round(rate, 2)}


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def main() -> None:
    bundle = Path(sys.argv[1] if len(sys.argv) > 1 else "build/student")
    images = int(sys.argv[2]) if len(sys.argv) > 2 else IMAGES
    if importlib.util.find_spec("ray") is None:
        print(json.dumps({"benchmark": "parse_ray", "skipped": "Ray is not installed: pip install '.[ray]'"}))
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_lip_layout(root / "lip", 0, images, seed=1)
        photos = root / "lip" / "TrainVal_images" / "val_images"
        one = measured(partial(plain, photos, bundle, root / "one", 1))
        two = measured(partial(plain, photos, bundle, root / "two", 2))
        workers = [count for count in WORKERS if count <= cores()]
        rays = {count: measured(partial(on_ray, photos, bundle, root / f"ray{count}", count)) for count in workers}
        ray = rays[2]
        result = {
            "benchmark": "parse_ray",
            "images": images,
            "plain_1_thread": one,
            "plain_2_threads": two,
            **{f"ray_{count}_workers_of_1_thread": found for count, found in rays.items()},
            "ratio": round(ray["images_per_second"] / two["images_per_second"], 3),
            "ratio_to_1_thread": round(ray["images_per_second"] / one["images_per_second"], 3),
            "claim": CLAIM,
            "same_bytes": all(
                content(root / name) == content(root / "one") for name in ("two", *(f"ray{count}" for count in workers))
            ),
            "machine": machine(),
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
