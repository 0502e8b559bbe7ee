"""What COCO's files have in common, whatever they annotate: tables, images and results."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import IO, Any

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
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
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


def results_file(results: Results, annotations: Path | None) -> Summary:
    """The file, and what makes its content.

    Args:
        results: what is in it.
        annotations: of the images, which say their numbers; None where there are none.

    Raises:
        DataError: the annotations cannot be read.
    """
    table = None if annotations is None else read_table(annotations)

    def content(found: Sequence[tuple[str, Any]]) -> bytes:
        ids = image_ids([image for image, _ in found], table, str(annotations or ""))
        entries = [
            {**entry, "file_name": PurePath(image).name}
            for (image, answer), number in zip(found, ids)
            for entry in results.of(number, answer)
        ]
        return ("[\n" + ",\n".join(map(json.dumps, entries)) + "\n]\n").encode("ascii")

    return results.name, content


def image_ids(names: Iterable[str], annotations: Table | None, path: str = "") -> list[int]:
    """COCO's number of each image.

    It is what the annotations say, where some are given; else the number in the file's name, where every name has one
    and no two are alike; else they are counted from 1.

    Args:
        names: file names, with or without folders.
        annotations: COCO's table.
        path: of the annotations, for messages.

    Raises:
        DataError: the annotations do not have an image, or are no such table.
    """
    files = [PurePath(name).name for name in names]
    if annotations is not None:
        try:
            known = {PurePath(image["file_name"]).name: int(image["id"]) for image in annotations["images"]}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"{path} is JSON, but not COCO's table: {error!r}.",
                "It should have images, each with id and file_name.",
            ) from error
        missing = [file for file in files if file not in known]
        if missing:
            raise DataError(
                f"{path} does not have {len(missing)} of the {len(files)} images, as {missing[0]}.",
                "Give the annotations of these images, or leave --annotations out.",
            )
        return [known[file] for file in files]
    numbers = [_NUMBER.findall(PurePath(file).stem) for file in files]
    if all(len(found) == 1 for found in numbers):
        ids = [int(found[0]) for found in numbers]
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
