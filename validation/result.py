"""What a validation found, as values: from :func:`.validate.validate` to the report, the terminal and JSON.

Scores and shares are fractions of 1. Losses and tolerances are points of 100, of ``ValidationResult.figure``: 0.3 is
0.3 percent points. ``docs/report.schema.json`` is the published form of :meth:`ValidationResult.to_dict`.
"""

from __future__ import annotations

import types
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from ..engines.accuracy import Accuracy
from ..errors import DataError, UsageError
from ..storage.json_types import JsonObject, ReadJson
from ..tasks.base import Task
from ..tasks.figure import Figure
from ..tasks.intervals import Loss
from ..tasks.open import task_told
from ..tasks.protocol import Protocol
from ..tasks.scoring import Agreement, Confusion, Disagreement, Picture, Scores
from .latency import Latency

SCHEMA_VERSION = 6
"""Since 6 a result tells its task, whose rows are classes or joints, and nothing is named after the IoU. Since 5 it
tells what the rows are. Since 4 a loss goes over the classes that the labels hold, and the agreement over those
that the reference sees."""

WORST_IMAGES = 8
"""How many images with the largest disagreement are kept for every engine."""

_ROUNDING = 1e-9
"""A loss that is the tolerance but for the last bits of a float passes."""


@dataclass(frozen=True)
class EngineRun:
    """An engine that took part.

    Args:
        name: what ran ("ONNX Runtime 1.31.1, int8, 2 threads").
        target: the word that the command line knows it by.
        precision: ``fp32``, ``fp16`` or ``int8``.
        seconds: spent in inference, over all images.
        latency: None where nothing was timed.
        bundle: the folder it was opened from; empty where there is none.
        between: what OpenVINO computes with between INT8 layers; empty for all else.
    """

    name: str
    target: str
    precision: str
    seconds: float = 0.0
    latency: Latency | None = None
    bundle: str = ""
    between: str = ""

    @property
    def word(self) -> str:
        """``openvino-int8-bf16``."""
        return "-".join(filter(None, (self.target, self.precision, self.between)))


@dataclass(frozen=True)
class WorstImage:
    """One of the images on which an engine differs most from the reference.

    Args:
        name: of the image, unique in its dataset.
        disagreement: share of its pixels that differ.
        boundary_share: of these, the share within 2 pixels of a label edge; None where none differs or there is no
            edge.
        reference, engine: the task's figure of this image alone; None without labels. For orientation: the figure over
            all images need not be the average of these.
        picture: not in JSON, not compared; None in a result that was read from JSON.
    """

    name: str
    disagreement: float
    boundary_share: float | None
    reference: float | None
    engine: float | None
    picture: Picture | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class EngineComparison:
    """One engine against the reference.

    Args:
        run: what ran.
        scores: against the labels, at each image's own size; None where there are none.
        confusion: what those scores are of, true row by found row; None without labels, or where rows are not taken for
            each other.
        agreement: the engine scored against the reference's answers.
        agreement_confusion: what that is of, the reference's row by the engine's; None as ``confusion``.
        loss: None without labels.
        disagreement: how much differs, and where.
        worst: the images with the largest disagreement, the largest first; at most ``WORST_IMAGES``.
    """

    run: EngineRun
    scores: Scores | None
    confusion: Confusion | None
    agreement: Agreement
    agreement_confusion: Confusion | None
    loss: Loss | None
    disagreement: Disagreement
    worst: tuple[WorstImage, ...]

    def passes(self, tolerance: float) -> bool:
        """Whether the loss is within ``tolerance`` points; True where there are no labels to lose anything on."""
        return self.loss is None or self.loss.points <= tolerance + _ROUNDING


@dataclass(frozen=True)
class SkippedImage:
    """An image that could not be read, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class ValidationResult:
    """What :func:`.validate.validate` found.

    Args:
        task: whose answers were compared; every tuple by row is of its rows.
        dataset: what the images are.
        images: how many were compared.
        total: how many there were to compare, unreadable ones included.
        partial: the run was interrupted; everything below is about the first ``images`` alone.
        skipped: the images that could not be read.
        input_size: (height, width) of the networks' input.
        stretch: how far the images' shapes were changed to fill it; HRNet's orders fill it always.
        protocol: how the answers were made.
        tolerance: the largest loss of ``figure`` that passes, in points.
        reference_run: what the engines were compared with.
        reference: its scores against the labels; None where there are none.
        reference_confusion: what they are of, true row by found row; None as an engine's ``confusion``.
        engines: one or more, in the order in which they were given.
        seconds: wall time of the whole, reading included.
        machine: of the processor, the system and every package that took part, by name.
        created: when, ISO 8601 in UTC.
    """

    task: Task[Any]
    dataset: str
    images: int
    total: int
    partial: bool
    skipped: tuple[SkippedImage, ...]
    input_size: tuple[int, int]
    stretch: float
    protocol: Protocol
    tolerance: float
    reference_run: EngineRun
    reference: Scores | None
    reference_confusion: Confusion | None
    engines: tuple[EngineComparison, ...]
    seconds: float
    machine: dict[str, str]
    created: str

    @property
    def figure(self) -> Figure:
        """What losses, their intervals and the tolerance are of."""
        return self.task.figure

    @property
    def usual(self) -> bool:
        """Whether images became answers in the task's usual order."""
        return self.protocol.order == next(iter(self.task.orders), "")

    @property
    def stretched(self) -> bool:
        """Whether the network had images' shapes changed, of which orders that fill the input speak by themselves."""
        return self.stretch > 1 and not self.task.squashes(self.protocol.order)

    @property
    def method(self) -> str:
        """How the answers were made, in one line: the protocol, and what the network has done to images' shapes."""
        shapes = f"; images stretched up to {self.stretch:g} times to fill the input" if self.stretched else ""
        order = self.task.orders.get(self.protocol.order, "")
        return "; ".join(part for part in (order, self.protocol.views) if part) + shapes

    @property
    def labelled(self) -> bool:
        """Whether there were labels to score against. If not, only the agreement is known, and it always passes."""
        return self.reference is not None

    @property
    def passed(self) -> bool:
        """Whether every engine's loss is within the tolerance; True where there are no labels."""
        return all(engine.passes(self.tolerance) for engine in self.engines)

    @property
    def first(self) -> EngineComparison:
        """The first engine: the only one where one was compared."""
        return self.engines[0]

    def to_dict(self) -> JsonObject:
        """The result as JSON knows it; pictures stay out. ``passed`` and ``left_out`` are for readers of the JSON, and
        ``figure`` is what losses and the tolerance are of.
        """
        values: dict[str, Any] = {"schema": SCHEMA_VERSION, **_plain(self)}
        for engine, entry in zip(self.engines, values["engines"]):
            entry["passed"] = engine.passes(self.tolerance)
            entry["agreement"]["left_out"] = [self.task.rows[row] for row in engine.agreement.left_out]
        return {**values, "figure": self.figure.name, "passed": self.passed}

    def _checked(self) -> ValidationResult:
        """The same, where it has as many values of every kind as its task has rows.

        Raises:
            ValueError: it has not.
        """
        lengths = _lengths(self.reference_confusion)
        every = [self.reference]
        for engine in self.engines:
            every += [engine.scores, engine.agreement]
            lengths += _lengths(engine.confusion, engine.agreement_confusion)
            lengths += [len(engine.loss.rows)] if engine.loss else []
        for scores in every:
            if scores is not None:
                lengths += [len(scores.rows), len(scores.support), len(scores.image_support)]
        for length in lengths:
            if length != len(self.task.rows):
                raise ValueError(f"{length} values by {self.figure.row}, of {self.task.spec}")
        return self

    @classmethod
    def from_dict(cls, values: ReadJson) -> ValidationResult:
        """The inverse of :meth:`to_dict`, but for the pictures.

        Raises:
            DataError: ``values`` were written by another version, or are no result.
        """
        if not isinstance(values, dict) or values.get("schema") != SCHEMA_VERSION:
            found = values.get("schema") if isinstance(values, dict) else None
            raise DataError(
                f"This validation result has schema {found!r}, not {SCHEMA_VERSION}.", "Run the validation again."
            )
        try:
            task = task_told(values["task"], values["spec"])
            # Results of older versions went by the task's own.
            task = task.measured_by(values.get("figure", task.figure.name))
            return _Reader(task).restored(cls, {**values, "task": task})._checked()
        except (KeyError, TypeError, ValueError, UsageError) as error:
            raise DataError(
                f"This validation result lacks or has an unknown value: {error}.", "Run the validation again."
            ) from error


def _lengths(*confusions: Confusion | None) -> list[int]:
    """Of a confusion matrix's rows and columns."""
    return [len(part) for confusion in confusions if confusion is not None for part in (confusion, *confusion)]


def measured_accuracy(result: ValidationResult) -> dict[str, Accuracy]:
    """What a bundle's manifest keeps, by target and precision ("onnxruntime-int8")."""
    reference = result.reference
    return {
        engine.run.word: Accuracy(
            dataset=result.dataset,
            images=result.images,
            reference=result.reference_run.name,
            share=engine.agreement.share,
            figure=result.figure.name,
            unit=result.figure.unit,
            value=None if engine.scores is None else 100 * engine.scores.value,
            reference_value=None if reference is None else 100 * reference.value,
            agreement_value=100 * engine.agreement.value,
            rows=None if engine.scores is None else tuple(engine.scores.rows),
            reference_rows=None if reference is None else tuple(reference.rows),
            loss=None if engine.loss is None else (engine.loss.points, engine.loss.low, engine.loss.high),
            left_out=tuple(result.task.rows[row] for row in engine.agreement.left_out),
            invented=engine.agreement.invented_total,
            invented_in=tuple(result.task.rows[row] for row in engine.agreement.invented_rows),
            engine=engine.run.name,
            protocol=result.method,
            created=result.created,
        )
        for engine in result.engines
    }


Value = TypeVar("Value")


def _plain(value: Any) -> Any:
    """A value of the classes above in JSON's types."""
    if isinstance(value, Scores):
        return value.to_dict()
    if is_dataclass(value) and not isinstance(value, type):
        known = {item.name: getattr(value, item.name) for item in fields(value) if item.name != "picture"}
        plain = {name: _plain(item) for name, item in known.items() if not isinstance(item, Task)}
        told = [item for item in known.values() if isinstance(item, Task)]
        return {**({"task": told[0].name, "spec": told[0].spec.to_dict()} if told else {}), **plain}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return dict(value) if isinstance(value, dict) else value


class _Reader:
    """The inverse of :func:`_plain`, by the types that the fields declare; scores are the task's."""

    def __init__(self, task: Task[Any]) -> None:
        self._task = task

    def restored(self, kind: type[Value], value: Any) -> Value:
        return self._restore(kind, value)  # type: ignore[no-any-return]

    def _restore(self, kind: Any, value: Any) -> Any:
        if get_origin(kind) in (Union, types.UnionType):
            return None if value is None else self._restore(get_args(kind)[0], value)
        if get_origin(kind) is tuple:
            kinds = get_args(kind)
            each = [kinds[0]] * len(value) if kinds[-1] is Ellipsis else kinds
            return tuple(self._restore(item_kind, item) for item_kind, item in zip(each, value))
        if kind is Scores:
            return self._task.scores_told(value)
        if kind is Agreement:
            return self._task.agreement_told(value)
        if is_dataclass(kind):
            hints = get_type_hints(kind)
            # Older results have no word of what is between.
            left_out = {"picture", *({"between"} - value.keys())}
            return kind(  # type: ignore[operator]
                **{f.name: self._restore(hints[f.name], value[f.name]) for f in fields(kind) if f.name not in left_out}
            )
        return value
