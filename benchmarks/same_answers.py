"""Claim: a change that is to change nothing changes nothing: label maps, figures, calibration ranges, graphs.

Runs the program of a tree as a person would, over the same images, and writes down what came out; another call
compares.

    PYTHONPATH=OLD python benchmarks/same_answers.py record before.json [--data FOLDER] [--images N] [--target NAME]
    PYTHONPATH=NEW python benchmarks/same_answers.py record after.json [--data FOLDER] [--images N] [--target NAME]
    python benchmarks/same_answers.py compare before.json after.json

``OLD`` and ``NEW`` each hold a folder or a link ``trtparse``. ``onnxruntime`` was called ``cpu`` once. Without
``--data`` the images are rendered people. Of the graphs everything is compared but the metadata, of the report every
number but times.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import onnx

PROGRAM = [sys.executable, "-m", "trtparse.cli"]
THREADS = ["--threads", "1"]
_OF_THE_RUN = ("seconds", "latency", "created", "machine", "versions", "digest", "schema", "bundle", "name")
_NEW = ("label_set", "spec")
_RENAMED = {"loss.classes[": "loss.rows[", ".reference_iou": ".reference", ".engine_iou": ".engine"}
"""Places in a report of schema 5, and what they are called since."""


def run(*words: object) -> None:
    subprocess.run([*PROGRAM, *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def graph_of(path: Path) -> str:
    """sha256 of an ONNX graph without its metadata."""
    model = onnx.load(path)
    del model.metadata_props[:]
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()


def numbers(value: Any, place: str = "") -> Iterator[tuple[str, float]]:
    """Every number in JSON's values, with its place; what is of the run is left out."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in _OF_THE_RUN + _NEW:
                yield from numbers(inner, f"{place}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from numbers(inner, f"{place}[{index}]")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield place, value


def renamed(place: str) -> str:
    for old, new in _RENAMED.items():
        place = place.replace(old, new)
    return place


def record(data: str | None, images: int, target: str) -> dict[str, Any]:
    """What the program makes of the images."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if data is None:
            run("synthesize", folder / "people", "--train", images, "--val", images)
            data = str(folder / "people")
        bundle, report, parsed = folder / "bundle", folder / "report", folder / "parsed"
        run("build", "--int8", "--data", data, "--calibration-images", images, "--output", bundle, *THREADS)
        run("validate", bundle, "--data", data, "--limit", images, "--report", report, "--target", target, *THREADS)
        pictures = sorted(path for path in Path(data).rglob("*.jpg"))[:images]
        run("parse", *pictures, "--bundle", bundle, "--output", parsed, "--no-overlay", "--target", target, *THREADS)
        maps = {}
        for path in sorted(parsed.glob("*.png")):
            image = cv2.imread(str(path))
            assert image is not None
            maps[path.name] = hashlib.sha256(image.tobytes()).hexdigest()
        return {
            "label maps": maps,
            "ranges": json.loads((bundle / "calibration.json").read_text())["ranges"],
            "graphs": {path.name: graph_of(path) for path in sorted(bundle.glob("*.onnx"))},
            "figures": dict(numbers(json.loads((report / "report.json").read_text()))),
        }


def compare(before: dict[str, Any], after: dict[str, Any]) -> int:
    """Print what differs; the exit code."""
    differs = 0
    for kind, values in before.items():
        other = after[kind]
        changed = sorted(key for key in values.keys() | other.keys() if values.get(key) != other.get(key))
        differs += len(changed)
        print(f"{kind}: {len(values)} before, {len(other)} after, {len(changed)} differ")
        for key in changed[:10]:
            print(f"  {key}: {values.get(key)} -> {other.get(key)}")
    return 1 if differs else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["record", "compare"])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--data")
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--target", default="onnxruntime", help="the CPU runtime; trees that know one call it cpu")
    options = parser.parse_args()
    if options.what == "record":
        (path,) = options.files
        path.write_text(json.dumps(record(options.data, options.images, options.target), indent=1))
        return 0
    before, after = (json.loads(path.read_text()) for path in options.files)
    before["figures"] = {renamed(place): value for place, value in before["figures"].items()}
    return compare(before, after)


if __name__ == "__main__":
    sys.exit(main())
