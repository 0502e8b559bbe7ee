"""The teacher's ablation in docs/ablation.md: the rows of table I of "C-DLinkNet" (arXiv 2001.11690), small.

On a ResNet-34, from random weights, with the same steps and batches for all; the first and the last row with every
seed, the others with the first. Rows that are finished are kept, so a killed run goes on in the row that it was in,
and the table is written again after each.

python benchmarks/ablation_c_dlinknet.py --ccp CCP20 --lip LIP --output runs/ablation-c-dlinknet [--steps 400]
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from measure import machine

from trtparse.distillation.optimising import Precision
from trtparse.distillation.recipe import Data, Loss, Network, Optimizer, Recipe, Source
from trtparse.distillation.run import run_recipe
from trtparse.distillation.training import evaluate
from trtparse.networks.checkpoint import load_checkpoint
from trtparse.networks.registry import create_network
from trtparse.storage.files import replace_bytes
from trtparse.tasks.parsing.files import LipDataset

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "ablation.md"
HEADING, READING = "## The teacher's parts", "### What it says"


@dataclass(frozen=True)
class Row:
    """One line of the table: which of the paper's parts stand on its baseline.

    Args:
        name: as table I has it.
        pyramid: A, in the place of D-LinkNet's centre.
        smooth: S, the smooth module.
        losses: L, the intermediate losses.
        paper: its mIoU on LIP.
    """

    name: str
    pyramid: bool
    smooth: bool
    losses: bool
    paper: float

    def options(self, smooth_level: int) -> dict[str, Any]:
        """Of the network."""
        return {
            "backbone": "resnet34",
            "aspp": "A" if self.pyramid else "none",
            "smooth": self.smooth,
            "smooth_level": smooth_level,
            "intermediate_losses": self.losses,
        }


ROWS = (
    Row("B", False, False, False, 50.92),
    Row("B + A", True, False, False, 51.42),
    Row("B + S", False, True, False, 51.93),
    Row("B + A + S", True, True, False, 52.22),
    Row("B + A + S + L", True, True, True, 53.05),
)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ccp", required=True, help="Training images and the held-out ones, in LIP's layout.")
    parser.add_argument("--lip", required=True, help="LIP images with label maps as val.")
    parser.add_argument("--output", type=Path, default=Path("runs/ablation-c-dlinknet"))
    parser.add_argument("--document", type=Path, default=DOCUMENT)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--input-size", type=int, nargs=2, default=(128, 96), metavar=("H", "W"))
    parser.add_argument("--smooth-level", type=int, default=2, help="Stride at which the smooth module blends.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--workers", type=int, default=2, help="Processes that share a batch, each on one core.")
    arguments = parser.parse_args(words)
    torch.set_num_threads(arguments.workers)
    base = Recipe(
        steps=arguments.steps,
        batch=arguments.batch,
        input_size=tuple(arguments.input_size),
        validate_every=max(arguments.steps // 4, 1),
        optimizer=Optimizer(learning_rate=2e-3, warm_up=50, average=0.99),
        loss=Loss(rare_class_weight=2.0),
        data=Data(train=(Source(arguments.ccp),)),
    )
    validation = {name: LipDataset(path, "val") for name, path in (("ccp", arguments.ccp), ("lip", arguments.lip))}
    record = arguments.output / "results.json"
    done: list[dict[str, Any]] = json.loads(record.read_text()) if record.is_file() else []
    study = {
        "steps": base.steps,
        "batch": base.batch,
        "input_size": list(base.input_size),
        "smooth_level": arguments.smooth_level,
    }
    for seed in arguments.seeds:
        for number, row in enumerate(ROWS):
            key = {"row": row.name, "seed": seed, **study}
            first = seed == arguments.seeds[0]
            if any(entry["key"] == key for entry in done) or not (first or row in (ROWS[0], ROWS[-1])):
                continue
            recipe = replace(base, seed=seed, network=Network("c-dlinknet", row.options(arguments.smooth_level)))
            started = _processor_seconds()
            best = run_recipe(recipe, arguments.output / f"row-{number}-seed-{seed}", workers=arguments.workers)
            spent = (_processor_seconds() - started) / 60
            scores = {name: _score(best, dataset) for name, dataset in validation.items()}
            done.append({"key": key, "cpu_minutes": round(spent, 2), "scores": scores})
            replace_bytes(record, json.dumps(done, indent=1).encode())
            print(row.name, seed, json.dumps(scores), f"{spent:.1f} minutes of a core", flush=True)
            shown = [entry for entry in done if study.items() <= entry["key"].items()]
            _write_document(arguments.document, shown, base, arguments.smooth_level, len(arguments.seeds))


def _processor_seconds() -> float:
    """Of this process and of those that it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _score(checkpoint: Path, dataset: LipDataset) -> dict[str, float]:
    loaded = load_checkpoint(checkpoint)
    precision = Precision("fp32", torch.device("cpu"))
    scores = evaluate(loaded.network, dataset, loaded.input_size, loaded.stretch, precision)
    return {
        "mean_iou": round(100 * scores.mean_iou, 2),
        "pixel_accuracy": round(100 * scores.pixel_accuracy, 2),
        "mean_accuracy": round(100 * scores.mean_accuracy, 2),
    }


COLUMNS = (
    ("ccp", "mean_iou"),
    ("ccp", "pixel_accuracy"),
    ("ccp", "mean_accuracy"),
    ("lip", "mean_iou"),
    ("lip", "pixel_accuracy"),
)


def _write_document(path: Path, done: Sequence[Mapping[str, Any]], base: Recipe, smooth_level: int, seeds: int) -> None:
    """Put the table under its heading; what is said of it, and all else in the file, stays."""
    lines = [
        HEADING,
        "",
        "Written by `benchmarks/ablation_c_dlinknet.py`. C-DLinkNet on a ResNet-34 from random weights, "
        f"{base.input_size[0]}×{base.input_size[1]}, {base.steps} steps of {base.batch} images for every row; B and "
        f"the last row with {seeds} seeds: mean (half the spread). A: the atrous pyramid, S: the smooth module, "
        f"blending at stride {smooth_level}, L: the intermediate losses. Data, optimiser and protocol are those of the "
        f"table at the top. Machine: {machine()}.",
        "",
        "| | parameters | CCP val mIoU | pixel | mean | LIP-50 mIoU | pixel | minutes of a core | table I: LIP mIoU |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in ROWS:
        entries = [entry for entry in done if entry["key"]["row"] == row.name]
        if not entries:
            continue
        network = create_network("c-dlinknet", row.options(smooth_level))
        size = sum(parameter.numel() for parameter in network.parameters())
        cells = [_cell([entry["scores"][data][key] for entry in entries]) for data, key in COLUMNS]
        cells.append(f"{mean(entry['cpu_minutes'] for entry in entries):.0f}")
        lines.append(f"| {row.name} | {size / 1e6:.2f} M | {' | '.join(cells)} | {row.paper:.2f} |")
    text = path.read_text() if path.is_file() else ""
    before, _, after = text.partition(f"{HEADING}\n")
    section, heading, rest = after.partition("\n## ")
    reading = section[section.index(READING) :].strip() if READING in section else ""
    whole = "\n".join([*lines, "", *([reading, ""] if reading else [])])
    replace_bytes(path, (f"{before.rstrip()}\n\n{whole}{heading}{rest}").lstrip().encode())


def _cell(values: Sequence[float]) -> str:
    spread = (max(values) - min(values)) / 2
    return f"{mean(values):.2f}" + (f" ({spread:.2f})" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
