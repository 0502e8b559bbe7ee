"""Parsing as a task: label maps."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from ...data.crops import Placement, Window
from ...data.dataset import Images, LabelMap, label_set_of
from ...data.letterbox import Letterbox
from ...engines.base import Arrays, Frames, OutputSpec
from ...engines.raw import RawEngine
from ...errors import UsageError
from ...specs.framing import Framing
from ...specs.label_set import LabelSet, check_same
from ...specs.skeleton import Skeleton
from ...specs.spec import Spec, classes_meant
from ...storage.json_types import JsonObject, ReadJson
from .. import scoring
from ..base import Ask, Task
from ..drawing import Part
from ..figure import Closeness, Figure
from ..people.person import Person
from ..predictor import Predictor
from ..protocol import Protocol
from .draw import draw, encode_label_png
from .drawer import LabelDrawer, letterbox_of, mean_cell
from .label_png import KEYWORD, decode_label_png
from .metrics import COUNTED_SHARE, Agreement, Scores, pixels_of_classes
from .paste import paste
from .pictures import DIFFERS_RGB, IGNORED_RGB
from .scoring import Prediction, Scorer
from .words import agreement_note, class_notes, invention

if TYPE_CHECKING:
    import onnx

LabelMaps = NDArray[np.uint8]
"""(N, H, W) uint8."""

Logits = NDArray[np.float32]
"""(N, classes, H, W) float32, before argmax: the raw tensor."""


@dataclass(frozen=True)
class Parsing(Task[LabelMap]):
    """The class of every pixel.

    Args:
        label_set: the classes.
    """

    label_set: LabelSet
    name: ClassVar[str] = "parsing"
    figure: ClassVar[Figure] = Figure(
        "mIoU",
        "mean IoU",
        "IoU",
        "class",
        "classes",
        "pixels",
        "LIP's: one confusion matrix over all images at each image's own size, background included, 255 ignored. A "
        "loss goes over the classes that the labels hold, the agreement over those with at least "
        f"{100 * COUNTED_SHARE:g}\N{NO-BREAK SPACE}% of {{reference}}'s pixels",
    )
    scores_class: ClassVar[type[Scores]] = Scores
    agreement_class: ClassVar[type[Agreement]] = Agreement
    closeness: ClassVar[Closeness] = Closeness(
        "pixel_agreement", "pixels", {"fp32": 0.9995, "fp16": 0.98, "int8": 0.80, "int8-cpu": 0.80}
    )

    orders: ClassVar[Mapping[str, str]] = {
        "ce2p": "CE2P: image letterboxed into the input, argmax at the input's size, labels back by nearest neighbour",
        "logits": "SCHP: image letterboxed into the input, logits back to the image's size bilinearly, then argmax",
        "hrnet": "HRNet: image squashed into the input, exp(logits) back to the image's size bilinearly, then argmax",
        "hrnet-labels": "HRNet without logits: image squashed into the input, argmax there, labels back by nearest",
    }
    """Of resizing and argmax. All score at each image's own size.

    CE2P's is that of ``utils/miou.py`` and ``transform_parsing`` there; HRNet's that of
    ``HRNet-Semantic-Segmentation``, ``lib/datasets/lip.py`` and ``testval``, where the mean of the logits goes through
    exp before it is resized. SCHP's is that of its ``simple_extractor.py``.
    """
    raw_step: ClassVar[int] = 4
    """The students' logits are bilinear between these."""

    @classmethod
    def of_manifest(cls, spec: Spec, options: ReadJson) -> Parsing:
        return cls(cast(LabelSet, spec))

    @classmethod
    def of_graph(cls, model: onnx.ModelProto, meant: Spec | None, path: Path) -> Parsing:
        from ...graphs.interface import label_set_of

        return cls(label_set_of(model, classes_meant(meant, path), path))

    @property
    def spec(self) -> LabelSet:
        return self.label_set

    @property
    def rows(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.label_set.classes

    @property
    def pixel_classes(self) -> tuple[str, ...]:
        return self.label_set.classes

    @property
    def legend(self) -> tuple[tuple[str, tuple[int, int, int]], ...]:
        classes = zip(self.label_set.classes, self.label_set.colours)
        return (*classes, ("ignored", IGNORED_RGB), ("differs", DIFFERS_RGB))

    def unpack(self, arrays: Arrays) -> list[LabelMap]:
        """(H, W) uint8 of each frame, of the ``labels`` (N, H, W) uint8 that an engine gives.

        Of an engine that gives its logits (N, C, H, W) float32 in their place, each frame's: such answers become labels
        on the image alone (:meth:`restore`).

        Raises:
            UsageError: arrays of another kind, or an id that is no class.
        """
        if len(arrays) == 1 and _are_scores(arrays[0], len(self.label_set)):
            return list(arrays[0])
        if len(arrays) != 1 or getattr(arrays[0], "dtype", None) != np.uint8 or arrays[0].ndim != 3:
            raise UsageError(
                f"returned {' and '.join(map(_described, arrays)) or 'nothing'} instead of (N, H, W) uint8 label maps.",
                "Use a graph that trtparse build wrote.",
            )
        labels = arrays[0]
        # 5 to 10 µs for a map of 256x192 (measured on one core); the network before it takes some 5,000.
        highest = int(np.max(labels, initial=0))
        if highest >= len(self.label_set):
            raise UsageError(
                f"labels pixels {highest}; {self.label_set.name} ends at {len(self.label_set) - 1}.",
                f"Use a network with the {len(self.label_set)} classes of {self.label_set.name}.",
            )
        return list(labels)

    def restore(self, answer: LabelMap, placement: Placement) -> LabelMap:
        """(H, W) uint8 at the image's size.

        Of labels the nearest, so that no class appears that was not predicted; of logits the highest, once they are at
        the image's size.
        """
        assert isinstance(placement, Letterbox), "label maps are of whole images"
        if answer.ndim == 2:
            return placement.restore(answer)
        return placement.restore_scores(np.asarray(answer, np.float32))

    ending: ClassVar[str] = ".png"
    flicker_words: ClassVar[str] = "of the pixels of people who stand still"

    @property
    def parts(self) -> Mapping[int, Part]:
        """The classes but the background."""
        named = zip(self.label_set.classes, self.label_set.colours)
        return {number: Part(*one) for number, one in enumerate(named) if number}

    def drawer(self, frame_size: tuple[int, int], fps: float, *, smooth: bool = False) -> LabelDrawer:
        return LabelDrawer(self.label_set, self.restore, frame_size, fps, smooth=smooth)

    def drawn(self, image: NDArray[np.uint8], answer: LabelMap, placement: Placement) -> NDArray[np.uint8]:
        return draw(image, answer, self.label_set, cell=letterbox_of(placement).cell)

    def together(
        self,
        answers: Sequence[LabelMap],
        placements: Sequence[Placement],
        people: Sequence[Person],
        image_size: tuple[int, int],
    ) -> LabelMap:
        windows = [one for one in placements if isinstance(one, Window)]
        return paste(windows, people, answers, image_size, self.restore)[0]

    def drawn_together(
        self,
        image: NDArray[np.uint8],
        answers: Sequence[LabelMap],
        placements: Sequence[Placement],
        people: Sequence[Person],
    ) -> NDArray[np.uint8]:
        windows = [one for one in placements if isinstance(one, Window)]
        labels, instances = paste(windows, people, answers, (image.shape[0], image.shape[1]), self.restore)
        cell = mean_cell(placements)
        return draw(image, labels, self.label_set, cell=cell, people=people, instances=instances)

    def encode(self, answer: LabelMap, record: str = "") -> bytes:
        """A PNG whose pixel values are the class ids."""
        return encode_label_png(answer, self.label_set, KEYWORD + record.encode("ascii") if record else b"")

    def decode(self, data: bytes, path: str) -> tuple[str | None, LabelMap | None]:
        return decode_label_png(data, self.label_set, path)

    def tensor(self, *, people: bool = False) -> OutputSpec:
        """(H, W) uint8, of everybody as well."""
        return OutputSpec("label_map", "uint8", (None, None))

    def in_words(self, answer: LabelMap, *, people: bool = False) -> JsonObject:
        """The pixels of each class that is seen, and the PNG in base 64."""
        seen = {name: count for name, count in zip(self.label_set.classes, self.amounts(answer)) if count}
        return {"pixels": seen, "labels_png": base64.b64encode(self.encode(answer)).decode("ascii")}

    def image_size(self, answer: LabelMap) -> tuple[int, int]:
        return (answer.shape[0], answer.shape[1])

    def amounts(self, answer: LabelMap, path: str = "The label map") -> tuple[int, ...]:
        """The pixels of each class."""
        return pixels_of_classes(answer, self.label_set, path)

    def scorer(self, dataset: Images, whose: str = "the network") -> Scorer:
        if dataset.labelled:
            labels = label_set_of(dataset)
            if labels is None:
                raise UsageError(
                    f"The labels of {dataset.description} are no label maps.", "Give --data images with label maps."
                )
            check_same(self.label_set, whose, labels, dataset.description)
        return Scorer(self.label_set)

    def open_data(
        self,
        data: str | None,
        split: str | None,
        purpose: str,
        labels: str | Spec | None = None,
        whose: str = "the network",
    ) -> Images:
        from .data import open_data

        if isinstance(labels, Skeleton):
            raise UsageError(f"{labels} is no label set.", "Give --labels the classes of label maps.")
        return open_data(self.label_set, data, split, purpose, labels, whose)

    def agreement_told(self, told: ReadJson) -> scoring.Agreement:
        agreement = super().agreement_told(told)
        invented = cast(Agreement, agreement).invented
        if len(invented) != len(self.label_set):
            raise ValueError(f"{len(invented)} values by class, of {self.label_set}")
        return agreement

    def told(self, agreement: scoring.Agreement) -> str:
        """Pixels, the mean over classes, and what is invented where something is."""
        words = super().told(agreement)
        return f"{words}; {invention(agreement, self.label_set)}" if agreement.invented_total else words

    def notes(
        self, reference: scoring.Scores | None, scores: scoring.Scores | None, agreement: scoring.Agreement, whose: str
    ) -> Sequence[str]:
        before, after = cast("Scores | None", reference), cast("Scores | None", scores)
        lines = class_notes(before, after, self.label_set, self.figure.words)
        return [*lines, agreement_note(cast(Agreement, agreement), self.label_set, whose)]

    def usual_order(self, framing: Framing) -> str:
        """As the network's answers go back onto the image."""
        return "logits" if framing.returns == "logits" else "ce2p"

    def squashes(self, order: str) -> bool:
        """HRNet's orders do."""
        return order.startswith("hrnet")

    def check_protocol(self, protocol: Protocol, predictors: Sequence[Predictor[Any]]) -> None:
        from .test_time import check_logits, check_scales

        order = self.order_of(protocol)
        check_scales(protocol.scales)
        without = _WITHOUT_LOGITS.get(order)
        for predictor in predictors if without else ():
            check_logits(predictor.engine, f"The order {order} ({without} does without)")

    @contextlib.contextmanager
    def asking(self, predictor: Predictor[Any], protocol: Protocol) -> Iterator[Ask]:
        from .test_time import AugmentedEngine

        if isinstance(predictor.engine, RawEngine):
            # What goes back onto the image is the protocol's to say here.
            predictor = replace(predictor, engine=predictor.engine.engine)
        order = self.order_of(protocol)
        with contextlib.ExitStack() as stack:
            if protocol.augmented:
                views = AugmentedEngine(predictor.engine, self.label_set, flip=protocol.flip, scales=protocol.scales)
                predictor = replace(predictor, engine=stack.enter_context(views))

            def labels(frames: Frames) -> list[LabelMap]:
                return _checked(predictor, predictor.infer(frames), frames)

            def logits(frames: Frames) -> list[Prediction]:
                found = predictor.engine.raw(frames)
                expected = (len(frames), len(self.label_set), *frames.shape[1:3])
                if found.shape != expected:
                    raise _wrong(predictor, found, f"{expected} float32 logits")
                classes = found.argmax(axis=1).astype(np.uint8)
                return [Prediction(one, scores, order == "hrnet") for one, scores in zip(classes, found)]

            yield logits if order in _WITHOUT_LOGITS else labels

    def frames_at_once(self, protocol: Protocol) -> int | None:
        """Two where logits are handled: those of one image at 473x473 are 18 MB."""
        return 2 if protocol.augmented or protocol.order in _WITHOUT_LOGITS else None


_WITHOUT_LOGITS = {"hrnet": "hrnet-labels", "logits": "ce2p"}
"""Orders that resize logits, and what does without."""


def _checked(predictor: Predictor[Any], maps: list[LabelMap], frames: Frames) -> list[LabelMap]:
    expected = f"{frames.shape[:3]} uint8 label maps"
    for labels in maps:
        if not isinstance(labels, np.ndarray) or labels.shape != frames.shape[1:3] or labels.dtype != np.uint8:
            raise _wrong(predictor, labels, expected, len(maps))
    if len(maps) != len(frames):
        raise _wrong(predictor, maps[0] if maps else None, expected, len(maps))
    return maps


def _wrong(predictor: Predictor[Any], found: object, expected: str, times: int | None = None) -> UsageError:
    """What an engine returned: one array, or one of so many of a batch."""
    what = type(found).__name__
    if isinstance(found, np.ndarray):
        what = f"{found.shape if times is None else (times, *found.shape)} {found.dtype}"
    return UsageError(
        f"{predictor.name} returned {what} instead of {expected}.", "Use a graph that trtparse build wrote."
    )


def _are_scores(found: object, classes: int) -> bool:
    return isinstance(found, np.ndarray) and found.ndim == 4 and found.dtype == np.float32 and found.shape[1] == classes


def _described(found: object) -> str:
    return f"{found.shape} {found.dtype}" if isinstance(found, np.ndarray) else type(found).__name__
