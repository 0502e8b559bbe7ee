"""Several tasks' answers over one another: in which order they are drawn, and how their parts are numbered together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError
from ..tasks.base import Task
from ..tasks.drawing import Part, Sight
from ..tasks.predictor import Predictor


@dataclass(frozen=True)
class Layer:
    """One task among those that are drawn over one another.

    Args:
        task: whose answers they are.
        first: is added to the numbers of its parts, so that no two tasks share one; 0 for a task alone.
    """

    task: Task[Any]
    first: int = 0

    @property
    def parts(self) -> Mapping[int, Part]:
        """What can be drawn or left out, by its number among all layers' parts."""
        return {self.first + number: part for number, part in self.task.parts.items()}

    def own(self, chosen: Iterable[int]) -> frozenset[int]:
        """Those of its parts that are among the chosen, by the task's numbers."""
        parts = self.task.parts
        return frozenset(number - self.first for number in chosen if number - self.first in parts)

    def shares(self, sight: Sight) -> dict[int, float]:
        """How much there is of each part, by its number among all layers' parts."""
        return {self.first + number: share for number, share in sight.shares().items()}


def layers_of(tasks: Iterable[Task[Any]]) -> tuple[Layer, ...]:
    """A layer for each task, the lowest first; arguments as of :func:`drawn_together`."""
    layers: list[Layer] = []
    first = 0
    for task in tasks:
        layers.append(Layer(task, first))
        first += max(task.parts, default=-1) + 1
    return tuple(layers)


def drawn_together(predictors: Sequence[Predictor[Any]]) -> list[Predictor[Any]]:
    """The predictors in the order in which they are drawn: what covers areas below what does not.

    Raises:
        UsageError: two are for one task.
    """
    names = [predictor.task.name for predictor in predictors]
    for predictor in predictors:
        if names.count(predictor.task.name) > 1:
            raise UsageError(
                f"Two bundles are for {predictor.task.name}; of each task one is drawn.",
                "Leave one out, or name one of another task: --bundle PARSER --bundle POSE",
            )
    return sorted(predictors, key=lambda predictor: not predictor.task.covers)


def all_parts(layers: Iterable[Layer]) -> dict[int, Part]:
    """What can be drawn or left out, of all layers."""
    return {number: part for layer in layers for number, part in layer.parts.items()}
