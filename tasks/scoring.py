"""How well answers match a truth, or a reference's answers: what calibration, validation and reports ask of a task.

An image leaves *marks*, arrays of the task's own meaning; marks of many images are added up in a *tally*, which
gives figures. So a run can be written down image by image and gone on with, whatever is scored.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Generic, TypeVar

from numpy.typing import NDArray

from ..data.dataset import Image
from ..data.reading import Frame
from ..storage.json_types import JsonObject, ReadJson
from .intervals import Loss

Answer = TypeVar("Answer")

Marks = tuple[NDArray[Any], ...]
"""What one image adds to a tally: int64 or float64 arrays."""

AnyScores = TypeVar("AnyScores", bound="Scores")

Confusion = tuple[tuple[int, ...], ...]
"""A row for every class that should be, of a column for every class that was found."""


class Scores(ABC):
    """How well answers match a truth. Everything is a fraction of 1; a table multiplies by 100.

    A task's are a dataclass whose fields are numbers, words, tuples of them and tables of them, as JSON has them.

    Attributes:
        support: how much truth each row has, such as pixels of every class.
        image_support: number of images in which every row occurs.
        images: number of images.
    """

    support: tuple[int, ...]
    image_support: tuple[int, ...]
    images: int
    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    @abstractmethod
    def value(self) -> float:
        """The task's figure: the mean over ``rows`` without the Nones."""

    @property
    @abstractmethod
    def rows(self) -> tuple[float | None, ...]:
        """The same of each row, such as a class or a joint; None where it has none."""

    @property
    @abstractmethod
    def summary(self) -> tuple[tuple[str, float], ...]:
        """All figures over everything, with what they are called; the task's figure is among them."""

    @property
    def counted_rows(self) -> int:
        """Over how many rows ``value`` goes."""
        return sum(row is not None for row in self.rows)

    def to_dict(self) -> JsonObject:
        """The values in JSON's types."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls: type[AnyScores], values: ReadJson) -> AnyScores:
        """The inverse of :meth:`to_dict`.

        Raises:
            KeyError, TypeError: these are none.
        """
        known = {item.name: values[item.name] for item in fields(cls)}
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in known.items()})


class Agreement(Scores):
    """How well answers match those of a reference, which stand in for the truth."""

    @property
    @abstractmethod
    def share(self) -> float:
        """Of the task's unit that is alike, such as pixels of one label."""

    @property
    def counted(self) -> tuple[bool, ...]:
        """Of each row, whether it is in ``value``."""
        return tuple(row is not None for row in self.rows)

    @property
    def counted_rows(self) -> int:
        return sum(self.counted)

    @property
    def left_out(self) -> tuple[int, ...]:
        """Numbers of the rows that ``value`` does not count."""
        return tuple(number for number, counts in enumerate(self.counted) if not counts)

    @property
    def invented_total(self) -> int:
        """How much an engine finds in rows that ``value`` leaves out, and the reference does not."""
        return 0

    @property
    def invented_rows(self) -> tuple[int, ...]:
        """Numbers of these rows."""
        return ()


def figures_of(agreement: Agreement, *measured: Scores | None) -> list[tuple[str, tuple[float | None, ...]]]:
    """All figures over everything, by what they are called: of each of ``measured``, and last of the agreement.

    Those that only one side has, as COCO's AP, are None on the other.
    """
    tables = [dict(scores.summary) if scores is not None else {} for scores in (*measured, agreement)]
    words = dict.fromkeys(word for table in tables for word in table)
    return [(word, tuple(table.get(word) for table in tables)) for word in words]


def told_invented(count: int | None, rows: Sequence[str], unit: str) -> str:
    """What is invented, in words: "invents 34 pixels of Scarf, Skirt", or nothing.

    Args:
        count: of the unit.
        rows: that they are given to.
        unit: in the plural.
    """
    if not count:
        return "invents nothing"
    return f"invents {count:,} {unit.removesuffix('s') if count == 1 else unit} of {', '.join(rows)}"


@dataclass(frozen=True)
class Disagreement:
    """Where an engine's answers differ from the reference's.

    Args:
        share: that differs, of all.
        boundary_area: pixels within 2 of a label edge of the reference, of all: the boundary band. This and what
            follows is None where answers have no edges.
        boundary_share: differing pixels in the band, of all that differ; None where none differs.
        boundary_rate: differing pixels in the band, of the band's; None where there is no edge.
        interior_rate: differing pixels outside it, of those outside; None where there is only band.
    """

    share: float
    boundary_area: float | None = None
    boundary_share: float | None = None
    boundary_rate: float | None = None
    interior_rate: float | None = None


@dataclass(frozen=True)
class Panel:
    """One picture of a row in a report.

    Args:
        caption: what it shows.
        pixels: (h, w, 3) uint8, BGR.
        flat: it has few colours and edges that must stay sharp.
    """

    caption: str
    pixels: Image
    flat: bool = False


class Picture(ABC):
    """What a report shows of an image on which an engine differs."""

    @abstractmethod
    def panels(self, reference: str, engine: str, largest: int) -> tuple[Panel, ...]:
        """The image, the truth where there is one, what reference and engine found, and where they differ.

        Args:
            reference, engine: what they are called.
            largest: pixels along the longer side.
        """


class TruthTally(ABC):
    """Marks against the truth, added up."""

    images: int = 0

    @abstractmethod
    def add(self, marks: Marks) -> None:
        """One more image."""

    @property
    @abstractmethod
    def value(self) -> float | None:
        """The task's figure, a fraction of 1; None where nothing was counted."""

    @abstractmethod
    def scores(self) -> Scores:
        """The scores of everything counted so far.

        Raises:
            DataError: there was no truth to count.
        """

    @abstractmethod
    def loss_of(self, engine: Any) -> Loss:
        """What an engine loses against this one, over the same images: a tally of the same kind."""

    @property
    def confusion(self) -> Confusion | None:
        """True row by found row; None where rows are not taken for each other."""
        return None


class AgreementTally(ABC):
    """Marks against a reference's answers, added up."""

    @abstractmethod
    def add(self, marks: Marks) -> None:
        """One more image."""

    @abstractmethod
    def scores(self) -> Agreement:
        """The agreement of everything counted so far.

        Raises:
            DataError: there was nothing to count.
        """

    @abstractmethod
    def disagreement(self) -> Disagreement:
        """How much differs, and where."""

    @property
    def confusion(self) -> Confusion | None:
        """The reference's row by the engine's; None where rows are not taken for each other."""
        return None


class Scorer(ABC, Generic[Answer]):
    """Scores answers on the images of one dataset."""

    @abstractmethod
    def against_truth(self, frame: Frame, answer: Answer) -> Marks | None:
        """The marks of an image, in whose pixels the truth is; None where it has no truth."""

    @abstractmethod
    def against_reference(self, frame: Frame, reference: Answer, answer: Answer) -> Marks:
        """The marks of an image with a reference's answer as the truth."""

    @abstractmethod
    def disagreement(self, marks: Marks) -> tuple[float, float | None]:
        """Of one image's marks against the reference.

        Returns:
            The share that differs, and of that the share at an edge; None where there is none.
        """

    @abstractmethod
    def value(self, marks: Marks) -> float | None:
        """The task's figure of one image's marks against the truth, a fraction of 1; None where nothing counts."""

    @abstractmethod
    def truth_tally(self) -> TruthTally:
        """An empty one."""

    @abstractmethod
    def agreement_tally(self) -> AgreementTally:
        """An empty one."""

    @abstractmethod
    def picture(self, frame: Frame, reference: Answer, answer: Answer) -> Picture:
        """What a report shows of an image; the arrays are its own."""


@dataclass(frozen=True)
class EngineMarks:
    """Marks of one image and one engine: against the truth, None where it has none, and against the reference."""

    truth: Marks | None
    agreement: Marks


@dataclass(frozen=True)
class ImageMarks:
    """Marks of one image.

    Args:
        index: in the dataset.
        name: of the image.
        reference: the reference against the truth; None where it has none.
        engines: in the engines' order.
    """

    index: int
    name: str
    reference: Marks | None
    engines: tuple[EngineMarks, ...]


def mark_image(scorer: Scorer[Any], frame: Frame, reference: Any, answers: Sequence[Any]) -> ImageMarks:
    """What one image says of a reference and of every engine."""
    engines = tuple(
        EngineMarks(scorer.against_truth(frame, answer), scorer.against_reference(frame, reference, answer))
        for answer in answers
    )
    return ImageMarks(frame.index, frame.name, scorer.against_truth(frame, reference), engines)
