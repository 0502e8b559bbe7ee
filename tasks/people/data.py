"""The images that ``--data`` names, with people's boxes: a folder, a file of boxes, or rendered scenes."""

from __future__ import annotations

import json
from pathlib import Path

from ...data.dataset import Images
from ...errors import DataError, UsageError
from ..coco import images_of, read_table
from .found import read_found
from .images import BoxImages, RenderedCrowds, Unlabelled

SYNTHETIC = "synthetic"
SYNTHETIC_SCENES = {"calibration": 96, "validation": 64}
SEEDS = {"calibration": 0, "validation": 1}
"""Calibration and validation never share a scene."""

SPLITS_FOR = {"calibration": ("train", "test", "val"), "validation": ("val", "test")}
"""Which split serves a purpose, best first. Nothing is validated on training images unless it is asked for."""

_FOLDERS = ("annotations", "")
"""Where boxes are in COCO's layout, and in a plain folder."""


def open_data(data: str | None, split: str | None, purpose: str) -> Images:
    """The images that ``--data`` names.

    Args:
        data: a folder with COCO's boxes of people, a file of them, a folder of images alone, or one image; None or
            ``synthetic`` for rendered scenes.
        split: ``train``, ``val`` or ``test``.
        purpose: "calibration" or "validation"; chooses a split where none is given.

    Raises:
        UsageError: a split of what has none.
        DataError: nothing there, several files to choose from, or boxes or images that cannot be used.
    """
    if data is None or data == SYNTHETIC:
        if split is not None:
            raise UsageError("--split goes with --data.", "Rendered scenes have no splits.")
        return RenderedCrowds(SYNTHETIC_SCENES[purpose], SEEDS[purpose])
    path = Path(data)
    if path.is_file() and path.suffix.lower() == ".json":
        if split is not None:
            raise UsageError(f"--split goes with a folder, and {path} is a file.", "Leave --split out.")
        return read_boxes(path)
    if path.is_dir() and (files := _with_boxes(path)):
        return read_boxes(_chosen(path, files, split, purpose))
    if split is not None:
        raise UsageError(f"{path} has no file of boxes, so no splits.", "Leave --split out.")
    from ..parsing.files import ImageFolder

    return Unlabelled(ImageFolder(path))


def read_boxes(path: Path, images: Path | None = None) -> BoxImages:
    """The images of a file of boxes, as COCO has them or ``trtparse find`` writes them.

    Args:
        path: the file.
        images: the folder of the images; looked for around the file where it is not given.

    Raises:
        DataError: the file or an image is missing, or is not as it should be; or it has no image.
    """
    listed = read_table(path).get("images")
    first = listed[0].get("file_name") if isinstance(listed, list) and listed and isinstance(listed[0], dict) else None
    if not isinstance(first, str):
        raise DataError(f"{path} names no image.", "Give a file as COCO has it, or as trtparse find writes it.")
    found = read_found(path, images or images_of(path, first))
    people = sum(len(one.people) for one in found)
    return BoxImages(found, f"{path.name}, {len(found)} images with {people} people")


def _chosen(root: Path, files: list[Path], split: str | None, purpose: str) -> Path:
    """The one file that serves."""
    for wanted in (split,) if split else SPLITS_FOR[purpose]:
        of_split = [path for path in files if wanted in path.stem.lower()]
        if len(of_split) == 1:
            return of_split[0]
    without = [path for path in files if not any(word in path.stem.lower() for word in ("train", "val", "test"))]
    if split is None and len(without) == 1:
        return without[0]
    names = ", ".join(str(path.relative_to(root)) for path in files[:5])
    raise DataError(
        f"{root} has not one file of boxes for {split or purpose}, but {names}.",
        "Give --split, or the file itself as --data.",
    )


def _with_boxes(root: Path) -> list[Path]:
    """The JSON files of a folder whose annotations have boxes."""
    found = []
    for folder in _FOLDERS:
        for path in sorted((root / folder).glob("*.json")):
            try:
                table = json.loads(path.read_bytes())
            except (OSError, ValueError, RecursionError) as error:
                raise DataError(f"{path} is cut off or no JSON: {error}.", "Copy or make the file again.") from error
            annotations = table.get("annotations") if isinstance(table, dict) else None
            if not isinstance(annotations, list) or "images" not in table:
                continue
            first = annotations[0] if annotations else {}
            if isinstance(first, dict) and (not first or "bbox" in first):
                found.append(path)
    return found
