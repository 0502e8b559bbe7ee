"""People as a task: one box for each of them, with a score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from ...data.crops import Placement
from ...data.dataset import Images
from ...engines.base import Arrays, OutputSpec
from ...errors import UsageError
from ...specs.decoding import SURE
from ...specs.label_set import LabelSet, label_set
from ...specs.skeleton import Skeleton
from ...specs.spec import Spec, nothing_meant
from ...storage.json_types import JsonObject, ReadJson
from .. import scoring
from ..base import Task
from ..coco import Results
from ..figure import Closeness, Figure
from .box_file import coco_results, decode_people, encode_people
from .boxes import Detections
from .data import open_data
from .draw import draw_boxes
from .drawer import PeopleDrawer
from .images import boxes_of
from .matching import alike
from .pictures import COLOURS_RGB
from .rows import Rows, detections, rows_of, told_people, without_doubles
from .scoring import Agreement, Scorer, Scores

if TYPE_CHECKING:
    import onnx

PEOPLE = "people"
"""The task's name in graphs and recipes."""


def _people() -> LabelSet:
    return label_set("person")


@dataclass(frozen=True)
class People(Task[Rows]):
    """Everybody in a picture: (n, 5) float32, corners of a box in pixels and a score, the best first.

    Args:
        label_set: nobody and somebody.
        sure: the score from which a box is somebody: recall, precision and the agreement of engines go by it.
    """

    label_set: LabelSet = field(default_factory=_people)
    sure: float = SURE
    name: ClassVar[str] = PEOPLE
    figure: ClassVar[Figure] = Figure(
        "AP50",
        "AP50",
        "AP50",
        "class",
        "classes",
        "people",
        "COCO's average precision of boxes at an intersection over union of 0.5. People less than 12 pixels high in "
        "the network's frame are not asked about, nor is what a detector's file of boxes has with a score below 0.5. "
        "The agreement is the panoptic quality with {reference}'s boxes as the truth: the mean overlap of the boxes "
        "that both have, with half a miss for each that one has alone",
    )
    scores_class: ClassVar[type[Scores]] = Scores
    agreement_class: ClassVar[type[Agreement]] = Agreement
    closeness: ClassVar[Closeness] = Closeness(
        "box_agreement", "boxes", {"fp32": 0.995, "fp16": 0.95, "int8": 0.5, "int8-cpu": 0.5}
    )
    finds_people: ClassVar[bool] = True
    covers: ClassVar[bool] = False
    ending: ClassVar[str] = ".json"
    results: ClassVar[Results] = Results("people.json", coco_results)

    @classmethod
    def of_manifest(cls, spec: Spec, options: ReadJson) -> People:
        return cls(cast(LabelSet, spec), float(options.get("sure", SURE)))

    @classmethod
    def of_graph(cls, model: onnx.ModelProto, meant: Spec | None, path: Path) -> People:
        from ...graphs.interface import sure_of

        nothing_meant(meant, path)
        return cls(sure=sure_of(model, path) or SURE)

    def options_of(self, model: onnx.ModelProto) -> JsonObject:
        return {"sure": self.sure}

    def choosing(self, sure: float | None, source: str) -> People:
        return self if sure is None else replace(self, sure=sure)

    @property
    def spec(self) -> LabelSet:
        return self.label_set

    @property
    def rows(self) -> tuple[str, ...]:
        """The one class."""
        return self.label_set.classes[1:]

    @property
    def legend(self) -> tuple[tuple[str, tuple[int, int, int]], ...]:
        return COLOURS_RGB

    def unpack(self, arrays: Arrays) -> list[Rows]:
        """(n, 5) float32 of each frame, of the ``boxes`` (N, M, 5) that an engine gives; nobody is in them twice.

        Raises:
            UsageError: arrays of another kind, or a box that is nowhere.
        """
        found = arrays[0] if arrays else None
        if not isinstance(found, np.ndarray) or found.dtype != np.float32 or found.ndim != 3 or found.shape[2] != 5:
            told = f"{found.shape} {found.dtype}" if isinstance(found, np.ndarray) else "nothing"
            raise UsageError(
                f"returned {told} instead of (N, M, 5) float32 boxes.",
                "Use a finder's graph that trtparse build wrote.",
            )
        if not np.isfinite(found).all():
            raise UsageError("placed somebody nowhere: not a number.", "Build it again with --fp32, and look there.")
        return [rows_of(without_doubles(rows)) for rows in found]

    def restore(self, answer: Rows, placement: Placement) -> Rows:
        """(n, 5) in pixels of the image; boxes end at its edges."""
        height, width = placement.image_size
        # Points are pixels' middles there, and corners are edges here.
        corners = placement.to_image(answer[:, :4].reshape(-1, 2).astype(np.float64) - 0.5) + 0.5
        boxes = np.clip(corners.reshape(-1, 4), 0, [width, height, width, height])
        return rows_of(Detections(boxes, answer[:, 4].astype(np.float64)))

    def scorer(self, dataset: Images, whose: str = "the network") -> Scorer:
        if dataset.labelled and boxes_of(dataset) is None:
            raise UsageError(
                f"The labels of {dataset.description} are no boxes.", "Give --data images with people's boxes."
            )
        return Scorer(self.restore, self.sure)

    def open_data(
        self,
        data: str | None,
        split: str | None,
        purpose: str,
        labels: str | Spec | None = None,
        whose: str = "the network",
    ) -> Images:
        if labels is not None and (isinstance(labels, Skeleton) or labels not in ("person", self.label_set)):
            raise UsageError("A finder knows people alone.", "Leave --labels out.")
        return open_data(data, split, purpose)

    def notes(
        self, reference: scoring.Scores | None, scores: scoring.Scores | None, agreement: scoring.Agreement, whose: str
    ) -> Sequence[str]:
        found = cast("Scores | None", scores)
        return [] if found is None else [f"{line}." for line in found.told]

    def drawer(self, frame_size: tuple[int, int], fps: float, *, smooth: bool = False) -> PeopleDrawer:
        return PeopleDrawer(self.restore, frame_size, self.sure)

    def drawn(self, image: NDArray[np.uint8], answer: Rows, placement: Placement) -> NDArray[np.uint8]:
        canvas: NDArray[np.uint8] = image.copy()
        draw_boxes(canvas, answer, self.sure)
        return canvas

    def encode(self, answer: Rows, record: str = "") -> bytes:
        """JSON with everybody's box and score."""
        return encode_people(answer, record)

    def decode(self, data: bytes, path: str) -> tuple[str | None, Rows | None]:
        return decode_people(data)

    def tensor(self, *, people: bool = False) -> OutputSpec:
        """(n, 5) float32, corners of boxes and scores."""
        return OutputSpec("people", "float32", (None, 5))

    def in_words(self, answer: Rows, *, people: bool = False) -> JsonObject:
        """Everybody's box, from left to bottom, and score."""
        return {"people": told_people(answer)}

    def amounts(self, answer: Rows, path: str = "") -> tuple[int, ...]:
        """How many people there are."""
        return (int((answer[:, 4] >= self.sure).sum()),)

    def agreement(self, found: Arrays, expected: Arrays) -> NDArray[np.float64]:
        """(N,) of the boxes that either engine is sure of, how many both have in nearly the same place; 1 of none."""
        pairs = zip(self.unpack(found), self.unpack(expected))
        return np.array([alike(detections(other), detections(one), self.sure).share for one, other in pairs])
