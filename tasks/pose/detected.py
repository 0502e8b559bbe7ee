"""People in the boxes of a detector, for AP as COCO's tables have it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, UsageError
from ..coco import images_of, read_table
from ..people.boxes import overlap
from .files import first_image, read_detections
from .images import PersonImages
from .people import People, Person

_SAME_PERSON = 0.5
"""Overlap of a detector's box with a labelled one, from which on both are around one person."""


def in_boxes(labelled: PersonImages, boxes: Path) -> PersonImages:
    """The same images with a detector's boxes in place of those of the labels.

    AP compares poses with all labels of an image and needs no more than the boxes and their scores. For the joints' PCK
    each labelled person goes to the box that overlaps most, by half or more, a box of a higher score first; other boxes
    have no labelled joints.

    Args:
        labelled: of a file of COCO's form, whose image ids the boxes speak of.
        boxes: COCO's detections, a list of image_id, category_id, bbox and score.

    Raises:
        UsageError: the labels are in no file of COCO's form.
        DataError: the file cannot be used, or has nobody.
    """
    if labelled.file is None:
        raise UsageError(
            f"--boxes speaks of images by COCO's image_id, and {labelled.description} has none.",
            "Give --data a file of COCO's form, or leave --boxes out.",
        )
    file = labelled.file
    found = read_detections(boxes, images_of(file, first_image(file, "coco")), file, labelled.skeleton)
    if not found.people:
        raise DataError(f"{boxes} has no box of a person.", "Their category_id is 1.")
    there = defaultdict(list)
    for person in labelled.people.people:
        there[person.image_id].append(person)
    people = list(found.people)
    for number in sorted(range(len(people)), key=lambda number: -people[number].score):
        people[number] = _labelled(people[number], there[people[number].image_id])
    if not any((person.joints[:, 2] > 0).any() for person in people):
        raise DataError(
            f"No box of {boxes} is around a labelled person of {file}.",
            "Are the boxes of these images, in their pixels?",
        )
    unboxed = {image["id"] for image in read_table(file)["images"]} - {person.image_id for person in people}
    missed = sum(map(len, there.values()))
    without = f"; PCK leaves out those whom none overlaps by half: {missed}" if missed else ""
    told = f"Boxes are those of {boxes.name}{without}."
    described = f"{labelled.description}, in the {len(people)} boxes of {boxes.name}"
    shown = People(described, labelled.skeleton, tuple(people))
    return PersonImages(shown, file, told=(*labelled.told, told), unboxed=tuple(sorted(unboxed)))


def _labelled(found: Person, waiting: list[Person]) -> Person:
    """A box with the joints of the labelled person in it, who then waits no more."""
    if not waiting:
        return found
    shares = overlap(_corners([found]), _corners(waiting))[0]
    best = int(shares.argmax())
    if shares[best] < _SAME_PERSON:
        return found
    person = waiting.pop(best)
    return replace(found, joints=person.joints, area=person.area)


def _corners(people: list[Person]) -> NDArray[np.float64]:
    boxes = np.array([person.box for person in people], np.float64)
    return np.column_stack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])
