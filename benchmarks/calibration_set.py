"""Does it matter which images calibrate? Chosen against random against the first ones, by the INT8 graph's agreement.

Each set calibrates the bundle's FP32 graph; its INT8 graph, simulated, is compared with PyTorch on images that
calibrated nothing: held-out ones of the same data, and another dataset's where --judge names one. Rows that are
finished are kept, so a killed run goes on.

python benchmarks/calibration_set.py BUNDLE --data LIP --split test [--judge CCP20] [--sizes 32 128 512]
    [--seeds 0 1 2 3 4]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import onnx
from measure import machine

from trtparse.calibration.budget.judge import GraphJudge
from trtparse.calibration.calibrate import collect, ranges_of
from trtparse.calibration.methods import Method
from trtparse.calibration.quantise.placement import place
from trtparse.calibration.quantise.qdq import quantise
from trtparse.calibration.selection import Predictions, Selection, predictions_of, select
from trtparse.data.dataset import Dataset, LabelMap, Sample
from trtparse.engines import open_bundle
from trtparse.storage.files import sha256
from trtparse.tasks.open import open_predictor
from trtparse.tasks.parsing.files import open_dataset

STRATEGIES = ("chosen", "random", "first")
Entry = dict[str, str | int | float]


class Part:
    """Some images of a dataset, as a dataset."""

    def __init__(self, whole: Dataset, indices: Sequence[int], what: str) -> None:
        self._whole, self._indices = whole, indices
        self.names = tuple(whole.names[index] for index in indices)
        self.labelled, self.label_set = whole.labelled, whole.label_set
        self.description = f"{len(indices)} {what} images of {whole.description}"

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Sample:
        return self._whole[self._indices[index]]

    def labels(self, index: int) -> LabelMap:
        return self._whole.labels(self._indices[index])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="With an INT8 graph; its predictions tell the classes.")
    parser.add_argument("--data", required=True, help="Images to choose from.")
    parser.add_argument("--split", help="Of --data.")
    parser.add_argument("--held-out", type=int, default=200, help="Images of --data that only judge.")
    parser.add_argument("--judge", help="Another dataset with a val split that judges.")
    parser.add_argument("--judge-images", type=int, default=139)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 128, 512])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--methods", nargs="+", default=["max", "percentile:99.99", "entropy", "mse"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--record", type=Path, default=Path("runs/calibration-set.jsonl"))
    arguments = parser.parse_args()
    bundle, threads = open_bundle(arguments.bundle), arguments.threads
    whole = open_dataset(arguments.data, arguments.split, purpose="calibration")
    order = np.random.default_rng(0).permutation(len(whole)).tolist()
    held_out = Part(whole, sorted(order[: arguments.held_out]), "held-out")
    data = Part(whole, sorted(order[arguments.held_out :]), "other")
    judging: dict[str, Dataset] = {"held-out": held_out}
    if arguments.judge:
        other = open_dataset(arguments.judge, "val")
        judging["other data"] = Part(other, range(min(len(other), arguments.judge_images)), "first")
    with open_predictor(bundle, "pytorch", threads=threads) as reference:
        judges = {
            name: GraphJudge(images, range(len(images)), reference, threads=threads) for name, images in judging.items()
        }
    model = onnx.load(bundle.graph("fp32"))
    placement = place(model)
    methods = [Method.parse(text) for text in arguments.methods]
    arguments.record.parent.mkdir(parents=True, exist_ok=True)
    weights = sha256(bundle.weights)[:12]
    done = _read(arguments.record, data.description, weights)
    with open_predictor(bundle, threads=threads) as predictor:
        for strategy, size, seed in _cells(arguments.sizes, arguments.seeds):
            cell = {"strategy": strategy, "size": size, "seed": seed, "data": data.description, "model": weights}
            missing = [
                method
                for method in methods
                if not any(entry.items() >= {**cell, "method": str(method)}.items() for entry in done)
            ]
            if not missing:
                continue
            started = time.monotonic()
            selection = _select(strategy, data, size, seed, predictions_of(predictor))
            chosen_in = time.monotonic() - started
            histograms = any(method.name != "max" for method in missing)
            statistics = collect(model, data, selection, histograms=histograms, threads=threads)
            calibrated_in = time.monotonic() - started - chosen_in
            for method in missing:
                graph = quantise(model, placement, ranges_of(statistics, method))
                entry: Entry = {**cell, "method": str(method)}
                entry |= {name: round(judge(graph).agreement, 3) for name, judge in judges.items()}
                entry |= {"choosing_s": round(chosen_in, 1), "calibrating_s": round(calibrated_in, 1)}
                done.append(entry)
                with arguments.record.open("a") as file:
                    file.write(json.dumps(entry) + "\n")
                print(json.dumps(entry), flush=True)
    _print_tables(done, list(judges), methods, arguments.sizes)


def _read(record: Path, data: str, weights: str) -> list[Entry]:
    """What an earlier run found about the same images and weights."""
    lines = record.read_text().splitlines() if record.is_file() else []
    return [entry for entry in map(json.loads, lines) if (entry["data"], entry["model"]) == (data, weights)]


def _cells(sizes: Sequence[int], seeds: Sequence[int]) -> Iterator[tuple[str, int, int]]:
    """(strategy, size, seed); the first images are the same for every seed."""
    for size in sizes:
        for strategy in STRATEGIES:
            yield from ((strategy, size, seed) for seed in (seeds if strategy != "first" else seeds[:1]))


def _select(strategy: str, data: Dataset, size: int, seed: int, predict: Predictions) -> Selection:
    if strategy == "chosen":
        return select(data, size, seed, predict=predict)
    if strategy == "first":
        return Selection(tuple(range(min(size, len(data)))), {}, seed)
    order = np.random.default_rng((seed, 11)).permutation(len(data))
    return Selection(tuple(order[:size].tolist()), {}, seed)


def _print_tables(
    done: Sequence[Entry], judges: Sequence[str], methods: Sequence[Method], sizes: Sequence[int]
) -> None:
    print(f"\nAgreement mIoU of the simulated INT8 graph with PyTorch: mean (standard deviation). {machine()}")
    for judge in judges:
        print(f"\n| {judge}: method | images | {' | '.join(STRATEGIES)} |\n|---|---|{'---|' * len(STRATEGIES)}")
        for method in methods:
            for size in sizes:
                cells = [
                    _cell([float(e[judge]) for e in done if _is(e, strategy, size, method)]) for strategy in STRATEGIES
                ]
                print(f"| {method} | {size} | {' | '.join(cells)} |")


def _is(entry: Entry, strategy: str, size: int, method: Method) -> bool:
    return (entry["strategy"], entry["size"], entry["method"]) == (strategy, size, str(method))


def _cell(values: Sequence[float]) -> str:
    if not values:
        return "–"
    return f"{mean(values):.2f}" + (f" ({stdev(values):.2f})" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
