"""The training with INT8 in the loop: a network's images in, its checkpoint with learned ranges out."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from ...data.dataset import Dataset, Subset
from ...data.letterbox import Letterbox
from ...distillation.loader import Loader, Part
from ...distillation.optimising import Precision, training_device
from ...distillation.stepping import BEST_NAME, SteppingRun, StepProgress, rounded
from ...errors import DataError, UsageError
from ...networks.checkpoint import Checkpoint, load_checkpoint
from ...networks.checkpoint_file import save_checkpoint
from ...storage.files import check_output_folder, replace_bytes
from ...storage.json_types import JsonObject, ReadJson
from ...tasks.parsing.augmentation import Geometry
from ...tasks.parsing.metrics import ConfusionMatrix
from ..calibrate import calibrate
from ..key import key_of
from ..methods import Method
from ..quantise.placement import place
from ..ranges import Ranges, read_ranges
from ..selection import Selection
from .carried import carry, identity_of
from .criterion import Backward
from .folding import folded_convolutions
from .network import FORMS, FakeQuantNetwork, Form
from .recipe import Int8Recipe

LEAST_IMAGES = 16
"""Fewer teach their own ranges and nobody else's: on 16 the student's activations reach 0.78 of what they do on 500."""

CALIBRATION_NAME = "calibration.json"
"""Of a run: the ranges that it started from."""

Progress = Callable[[StepProgress], None]


def train(
    recipe: Int8Recipe,
    checkpoint: Checkpoint,
    model: onnx.ModelProto,
    dataset: Dataset,
    output: Path,
    *,
    threads: int = 0,
    on_progress: Progress | None = None,
    on_stage: Callable[[str], None] | None = None,
) -> Path:
    """Let a network learn its weights and ranges under INT8's rounding, or go on with the run that ``output`` holds.

    A termination signal ends the run after its current step, with the state saved; the checkpoint then says that it is
    of an unfinished run.

    Args:
        recipe: every value of the run; ``graph`` and ``images`` are filled in here.
        checkpoint: the network, which is its own teacher and stays as it is.
        model: its FP32 graph for one frame.
        dataset: images; labels are not looked at.
        output: folder of the run: ``best.safetensors``, ``state.pt``, ``log.jsonl`` and ``calibration.json``.
        threads: of the CPU runtime while it calibrates; 0 for one per core.
        on_progress: called after every step.
        on_stage: told in a few words what begins.

    Returns:
        The path of the best checkpoint, with its ranges.

    Raises:
        DataError: fewer than 16 images, or one that cannot be read.
        UsageError: the folder holds a run of something else, or cannot be written; a graph that cannot be trained.
        TrtparseError: the loss is not a number; the best checkpoint so far is kept.
        BuildError: a range has collapsed.
    """
    tell = on_stage or (lambda _: None)
    check_images(dataset)
    check_output_folder(output)
    learnt, held_out = _split(dataset, recipe.held_out)
    recipe = replace(recipe, graph=key_of(model, (), Method()).model, images=_told(dataset))
    ranges = _ranges(recipe, model, learnt, output, threads, tell)
    folded = folded_convolutions(checkpoint.network, checkpoint.input_size)
    network = FakeQuantNetwork(model, place(model), ranges, folded, recipe.pace)
    run = _Int8Run(recipe, _Task(checkpoint, identity_of(model, network.placement), learnt, held_out), network, output)
    try:
        tell("Measuring INT8 before the training")
        run.begin()
        tell(f"Training in {output}")
        run.loop(on_progress)
    finally:
        run.close()
    return _finish(output / BEST_NAME, tell)


def check_images(dataset: Dataset) -> None:
    """See that there are enough.

    Raises:
        DataError: there are not.
    """
    if len(dataset) < LEAST_IMAGES:
        raise DataError(
            f"{dataset.description} holds {len(dataset)} image{'s' if len(dataset) != 1 else ''}, and INT8 is trained "
            f"on {LEAST_IMAGES} at the least.",
            "Give --data a folder of a few hundred images like those that the engine will see; they need no labels.",
        )


def _split(dataset: Dataset, held_out: int) -> tuple[Subset, Subset]:
    """Images to learn from, and others, evenly among them, that the best checkpoint is chosen on."""
    count = min(held_out, len(dataset) // 4)
    chosen = {int(position) for position in np.linspace(0, len(dataset) - 1, count)}
    rest = tuple(index for index in range(len(dataset)) if index not in chosen)
    return Subset(dataset, rest), Subset(dataset, tuple(sorted(chosen)))


def _told(dataset: Dataset) -> tuple[str, ...]:
    return dataset.description, hashlib.sha256("\n".join(dataset.names).encode()).hexdigest()


def _ranges(
    recipe: Int8Recipe, model: onnx.ModelProto, images: Subset, output: Path, threads: int, tell: Callable[[str], None]
) -> Ranges:
    """Calibrated ones to start from; those that the run started from where it is gone on with."""
    path = output / CALIBRATION_NAME
    if path.is_file():
        ranges = read_ranges(path)
        if ranges.key.model != recipe.graph:
            raise UsageError(f"{output} holds an INT8 training of another network.", "Choose another --output folder.")
        return ranges
    tell("Calibrating")
    indices = tuple(np.linspace(0, len(images) - 1, min(recipe.calibrated, len(images))).astype(int).tolist())
    selection = Selection(indices, {}, recipe.seed)
    ranges = calibrate(model, images, selection, method=Method.parse(recipe.method), threads=threads)
    replace_bytes(path, (json.dumps(ranges.to_dict(), indent=1) + "\n").encode())
    return ranges


def _finish(path: Path, tell: Callable[[str], None]) -> Path:
    """Write down in a checkpoint that its run has come to its end, and say where that brought nothing."""
    best = load_checkpoint(path)
    if best.int8["step"] == 0:
        tell("No validation was as good as the start, which is kept")
    if not best.int8["finished"]:
        _save(best, path, {**best.int8, "finished": True})
    return path


def _save(checkpoint: Checkpoint, path: Path, int8: JsonObject) -> None:
    save_checkpoint(checkpoint.network, path, checkpoint.framing, checkpoint.spec, origin=checkpoint.origin, int8=int8)


@dataclass(frozen=True, eq=False)
class _Task:
    """What a run is about: the network as it was, what its graph is, images to learn from and to be chosen on."""

    checkpoint: Checkpoint
    identity: str
    learnt: Subset
    held_out: Subset


class _Int8Run(SteppingRun[Int8Recipe, FakeQuantNetwork]):
    fixed = ("graph", "images", "seed", "batch", "held_out", "pace")

    def __init__(self, recipe: Int8Recipe, task: _Task, network: FakeQuantNetwork, output: Path) -> None:
        self.task = task
        self.teacher = copy.deepcopy(network).requires_grad_(False)
        precision = Precision(recipe.precision, training_device())
        super().__init__(recipe, network, output, Backward(recipe.loss, self.teacher), precision, workers=1)
        self.teacher.to(self.device)
        self._judged = self._frames_and_answers()

    def read_recipe(self, values: ReadJson) -> Int8Recipe:
        return Int8Recipe.from_dict(values)

    def open_batches(self, first: int) -> Loader:
        images, framing = self.task.learnt, self.task.checkpoint.framing
        return Loader(
            [Part(images, labels=False)],
            np.ones(len(images)),
            self.recipe.augmentation,
            self.recipe.batch,
            Geometry(framing.input_size, framing.stretch),
            self.recipe.seed,
            first,
            self.recipe.steps,
        )

    def begin(self) -> None:
        """Measure the network that the run starts from: what is kept is never worse than that."""
        if self.step == 0 and self.best is None:
            start = copy.deepcopy(self.network)
            self.last, told = self.validate(start)
            self.best = self.last
            self.log({"step": 0, **told})
            self.save_best(start)

    def validate(self, averaged: FakeQuantNetwork) -> tuple[float | None, dict[str, object]]:
        # As the checkpoint will hold it.
        averaged.halve()
        agreements = {form: self._agreement(averaged, form) for form in FORMS}
        score = sum(agreements.values()) / len(agreements)
        return score, {"agreement": rounded(score), **{form: rounded(value) for form, value in agreements.items()}}

    def save_best(self, averaged: FakeQuantNetwork) -> None:
        network = copy.deepcopy(self.task.checkpoint.network)
        network.load_state_dict({**network.state_dict(), **averaged.trained()})
        told = carry(averaged.ranges(), self.task.identity, self.step, self.recipe.steps, finished=False)
        _save(replace(self.task.checkpoint, network=network), self.output / BEST_NAME, told)

    def _frames_and_answers(self) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        """Of every held-out image its frame, and what FP32 answers; 255 outside of the photograph."""
        framing = self.task.checkpoint.framing
        judged = []
        for index in range(len(self.task.held_out)):
            image = self.task.held_out[index].image
            box = Letterbox.of((image.shape[0], image.shape[1]), framing)
            frame = box.apply(image)
            outside = box.apply_labels(np.zeros(image.shape[:2], np.uint8))
            judged.append((frame, np.where(outside == 0, self._answer(self.teacher, frame, "fp32"), outside)))
        return judged

    def _agreement(self, network: FakeQuantNetwork, form: Form) -> float:
        """With FP32 on the held-out images, over the classes that it sees enough of; 0 to 1."""
        matrix = ConfusionMatrix(self.task.checkpoint.spec)
        for frame, answer in self._judged:
            matrix.update(answer, self._answer(network, frame, form))
        return matrix.agreement().value

    @torch.inference_mode()
    def _answer(self, network: FakeQuantNetwork, frame: NDArray[np.uint8], form: Form) -> NDArray[np.uint8]:
        logits = network(torch.from_numpy(frame[None]).to(self.device), form)
        resized = F.interpolate(logits, frame.shape[:2], mode="bilinear", align_corners=False)
        labels: NDArray[np.uint8] = resized.argmax(1)[0].to(torch.uint8).cpu().numpy()
        return labels
