"""``distill --int8``: a network teaches itself under INT8's rounding."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from .options import Given
from .stepping import train_and_show

if TYPE_CHECKING:
    from ..calibration.training.recipe import Int8Recipe

_INSTEAD = {
    "teacher": "the network is its own teacher: name it as --student",
    "family": "the network is its own teacher: name it as --student",
    "initial": "name the checkpoint as --student",
    "unlabelled": "give the images as --data, whose labels are not looked at",
    "validation": "some images of --data are held out to choose the best checkpoint on",
    "input_size": "ranges hold for one size, the checkpoint's",
}


def run_int8_training(
    recipe: str | None,
    output: Path,
    settings: tuple[str, ...],
    given: Given,
    *,
    threads: int,
    as_json: bool,
) -> None:
    """Train, show how it goes, and say where the checkpoint is.

    Args:
        recipe: must not be there.
        output: folder of the run.
        settings: ``key=value`` with dotted keys.
        given: the other options of the command line, None where they were not given.
        threads: of PyTorch and of the CPU runtime; 0 for one per core.
        as_json: print the result as JSON.
    """
    from ..engines.machine.dependencies import require

    torch = require("torch")
    for package in ("safetensors", "onnxslim"):
        require(package)
    from ..calibration.training.run import check_images, train
    from ..networks.checkpoint import load_checkpoint
    from ..networks.weights import DEFAULT_WEIGHTS
    from ..specs.label_set import label_set
    from ..tasks.parsing.files import open_dataset
    from ..trt_builder.export import export_onnx

    plan = _recipe(recipe, settings, given)
    if not given.get("data"):
        raise UsageError("INT8 is trained on images.", "Give --data a folder of a few hundred; they need no labels.")
    if len(given["data"]) > 1:
        raise UsageError("INT8 is trained on one --data.", "Put the images into one folder; links to them will do.")
    if threads:
        torch.set_num_threads(threads)
    labels = None if given.get("labels") is None else label_set(given["labels"])
    checkpoint = load_checkpoint(Path(given["student"]) if given.get("student") else DEFAULT_WEIGHTS, labels)
    dataset = open_dataset(given["data"][0], purpose="calibration", labels=checkpoint.spec)
    check_images(dataset)

    def run(plan: Int8Recipe, output: Path, *, workers: int, on_progress: Any, on_stage: Any) -> Path:
        # One process: half a batch in each form is as much as two of them could share.
        del workers
        on_stage("Exporting to ONNX")
        model = export_onnx(checkpoint)
        return train(
            plan, checkpoint, model, dataset, output, threads=threads, on_progress=on_progress, on_stage=on_stage
        )

    train_and_show(run, plan, output, batch=plan.batch, figure=("agreement", "agreement"), as_json=as_json)


def _recipe(name: str | None, settings: tuple[str, ...], given: Given) -> Int8Recipe:
    """The defaults, changed by what was given on the command line."""
    from ..calibration.training.recipe import Int8Recipe
    from ..distillation.tables import override

    if name is not None:
        raise UsageError(f"--int8 goes by no recipe, and {name} is one.", "Change a value with --set, or an option.")
    for option, instead in _INSTEAD.items():
        if given.get(option):
            raise UsageError(f"--{option.replace('_', '-')} is not for --int8.", f"Instead: {instead}.")
    values = Int8Recipe().to_dict()
    for key in ("steps", "batch", "seed", "validate_every"):
        if given.get(key) is not None:
            values[key] = given[key]
    if given.get("learning_rate") is not None:
        values["optimizer"]["learning_rate"] = given["learning_rate"]
    return Int8Recipe.from_dict(override(values, settings))
