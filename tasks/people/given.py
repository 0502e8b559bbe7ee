"""People in boxes that a file has for photographs, in place of those that a detector would find in them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath

import numpy as np

from ...errors import DataError, UsageError
from ..coco import (
    Detection,
    box_of,
    detection_list,
    image_id,
    image_numbers,
    number_of,
    read_json,
    read_table,
    table_list,
)
from .boxes import Detections
from .found import person_category
from .person import Person

_HINT = "It should be a detector's list of image_id, bbox and score, or COCO's images and annotations with bbox."


@dataclass(frozen=True, eq=False)
class GivenBoxes:
    """Who is in photographs.

    Args:
        file: that says so, for messages.
        annotations: COCO's file that says the photographs' numbers.
        images: by a photograph's own name, without folders: the boxes in it, and their scores.
    """

    file: Path
    annotations: Path
    images: Mapping[str, Detections]

    @cached_property
    def digest(self) -> str:
        """sha256 of whose boxes are where."""
        told = {name: [*found.boxes.tolist(), found.scores.tolist()] for name, found in self.images.items()}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def check(self, photographs: Iterable[str]) -> None:
        """See that the file speaks of photographs, before any work is done.

        Raises:
            DataError: of some it does not; names one.
        """
        names = [PurePath(path).name for path in photographs]
        missing = [name for name in names if name not in self.images]
        if missing:
            raise DataError(
                f"{self.file} says nothing of {len(missing)} of the {len(names)} photographs, as {missing[0]}.",
                "Leave these photographs out, or give boxes for them.",
            )

    def people(self, photograph: str, size: tuple[int, int]) -> tuple[Person, ...]:
        """The people in one photograph, numbered from 1: everybody, whatever their score, in the boxes as they are.

        Args:
            photograph: its path.
            size: (height, width).

        Raises:
            DataError: a box lies outside of it.
        """
        found = self.images[PurePath(photograph).name]
        outside = (found.boxes[:, 2:] <= 0).any(axis=1) | (found.boxes[:, :2] >= (size[1], size[0])).any(axis=1)
        if outside.any():
            told = ", ".join(f"{side:g}" for side in found.boxes[outside][0])
            raise DataError(
                f"{self.file} has somebody at {told} in {photograph}, which is {size[1]}x{size[0]} pixels.",
                "Are the boxes those of this photograph, in its pixels?",
            )
        scored = zip(found.boxes.tolist(), found.scores.tolist())
        return tuple(Person(number, tuple(box), score) for number, (box, score) in enumerate(scored, 1))


def read_given(path: Path, annotations: Path | None = None) -> GivenBoxes:
    """Read boxes of people.

    Args:
        path: a detector's list of image_id, category_id, bbox and score; or COCO's table of images, and of annotations
            with bbox, as ``trtparse find`` writes it too. Of the table crowds and other categories than people are left
            out.
        annotations: COCO's file that says which images the list's ids are. A table says it itself.

    Raises:
        UsageError: a list, and no annotations.
        DataError: a file is missing, cut off or of another form; a box of no area or no numbers, or in an image that
            nobody knows.
    """
    table = read_json(path)
    if isinstance(table, list):
        if annotations is None:
            raise UsageError(
                f"{path} calls images by their numbers.", "Give --annotations the file of COCO's that has these images."
            )
        images, found = annotations, detection_list(path)
    else:
        images, found = path, _annotated(path)
    numbers = image_numbers(images)
    there: dict[int, list[Detection]] = {number: [] for number in numbers.values()}
    for one in found:
        if one.image not in there:
            raise DataError(
                f"{one.what} is in image {one.image}, which {images} does not have.",
                "Are these the images that the boxes were found in?",
            )
        there[one.image].append(one)
    return GivenBoxes(path, images, {name: _detections(there[number]) for name, number in numbers.items()})


def _annotated(path: Path) -> Iterator[Detection]:
    """The people in COCO's annotations."""
    table = read_table(path, _HINT)
    category = person_category(table)
    for number, entry in enumerate(table_list(table, "annotations", path, _HINT)):
        if entry.get("category_id", category) == category and not entry.get("iscrowd"):
            what = f"annotation {entry.get('id', number)} of {path}"
            score = number_of(entry.get("score", 1.0), "score", what)
            yield Detection(what, image_id(entry.get("image_id"), what), box_of(entry.get("bbox"), what), score)


def _detections(found: Sequence[Detection]) -> Detections:
    boxes = [(left, top, left + width, top + height) for left, top, width, height in (one.box for one in found)]
    return Detections(np.array(boxes, np.float64).reshape(-1, 4), np.array([one.score for one in found], np.float64))
