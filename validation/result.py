"""What a validation found, as values: from :func:`.validate.validate` to the report, the terminal and JSON.

Scores and shares are fractions of 1. Losses and tolerances are points of 100, of ``ValidationResult.figure``: 0.3 is
0.3 percent points. ``docs/report.schema.json`` is the published form of :meth:`ValidationResult.to_dict`.
"""

from __future__ import annotations

import types
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, ClassVar, TypeVar, Union, get_args, get_origin, get_type_hints

from ..errors import DataError, UsageError
from ..specs.label_set import LabelSet
from ..tasks.base import Figure
from ..tasks.parsing.intervals import Loss
from ..tasks.parsing.metrics import Agreement, Scores
from ..tasks.parsing.scoring import Picture
from ..tasks.parsing.task import Parsing
from .latency import Latency

SCHEMA_VERSION = 5
"""Since 5 a result tells its label set. Since 4 a loss goes over the classes that the labels hold, and the agreement
over those that the reference sees."""

WORST_IMAGES = 8
"""How many images with the largest disagreement are kept for every engine."""

Confusion = tuple[tuple[int, ...], ...]
"""A row for every class that should be, of a column for every class that was found, in pixels."""

ORDERS = {
    "ce2p": "CE2P: image letterboxed into the input, argmax at the input's size, labels back by nearest neighbour",
    "logits": "SCHP: image letterboxed into the input, logits back to the image's size bilinearly, then argmax",
    "hrnet": "HRNet: image squashed into the input, exp(logits) back to the image's size bilinearly, then argmax",
    "hrnet-labels": "HRNet without logits: image squashed into the input, argmax there, labels back by nearest",
}
"""Order of resizing and argmax, by the word of ``--order``. All score at each image's own size.

CE2P's is that of ``utils/miou.py`` and ``transform_parsing`` there; HRNet's that of ``HRNet-Semantic-Segmentation``,
``lib/datasets/lip.py`` and ``testval``, where the mean of the logits goes through exp before it is resized. SCHP's is
that of its ``simple_extractor.py``.
"""

LOGITS_ORDERS = ("logits", "hrnet")
"""Those that resize logits, for engines that give them."""

_ROUNDING = 1e-9
"""A loss that is the tolerance but for the last bits of a float passes."""


@dataclass(frozen=True)
class Protocol:
    """How images become label maps; the scores are LIP's whatever it is (:mod:`.metrics`).

    Args:
        order: one of ``ORDERS``.
        flip: the logits of every frame were averaged with those of its mirror image, left and right swapped.
        scales: sizes of the person in the frame whose logits were averaged; 1 is the frame as it is.
    """

    order: str = "ce2p"
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)

    @property
    def augmented(self) -> bool:
        """Whether there is test-time augmentation."""
        return self.flip or self.scales != (1.0,)

    @property
    def squashes(self) -> bool:
        """Whether images fill the input, whatever that does to their shapes."""
        return self.order.startswith("hrnet")

    @property
    def description(self) -> str:
        """The protocol in one line."""
        flip = "flipped as well" if self.flip else "no flip"
        scales = "one scale" if self.scales == (1.0,) else "scales " + ", ".join(f"{scale:g}" for scale in self.scales)
        return f"{ORDERS[self.order]}; {flip}, {scales}"


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
    """

    name: str
    target: str
    precision: str
    seconds: float = 0.0
    latency: Latency | None = None
    bundle: str = ""


@dataclass(frozen=True)
class Disagreement:
    """Where an engine's labels differ from the reference's, at the network's input size, without borders.

    Args:
        share: differing pixels, of all.
        boundary_area: pixels within 2 of a label edge of the reference, of all: the boundary band.
        boundary_share: differing pixels in the band, of all that differ; None where none differs.
        boundary_rate: differing pixels in the band, of the band's; None where there is no edge.
        interior_rate: differing pixels outside it, of those outside; None where there is only band.
    """

    share: float
    boundary_area: float
    boundary_share: float | None
    boundary_rate: float | None
    interior_rate: float | None


@dataclass(frozen=True)
class WorstImage:
    """One of the images on which an engine differs most from the reference.

    Args:
        name: of the image, unique in its dataset.
        disagreement: share of its pixels that differ.
        boundary_share: of these, the share within 2 pixels of a label edge; None where none differs.
        reference_iou, engine_iou: mean IoU of this image alone, over the classes that its labels hold; None without
            labels. For orientation: LIP's mean IoU is not the average of these.
        picture: not in JSON, not compared; None in a result that was read from JSON.
    """

    name: str
    disagreement: float
    boundary_share: float | None
    reference_iou: float | None
    engine_iou: float | None
    picture: Picture | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class EngineComparison:
    """One engine against the reference.

    Args:
        run: what ran.
        scores: against the labels, at each image's own size; None where there are none.
        confusion: those scores' pixels, true class by found class; None without labels.
        agreement: the engine scored against the reference's label maps, at the networks' input size without
            borders: ``pixel_accuracy`` is the share of equal pixels.
        agreement_confusion: its pixels, the reference's class by the engine's.
        loss: None without labels.
        disagreement: how much differs, and where.
        worst: the images with the largest disagreement, the largest first; at most ``WORST_IMAGES``.
    """

    run: EngineRun
    scores: Scores | None
    confusion: Confusion | None
    agreement: Agreement
    agreement_confusion: Confusion
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
        label_set: whose classes every tuple by class is of.
        dataset: what the images are.
        images: how many were compared.
        total: how many there were to compare, unreadable ones included.
        partial: the run was interrupted; everything below is about the first ``images`` alone.
        skipped: the images that could not be read.
        input_size: (height, width) of the networks' input.
        stretch: how far the images' shapes were changed to fill it; HRNet's orders fill it always.
        protocol: how the label maps were made.
        tolerance: the largest loss of ``figure`` that passes, in points.
        reference_run: what the engines were compared with.
        reference: its scores against the labels; None where there are none.
        reference_confusion: its pixels, true class by found class; None without labels.
        engines: one or more, in the order in which they were given.
        seconds: wall time of the whole, reading included.
        machine: of the processor, the system and every package that took part, by name.
        created: when, ISO 8601 in UTC.
    """

    figure: ClassVar[Figure] = Parsing.figure
    """What losses, their intervals and the tolerance are of."""

    label_set: LabelSet
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
    def stretched(self) -> bool:
        """Whether the network had images' shapes changed, of which HRNet's orders speak by themselves."""
        return self.stretch > 1 and not self.protocol.squashes

    @property
    def method(self) -> str:
        """How the label maps were made, in one line: the protocol, and what the network has done to images' shapes."""
        shapes = f"; images stretched up to {self.stretch:g} times to fill the input" if self.stretched else ""
        return self.protocol.description + shapes

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

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON knows it; pictures stay out. ``passed`` and ``left_out`` are for readers of the JSON."""
        values: dict[str, Any] = {"schema": SCHEMA_VERSION, **_plain(self)}
        for engine, entry in zip(self.engines, values["engines"]):
            entry["passed"] = engine.passes(self.tolerance)
            entry["agreement"]["left_out"] = list(self.label_set.names(engine.agreement.left_out))
        return {**values, "passed": self.passed}

    def _checked(self) -> ValidationResult:
        """The same, where it has as many values of every kind as its label set has classes.

        Raises:
            ValueError: it has not.
        """
        lengths = _lengths(self.reference_confusion)
        every = [self.reference]
        for engine in self.engines:
            every += [engine.scores, engine.agreement]
            lengths += _lengths(engine.confusion, engine.agreement_confusion)
            lengths += [len(engine.agreement.invented), *([len(engine.loss.classes)] if engine.loss else [])]
        for scores in every:
            if scores is not None:
                lengths += [len(scores.class_iou), len(scores.support), len(scores.image_support)]
        for length in lengths:
            if length != len(self.label_set):
                raise ValueError(f"{length} values by class, of {self.label_set}")
        return self

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ValidationResult:
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
            return _restored(cls, values)._checked()
        except (KeyError, TypeError, ValueError, UsageError) as error:
            raise DataError(
                f"This validation result lacks or has an unknown value: {error}.", "Run the validation again."
            ) from error


def _lengths(*confusions: Confusion | None) -> list[int]:
    """Of a confusion matrix's rows and columns."""
    return [len(part) for confusion in confusions if confusion is not None for part in (confusion, *confusion)]


def measured_accuracy(result: ValidationResult) -> dict[str, dict[str, Any]]:
    """The figures that a bundle's manifest keeps, by target and precision ("cpu-int8"), in JSON's types."""
    return {
        f"{engine.run.target}-{engine.run.precision}": {
            "dataset": result.dataset,
            "images": result.images,
            "protocol": result.method,
            "created": result.created,
            "engine": engine.run.name,
            "reference": result.reference_run.name,
            "reference_mean_iou": None if result.reference is None else result.reference.mean_iou,
            "reference_class_iou": None if result.reference is None else list(result.reference.class_iou),
            "mean_iou": None if engine.scores is None else engine.scores.mean_iou,
            "class_iou": None if engine.scores is None else list(engine.scores.class_iou),
            "loss": None if engine.loss is None else [engine.loss.points, engine.loss.low, engine.loss.high],
            "agreement": engine.agreement.pixel_accuracy,
            "agreement_mean_iou": engine.agreement.mean_iou,
            "left_out": list(result.label_set.names(engine.agreement.left_out)),
            "invented_pixels": engine.agreement.invented_pixels,
            "invented_classes": list(result.label_set.names(engine.agreement.invented_classes)),
        }
        for engine in result.engines
    }


Value = TypeVar("Value")


def _plain(value: Any) -> Any:
    """A value of the classes above in JSON's types."""
    if isinstance(value, (LabelSet, Scores)):
        return value.to_dict()
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value) if item.name != "picture"}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return dict(value) if isinstance(value, dict) else value


def _restored(kind: type[Value], value: Any) -> Value:
    """The inverse of :func:`_plain`, by the types that the fields declare."""
    return _restore(kind, value)  # type: ignore[no-any-return]


def _restore(kind: Any, value: Any) -> Any:
    if get_origin(kind) in (Union, types.UnionType):
        return None if value is None else _restore(get_args(kind)[0], value)
    if get_origin(kind) is tuple:
        kinds = get_args(kind)
        each = [kinds[0]] * len(value) if kinds[-1] is Ellipsis else kinds
        return tuple(_restore(item_kind, item) for item_kind, item in zip(each, value))
    if isinstance(kind, type) and issubclass(kind, (LabelSet, Scores)):
        return kind.from_dict(value)
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(  # type: ignore[operator]
            **{f.name: _restore(hints[f.name], value[f.name]) for f in fields(kind) if f.name != "picture"}
        )
    return value
