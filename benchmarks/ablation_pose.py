"""The ablation of docs/ablation-pose.md: what response distillation, two teachers and H-HRNet's parts bring.

Every row is trained with the same people, steps, batches and seeds; only the named part differs. A row that is finished
is kept, a killed one goes on at its last saved step, and the document is written again after each.

python benchmarks/ablation_pose.py --data POSE --output runs/ablation-pose [--steps 375] [--seeds 0 1]

POSE holds annotations/lsp14_train.json and lsp14_val.json, and images/train and images/val; ``synthetic`` stands for
rendered people.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from measure import machine

from trtparse.distillation.pose.inference import answers
from trtparse.distillation.pose.loader import Album
from trtparse.distillation.pose.recipe import Phase, PoseData, PoseDistillation, PoseLoss, PoseRecipe, PoseSource
from trtparse.distillation.pose.run import open_images, run_recipe
from trtparse.distillation.recipe import Network, Optimizer
from trtparse.distillation.training import Precision
from trtparse.networks.pose_checkpoint import load_pose_checkpoint
from trtparse.networks.registry import create_pose_network
from trtparse.specs.skeleton import load_skeleton
from trtparse.storage.files import replace_bytes
from trtparse.tasks.pose.metrics import pck

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "ablation-pose.md"
SYNTHETIC = "synthetic"
CENTRED = {"half_pixel": True}
PLAIN = {"fusion": False, "tuning": "none", "multi_level": False}


@dataclass(frozen=True)
class Row:
    """One line of the tables.

    Args:
        table: which it stands in.
        name: of the line.
        kind, options: of the network.
        teachers: numbers of :data:`TEACHERS`.
        mse, kl: weights of the teachers' terms.
        gaussians: MSE with heatmaps instead of a cross-entropy over their cells.
        start: the line whose weights, of the same seed, it starts from; empty for random ones.
        claimed: by a paper: trained with every seed, and not with the first alone.
    """

    table: str
    name: str
    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    teachers: tuple[int, ...] = ()
    mse: float = 0.0
    kl: float = 0.0
    gaussians: bool = False
    start: str = ""
    claimed: bool = True


@dataclass(frozen=True)
class Teacher:
    """Who teaches: trained here, as long as ``--teacher-steps`` says."""

    name: str
    kind: str
    options: dict[str, Any] = field(default_factory=dict)


TEACHERS = (Teacher("H-HRNet-W18", "h-hrnet-w18"), Teacher("MSPN of ResNet-18 blocks", "mspn-18-1", CENTRED))

FPD, DUAL, HEATMAPS, PARTS = (
    "Response distillation (FPD), the teacher H-HRNet-W18",
    "Two teachers",
    "Two teachers, MSE and KL on heatmaps, all from the weights of L-MSPN alone",
    "H-HRNet's parts over HRNet-W18",
)

ROWS = (
    Row(FPD, "S-HRNet-S4 alone", "s-hrnet-s4"),
    Row(FPD, "+ response distillation from random weights", "s-hrnet-s4", teachers=(0,), kl=1.0),
    Row(
        FPD,
        "+ response distillation from the trained student",
        "s-hrnet-s4",
        {},
        (0,),
        kl=1.0,
        start="S-HRNet-S4 alone",
    ),
    Row(FPD, "the trained student, as long again alone", "s-hrnet-s4", start="S-HRNet-S4 alone", claimed=False),
    Row(DUAL, "L-MSPN alone", "l-mspn", CENTRED),
    Row(DUAL, "+ H-HRNet-W18", "l-mspn", CENTRED, (0,), kl=1.0),
    Row(DUAL, "+ MSPN of ResNet-18 blocks", "l-mspn", CENTRED, (1,), kl=1.0),
    Row(DUAL, "+ both", "l-mspn", CENTRED, (0, 1), kl=1.0),
    Row(HEATMAPS, "labels alone", "l-mspn", CENTRED, gaussians=True, start="L-MSPN alone"),
    Row(HEATMAPS, "MSE alone", "l-mspn", CENTRED, (0, 1), 1.0, 0.0, True, "L-MSPN alone"),
    Row(HEATMAPS, "KL alone", "l-mspn", CENTRED, (0, 1), 0.0, 1.0, True, "L-MSPN alone"),
    Row(HEATMAPS, "MSE and KL", "l-mspn", CENTRED, (0, 1), 1.0, 1.0, True, "L-MSPN alone"),
    Row(PARTS, "HRNet-W18", "h-hrnet-w18", PLAIN),
    Row(PARTS, "+ attention over the branches", "h-hrnet-w18", {**PLAIN, "fusion": True}, claimed=False),
    Row(PARTS, "+ supervision of several levels", "h-hrnet-w18", {**PLAIN, "multi_level": True}, claimed=False),
    Row(PARTS, "+ posture tuning", "h-hrnet-w18", {**PLAIN, "tuning": "correction"}, claimed=False),
    Row(PARTS, "all three: H-HRNet-W18", "h-hrnet-w18"),
)


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--output", type=Path, default=Path("runs/ablation-pose"))
    parser.add_argument("--document", type=Path, default=DOCUMENT)
    parser.add_argument("--crops", type=int, default=2000)
    parser.add_argument("--validation-crops", type=int, default=600)
    parser.add_argument("--steps", type=int, default=375, help="375 of 32 are 6 epochs of 2,000.")
    parser.add_argument("--teacher-steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, nargs=2, default=[128, 96], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args(given)
    torch.set_num_threads(arguments.threads)
    arguments.output.mkdir(parents=True, exist_ok=True)
    base = _base(arguments)
    record = arguments.output / "results.json"
    done: dict[str, Any] = json.loads(record.read_text()) if record.is_file() else {}
    for seed in arguments.seeds:
        for number, row in enumerate(ROWS):
            key = f"{row.table}: {row.name}, seed {seed}, {arguments.steps} steps"
            if key in done or not (row.claimed or seed == arguments.seeds[0]):
                continue
            recipe = _recipe(row, seed, base, arguments)
            begun = time.process_time()
            best = run_recipe(recipe, _place(arguments, number, seed), workers=1)
            seconds = round(time.process_time() - begun)
            done[key] = {"number": number, "seed": seed, "cpu_seconds": seconds, **_score(best, recipe)}
            replace_bytes(record, (json.dumps(done, indent=1) + "\n").encode())
            print(key, done[key], flush=True)
            _write_document(done, base, arguments)


def _base(arguments: argparse.Namespace) -> PoseRecipe:
    """What all rows have in common."""
    size = (arguments.size[0], arguments.size[1])
    data = PoseData(rendered=arguments.crops)
    if arguments.data != SYNTHETIC:
        folder = Path(arguments.data)
        files = {
            split: _part(folder / "annotations" / f"lsp14_{split}.json", count, arguments.output)
            for split, count in (("train", arguments.crops), ("val", arguments.validation_crops))
        }
        images = {split: str((folder / "images" / split).resolve()) for split in files}
        data = PoseData(
            train=(PoseSource(str(files["train"]), images=images["train"]),),
            validation=str(files["val"]),
            validation_images=images["val"],
        )
    return PoseRecipe(
        phases=(Phase(size, arguments.batch, arguments.steps, 1.2),),
        skeleton="coco17" if arguments.data == SYNTHETIC else "lsp14",
        data=data,
        optimizer=Optimizer(
            learning_rate=1.5e-3,
            weight_decay=0.05,
            warm_up=min(50, arguments.steps // 2),
            schedule="trapezoid",
            average=0.99,
        ),
        loss=PoseLoss(finer=False),
        # Once, at the end: no row is chosen on what it is measured on.
        validate_every=arguments.steps,
        save_every=50,
        precision="fp32",
    )


def _part(path: Path, count: int, output: Path) -> Path:
    """So many people of an annotation file, spread over it; written beside the runs."""
    table = json.loads(path.read_text("utf-8"))
    people = table["annotations"]
    chosen = [people[number * len(people) // count] for number in range(min(count, len(people)))]
    wanted = {person["image_id"] for person in chosen}
    table["annotations"] = chosen
    table["images"] = [image for image in table["images"] if image["id"] in wanted]
    part = (output / f"{path.stem}-{count}.json").resolve()
    replace_bytes(part, json.dumps(table).encode())
    return part


def _place(arguments: argparse.Namespace, number: int, seed: int) -> Path:
    place: Path = arguments.output / f"row-{number}-seed-{seed}-steps-{arguments.steps}"
    return place


def _recipe(row: Row, seed: int, base: PoseRecipe, arguments: argparse.Namespace) -> PoseRecipe:
    """A row's; what it needs is trained first."""
    start = ""
    if row.start:
        number = next(number for number, other in enumerate(ROWS) if other.name == row.start)
        start = str(_place(arguments, number, seed) / "best.safetensors")
    teachers = tuple(str(_teacher(number, row.gaussians, base, arguments)) for number in row.teachers)
    return replace(
        base,
        seed=seed,
        network=Network(row.kind, options=row.options, initial=start),
        loss=replace(base.loss, kind="mse" if row.gaussians else "cross-entropy"),
        # Logits of a cross-entropy are compared as they are, heatmaps as paper 004 does it.
        distillation=PoseDistillation(teachers, mse=row.mse, kl=row.kl, temperature=0.1 if row.gaussians else 1.0)
        if teachers
        else PoseDistillation(),
    )


def _teacher(number: int, gaussians: bool, base: PoseRecipe, arguments: argparse.Namespace) -> Path:
    """Trained with a cross-entropy; where Gaussians are wanted, taught those afterwards for half as long."""
    teacher = TEACHERS[number]
    place = _teacher_place(arguments, number, gaussians)
    best: Path = place / "best.safetensors"
    if (place / "finished").is_file():
        return best
    steps = max(arguments.teacher_steps // (2 if gaussians else 1), 1)
    start = str(_teacher(number, False, base, arguments)) if gaussians else ""
    recipe = replace(
        base,
        phases=(replace(base.phases[0], steps=steps),),
        optimizer=replace(base.optimizer, warm_up=min(50, steps // 2)),
        network=Network(teacher.kind, options=teacher.options, initial=start),
        loss=replace(base.loss, kind="mse" if gaussians else "cross-entropy"),
        validate_every=steps,
    )
    best = run_recipe(recipe, place, workers=1)
    replace_bytes(place / "finished", (json.dumps(_score(best, recipe)) + "\n").encode())
    return best


def _teacher_place(arguments: argparse.Namespace, number: int, gaussians: bool) -> Path:
    ending = "-gaussians" if gaussians else ""
    place: Path = arguments.output / f"teacher-{number}{ending}-steps-{arguments.teacher_steps}"
    return place


def _score(checkpoint: Path, recipe: PoseRecipe) -> dict[str, float]:
    """PCK@0.2 in percent, plain and with the flip test."""
    loaded = load_pose_checkpoint(checkpoint)
    people = open_images(recipe, loaded.spec).validation
    precision, album = Precision("fp32", torch.device("cpu")), Album()
    scores = {}
    for name, flip in (("pck", None), ("pck_flip", loaded.spec)):
        found = answers(loaded.network, people, album, loaded.framing, loaded.decoding, precision, flip=flip)
        scores[name] = round(100 * pck(people.joints(), found, people.skeleton, loaded.spec).value, 2)
    return scores


def _write_document(done: dict[str, Any], base: PoseRecipe, arguments: argparse.Namespace) -> None:
    phase = base.phases[0]
    people = "rendered people" if arguments.data == SYNTHETIC else f"{arguments.crops} crops of the training split"
    lines = [
        "# Ablation of pose: what distillation and H-HRNet's parts bring",
        "",
        "Written by `benchmarks/ablation_pose.py`; do not edit above the reading. "
        f"{phase.input_size[0]}×{phase.input_size[1]}, {phase.steps} steps of {phase.batch} for every row, {people}; "
        f"teachers trained for {arguments.teacher_steps} steps on the same. Rows that a paper claims: "
        f"{len(arguments.seeds)} seeds, mean (half the spread); the others one. AdamW, cross-entropy over the "
        "heatmaps' cells where nothing else is said, as MSE from random weights learns nothing in so few steps. "
        "PCK@0.2 in %, boxes given, measured once, at the end. CPU seconds are of training alone. "
        f"Machine: {machine()}.",
    ]
    for table in dict.fromkeys(row.table for row in ROWS):
        lines += [
            "",
            f"## {table}",
            "",
            "| | parameters | PCK | with flip | seeds | CPU s |",
            "|---|---|---|---|---|---|",
        ]
        for number, row in enumerate(ROWS):
            found = [entry for key, entry in done.items() if key.endswith(f", {phase.steps} steps")]
            found = [entry for entry in found if entry["number"] == number]
            if row.table != table or not found:
                continue
            with torch.device("meta"):
                options = {**row.options, "joints": len(load_skeleton(base.skeleton))}
                size = sum(one.numel() for one in create_pose_network(row.kind, options).parameters())
            cells = [_cell([entry[name] for entry in found]) for name in ("pck", "pck_flip")]
            seconds = round(mean(entry["cpu_seconds"] for entry in found))
            lines.append(f"| {row.name} | {size / 1e6:.2f} M | {' | '.join(cells)} | {len(found)} | {seconds} |")
    lines += ["", "Teachers:", ""]
    for number, teacher in enumerate(TEACHERS):
        for words, gaussians in (("", False), (", taught Gaussians afterwards", True)):
            told = _teacher_place(arguments, number, gaussians) / "finished"
            if told.is_file():
                scores = json.loads(told.read_text())
                lines.append(f"- {teacher.name}{words}: {scores['pck']:.2f}, with flip {scores['pck_flip']:.2f}")
    path: Path = arguments.document
    reading = path.read_text("utf-8").partition("## Reading")[1:] if path.is_file() else ("", "")
    replace_bytes(path, ("\n".join(lines) + "\n\n" + "".join(reading)).encode())


def _cell(values: Sequence[float]) -> str:
    spread = (max(values) - min(values)) / 2
    return f"{mean(values):.2f}" + (f" ({spread:.2f})" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
