"""What COCO's files have in common, whatever they annotate: tables, images and results."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import IO, Any

from ..data.dataset import Box
from ..errors import DataError
from ..storage.json_types import JsonObject

_NUMBER = re.compile(r"\d+")

Table = Mapping[str, Any]
"""COCO's table as its file has it: images, annotations, categories. Whoever reads of it checks what is there."""


@dataclass(frozen=True)
class Results:
    """COCO's results of all images of a folder, in one file.

    Args:
        name: of the file.
        of: from an image's number and its answer to entries of the results; the image's file name is added.
    """

    name: str
    of: Callable[[int, Any], Iterable[JsonObject]]


Summary = tuple[str, Callable[[Sequence[tuple[str, Any]]], bytes]]
"""A file's name, and what makes its content of the images' names with their answers."""


def open_text(path: Path, *, newline: str | None = None) -> IO[str]:
    """Open a file of annotations.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    try:
        return path.open(encoding="utf-8", newline=newline)
    except FileNotFoundError:
        raise DataError(f"There is no file {path}.", "Give the annotations' file.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", "Check its permissions.") from error


def read_json(path: Path) -> Any:
    """What a file of annotations holds.

    Raises:
        DataError: the file is missing, cut off, or no JSON.
    """
    with open_text(path) as lines:
        try:
            return json.load(lines)
        except (ValueError, RecursionError) as error:  # also of numbers too long, and lists too deep
            raise DataError(f"{path} is cut off or no JSON: {error}.", "Copy or make the file again.") from error


def read_table(path: Path, hint: str = "It should have images, each with id and file_name.") -> Table:
    """COCO's table as it stands in a file.

    Args:
        path: the file.
        hint: what it should have, where it is JSON of another form.

    Raises:
        DataError: the file is missing, cut off, or JSON of another form.
    """
    table = read_json(path)
    if not isinstance(table, Mapping):
        raise DataError(f"{path} is JSON, but not COCO's table.", hint)
    return table


def table_list(table: Table, key: str, path: Path, hint: str) -> list[Table]:
    """A list of a table: its images, annotations or categories.

    Raises:
        DataError: it has none of that name.
    """
    entries = table.get(key)
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise DataError(f"{path} has no list of {key}.", hint)
    return entries


def json_list(path: Path, wanted: str) -> list[Table]:
    """A list of tables as it stands in a file.

    Args:
        path: the file.
        wanted: what it should be, for the hint.

    Raises:
        DataError: the file is missing, cut off, or of another form.
    """
    entries = read_json(path)
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise DataError(f"{path} is JSON of another form.", f"It should be {wanted}.")
    return entries


def box_of(value: Any, what: str) -> Box:
    """COCO's ``bbox``.

    Args:
        value: as read.
        what: has it, for messages.

    Raises:
        DataError: it is no box of numbers, or one of no area.
    """
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 4:
        raise DataError(f"{what} has no box.", "Give bbox as left, top, width and height in pixels.")
    left, top, width, height = (number_of(part, "bbox", what) for part in value)
    if width <= 0 or height <= 0:
        raise DataError(f"{what} has a box of {width:g}x{height:g} pixels.", "Leave out people whose box has no area.")
    return left, top, width, height


def number_of(value: Any, name: str, what: str) -> float:
    """A number as read; ``what`` has it as its ``name``, for messages.

    Raises:
        DataError: it is none, or not finite.
    """
    number = math.nan
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):  # a whole number of JSON's may have any length
            number = float(value)
    if not math.isfinite(number):
        raise DataError(f"{what} has a {name} of {value!r}.", "It must be a number.")
    return number


@dataclass(frozen=True)
class Detection:
    """One entry of COCO's detection results.

    Args:
        what: it is, for messages.
        image: its image's id, as read.
        box: left, top, width and height in pixels; of an area above 0.
        score: 1 where the file does not say.
    """

    what: str
    image: int
    box: Box
    score: float


def detection_list(path: Path) -> Iterator[Detection]:
    """The people in COCO's detection results, as detectors write them: entries of other categories than 1 are left out.

    Args:
        path: a JSON list of image_id, category_id, bbox and score.

    Raises:
        DataError: the file is missing, cut off or of another form; an entry without the number of an image, or whose
            box has no area or is no numbers.
    """
    for number, entry in enumerate(json_list(path, "a list of detections, each with image_id, bbox and score")):
        if entry.get("category_id", 1) == 1:
            what = f"detection {number} of {path}"
            score = number_of(entry.get("score", 1.0), "score", what)
            yield Detection(what, image_id(entry.get("image_id"), what), box_of(entry.get("bbox"), what), score)


def image_id(value: Any, what: str) -> int:
    """The id of an image as read; ``what`` has it, for messages.

    Raises:
        DataError: it is no whole number.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise DataError(f"{what} has {value!r} for an image's id.", "COCO's are whole numbers.")
    return value


def results_file(results: Results, annotations: Path | None) -> Summary:
    """The file, and what makes its content.

    Args:
        results: what is in it.
        annotations: of the images, which say their numbers; None where there are none.

    Raises:
        DataError: the annotations cannot be read.
    """
    numbers = None if annotations is None else image_numbers(annotations)

    def content(found: Sequence[tuple[str, Any]]) -> bytes:
        ids = image_ids([image for image, _ in found], numbers, str(annotations or ""))
        entries = [
            {**entry, "file_name": PurePath(image).name}
            for (image, answer), number in zip(found, ids)
            for entry in results.of(number, answer)
        ]
        return ("[\n" + ",\n".join(map(json.dumps, entries)) + "\n]\n").encode("ascii")

    return results.name, content


def image_numbers(annotations: Path) -> dict[str, int]:
    """COCO's number of each image of a file, by the image's own name without folders.

    Raises:
        DataError: the file is missing, cut off or of another form; two of its images have one name.
    """
    hint = "It should have images, each with id and file_name. A detector's list is for --boxes."
    numbers: dict[str, int] = {}
    for image in table_list(read_table(annotations, hint), "images", annotations, hint):
        if "id" not in image or not isinstance(image.get("file_name"), str):
            raise DataError(f"{annotations} has an image without id or file_name.", hint)
        name, number = PurePath(image["file_name"]).name, image_id(image["id"], f"an image of {annotations}")
        if numbers.setdefault(name, number) != number:
            raise DataError(
                f"{annotations} has several images called {name}.", "Give one file for each folder of images."
            )
    return numbers


def image_ids(names: Iterable[str], numbers: Mapping[str, int] | None, path: str = "") -> list[int]:
    """COCO's number of each image.

    It is what the annotations say, where some are given; else the number in the file's name, where every name has one
    and no two are alike; else they are counted from 1.

    Args:
        names: file names, with or without folders.
        numbers: of annotations, :func:`image_numbers`; None where there are none.
        path: of the annotations, for messages.

    Raises:
        DataError: the annotations do not have an image.
    """
    files = [PurePath(name).name for name in names]
    if numbers is not None:
        missing = [file for file in files if file not in numbers]
        if missing:
            raise DataError(
                f"{path} does not have {len(missing)} of the {len(files)} images, as {missing[0]}.",
                "Give the annotations of these images, or leave --annotations out.",
            )
        return [numbers[file] for file in files]
    found = [_NUMBER.findall(PurePath(file).stem) for file in files]
    if all(len(one) == 1 for one in found):
        ids = [int(one[0]) for one in found]
        if len(set(ids)) == len(ids):
            return ids
    return list(range(1, len(files) + 1))


def images_of(annotations: Path, first: str) -> Path:
    """The folder that holds the image ``first`` of an annotations' file: beside it, or where a layout has it.

    Raises:
        DataError: it is in none of them.
    """
    name = annotations.stem
    split = next((word for word in ("train", "val", "test") if word in name.lower()), "")
    last = name.rpartition("_")[2]  # person_keypoints_val2017: val2017
    here, above = annotations.parent, annotations.parent.parent
    folders = [here, above]
    for root in (above, here):
        folders += [root / "images", root / last, root / split, root / "images" / last, root / "images" / split]
        folders += [root / "TrainVal_images" / f"{split}_images", root / f"{split}_images"]
        folders += [root / "TrainVal_images" / "TrainVal_images" / f"{split}_images"]
    for folder in folders:
        if (folder / first).is_file():
            return folder
    looked = ", ".join(dict.fromkeys(str(folder) for folder in folders[:6]))
    raise DataError(
        f"The image {first} of {annotations} is missing: it is in none of {looked} and others.",
        "Put the images beside the annotations, or into images/.",
    )
