"""Readers of annotations: COCO's keypoints and detections, MPII as HRNet has it, LIP's pose tables.

Every reader refuses what it cannot mean, and names the file and the annotation.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, UsageError
from ...specs.skeleton import Skeleton, load_skeleton
from ..coco import Table, box_of, detection_list, json_list, number_of, open_text, read_table, table_list
from .oks import AREA_OF_BOX
from .people import People, Person

DEFAULT_SIGMA = 0.079
"""Of joints whose file has no sigmas: COCO's for a shoulder."""

_MOST_OUTSIDE = 0.1
"""Share of labelled joints. In LSP-extended 2 of 104,784 are (of its teacher 6 of 144,500); with
coordinates of another size it is most of them."""

_COCO_HINT = "It should be COCO's keypoint format: images, annotations with keypoints, one category with their names."


def read_coco(path: Path, images: Path, *, skeleton: Skeleton | None = None) -> People:
    """Read COCO's keypoint annotations.

    The skeleton is the category's own: names and limbs from it, sigmas where it has them, a flip pair where two names
    differ by left and right. A category with the joints of COCO, MPII or LSP is that skeleton.

    Args:
        path: a JSON file.
        images: folder of the images.
        skeleton: what the joints must be; None takes what the file has.

    Returns:
        Everybody with at least one labelled joint, crowds left out. A joint outside of its image counts as not
        labelled, and the description says how many were.

    Raises:
        DataError: the file is missing, cut off or not COCO's; annotations without keypoints or boxes, of another
            skeleton, with a box of no area or a visibility other than 0, 1 and 2; more than one labelled joint in ten
            outside of its image; an image that is missing.
    """
    table = read_table(path, _COCO_HINT)
    own = coco_skeleton(table, path)
    if skeleton is not None and own.joints != skeleton.joints:
        raise DataError(
            f"{path} has the joints {', '.join(own.joints)}; {skeleton.name} has {', '.join(skeleton.joints)}.",
            "Choose annotations of that skeleton, or a network with the joints of the annotations.",
        )
    own = skeleton or own
    files = _image_files(table, path, images)
    people, labelled = [], 0
    for annotation in table_list(table, "annotations", path, _COCO_HINT):
        keypoints = annotation.get("keypoints")
        if annotation.get("iscrowd") or (isinstance(keypoints, list) and keypoints and not any(keypoints)):
            continue
        people.append(_coco_person(annotation, own, files, path))
        labelled += int((np.ravel(annotation["keypoints"])[2::3] > 0).sum())
    if not people:
        raise DataError(f"{path} has nobody with labelled joints.", _COCO_HINT)
    _check_files(person.image for person in people)
    outside = labelled - sum(int((person.joints[:, 2] > 0).sum()) for person in people)
    if outside > _MOST_OUTSIDE * labelled:
        raise DataError(
            f"{path} has {outside} of {labelled} labelled joints outside of their images.",
            "The coordinates may be those of images of another size, or the folder of the images another one.",
        )
    told = f", {outside} joints outside of their images left out" if outside else ""
    return People(f"{path.name}, {len(people)} people{told}", own, tuple(people))


def first_image(path: Path, form: str) -> str:
    """The file name of the first image of an annotations' file, relative to the folder of the images.

    Args:
        path: of the file.
        form: ``coco``, ``mpii`` or ``lip``.

    Raises:
        DataError: the file is missing, cut off, of another form, or names none.
    """
    if form == "lip":
        with open_text(path, newline="") as lines:
            first = next(csv.reader(lines), [""])[0]
    elif form == "mpii":
        entries = json_list(path, "MPII's list as HRNet has it: image, center, scale, joints")
        first = entries[0].get("image", "") if entries else ""
    else:
        images = table_list(read_table(path, _COCO_HINT), "images", path, _COCO_HINT)
        first = images[0].get("file_name", "") if images else ""
    if not isinstance(first, str) or not first:
        raise DataError(f"{path} names no image.", _COCO_HINT)
    return first


def coco_skeleton(table: Table, path: Path) -> Skeleton:
    """The skeleton of a COCO file's category with keypoints.

    Raises:
        DataError: there is none, or several that differ.
    """
    categories = [entry for entry in table_list(table, "categories", path, _COCO_HINT) if entry.get("keypoints")]
    if not categories:
        raise DataError(f"{path} has no category with keypoints.", _COCO_HINT)
    category = categories[0]
    if not isinstance(category["keypoints"], list):
        raise DataError(f"{path} has a category whose keypoints are no list of names.", _COCO_HINT)
    if any(other["keypoints"] != category["keypoints"] for other in categories):
        raise DataError(f"{path} has categories of several skeletons.", "Give a file of one.")
    names = tuple(category["keypoints"])
    for known in ("coco17", "mpii16", "lsp14"):
        shipped = load_skeleton(known)
        if shipped.joints == names:
            return shipped
    try:
        limbs = tuple((names[a - 1], names[b - 1]) for a, b in category.get("skeleton") or [] if min(a, b) > 0)
    except (IndexError, TypeError, ValueError):
        raise DataError(f"{path} has a limb that names no joint.", "Limbs are pairs of numbers from 1.") from None
    partners = {name: _partner(name) for name in names if isinstance(name, str)}
    flip = tuple((a, b) for a, b in partners.items() if b in names and "left" in a)
    told = category.get("sigmas") or [DEFAULT_SIGMA] * len(names)
    sigmas = tuple(float(value) for value in _numbers(told, "sigmas", f"The category of {path}", np.float64))
    colours = tuple(_colour(name) for name in names)
    try:
        return Skeleton(str(category.get("name", path.stem)), names, flip, limbs, colours, sigmas)
    except UsageError as error:
        raise DataError(f"{path}: {error.message}", error.hint) from None


def read_detections(path: Path, images: Path, annotations: Path, skeleton: Skeleton) -> People:
    """Read COCO's detection results, as person detectors write them.

    Args:
        path: a JSON list of image_id, category_id, bbox and score.
        images: folder of the images.
        annotations: the COCO file that says which file an image_id is.
        skeleton: of the joints that a network will find.

    Raises:
        DataError: a file is missing, cut off or of another form; an image that the annotations do not have.
    """
    files = _image_files(read_table(annotations, _COCO_HINT), annotations, images)
    people = []
    empty, scores = np.zeros((len(skeleton), 3), np.float32), np.ones(len(skeleton), np.float32)
    for one in detection_list(path):
        if one.image not in files:
            raise DataError(f"{one.what} is in image {one.image}, which {annotations} does not have.")
        area = AREA_OF_BOX * one.box[2] * one.box[3]
        people.append(Person(files[one.image][0], one.image, -1, one.box, empty, scores, area, one.score))
    _check_files(person.image for person in people)
    return People(f"{path.name}, {len(people)} boxes", skeleton, tuple(people))


def read_mpii(path: Path, images: Path) -> People:
    """Read MPII in HRNet's form: a list of image, joints, joints_vis, center and scale.

    Centre and scale give a square box of 200 times the scale, moved down by 15 times it; coordinates count from 1. Both
    are as in HRNet's code, whose enlargement by 1.25 is the crop rule's.

    Raises:
        DataError: the file is missing, cut off or of another form; an image that is missing.
    """
    skeleton, people = load_skeleton("mpii16"), []
    for number, entry in enumerate(json_list(path, "MPII's list as HRNet has it: image, center, scale, joints")):
        what = f"person {number} of {path}"
        missing = [key for key in ("image", "center", "scale") if key not in entry]
        if missing:
            raise DataError(f"{what} has no {missing[0]}.", "HRNet's files have image, center, scale and joints.")
        if not isinstance(entry["image"], str):
            raise DataError(f"{what} has {entry['image']!r} for an image.", "It should be the name of a file.")
        scale, centre = number_of(entry["scale"], "scale", what), _numbers(entry["center"], "center", what, np.float64)
        if centre.shape != (2,):
            raise DataError(f"{what} has a center of shape {centre.shape}.", "It is x and y.")
        side = 200 * scale
        left, top = float(centre[0]) - 1 - side / 2, float(centre[1]) - 1 + 15 * scale - side / 2
        box = box_of([left, top, side, side], what)
        joints = np.zeros((len(skeleton), 3), np.float32)
        if "joints" in entry:
            points, seen = (_numbers(entry.get(key, []), key, what) for key in ("joints", "joints_vis"))
            if points.shape != (len(skeleton), 2) or seen.shape != (len(skeleton),):
                told = f"joints of shape {points.shape} and joints_vis of shape {seen.shape}"
                raise DataError(f"{what} has {told}.", "MPII has 16 of x and y, and whether each is there.")
            if not np.isfinite(points[seen > 0]).all():
                raise DataError(f"{what} has a coordinate that is no number.", "Give such a joint a joints_vis of 0.")
            joints[:, :2] = np.where(seen[:, None] > 0, points - 1, 0)
            joints[:, 2] = 2 * (seen > 0)
        scores = np.ones(len(skeleton), np.float32)
        people.append(Person(images / entry["image"], number, number, box, joints, scores))
    _check_files(person.image for person in people)
    return People(f"{path.name}, {len(people)} people", skeleton, tuple(people))


def read_lip(path: Path, images: Path) -> People:
    """Read LIP's pose table: image, then x, y and v of 16 joints; no header.

    The crop is the person's box. A joint of nan is not labelled; v is 0 for a visible and 1 for a hidden one, both
    labelled. Joints outside of the crop are dropped, as LIP has some.

    Raises:
        DataError: the file is missing, or a line is not as it should be; an image that is missing or cannot be read.
    """
    from ...data.images import read_image

    skeleton, people = load_skeleton("mpii16"), []
    with open_text(path, newline="") as lines:
        for number, row in enumerate(csv.reader(lines), 1):
            what = f"line {number} of {path}"
            if len(row) != 1 + 3 * len(skeleton):
                raise DataError(f"{what} has {len(row)} fields.", "LIP's tables have an image and 16 times x, y, v.")
            try:
                table = np.array(row[1:], np.float32).reshape(-1, 3)
            except ValueError as error:
                raise DataError(f"{what} has a value that is no number: {error}.") from None
            file = images / row[0]
            _check_files([file])
            height, width = read_image(file).shape[:2]
            labelled = np.isfinite(table).all(1) & (table[:, :2] >= 0).all(1) & (table[:, :2] < (width, height)).all(1)
            joints = np.zeros_like(table)
            joints[labelled, :2] = table[labelled, :2]
            joints[labelled, 2] = np.where(table[labelled, 2] == 1, 1, 2)
            box = (0.0, 0.0, float(width), float(height))
            people.append(Person(file, number, number, box, joints, np.ones(len(skeleton), np.float32)))
    return People(f"{path.name}, {len(people)} people", skeleton, tuple(people))


def _coco_person(
    annotation: Table, skeleton: Skeleton, files: Mapping[Any, tuple[Path, int, int]], path: Path
) -> Person:
    what = f"annotation {annotation.get('id')} of {path}"
    if "keypoints" not in annotation:
        raise DataError(f"{what} has no keypoints.", _COCO_HINT)
    number, image = annotation.get("id", -1), annotation.get("image_id")
    if not isinstance(image, (int, str)) or image not in files:
        raise DataError(f"{what} is of image {image}, which the file does not list.", _COCO_HINT)
    if not isinstance(number, int):
        raise DataError(f"{what} has {number!r} for an id.", "COCO's are whole numbers.")
    file, width, height = files[image]
    joints = _joints(annotation["keypoints"], skeleton, what)
    joints = _without_outside(joints, width, height)
    scores = _numbers(annotation.get("scores", [1] * len(skeleton)), "scores", what)
    if scores.shape != (len(skeleton),):
        raise DataError(f"{what} has {scores.size} scores for {len(skeleton)} joints.", "Give one a joint, or none.")
    if not np.isfinite(scores).all():
        raise DataError(f"{what} has a score that is no number.", "Give a joint that is not there a score of 0.")
    agreement = annotation.get("agreement")
    return Person(
        file,
        annotation["image_id"],
        number,
        box_of(annotation.get("bbox"), what),
        joints,
        scores,
        number_of(annotation.get("area", 0.0), "person's area", what),
        agreement=None if agreement is None else number_of(agreement, "agreement", what),
    )


def _joints(values: Any, skeleton: Skeleton, what: str) -> NDArray[np.float32]:
    try:
        joints = np.asarray(values, np.float32).reshape(-1, 3)
    except (TypeError, ValueError):
        raise DataError(f"{what} has keypoints that are no list of x, y and visibility.", _COCO_HINT) from None
    if len(joints) != len(skeleton):
        raise DataError(
            f"{what} has {len(joints)} keypoints; {skeleton.name} has {len(skeleton)} joints.",
            "The annotations are of another skeleton than the category says.",
        )
    labelled = joints[:, 2] > 0
    if not np.isin(joints[:, 2], (0, 1, 2)).all():
        wrong = joints[~np.isin(joints[:, 2], (0, 1, 2)), 2][0]
        raise DataError(f"{what} has a visibility of {wrong:g}.", "COCO's are 0 not labelled, 1 hidden and 2 visible.")
    if not np.isfinite(joints[labelled]).all():
        raise DataError(f"{what} has a coordinate that is no number.", "Give such a joint a visibility of 0.")
    return joints


def _without_outside(joints: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    """Joints beyond the image become not labelled; of an image of unknown size all stay."""
    if not width or not height:
        return joints
    # People round, and mark joints at the very edge: a pixel beyond it is still the edge.
    limits = np.array([width + 1, height + 1], np.float32)
    beyond = np.any((joints[:, :2] < -1) | (joints[:, :2] > limits), axis=1)
    return np.where(beyond[:, None], np.float32(0), joints)


def _image_files(table: Table, path: Path, images: Path) -> dict[Any, tuple[Path, int, int]]:
    """File, width and height of every image by its id; 0 where the file does not say."""
    files = {}
    for image in table_list(table, "images", path, _COCO_HINT):
        if not isinstance(image.get("id"), (int, str)) or not isinstance(image.get("file_name"), str):
            raise DataError(f"{path} has an image without id or file_name.", _COCO_HINT)
        what = f"image {image['id']} of {path}"
        width, height = (int(number_of(image.get(side, 0), side, what)) for side in ("width", "height"))
        files[image["id"]] = (images / image["file_name"], width, height)
    return files


def _numbers(values: Any, name: str, what: str, dtype: type[np.floating] = np.float32) -> NDArray[Any]:
    """An array of what was read; ``what`` has it as its ``name``, for messages."""
    try:
        return np.asarray(values, dtype)
    except (TypeError, ValueError):
        raise DataError(f"{what} has {name} that are no numbers.", "Each must be a number.") from None


def _check_files(files: Any) -> None:
    for file in files:
        if not file.is_file():
            raise DataError(f"The image {file} is missing.", "Is the folder of the images the right one?")


def _partner(name: str) -> str:
    if "left" in name:
        return name.replace("left", "right")
    return name.replace("right", "left")


def _colour(name: Any) -> tuple[int, int, int]:
    """Warm for the left, cold for the right, white between: a skeleton that came without colours."""
    if "left" in str(name):
        return (255, 128, 0)
    return (0, 165, 255) if "right" in str(name) else (255, 255, 255)
