"""Which images calibrate: a seeded choice that covers what a camera may see, and no image twice."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..data.dataset import Dataset, Images, Sample, label_set_of
from ..data.letterbox import Letterbox
from ..errors import DataError, UsageError
from ..specs.label_set import LabelSet, check_same, label_set
from ..specs.skeleton import Skeleton
from ..specs.spec import Spec, names_of, spec_entry
from ..storage.files import replace_bytes
from ..storage.json_types import JsonObject, ReadJson
from ..tasks.predictor import Predictor
from .near_duplicates import Fingerprint, NearDuplicates, fingerprint, thumbnail

SCHEMA = 2
"""2: with the label set; 1, which is still read, had LIP's."""

LOOKED_AT = 4
"""Images looked at, as a multiple of the images wanted: LIP's 30,462 need not all be opened."""

LOOKED_AT_PREDICTING = 2
"""The same where the classes are predicted: a forward pass each, as many again as calibrating takes."""

LEAST_LOOKED_AT = 400

LEAST_SHARE = 1 / 2000
"""Of all that an answer holds, that a class or a joint must have to be there: of label maps 25 pixels of 256x192. Fewer
are a prediction's noise."""

_RARITY = 0.01  # decides between classes that are covered alike
_EVENNESS = 0.25  # between as often as they occur (0.5) and all alike (0), see _weights
_LAST = 1e6

_LABEL_MAPS = "label maps"
_CHOOSE_AGAIN = "Choose the images again: trtparse calibration-set DATA."


@dataclass(frozen=True)
class Predictions:
    """What tells the classes, or the joints, of images without label maps.

    Args:
        of: from an image to how much of each class or joint it shows, in the task's unit: pixels, or 1.
        spec: the classes or joints.
    """

    of: Callable[[Sample], Sequence[int]]
    spec: Spec


@dataclass(frozen=True)
class Spread:
    """A property of images that the choice spreads over.

    Args:
        name: of the property.
        meaning: what is measured.
        edges: between its intervals, rising.
    """

    name: str
    meaning: str
    edges: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.edges) + 1

    @property
    def title(self) -> str:
        return f"{self.name}: {self.meaning}"

    @property
    def intervals(self) -> tuple[str, ...]:
        """What each interval is called."""
        inner = (f"{low:g}–{high:g}" for low, high in zip(self.edges, self.edges[1:]))
        return (f"< {self.edges[0]:g}", *inner, f"≥ {self.edges[-1]:g}")

    def interval(self, value: float) -> int:
        """In which interval a value lies; an edge belongs to the one above it."""
        return bisect_right(self.edges, value)


SPREADS = (
    Spread("size", "root of the area, pixels", (64, 96, 128, 192, 256, 384, 512)),
    Spread("aspect", "height / width", (0.5, 0.75, 1, 1.5, 2, 3, 4)),
    Spread("brightness", "mean grey level", (32, 64, 96, 128, 160, 192, 224)),
)
"""Small images come blurred into the network, flat ones with wide black borders."""


@dataclass(frozen=True)
class Selection:
    """The chosen images.

    Args:
        indices: into the dataset, in the order of use.
        classes: number of a class or joint to the number of chosen images it occurs in; empty where nothing tells.
        seed: of the choice.
        spec: the classes or joints; None where nothing tells.
        classes_from: "label maps", "predictions", or empty.
        spread: of each property, the number of chosen images in each interval that has any.
        looked_at: images that the choice was made from.
        near_duplicates: (name, name of the chosen image that it resembles) of each image that was looked at and
            put last for it; it is not among the chosen ones unless there was nothing else.
        unreadable: (name, reason) of each image that was looked at and could not be read; put last as well, so
            that whoever reads the chosen ones meets them where all there is was asked for.
    """

    indices: tuple[int, ...]
    classes: dict[int, int]
    seed: int
    spec: Spec | None = None
    classes_from: str = ""
    spread: dict[str, dict[str, int]] = field(default_factory=dict)
    looked_at: int = 0
    near_duplicates: tuple[tuple[str, str], ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()

    @property
    def rows(self) -> tuple[str, ...]:
        """The names of the classes or joints, by their numbers."""
        return () if self.spec is None else names_of(self.spec)

    def names(self, dataset: Images) -> list[str]:
        """The chosen images of the dataset, without those that cannot be read."""
        unreadable = {name for name, _ in self.unreadable}
        return [name for name in (dataset.names[index] for index in self.indices) if name not in unreadable]

    def to_dict(self, dataset: Images) -> JsonObject:
        """The document of ``calibration-set.json``; images are told by their names, unreadable ones left out."""
        return {
            "schema": SCHEMA,
            "trtparse": __version__,
            "dataset": dataset.description,
            "seed": self.seed,
            "looked_at": self.looked_at,
            "classes_from": self.classes_from,
            "images": self.names(dataset),
            **({"label_set": None} if self.spec is None else spec_entry(self.spec)),
            "classes": {self.rows[number]: count for number, count in self.classes.items()},
            "spread": self.spread,
            "near_duplicates": [list(pair) for pair in self.near_duplicates],
            "unreadable": [list(pair) for pair in self.unreadable],
        }


def select(
    dataset: Images,
    count: int,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    *,
    predict: Predictions | None = None,
    strict: bool = False,
) -> Selection:
    """Choose ``count`` images, or all where there are fewer.

    A random sample of the dataset is looked at. From it, one image after the other is taken: the one that adds most
    to the weighted sum of the square roots of how many chosen images have each class and lie in each interval of
    size, aspect and brightness. That sum is monotone and submodular, so the greedy choice reaches at least 1 - 1/e of
    the best one (Nemhauser, Wolsey and Fisher, 1978). Near-duplicates of what is chosen already, and unreadable
    images, come last.

    Args:
        dataset: classes are taken from its label maps, where it has them. One that cannot be read gives none;
            reading the image is where it is reported.
        count: of images.
        seed: of the sample, and of the choice between equals.
        progress: called with (done, total) images looked at.
        predict: tells the classes or joints where there are no label maps; see :func:`predictions_of`.
        strict: an unreadable image is an error.

    Raises:
        DataError: an unreadable image with ``strict``.
    """
    order = [int(index) for index in np.random.default_rng((seed, 7)).permutation(len(dataset))]
    meaning: Spec | None = label_set_of(dataset)
    by_maps = meaning is not None
    multiple = LOOKED_AT if by_maps or predict is None else LOOKED_AT_PREDICTING
    sample = order[: max(count * multiple, LEAST_LOOKED_AT)]
    if meaning is None and predict is not None:
        meaning = predict.spec
    classes = 0 if meaning is None else len(meaning)
    looks: list[_Look] = []
    unreadable: dict[int, str] = {}
    for done, index in enumerate(sample, 1):
        try:
            looks.append(_look(dataset, index, predict, classes))
        except DataError as error:
            if strict:
                raise
            unreadable[index] = error.message
        if progress is not None:
            progress(done, len(sample))
    chosen, resembles = _choose(dataset.names, looks, count, classes)
    taken = np.zeros(classes + _INTERVALS, int)
    for position in chosen:
        taken += looks[position].properties
    return Selection(
        indices=(*(looks[position].index for position in chosen), *list(unreadable)[: max(count - len(chosen), 0)]),
        classes={label: int(taken[label]) for label in range(classes) if taken[label]},
        seed=seed,
        spec=meaning,
        classes_from=_LABEL_MAPS if by_maps else "" if predict is None else "predictions",
        spread=_spread(taken[classes:]),
        looked_at=len(sample),
        near_duplicates=tuple(
            (dataset.names[looks[position].index], dataset.names[looks[like].index])
            for position, like in resembles.items()
        ),
        unreadable=tuple((dataset.names[index], reason) for index, reason in unreadable.items()),
    )


def predictions_of(predictor: Predictor[Any]) -> Predictions:
    """What a network sees in an image, at its input size and without the letterbox's borders."""
    task = predictor.task
    names = names_of(task.spec)
    places = [names.index(row) for row in task.rows]  # of finding people the background is no row

    def predict(sample: Sample) -> Sequence[int]:
        placement = predictor.place((sample.image.shape[0], sample.image.shape[1]), sample.box)
        answer = predictor.infer_one(placement.apply(sample.image))
        if isinstance(placement, Letterbox):
            # At the frame's own scale: the shares are what counts, and large images take long.
            placement = replace(placement, image_size=(placement.height, placement.width))
        amounts = [0] * len(names)
        for place, amount in zip(places, task.amounts(task.restore(answer, placement), sample.name)):
            amounts[place] = amount
        return amounts

    return Predictions(predict, task.spec)


def write_selection(path: Path, selection: Selection, dataset: Images) -> JsonObject:
    """Write a selection as JSON, and return what was written.

    Raises:
        UsageError: the folder is missing or cannot be written to.
        MachineError: the disk is full.
    """
    document = selection.to_dict(dataset)
    replace_bytes(path, (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode())
    return document


def read_selection(path: Path, dataset: Images) -> Selection:
    """A selection that :func:`write_selection` wrote, for the dataset that it was made from.

    Raises:
        DataError: the file is missing or is no such file, or names an image that the dataset does not hold.
        UsageError: it was chosen by label maps of another label set than the dataset's.
    """
    document = _read_document(path)
    meaning = _spec(document, path)
    labels = label_set_of(dataset)
    if meaning is not None and labels is not None and document["classes_from"] == _LABEL_MAPS:
        check_same(meaning, str(path), labels, dataset.description)
    known = {name: index for index, name in enumerate(dataset.names)}
    missing = [name for name in document["images"] if name not in known]
    if missing:
        raise DataError(
            f"{path} names {len(missing)} of {len(document['images'])} images that {dataset.description} does not "
            f"hold: {', '.join(missing[:3])}{' …' if len(missing) > 3 else ''}.",
            f"It was made from {document.get('dataset', 'another dataset')}: give that one, and its split.",
        )
    selection = Selection(
        indices=tuple(known[name] for name in document["images"]),
        classes={},
        seed=document["seed"],
        spec=meaning,
        classes_from=document["classes_from"],
        spread=document["spread"],
        looked_at=document["looked_at"],
        near_duplicates=tuple((name, like) for name, like in document["near_duplicates"]),
        unreadable=tuple((name, reason) for name, reason in document["unreadable"]),
    )
    counts = document["classes"]
    return replace(selection, classes={row: counts[name] for row, name in enumerate(selection.rows) if name in counts})


def _spec(document: ReadJson, path: Path) -> Spec | None:
    """Whose classes or joints a document counts; files of schema 1 do not tell, and are LIP's."""
    if document["schema"] == 1:
        return label_set("lip") if document["classes_from"] else None
    told = document.get("label_set")
    try:
        if "skeleton" in document:
            return Skeleton.from_dict(document["skeleton"])
        return None if told is None else LabelSet.from_dict(told, str(path))
    except UsageError as error:
        raise DataError(error.message, _CHOOSE_AGAIN) from error


def _read_document(path: Path) -> ReadJson:
    """The JSON of a selection, seen to be one."""
    try:
        document = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.", "Check the path.") from error
    except ValueError as error:
        raise DataError(f"{path} is no JSON: {error}.", _CHOOSE_AGAIN) from error
    if not isinstance(document, dict):
        raise DataError(
            f"{path} is no calibration set: it holds {type(document).__name__}, not an object.", _CHOOSE_AGAIN
        )
    if document.get("schema") not in (1, SCHEMA):
        raise DataError(f"{path} has schema {document.get('schema')!r}; this version reads {SCHEMA}.", _CHOOSE_AGAIN)
    kinds = {"seed": int, "looked_at": int, "classes_from": str, "images": list, "classes": dict, "spread": dict}
    for key, kind in {**kinds, "near_duplicates": list, "unreadable": list}.items():
        if not isinstance(document.get(key), kind):
            raise DataError(
                f"{path} is no calibration set: its {key!r} is missing or is no {kind.__name__}.", _CHOOSE_AGAIN
            )
    images = document["images"]
    if not images or not all(isinstance(name, str) for name in images):
        raise DataError(f"{path} names no images.", _CHOOSE_AGAIN)
    for key in ("near_duplicates", "unreadable"):
        if not all(isinstance(pair, list) and len(pair) == 2 for pair in document[key]):
            raise DataError(f"{path} is no calibration set: its {key!r} are no pairs.", _CHOOSE_AGAIN)
    if len(set(images)) < len(images):
        twice = next(name for position, name in enumerate(images) if name in images[:position])
        raise DataError(f"{path} names {twice} twice.", "Name every image once.")
    return document


@dataclass(frozen=True)
class _Look:
    """What one look at an image tells: its properties, a class or an interval each, and its fingerprint."""

    index: int
    properties: NDArray[np.bool_]
    fingerprint: Fingerprint


_INTERVALS = sum(len(spread) for spread in SPREADS)


def _look(dataset: Images, index: int, predict: Predictions | None, classes: int) -> _Look:
    sample = dataset[index]
    grey = thumbnail(sample.image)
    height, width = sample.image.shape[:2]
    properties = np.zeros(classes + _INTERVALS, bool)
    properties[_classes(dataset, index, sample, predict, classes)] = True
    start = classes
    for spread, value in zip(SPREADS, ((height * width) ** 0.5, height / width, float(grey.mean()))):
        properties[start + spread.interval(value)] = True
        start += len(spread)
    return _Look(index, properties, fingerprint(grey))


def _classes(dataset: Images, index: int, sample: Sample, predict: Predictions | None, classes: int) -> list[int]:
    if classes == 0:
        return []
    if label_set_of(dataset) is None:
        amounts = np.zeros(classes) if predict is None else np.asarray(predict.of(sample))
        return _there(amounts, int(amounts.sum()))
    labels = sample.labels
    if labels is None:
        try:
            labels = cast(Dataset, dataset).labels(index)
        except DataError:
            return []
    return _there(np.bincount(labels.ravel(), minlength=classes)[:classes], labels.size)


def _there(amounts: NDArray[Any], whole: int) -> list[int]:
    return [int(row) for row in np.flatnonzero(amounts >= max(LEAST_SHARE * whole, 1))]


def _choose(names: Sequence[str], looks: list[_Look], count: int, classes: int) -> tuple[list[int], dict[int, int]]:
    """Positions of the chosen images among ``looks``; and of each near-duplicate, with the chosen one that it is of."""
    if not looks:
        return [], {}
    properties = np.array([look.properties for look in looks])
    duplicates = NearDuplicates([names[look.index] for look in looks], [look.fingerprint for look in looks])
    weighted = properties * _weights(properties, classes)
    taken = np.zeros(properties.shape[1])
    handicap = np.zeros(len(looks))
    chosen: list[int] = []
    resembles: dict[int, int] = {}
    for _ in range(min(count, len(looks))):
        # Rounded, so that equals are equal however the product is summed; of equals, argmax takes the first.
        gain = np.round(weighted @ (np.sqrt(taken + 1) - np.sqrt(taken)), 9)
        best = int(np.argmax(gain - handicap))
        taken += properties[best]
        chosen.append(best)
        for other in np.flatnonzero(duplicates.of(best) & (handicap == 0)).tolist():
            if other != best:
                resembles[other] = best
                handicap[other] = _LAST
        handicap[best] = np.inf
    return chosen, resembles


def _weights(properties: NDArray[np.bool_], classes: int) -> NDArray[np.float64]:
    """How much each property counts; the first ``classes`` of them are classes.

    The sum of w sqrt(n) over intervals is largest where n goes with the square of w. So classes, of the weight 1, are
    chosen as evenly as the images allow; intervals, of a power of their frequency, in proportion to its square root:
    more evenly than at random, without making the odd image the rule.
    """
    frequency = properties.mean(axis=0)
    weights = frequency**_EVENNESS
    weights[:classes] = 1 + _RARITY * (1 - frequency[:classes])
    return np.asarray(weights)


def _spread(taken: NDArray[np.int64]) -> dict[str, dict[str, int]]:
    """Counts of each spread's intervals, those that have any."""
    result: dict[str, dict[str, int]] = {}
    start = 0
    for spread in SPREADS:
        counts = zip(spread.intervals, taken[start : start + len(spread)])
        result[spread.name] = {name: int(number) for name, number in counts if number}
        start += len(spread)
    return result
