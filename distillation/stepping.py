"""The loop of every training, its batches shared among processes; what is trained on what is its task's.

``state.pt`` holds all that a resumed run needs; ``best.safetensors`` is the product.
"""

from __future__ import annotations

import copy
import io
import itertools
import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
from torch import nn

from ..errors import TrtparseError, UsageError
from ..storage.files import replace_bytes
from ..storage.interrupts import uninterrupted
from ..storage.json_types import JsonObject, ReadJson
from .optimising import Group, Precision, create_optimizer, learning_rate, update_average
from .parallel import Backward, Workers
from .recipe import Optimizer
from .tables import differences

BEST_NAME, STATE_NAME, LOG_NAME = "best.safetensors", "state.pt", "log.jsonl"


class SteppingRecipe(Protocol):
    """What the loop reads of a task's recipe."""

    @property
    def steps(self) -> int: ...

    @property
    def seed(self) -> int: ...

    @property
    def optimizer(self) -> Optimizer: ...

    @property
    def validate_every(self) -> int: ...

    @property
    def save_every(self) -> int: ...

    def to_dict(self) -> JsonObject: ...


class Batches(Protocol):
    """Batches in order, each a frozen dataclass whose fields are sequences of as many entries."""

    def next(self) -> Any: ...

    def close(self) -> None: ...


Recipe = TypeVar("Recipe", bound=SteppingRecipe)
Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class StepProgress:
    """What a running training says of itself.

    Args:
        step, steps: where it is.
        loss: of the last step.
        images_per_second: since the run was started or resumed, validation included.
        score: of the last validation, 0 to 1, or None before the first.
        best: the best so far.
    """

    step: int
    steps: int
    loss: float
    images_per_second: float
    score: float | None
    best: float | None


class SteppingRun(ABC, Generic[Recipe, Network]):
    """A run of one task: opened, looped and closed.

    Args:
        recipe: every value of the run.
        network: with the weights to start from.
        output: folder of the run.
        backward: what each process computes.
        precision: where, and in what; the one that ``backward`` computes with, whose scaler both need.
        workers: processes that share a batch and torch's threads; more than 1 on a CPU alone.
    """

    fixed: ClassVar[tuple[str, ...]]
    """Tables of a recipe that a resumed run cannot change. The rest is a plan, and plans change."""

    def __init__(
        self, recipe: Recipe, network: Network, output: Path, backward: Backward, precision: Precision, workers: int
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.output, self.backward = recipe, output, backward
        self.device, self.precision = precision.device, precision
        self.network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = self.open_optimizer()
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.step = 0
        self.best: float | None = None
        self.last: float | None = None
        self._resume()
        if self.device.type != "cpu":
            workers = 1
        threads = max(torch.get_num_threads() // workers, 1)
        torch.set_num_threads(threads)
        self.workers = Workers(self.network, backward, workers - 1, threads)
        self.loader = self.open_batches(self.step)

    @abstractmethod
    def read_recipe(self, values: ReadJson) -> Recipe:
        """The recipe of the tables that a state holds."""

    def open_optimizer(self) -> torch.optim.Optimizer:
        """Over the network's parameters, each group with what its learning rate is multiplied by."""
        return _optimizer(self.network, self.recipe.optimizer)

    @abstractmethod
    def open_batches(self, first: int) -> Batches:
        """The batches from a step on."""

    @abstractmethod
    def validate(self, averaged: Network) -> tuple[float | None, dict[str, object]]:
        """The score that the best checkpoint is chosen by, and what the log says beside it.

        Args:
            averaged: the average of the weights, in evaluation mode.
        """

    @abstractmethod
    def save_best(self, averaged: Network) -> None:
        """Write ``best.safetensors``."""

    def known(self) -> dict[str, str]:
        """What a state says beside weights and recipe."""
        return {}

    def upgraded(self, state: Mapping[str, Any]) -> Mapping[str, Any]:
        """A state as this version writes it, from one of an earlier version.

        Raises:
            UsageError: it is of another run, by what it says beside the recipe.
        """
        return state

    def _resume(self) -> None:
        path = self.output / STATE_NAME
        if not path.is_file():
            return
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            learnt = json.loads(state["recipe"])
        except Exception as error:  # damaged pickles raise whatever their bytes make of them
            raise UsageError(
                f"{path} is no state of a run that can be read.", "Choose another output folder, or remove the file."
            ) from error
        changed = differences(self.read_recipe(learnt), self.recipe)
        refused = [change for change in changed if change.partition(" ")[0].partition(".")[0] in self.fixed]
        if refused:
            raise UsageError(
                f"{self.output} holds a run with another recipe: {'; '.join(refused[:3])}.",
                "Choose another output folder, or the same recipe.",
            )
        state = self.upgraded(state)
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:  # a run that began on another device may have no scale to go on from
            self.precision.scaler.load_state_dict(state["scaler"])
        self.average = state["average"]
        self.step, self.best, self.last = state["step"], state["best"], state["last"]
        if changed:
            self.log({"step": self.step, "changed": changed})

    def save_state(self) -> None:
        state = {
            "recipe": json.dumps(self.recipe.to_dict(), sort_keys=True),
            **self.known(),
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

    def loop(self, on_progress: Callable[[StepProgress], None] | None) -> None:
        """Train until the last step; a signal that asks to end takes effect after the step in hand, the state saved.

        Raises:
            KeyboardInterrupt: such a signal came.
        """
        started, shown, steps = time.monotonic(), 0, self.recipe.steps
        with uninterrupted() as asked_to_end:
            while self.step < steps and not asked_to_end():
                loss, images = self._train_step()
                self.step += 1
                shown += images
                due = self.step == steps
                if due or self.step % self.recipe.validate_every == 0:
                    self._validate(loss, shown / (time.monotonic() - started))
                if due or self.step % self.recipe.save_every == 0:
                    self.save_state()
                if on_progress is not None:
                    speed = shown / (time.monotonic() - started)
                    on_progress(StepProgress(self.step, steps, loss, speed, self.last, self.best))
            self.save_state()

    def _train_step(self) -> tuple[float, int]:
        """The loss of the next step, and how many images it showed."""
        for group in self.optimizer.param_groups:
            group["lr"] = group.get("rate", 1.0) * learning_rate(self.recipe.optimizer, self.step, self.recipe.steps)
        batch = self.loader.next()
        own, *others = in_parts(batch, 1 + self.workers.count)
        share, *shares = (len(part.frames) / len(batch.frames) for part in (own, *others))
        self.workers.begin(others, self.step)
        losses = [self._backward(own)]
        for parameter in self.network.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(share)
        losses += self.workers.finish(self.network, shares)
        value = sum(loss * part for loss, part in zip(losses, (share, *shares)))
        if not math.isfinite(value):
            raise self._not_finite(value, batch.names)
        scaler = self.precision.scaler
        scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.optimizer.gradient_clip)
        scaler.step(self.optimizer)
        scaler.update()
        update_average(self.average, self.network, self.step, self.recipe.optimizer.average)
        return value, len(batch.frames)

    def _backward(self, own: Any) -> float:
        try:
            return self.backward(self.network, own, self.step)
        except ValueError as error:
            # Batch norm's word where every channel has one value: one image, whose map was pooled to one cell.
            if len(own.frames) > 1 or "more than 1 value per channel" not in str(error):
                raise
            raise UsageError(
                "This network cannot be trained on one image a step: a batch norm of it has one value for each image.",
                "Set the recipe's batch to 2 or more.",
            ) from error

    def _validate(self, loss: float, speed: float) -> None:
        averaged = copy.deepcopy(self.network).eval()
        averaged.load_state_dict(self.average)
        self.last, told = self.validate(averaged)
        now = {"step": self.step, "time": time.strftime("%H:%M:%S")}
        self.log({**now, "loss": round(loss, 4), "images_per_second": round(speed, 1), **told})
        if self.last is not None and (self.best is None or self.last >= self.best):
            self.best = self.last
            self.save_best(averaged)

    def close(self) -> None:
        self.loader.close()
        self.workers.close()

    def log(self, entry: JsonObject) -> None:
        """Add a line to the run's log: a validation, or what changed when it was resumed."""
        with (self.output / LOG_NAME).open("a") as log:
            log.write(json.dumps(entry) + "\n")

    def _not_finite(self, value: float, names: Sequence[str]) -> TrtparseError:
        kept = "No checkpoint was good enough to keep" if self.best is None else f"{BEST_NAME} of {self.output} is kept"
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} others" if len(names) > 3 else "")
        return TrtparseError(
            f"The loss of step {self.step + 1} is {value}; its images are {shown}. {kept}.",
            f"Take a lower learning rate (--set optimizer.learning_rate={self.recipe.optimizer.learning_rate / 4:g}), "
            "or look at these images; then start in another folder.",
        )


def in_parts(batch: Any, count: int) -> list[Any]:
    """A batch, a frozen dataclass of sequences as long as its ``frames``, as ``count`` of nearly one size."""
    bounds = [len(batch.frames) * part // count for part in range(count + 1)]
    return [
        replace(batch, **{field.name: getattr(batch, field.name)[start:end] for field in fields(batch)})
        for start, end in itertools.pairwise(bounds)
    ]


def rounded(value: float | None) -> float | None:
    """As the log has it."""
    return None if value is None else round(value, 4)


def _optimizer(network: nn.Module, recipe: Optimizer) -> torch.optim.Optimizer:
    def those(decays: bool) -> list[nn.Parameter]:
        return [parameter for parameter in network.parameters() if (parameter.ndim > 1) == decays]

    groups = [Group(those(decays), recipe.weight_decay if decays else 0.0) for decays in (True, False)]
    return create_optimizer(groups, recipe)
