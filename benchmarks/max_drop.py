"""Claim: a network that plain INT8 hurts ends within its budget, and keeps most of its INT8.

The hard case is the depthwise-separable LSFA: the released weights' trunk and context with separable fusions, which
are trained here for a few minutes with the released weights as the teacher, or come from a checkpoint. Calibrated on
the train split, judged on the val split; every graph is typed in FP16 as it is built. The record of the search in
the output folder is the resume point: the same command goes on where it was killed.

    python benchmarks/max_drop.py --data CCP20 [--max-drop 0.3] [--steps 240 | --checkpoint FILE]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import onnx
import torch
from measure import machine

from trtparse.calibration.budget.costs import describe
from trtparse.calibration.budget.judge import GraphJudge
from trtparse.calibration.budget.search import Outcome, meet_budget, pareto
from trtparse.calibration.calibrate import calibrate
from trtparse.calibration.quantise.placement import Placement, place
from trtparse.calibration.quantise.qdq import quantise
from trtparse.calibration.ranges import Ranges
from trtparse.calibration.selection import select
from trtparse.distillation.recipe import Data, Distillation, Network, Optimizer, Recipe, Source
from trtparse.distillation.run import run_recipe
from trtparse.engines.reference import PyTorchEngine
from trtparse.errors import AccuracyError
from trtparse.graphs.half import to_half
from trtparse.networks.checkpoint import load_checkpoint
from trtparse.networks.checkpoint_file import save_checkpoint
from trtparse.networks.registry import create_network
from trtparse.networks.weights import DEFAULT_WEIGHTS
from trtparse.specs.label_set import label_set
from trtparse.tasks.parsing.files import LipDataset
from trtparse.tasks.parsing.task import Parsing
from trtparse.tasks.predictor import Predictor
from trtparse.trt_builder.export import export_onnx
from trtparse.validation.report.contract_charts import pareto_chart

LIP = label_set("lip")

OPTIONS = {"separable": True}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="Train and val splits with label maps, in LIP's layout.")
    parser.add_argument("--max-drop", type=float, default=0.3)
    parser.add_argument("--checkpoint", type=Path, help="Use these weights, of any network, and train nothing.")
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--calibration-images", type=int, default=256)
    parser.add_argument("--images", type=int, help="To judge on.  [default: all of val]")
    parser.add_argument("--scouted", type=int, default=32, help="Of these, for ranking the layers.")
    parser.add_argument("--output", type=Path, default=Path("runs/max-drop"))
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.output.mkdir(parents=True, exist_ok=True)

    checkpoint = arguments.checkpoint or _train(arguments.data, arguments.steps, arguments.output)
    loaded = load_checkpoint(checkpoint)
    model = export_onnx(loaded)
    train, val = (LipDataset(arguments.data, split) for split in ("train", "val"))
    count = min(arguments.images or len(val), len(val))
    started = time.monotonic()
    ranges = calibrate(model, train, select(train, arguments.calibration_images), threads=arguments.threads)
    engine = PyTorchEngine(loaded.network, loaded.input_size, threads=arguments.threads)
    with Predictor(engine, Parsing(loaded.spec), loaded.framing) as reference:
        judge, scout = (
            GraphJudge(val, _spread(len(val), images), reference, threads=arguments.threads, raw=True)
            for images in (count, min(arguments.scouted, count))
        )
    print(f"{machine()}\n{checkpoint}: {judge.reference_value:.2f} mIoU in PyTorch on {judge.images} images")
    record = arguments.output / "search.jsonl"
    try:
        outcome = meet_budget(
            model,
            place(model),
            ranges,
            judge,
            arguments.max_drop,
            record,
            scout=scout,
            quantise=_typed,
            about={"images": judge.key, "scouted": scout.key},
        )
    except AccuracyError as error:
        raise SystemExit(f"{error.message}\n{error.hint}") from error
    _show(model, outcome, time.monotonic() - started, len(record.read_text().splitlines()) - 1)
    (arguments.output / "curve.svg").write_text(f"{pareto_chart(outcome, saved=True)}\n", encoding="utf-8")


def _typed(model: onnx.ModelProto, placement: Placement, ranges: Ranges) -> onnx.ModelProto:
    return to_half(quantise(model, placement, ranges))


def _train(data: str, steps: int, output: Path) -> Path:
    """A separable student that has the released weights where its tensors are theirs, and learns the rest from them."""
    released = load_checkpoint(DEFAULT_WEIGHTS)
    network = create_network(released.network.kind, OPTIONS)
    wanted = network.state_dict()
    shared = {name: tensor for name, tensor in released.network.state_dict().items() if name in wanted}
    shared = {name: tensor for name, tensor in shared.items() if tensor.shape == wanted[name].shape}
    network.load_state_dict(shared, strict=False)
    initial = output / "initial.safetensors"
    save_checkpoint(network, initial, released.framing, released.spec)
    recipe = Recipe(
        steps=steps,
        batch=8,
        input_size=released.input_size,
        stretch=released.stretch,
        crop=(released.input_size[0], released.input_size[0] // 2),
        validate_every=max(steps // 2, 1),
        network=Network(released.network.kind, OPTIONS, str(initial)),
        data=Data(train=(Source(data),)),
        # The trunk is trained already; what is new learns forty times as fast.
        optimizer=Optimizer(learning_rate=2e-3, backbone_rate=0.05, warm_up=min(20, steps // 4), average=0.98),
        distillation=Distillation(str(DEFAULT_WEIGHTS), kl=1.0),
    )
    return run_recipe(recipe, output / "training")


def _spread(total: int, count: int) -> list[int]:
    return [number * total // count for number in range(count)]


def _show(model: onnx.ModelProto, outcome: Outcome, seconds: float, graphs: int) -> None:
    words = describe(model)
    print(f"\n{graphs} graphs judged in {seconds / 60:.1f} minutes, calibration included")
    print("graphs that no other beats     in INT8   of the saving    mIoU lost   agreement")
    for point in pareto(outcome.points):
        found = frozenset(point.int8) == frozenset(outcome.int8)
        print(
            f"{len(point.int8):3d} layers{' (found)' if found else '':20s} {100 * point.share:8.1f} % "
            f"{100 * point.saved:10.1f} %    {point.score.drop:+8.3f} {point.score.agreement:11.2f}"
        )
    full, score = outcome.points[0].score, outcome.score
    print(
        f"plain INT8 loses {full.drop:.3f} points (agreement {full.agreement:.2f}); the budget is {outcome.max_drop:g}"
    )
    print(f"found: loses {score.drop:.3f} points (agreement {score.agreement:.2f})")
    print(f"given back to FP16: {len(outcome.given_back)} layers")
    for layer in outcome.given_back:
        print(f"  {layer}: {words[layer]}")


if __name__ == "__main__":
    main()
