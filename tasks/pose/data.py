"""The people that ``--data`` names: a folder, a file of annotations, or rendered ones."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

from ...errors import DataError, UsageError
from ...specs.skeleton import Skeleton, load_skeleton
from ..coco import images_of, read_json
from .files import first_image, read_coco, read_lip, read_mpii
from .images import PersonImages
from .mpii import read_heads
from .people import People
from .rendered import TRAINING_SEED, VALIDATION_SEED, rendered_people

SYNTHETIC = "synthetic"
SYNTHETIC_PEOPLE = {"calibration": 256, "validation": 64}

SPLITS_FOR = {"calibration": ("train", "test", "val"), "validation": ("val", "test")}
"""Which split serves a purpose, best first. Nothing is validated on training images unless it is asked for."""

_FOLDERS = ("", "annotations", "annot", "TrainVal_pose_annotations")
"""Where annotations are in the layouts of COCO, MPII and LIP, and in a plain folder."""

_OTHER_TASKS = ("instances", "captions", "panoptic", "stuff", "image_info")
"""How COCO calls the files that have no keypoints."""

Read = Callable[[Path, Path], People]


def open_data(data: str | None, split: str | None, purpose: str, labels: str | Skeleton | None = None) -> PersonImages:
    """The people that ``--data`` names.

    A folder is looked through for annotations of the split that serves the purpose: COCO's keypoints, with any
    skeleton; MPII as HRNet has it; LIP's pose tables.

    Args:
        data: a folder, or a file of annotations; None or ``synthetic`` for rendered people.
        split: ``train``, ``val`` or ``test``.
        purpose: "calibration" or "validation"; chooses a split where none is given.
        labels: the skeleton that the annotations must have, or its name or file.

    Raises:
        UsageError: a split of rendered people or of a single file.
        DataError: no annotations there, several to choose from, or some that cannot be used; MPII's head boxes beside
            its annotations that are of other people.
    """
    skeleton = load_skeleton(labels) if isinstance(labels, str) else labels
    if data is None or data == SYNTHETIC:
        if split is not None:
            raise UsageError("--split goes with --data.", "Rendered people have no splits.")
        # Calibration and validation never share a person.
        seed = TRAINING_SEED if purpose == "calibration" else VALIDATION_SEED
        return PersonImages(rendered_people(SYNTHETIC_PEOPLE[purpose], seed))
    path = Path(data)
    if path.is_file():
        if split is not None:
            raise UsageError(f"--split goes with a folder, and {path} is a file.", "Leave --split out.")
    elif path.is_dir():
        path = _choose(path, split, purpose)
    else:
        raise DataError(f"There is nothing at {path}.", "Give a folder with annotations, or a file of them.")
    people = read_annotations(path, skeleton=skeleton)
    return _with_heads(people, path) if purpose == "validation" and format_of(path) == "mpii" else people


def read_annotations(path: Path, images: Path | None = None, *, skeleton: Skeleton | None = None) -> PersonImages:
    """The people of one file, whatever its format.

    Args:
        path: a JSON file of COCO or of MPII, or a CSV table of LIP.
        images: the folder of the images; looked for around the file where it is not given.
        skeleton: that the joints must be of.

    Raises:
        DataError: the file or an image is missing, or is not as it should be.
    """
    form = format_of(path)
    read: Read = {"coco": read_coco, "mpii": read_mpii, "lip": read_lip}[form]
    people = read(path, images or images_of(path, first_image(path, form)))
    if skeleton is not None and people.skeleton.joints != skeleton.joints:
        raise DataError(
            f"{path} has the joints of {people.skeleton.name}; --labels names {skeleton.name}.",
            "Leave --labels out, or give annotations of that skeleton.",
        )
    return PersonImages(people, path if form == "coco" else None)


def _with_heads(images: PersonImages, path: Path) -> PersonImages:
    """MPII's people with the heads that PCKh goes by: those of ``valid.json`` are in ``gt_valid.mat`` beside it.

    Raises:
        DataError: that file is none, or is of other people.
    """
    table = path.with_name(f"gt_{path.stem}.mat")
    if not table.is_file():
        reason = f"No PCKh: its head boxes would be in {table.name}, which is not beside {path.name}."
    elif importlib.util.find_spec("scipy") is None:
        reason = f"No PCKh: to read {table.name} takes SciPy, pip install 'trtparse[pose]'."
    else:
        return PersonImages(images.people, heads=read_heads(table, images.people))
    return PersonImages(images.people, told=(reason,))


def format_of(path: Path) -> str:
    """``coco``, ``mpii`` or ``lip``, by the ending and the first character of a file."""
    if path.suffix.lower() == ".csv":
        return "lip"
    try:
        with path.open("rb") as file:
            start = file.read(256).lstrip()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.", "Check its permissions.") from error
    return "mpii" if start.startswith(b"[") else "coco"


def _choose(root: Path, split: str | None, purpose: str) -> Path:
    """The one file of annotations of a folder that serves."""
    found = list(_annotations(root))
    if not found:
        raise DataError(
            f"{root} has no annotations of poses.",
            "It takes annotations/*.json with COCO's keypoints, annot/*.json of MPII or LIP's *_set.csv; for images "
            "alone, give people's boxes in such a file.",
        )
    for wanted in (split,) if split else SPLITS_FOR[purpose]:
        of_split = [path for path in found if wanted in path.stem.lower()]
        if of_split:
            return _by_hand(root, of_split)
    words = ("train", "val", "test")
    without = [path for path in found if not any(word in path.stem.lower() for word in words)]
    if split is None and without:
        return _by_hand(root, without)
    names = ", ".join(str(path.relative_to(root)) for path in found[:5])
    hint = "Give --split, or the file itself as --data."
    raise DataError(f"{root} has no annotations for {split or purpose}, only {names}.", hint)


def _annotations(root: Path) -> Iterator[Path]:
    for folder in _FOLDERS:
        place = root / folder
        if not place.is_dir():
            continue
        for path in sorted(place.iterdir()):
            poses = path.suffix.lower() == ".json" or (path.suffix.lower() == ".csv" and path.stem.endswith("_set"))
            if poses and path.is_file() and not path.stem.startswith(_OTHER_TASKS):
                yield path


def _by_hand(root: Path, files: list[Path]) -> Path:
    """The one file among several that people labelled, not a teacher, whose annotations have scores."""
    if len(files) == 1:
        return files[0]
    kept = [path for path in files if not _is_taught(path)]
    if len(kept) == 1:
        return kept[0]
    names = ", ".join(str(path.relative_to(root)) for path in kept or files)
    raise DataError(f"{root} has several files of annotations that may be meant: {names}.", "Give one as --data.")


def _is_taught(path: Path) -> bool:
    if path.suffix.lower() == ".csv":
        return False
    table = read_json(path)
    annotations = table.get("annotations") if isinstance(table, dict) else None
    first = annotations[0] if isinstance(annotations, list) and annotations else None
    return isinstance(first, dict) and "scores" in first
