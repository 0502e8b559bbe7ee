"""The ablation of docs/ablation.md: what each part of the student and each term of the distillation brings.

Every row is trained from random weights with the same steps, batches and seeds; only the named part differs. Rows
that are finished are kept, so a killed run goes on, and the document is written again after each.

python benchmarks/ablation.py --ccp CCP20 --lip LIP --output runs/ablation [--steps 900] [--seeds 0 1]
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean

import torch
from measure import machine

from trtparse.distillation.optimising import Precision
from trtparse.distillation.recipe import Data, Distillation, Loss, Network, Optimizer, Recipe, Source
from trtparse.distillation.run import run_recipe
from trtparse.distillation.training import evaluate
from trtparse.networks.checkpoint import load_checkpoint
from trtparse.networks.registry import create_network
from trtparse.networks.weights import DEFAULT_WEIGHTS
from trtparse.tasks.parsing.files import LipDataset

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "ablation.md"


@dataclass(frozen=True)
class Row:
    """One line of the table: a network and what it is taught with."""

    name: str
    context: str = "sppm"
    fusion: str = "spatial_attention"
    kl: float = 0.0
    inter: float = 0.0
    intra: float = 0.0

    @property
    def taught(self) -> bool:
        return self.kl + self.inter + self.intra > 0


ROWS = (
    Row("ResNet-18, FCN head", context="none", fusion="none"),
    Row("+ SPPM", fusion="none"),
    Row("+ SPPM + LSFA, no distillation"),
    Row("SPPM + LSFA, KL", kl=1.0),
    Row("SPPM + LSFA, inter-class only", inter=1.0),
    Row("SPPM + LSFA, intra-class only", intra=1.0),
    Row("SPPM + LSFA, inter- and intra-class", inter=1.0, intra=1.0),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ccp", required=True, help="Training images and the held-out ones, in LIP's layout.")
    parser.add_argument("--lip", required=True, help="LIP images with label maps as val.")
    parser.add_argument("--output", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--teacher-steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    base = Recipe(
        steps=arguments.steps,
        batch=32,
        input_size=(128, 96),
        validate_every=max(arguments.steps // 4, 1),
        optimizer=Optimizer(learning_rate=2e-3, warm_up=50, average=0.99),
        loss=Loss(rare_class_weight=2.0),
        data=Data(train=(Source(arguments.ccp),)),
    )
    teacher = _teacher(base, arguments.output / "teacher", arguments.teacher_steps)
    validation = {name: LipDataset(path, "val") for name, path in (("ccp", arguments.ccp), ("lip", arguments.lip))}
    record = arguments.output / "results.jsonl"
    done = [json.loads(line) for line in record.read_text().splitlines()] if record.is_file() else []
    for seed in arguments.seeds:
        for number, row in enumerate(ROWS):
            key = {"row": asdict(row), "seed": seed, "steps": arguments.steps}
            if any({name: entry[name] for name in key} == key for entry in done):
                continue
            recipe = replace(
                base,
                seed=seed,
                network=Network(options={"context": row.context, "fusion": row.fusion}),
                distillation=Distillation(str(teacher), kl=row.kl, inter=row.inter, intra=row.intra)
                if row.taught
                else Distillation(),
            )
            started = time.monotonic()
            best = run_recipe(recipe, arguments.output / f"row-{number}-seed-{seed}")
            minutes = (time.monotonic() - started) / 60
            scores = {name: _score(best, dataset) for name, dataset in validation.items()}
            done.append({**key, "minutes": round(minutes, 2), "scores": scores})
            with record.open("a") as file:
                file.write(json.dumps(done[-1]) + "\n")
            print(json.dumps(done[-1]), flush=True)
            _write_document(done, arguments.seeds, base, {n: _score(teacher, d) for n, d in validation.items()})


def _teacher(base: Recipe, output: Path, steps: int) -> Path:
    """The weights that come along, adapted to the small input: a student of 128x96 needs a teacher that knows it."""
    recipe = replace(
        base,
        steps=steps,
        validate_every=max(steps // 3, 1),
        network=Network(initial=str(DEFAULT_WEIGHTS)),
        optimizer=Optimizer(learning_rate=5e-4, warm_up=50, average=0.99),
    )
    return run_recipe(recipe, output)


def _score(checkpoint: Path, dataset: LipDataset) -> dict[str, float]:
    loaded = load_checkpoint(checkpoint)
    scores = evaluate(
        loaded.network, dataset, loaded.input_size, loaded.stretch, Precision("fp32", torch.device("cpu"))
    )
    return {
        "mean_iou": round(100 * scores.mean_iou, 2),
        "pixel_accuracy": round(100 * scores.pixel_accuracy, 2),
        "mean_accuracy": round(100 * scores.mean_accuracy, 2),
    }


def _write_document(
    done: list[dict[str, object]], seeds: list[int], base: Recipe, teacher: dict[str, dict[str, float]]
) -> None:
    lines = [
        "# Ablation: what each part brings",
        "",
        "Written by `benchmarks/ablation.py`; do not edit. "
        f"{base.input_size[0]}×{base.input_size[1]}, {base.steps} steps of {base.batch} images for every row, "
        f"{len(seeds)} seeds: mean (half the spread). Clothing Co-Parsing's train crops, from random weights; AdamW, "
        "cross-entropy. mIoU, pixel and mean accuracy in % by LIP's protocol, no test-time augmentation. "
        f"Machine: {machine()}.",
        "",
        "| | parameters | CCP val mIoU | pixel | mean | LIP-50 mIoU | pixel |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in ROWS:
        entries = [entry for entry in done if entry["row"] == asdict(row) and entry["steps"] == base.steps]
        if not entries:
            continue
        network = create_network("lsfa-r18", {"context": row.context, "fusion": row.fusion})
        size = sum(parameter.numel() for parameter in network.parameters())
        cells = [_cell([entry["scores"][data][key] for entry in entries]) for data, key in COLUMNS]  # type: ignore[index]
        lines.append(f"| {row.name} | {size / 1e6:.2f} M | {' | '.join(cells)} |")
    cells = [f"{teacher[data][key]:.2f}" for data, key in COLUMNS]
    lines += [
        f"| *teacher: the weights that come along, adapted to {base.input_size[0]}×{base.input_size[1]}* | 12.94 M | "
        f"{' | '.join(cells)} |",
        "",
    ]
    DOCUMENT.parent.mkdir(exist_ok=True)
    tail = DOCUMENT.read_text().partition("## Reading")[1:] if DOCUMENT.is_file() else ("", "")
    DOCUMENT.write_text("\n".join(lines) + "\n" + "".join(tail))


COLUMNS = (
    ("ccp", "mean_iou"),
    ("ccp", "pixel_accuracy"),
    ("ccp", "mean_accuracy"),
    ("lip", "mean_iou"),
    ("lip", "pixel_accuracy"),
)


def _cell(values: list[float]) -> str:
    spread = (max(values) - min(values)) / 2
    return f"{mean(values):.2f}" + (f" ({spread:.2f})" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
