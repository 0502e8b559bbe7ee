"""What COCO's files have in common, whatever they annotate: their images."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any

from ..errors import DataError

_NUMBER = re.compile(r"\d+")


def image_ids(names: Iterable[str], annotations: Mapping[str, Any] | None, path: str = "") -> list[int]:
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
