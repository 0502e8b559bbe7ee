"""People in images as a file has them: COCO's detection annotations, with a detector's scores."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...data.dataset import Image
from ...data.images import read_image
from ...errors import DataError
from ...storage.files import replace_bytes
from ..coco import Table, read_table, table_list
from .boxes import Boxes, Detections

_CATEGORY = 1
"""A person, as in COCO."""

_HINT = "It should have COCO's lists images, with file_name, and annotations, with bbox."


@dataclass(frozen=True)
class Found:
    """An image and who was found in it.

    Args:
        image: its file.
        size: (height, width) in pixels.
        people: boxes and scores, the best first; boxes by hand have a score of 1.
        groups: (m, 4) boxes around many (``iscrowd``).
    """

    image: Path
    size: tuple[int, int]
    people: Detections
    groups: Boxes = field(default_factory=lambda: np.zeros((0, 4)))

    def read(self) -> Image:
        """The image, (H, W, 3) uint8, BGR.

        Raises:
            DataError: it cannot be read, or has another size than the file of boxes says.
        """
        image = read_image(self.image)
        if image.shape[:2] != self.size:
            told = " x ".join(str(side) for side in self.size)
            raise DataError(
                f"{self.image} is {image.shape[0]} x {image.shape[1]} pixels (height x width), "
                f"and its boxes are for {told}.",
                "Find the people in it again.",
            )
        return image


def read_found(path: Path, images: Path) -> list[Found]:
    """Read people from COCO's detection annotations.

    Args:
        path: the file; annotations may have a ``score``. Other categories than the one called person, or 1 where the
            file names none, are left out.
        images: folder that its file names are in.

    Returns:
        Every image of the file, those without people too, in its order.

    Raises:
        DataError: there is no such file, it is of another form, a box is none, or an image is missing.
    """
    table = read_table(path, _HINT)
    people: dict[Any, list[tuple[list[float], float]]] = {}
    groups: dict[Any, list[list[float]]] = {}
    category = person_category(table)
    for annotation in table_list(table, "annotations", path, _HINT):
        if annotation.get("category_id", category) != category:
            continue
        box = _numbers(annotation.get("bbox"), 4)
        score = _numbers([annotation.get("score", 1.0)], 1)
        if box is None or score is None or min(box[2:]) <= 0:
            raise DataError(f"{path} has an annotation whose bbox or score is none: {annotation}.", _HINT)
        left, top, width, height = box
        corners, image = [left, top, left + width, top + height], _id(annotation.get("image_id"), path)
        if annotation.get("iscrowd"):
            groups.setdefault(image, []).append(corners)
        else:
            people.setdefault(image, []).append((corners, score[0]))
    found = []
    for image in table_list(table, "images", path, _HINT):
        size = _numbers([image.get("height"), image.get("width")], 2)
        if "id" not in image or not isinstance(image.get("file_name"), str) or size is None or min(size) < 1:
            raise DataError(f"{path} has an image without id, file_name, height or width: {image}.", _HINT)
        number = _id(image["id"], path)
        file = images / image["file_name"]
        if not file.is_file():
            raise DataError(f"The image {file} is missing.", "Is the folder of the images the right one?")
        here = sorted(people.get(number, []), key=lambda person: -person[1])
        boxes = np.array([box for box, _ in here], np.float64).reshape(-1, 4)
        scores = np.array([score for _, score in here], np.float64)
        many = np.array(groups.get(number, []), np.float64).reshape(-1, 4)
        people_here = Detections(boxes, scores)
        found.append(Found(file, (int(size[0]), int(size[1])), people_here, many))
    return found


def write_found(path: Path, found: Sequence[Found], images: Path, description: str) -> None:
    """Write people as :func:`read_found` reads them; the file is written beside its place and renamed.

    Args:
        path: the file.
        found: images with their people.
        images: folder that all the images are in.
        description: where the boxes come from.
    """
    listed: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for number, one in enumerate(found, 1):
        name = one.image.relative_to(images).as_posix()
        listed.append({"id": number, "file_name": name, "height": one.size[0], "width": one.size[1]})
        for (left, top, right, bottom), score in zip(one.people.boxes.tolist(), one.people.scores.tolist()):
            box = [round(value, 2) for value in (left, top, right - left, bottom - top)]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": _CATEGORY,
                    "bbox": box,
                    "area": round(box[2] * box[3], 2),
                    "iscrowd": 0,
                    "score": round(score, 4),
                }
            )
    table = {
        "info": {"description": description},
        "images": listed,
        "annotations": annotations,
        "categories": [{"id": _CATEGORY, "name": "person"}],
    }
    replace_bytes(path, json.dumps(table).encode())


def person_category(table: Table) -> Any:
    """The id of the category of COCO's table that is a person: 1 where none is called so."""
    categories = table.get("categories")
    for category in categories if isinstance(categories, list) else []:
        if isinstance(category, Mapping) and str(category.get("name", "")).lower() in (
            "person",
            "people",
            "pedestrian",
        ):
            return category.get("id", _CATEGORY)
    return _CATEGORY


def _id(value: Any, path: Path) -> Any:
    """An image's id as read: COCO's are numbers, others' are texts."""
    if isinstance(value, (list, Mapping)):
        raise DataError(f"{path} has {value!r} for an image's id.", "It should be a whole number.")
    return value


def _numbers(values: Any, count: int) -> list[float] | None:
    if not isinstance(values, list) or len(values) != count:
        return None
    if any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in values):
        return None
    try:
        numbers = [float(value) for value in values]
    except OverflowError:  # a whole number of JSON's may have any length
        return None
    return numbers if all(math.isfinite(number) for number in numbers) else None
