"""What a network is for: the protocol between engines, which give arrays, and everything that a person sees.

An engine turns frames into arrays and knows no task. A task says what the arrays mean: how they become answers, how an
answer goes back from a frame onto its image, how it is drawn and kept. A new task is one folder beside this file.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..data.crops import Placement
from ..data.dataset import Images
from ..engines.base import Arrays, Frames
from ..errors import UsageError
from ..specs.decoding import refuse_sure
from ..specs.framing import Framing
from ..specs.label_set import LabelSet, check_same
from ..specs.skeleton import Skeleton
from ..specs.spec import Spec
from ..storage.json_types import JsonObject, ReadJson
from .figure import Closeness, Figure
from .presentation import Presentation
from .protocol import Protocol
from .scoring import Agreement, Answer, Scorer, Scores

if TYPE_CHECKING:
    import onnx

    from .predictor import Predictor

Ask = Callable[[Frames], Sequence[Any]]
"""From frames to what a scorer takes, one of each frame."""


class Task(Presentation[Answer], ABC):
    """What the arrays of an engine mean.

    ``Answer`` is what is said of one frame or image; a label map for parsing.
    """

    figure: ClassVar[Figure]
    """What is lost where an engine does worse than its reference."""

    closeness: ClassVar[Closeness]
    orders: ClassVar[Mapping[str, str]] = {}
    """Ways from images to answers and back, by the word of ``--order``, and in words; the first is the usual one."""
    spec_class: ClassVar[type[LabelSet] | type[Skeleton]] = LabelSet
    """Of ``spec``."""
    spec_words: ClassVar[str] = "label set"
    """What ``spec`` is called."""
    finds_people: ClassVar[bool] = False
    """Whether it answers where everybody in a picture is, and so sees pictures as they are."""
    raw_step: ClassVar[int] = 1
    """Rows and columns between the places at which raw tensors are compared; 1 compares all."""

    @classmethod
    def of_manifest(cls, spec: Spec, options: ReadJson) -> Task[Any]:
        """The task of a bundle.

        Args:
            spec: of ``spec_class``.
            options: of the network, as manifests have them.

        Raises:
            UsageError: what they say of the task is impossible.
        """
        raise UsageError(f"Bundles for {cls.name} are none that this trtparse reads.", "Update trtparse.")

    @classmethod
    def of_graph(cls, model: onnx.ModelProto, meant: Spec | None, path: Path) -> Task[Any]:
        """The task of a graph with our outputs.

        Args:
            model: its metadata says what its answers mean.
            meant: what somebody says that they mean.
            path: of the graph, for messages.

        Raises:
            UsageError: nobody says what its classes or joints mean, or two things are told.
        """
        raise UsageError(f"{path} is for {cls.name}, of which no bundle is made.", "It can be run in Python.")

    def options_of(self, model: onnx.ModelProto) -> JsonObject:
        """What a manifest says of a graph of the task, so that :meth:`of_manifest` makes the same of it."""
        return {}

    def choosing(self, sure: float | None, source: str) -> Task[Answer]:
        """The same with a score from which a box is somebody; None leaves it as it is.

        Args:
            source: of the graph, for messages.

        Raises:
            UsageError: it has no boxes.
        """
        refuse_sure(sure, source)
        return self

    @property
    @abstractmethod
    def spec(self) -> Spec:
        """What answers speak of. It travels with weights, graphs, bundles and results."""

    @property
    def rows(self) -> tuple[str, ...]:
        """What has a figure of its own, by its number: the names of classes or joints."""
        return ()

    @abstractmethod
    def unpack(self, arrays: Arrays) -> list[Answer]:
        """The answer for each frame, in the frame's pixels.

        Raises:
            UsageError: arrays that are no answers; the message goes on after the engine's name.
        """

    @abstractmethod
    def restore(self, answer: Answer, placement: Placement) -> Answer:
        """An answer of a frame, in the pixels of the image that lies in it."""

    def scorer(self, dataset: Images, whose: str = "the network") -> Scorer[Any]:
        """What scores answers on a dataset's images.

        Args:
            dataset: with labels, or without.
            whose: the answers are, for messages.

        Raises:
            UsageError: what the dataset's labels speak of has nothing to do with the task's answers; names both. Or
                nothing scores the task.
        """
        raise UsageError(f"Nothing scores {self.name}.", "It can be run; validate and budgets need a scorer.")

    def open_data(
        self,
        data: str | None,
        split: str | None,
        purpose: str,
        labels: str | Spec | None = None,
        whose: str = "the network",
    ) -> Images:
        """The images that ``--data`` names, with what is known of them.

        Args:
            data: a folder or a file; None or ``synthetic`` for rendered people.
            split: of a layout that has some.
            purpose: "calibration" or "validation"; chooses a split where none is given.
            labels: what the data's own labels speak of, where they do not say it: a value, or the word or file that
                ``--labels`` names.
            whose: the answers are, for messages.

        Raises:
            UsageError: a split of what has none, or an option that the task's data does not know.
            DataError: there are no such images.
        """
        raise UsageError(f"Nothing reads images with labels for {self.name}.", "It can be run.")

    def in_boxes(self, dataset: Images, boxes: Path) -> Images:
        """A dataset's images with a detector's boxes in place of those of its labels.

        Args:
            dataset: of :meth:`open_data`.
            boxes: COCO's detections.

        Raises:
            UsageError: the task is not about people in given boxes, or the dataset has none.
            DataError: the file cannot be used.
        """
        raise UsageError(f"{self.name} takes no boxes.", "Leave --boxes out.")

    def measured_by(self, word: str) -> Task[Answer]:
        """The same task with another of its figures as ``figure``.

        Args:
            word: of ``--figure``, in any case.

        Raises:
            UsageError: it has none of that name.
        """
        if word.lower() != self.figure.name.lower():
            raise UsageError(f"{self.name} goes by {self.figure.words} alone.", "Leave --figure out.")
        return self

    scores_class: ClassVar[type[Scores] | None] = None
    """Of what :meth:`scorer` gives against the truth; None where nothing scores the task."""
    agreement_class: ClassVar[type[Agreement] | None] = None
    """The same against a reference."""

    def scores_told(self, told: ReadJson) -> Scores:
        """The inverse of :meth:`Scores.to_dict`.

        Raises:
            KeyError, TypeError, ValueError: these are none.
        """
        if self.scores_class is None:
            raise ValueError(f"nothing scores {self.name}")
        return self.scores_class.from_dict(told)

    def agreement_told(self, told: ReadJson) -> Agreement:
        """As :meth:`scores_told`, of an agreement.

        Raises:
            KeyError, TypeError, ValueError: this is none, or one over other rows.
        """
        if self.agreement_class is None:
            raise ValueError(f"nothing scores {self.name}")
        agreement = self.agreement_class.from_dict(told)
        if len(agreement.rows) != len(self.rows):
            raise ValueError(f"{len(agreement.rows)} values by {self.figure.row}, of {self.spec}")
        return agreement

    def check_same(self, whose: str, other: Task[Any], whose_other: str) -> None:
        """See that two things speak of the same, before they are compared, taught or mixed.

        Raises:
            UsageError: they do not; names both.
        """
        if self.name != other.name:
            raise UsageError(
                f"{whose} is for {self.name}, and {whose_other} for {other.name}.",
                "Only what answers the same question can be compared, taught or mixed.",
            )
        check_same(self.spec, whose, other.spec, whose_other)

    def told(self, agreement: Agreement) -> str:
        """An agreement in half a sentence."""
        return f"{100 * agreement.share:.2f} % of {self.closeness.unit} agree, agreement {100 * agreement.value:.2f}"

    def notes(self, reference: Scores | None, scores: Scores | None, agreement: Agreement, whose: str) -> Sequence[str]:
        """What a reader of the table of rows must know; a sentence or two each.

        Args:
            reference, scores: against the truth, where there is one.
            agreement: of the engine with the reference.
            whose: what the reference is called.
        """
        return ()

    def order_of(self, protocol: Protocol) -> str:
        """The word of a protocol's order.

        Raises:
            UsageError: the task has none of that name.
        """
        usual = next(iter(self.orders), "")
        if protocol.order and protocol.order not in self.orders:
            raise UsageError(
                f"Unknown order {protocol.order!r}.",
                f"Choose one of {', '.join(self.orders)}." if self.orders else f"{self.name} has one order alone.",
            )
        return protocol.order or usual

    def usual_order(self, framing: Framing) -> str:
        """The order that a network's own answers take."""
        return next(iter(self.orders), "")

    def squashes(self, order: str) -> bool:
        """Whether images fill the input in an order, whatever that does to their shapes."""
        return False

    def check_protocol(self, protocol: Protocol, predictors: Sequence[Predictor[Any]]) -> None:
        """See that engines can be asked as a protocol wants it, before any work is done.

        Raises:
            UsageError: they cannot.
        """
        self.order_of(protocol)
        if protocol.augmented:
            raise UsageError(
                f"{self.name} has no test-time augmentation.", "Leave --flip and --scales out for such a network."
            )

    @contextlib.contextmanager
    def asking(self, predictor: Predictor[Any], protocol: Protocol) -> Iterator[Ask]:
        """What gives an engine's answers as a protocol wants them; what that needs goes with the block."""
        yield predictor.infer

    def frames_at_once(self, protocol: Protocol) -> int | None:
        """How many frames a validation should hold at a time at the most; None for no wish."""
        return None

    def agreement(self, found: Arrays, expected: Arrays) -> NDArray[np.float64]:
        """How much of two engines' arrays for the same frames agrees.

        Returns:
            (N,) shares from 0 to 1: of integers that are equal, of floats that are within ``closeness.tolerance``; of
            several arrays the lowest.
        """
        shares = [
            _agrees(one, other, self.closeness.tolerance).reshape(len(one), -1).mean(axis=1)
            for one, other in zip(found, expected)
        ]
        return np.asarray(np.min(shares, axis=0))


def _agrees(one: NDArray[Any], other: NDArray[Any], tolerance: float) -> NDArray[np.bool_]:
    if np.issubdtype(other.dtype, np.floating):
        # In this form a NaN agrees with nothing.
        return np.asarray(np.abs(one - other) <= tolerance)
    return np.asarray(one == other)
