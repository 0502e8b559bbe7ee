"""The training loop of pose networks: people in, the best checkpoint by validation PCK out.

``state.pt`` holds all that a resumed run needs; ``best.safetensors`` is the product.
"""

from __future__ import annotations

import copy
import io
import itertools
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...data.crops import RULES
from ...errors import TrtparseError, UsageError
from ...networks.checkpoint import save_checkpoint
from ...networks.pose import PoseNetwork
from ...specs.framing import Framing
from ...specs.skeleton import Skeleton
from ...storage.files import check_output_folder, replace_bytes
from ...tasks.pose.examples import Example
from ...tasks.pose.metrics import Pck, pck
from ...tasks.pose.people import People
from ..recipe import Optimizer, differences
from ..training import Precision, create_optimizer, learning_rate, training_device, update_average
from .criterion import Backward
from .inference import answers
from .loader import Album, Batch, PoseLoader
from .parallel import Workers
from .recipe import PoseRecipe

BEST_NAME, STATE_NAME, LOG_NAME = "best.safetensors", "state.pt", "log.jsonl"

_FIXED = ("network", "skeleton", "crop", "seed", "task")
"""What a resumed run cannot change: weights and order depend on it. The rest is a plan, and plans change."""


@dataclass(frozen=True)
class PoseProgress:
    """What a running training says of itself.

    Args:
        step, steps: where it is.
        loss: of the last step.
        images_per_second: since the run was started or resumed, validation included.
        pck: of the last validation, 0 to 1, or None before the first.
        best: the best so far.
    """

    step: int
    steps: int
    loss: float
    images_per_second: float
    pck: float | None
    best: float | None


@dataclass(frozen=True, eq=False)
class PoseImages:
    """What a run learns from and is judged on.

    Args:
        examples: people to learn from.
        often: (n,) float64: how often each comes against the others.
        validation: labelled people; the checkpoint that is best on them is kept.
    """

    examples: Sequence[Example]
    often: NDArray[np.float64]
    validation: People


def train(
    recipe: PoseRecipe,
    images: PoseImages,
    network: PoseNetwork,
    output: Path,
    *,
    skeleton: Skeleton,
    teachers: Sequence[PoseNetwork] = (),
    workers: int = 1,
    on_progress: Callable[[PoseProgress], None] | None = None,
) -> Path:
    """Train a network, or go on with the run that ``output`` holds.

    A termination signal ends the run after its current step, with the state saved.

    Args:
        recipe: every value of the run; its paths are not read here.
        images: what the recipe's ``data`` names.
        network: with the weights to start from.
        output: folder of the run: ``best.safetensors``, ``state.pt``, ``log.jsonl``.
        skeleton: of the network's joints.
        teachers: what ``recipe.distillation.teachers`` names.
        workers: processes that share a batch and torch's threads; more than 1 on a CPU alone.
        on_progress: called after every step.

    Returns:
        The path of the best checkpoint.

    Raises:
        DataError: an image that cannot be read.
        UsageError: the folder holds a run of another network, or cannot be written.
        TrtparseError: the loss is not a number; the best checkpoint so far is kept.
    """
    check_output_folder(output)
    run = _Run(recipe, images, network, output, skeleton, teachers, workers)
    try:
        run.loop(on_progress)
    finally:
        run.close()
    return output / BEST_NAME


class _Run:
    def __init__(
        self,
        recipe: PoseRecipe,
        images: PoseImages,
        network: PoseNetwork,
        output: Path,
        skeleton: Skeleton,
        teachers: Sequence[PoseNetwork],
        workers: int,
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.output, self.skeleton = recipe, output, skeleton
        self.validation, self.album = images.validation, Album()
        self.device = training_device()
        self.precision = Precision(recipe.precision, self.device)
        self.network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.backward = Backward(recipe, [teacher.to(self.device).eval() for teacher in teachers], self.precision)
        self.optimizer = _optimizer(self.network, recipe.optimizer)
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.step = 0
        self.best: float | None = None
        self.last: float | None = None
        self.stopped = threading.Event()
        self._resume()
        if self.device.type != "cpu":
            workers = 1
        threads = max(torch.get_num_threads() // workers, 1)
        torch.set_num_threads(threads)
        self.workers = Workers(self.network, self.backward, workers - 1, threads)
        self.loader = PoseLoader(images.examples, images.often, recipe, skeleton, RULES[recipe.crop], self.step)

    def _resume(self) -> None:
        path = self.output / STATE_NAME
        if not path.is_file():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        there = PoseRecipe.from_dict(json.loads(state["recipe"]))
        changed = differences(there, self.recipe)
        refused = [change for change in changed if change.partition(" ")[0].partition(".")[0] in _FIXED]
        if refused:
            raise UsageError(
                f"{self.output} holds a run with another recipe: {'; '.join(refused[:3])}.",
                "Choose another output folder, or the same recipe.",
            )
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.precision.scaler.load_state_dict(state["scaler"])
        self.average = state["average"]
        self.step, self.best, self.last = state["step"], state["best"], state["last"]
        if changed:
            self._log({"step": self.step, "changed": changed})

    def save_state(self) -> None:
        state = {
            "recipe": json.dumps(self.recipe.to_dict(), sort_keys=True),
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.precision.scaler.state_dict(),
            "average": self.average,
            "step": self.step,
            "best": self.best,
            "last": self.last,
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        replace_bytes(self.output / STATE_NAME, buffer.getvalue())

    def loop(self, on_progress: Callable[[PoseProgress], None] | None) -> None:
        started, shown, steps = time.monotonic(), 0, self.recipe.steps
        with _ends_on_signal(self.stopped):
            while self.step < steps and not self.stopped.is_set():
                phase, _ = self.recipe.at(self.step)
                loss = self._train_step()
                self.step += 1
                shown += phase.batch
                due = self.step == steps
                if due or self.step % self.recipe.validate_every == 0:
                    self._validate(loss, shown / (time.monotonic() - started))
                if due or self.step % self.recipe.save_every == 0:
                    self.save_state()
                if on_progress is not None:
                    speed = shown / (time.monotonic() - started)
                    on_progress(PoseProgress(self.step, steps, loss, speed, self.last, self.best))
            self.save_state()

    def _train_step(self) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe.optimizer, self.step, self.recipe.steps)
        batch = self.loader.next()
        own, *others = _parts(batch, 1 + self.workers.count)
        share, *shares = (len(part.frames) / len(batch.frames) for part in (own, *others))
        self.workers.begin(others, self.step)
        losses = [self.backward(self.network, own, self.step)]
        for parameter in self.network.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(share)
        losses += self.workers.finish(self.network, shares)
        value = sum(loss * part for loss, part in zip(losses, (share, *shares)))
        if not math.isfinite(value):
            raise self._not_finite(value, batch)
        scaler = self.precision.scaler
        scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.optimizer.gradient_clip)
        scaler.step(self.optimizer)
        scaler.update()
        update_average(self.average, self.network, self.step, self.recipe.optimizer.average)
        return value

    def _validate(self, loss: float, speed: float) -> None:
        averaged = copy.deepcopy(self.network).eval()
        averaged.load_state_dict(self.average)
        phase, _ = self.recipe.at(self.step - 1)
        decoding, people = self.recipe.decoding, self.validation
        framing = Framing(phase.input_size, crop=RULES[self.recipe.crop])
        plain, flipped = (
            self._score(answers(averaged, people, self.album, framing, decoding, self.precision, flip=flip))
            for flip in (None, self.skeleton)
        )
        self.last = plain.value
        self._log(
            {
                "step": self.step,
                "time": time.strftime("%H:%M:%S"),
                "input_size": list(phase.input_size),
                "loss": round(loss, 4),
                "images_per_second": round(speed, 1),
                "pck": _rounded(plain.value),
                "pck_flip": _rounded(flipped.value),
                "joints": {name: _rounded(value) for name, value in flipped.joints.items()},
            }
        )
        if plain.value is not None and (self.best is None or plain.value >= self.best):
            self.best = plain.value
            save_checkpoint(
                averaged,
                self.output / BEST_NAME,
                framing,
                self.skeleton,
                decoding=decoding,
                origin=self.recipe.origin,
            )

    def close(self) -> None:
        self.loader.close()
        self.workers.close()

    def _score(self, found: NDArray[np.float32]) -> Pck:
        return pck(self.validation.joints(), found, self.validation.skeleton, self.skeleton)

    def _log(self, entry: dict[str, object]) -> None:
        with (self.output / LOG_NAME).open("a") as log:
            log.write(json.dumps(entry) + "\n")

    def _not_finite(self, value: float, batch: Batch) -> TrtparseError:
        kept = "No checkpoint was good enough to keep" if self.best is None else f"{BEST_NAME} of {self.output} is kept"
        return TrtparseError(
            f"The loss of step {self.step} is {value}; its images are {', '.join(batch.names[:3])} and others. {kept}.",
            "Take a lower learning rate: --set optimizer.learning_rate=0.0005.",
        )


def _parts(batch: Batch, count: int) -> list[Batch]:
    bounds = [len(batch.frames) * part // count for part in range(count + 1)]
    return [
        Batch(
            batch.names[start:end],
            batch.frames[start:end],
            batch.places[start:end],
            batch.masses[start:end],
            batch.weights[start:end],
        )
        for start, end in itertools.pairwise(bounds)
    ]


def _optimizer(network: PoseNetwork, recipe: Optimizer) -> torch.optim.Optimizer:
    groups: list[dict[str, Any]] = [
        {
            "params": [parameter for parameter in network.parameters() if (parameter.ndim > 1) == decays],
            "weight_decay": recipe.weight_decay if decays else 0.0,
        }
        for decays in (True, False)
    ]
    return create_optimizer(groups, recipe)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


@contextmanager
def _ends_on_signal(stopped: threading.Event) -> Iterator[None]:
    """SIGTERM ends the run after the step in hand; elsewhere than on the main thread signals are not ours to take."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_signal: int, _frame: FrameType | None) -> None:
        stopped.set()

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
