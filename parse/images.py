"""Photographs in, answers and overlays out, on this machine."""

from __future__ import annotations

import contextlib
import time
from array import array
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from ..engines.base import Engine
from ..errors import DataError
from ..storage.files import check_output_folder
from ..storage.json_types import JsonObject
from ..tasks.base import Task
from ..tasks.people.detector import PersonDetector
from ..tasks.people.given import GivenBoxes
from ..tasks.predictor import Predictor
from .index import index_place, writing_index
from .listing import Listing, list_images
from .objects import LocalStorage, is_uri
from .parser import ImageResult, Parser, ParseSpec, answer_path, overlay_path
from .provenance import MadeBy

SCHEMA_VERSION = 1
_REASONS = 100

ImagesDone = Callable[[int, int], None]
"""Called with the images finished so far, skipped ones included, and how many there are."""


@dataclass(frozen=True)
class ParsedImage:
    """One photograph and the two files made from it; texts instead of paths where they are URIs.

    Args:
        image: as listed.
        labels: the answer's file, of a label map a PNG.
        overlay: the JPEG; None where none was asked for.
    """

    image: Path | str
    labels: Path | str
    overlay: Path | str | None


class ParsedImages(Sequence[ParsedImage]):
    """Made when asked for: a number per image is held."""

    def __init__(self, listing: Listing, output: str, overlay: bool, ending: str) -> None:
        self._listing, self._output, self._overlay, self._ending = listing, output, overlay, ending
        self._positions = array("L")

    def append(self, position: int) -> None:
        """The image there has its results."""
        self._positions.append(position)

    def __len__(self) -> int:
        return len(self._positions)

    @overload
    def __getitem__(self, index: int) -> ParsedImage: ...
    @overload
    def __getitem__(self, index: slice) -> list[ParsedImage]: ...
    def __getitem__(self, index: int | slice) -> ParsedImage | list[ParsedImage]:
        if isinstance(index, slice):
            return [self[position] for position in range(len(self))[index]]
        named = self._listing[self._positions[index]]
        overlay = _place(overlay_path(self._output, named.name)) if self._overlay else None
        return ParsedImage(_place(named.path), _place(answer_path(self._output, named.name, self._ending)), overlay)


def _place(path: str) -> Path | str:
    return path if is_uri(path) else Path(path)


@dataclass(frozen=True)
class ParseResult:
    """What was made, and what could not be.

    Args:
        parsed: every image that has its results now, in the order of the input.
        found: how many of them were there already.
        skipped: images that could not be read, or whose results have no possible name, each with the reason; the
            first hundred.
        skipped_images: how many there are.
        notes: images whose results lack something, each with what; the first hundred.
        noted_images: how many there are.
        left_out: how many files of the folders are no images, by their endings.
        seconds: for all of it.
        output: the folder.
        engine: the engine's name.
        precision: the engine's precision.
        index: the file with how much there is of each row, where one was asked for.
        people: how many were found in what was made now; None where nobody was looked for.
        without_people: of these images how many show nobody.
        crowded: in how many a detector found ``MOST_PEOPLE``: whoever was beyond them is not parsed.
    """

    parsed: Sequence[ParsedImage]
    found: int
    skipped: tuple[tuple[Path | str, str], ...]
    skipped_images: int
    notes: tuple[tuple[Path | str, str], ...]
    noted_images: int
    left_out: Mapping[str, int]
    seconds: float
    output: Path | str
    engine: str
    precision: str
    index: Path | None = None
    people: int | None = None
    without_people: int = 0
    crowded: int = 0

    def to_dict(self) -> JsonObject:
        """As JSON takes it, with a schema version."""
        return {
            "schema_version": SCHEMA_VERSION,
            "parsed": [
                {
                    "image": str(item.image),
                    "labels": str(item.labels),
                    "overlay": None if item.overlay is None else str(item.overlay),
                }
                for item in self.parsed
            ],
            "found": self.found,
            "skipped": [{"image": str(path), "reason": reason} for path, reason in self.skipped],
            "skipped_images": self.skipped_images,
            "notes": [{"image": str(path), "note": note} for path, note in self.notes],
            "noted_images": self.noted_images,
            "left_out": dict(self.left_out),
            "seconds": self.seconds,
            "output": str(self.output),
            "engine": self.engine,
            "precision": self.precision,
            "index": None if self.index is None else str(self.index),
            "people": self.people,
            "without_people": self.without_people,
            "crowded": self.crowded,
        }


def parse_images(
    paths: Sequence[Path],
    predictor: Predictor[Any],
    output: Path,
    spec: ParseSpec = ParseSpec(),
    *,
    made_by: MadeBy | None = None,
    detector: PersonDetector | None = None,
    boxes: GivenBoxes | None = None,
    progress: ImagesDone | None = None,
) -> ParseResult:
    """Parse photographs and write an answer and ``<stem>_overlay.jpg`` for each into ``output``.

    An answer is a file of the task's; of a label map ``<stem>.png``, which holds the class ids as palette indices, at
    the photograph's own size, turned upright as its EXIF orientation says. Of two photographs with one stem the second
    becomes ``<stem>-2``. Every file appears whole. What is there already, of the same photograph and the same network,
    is not made again. Memory does not grow with the photographs, but for their names.

    Args:
        paths: files, and folders whose images are taken in the order of their names.
        predictor: what parses them.
        output: a folder; made where it is missing.
        spec: how; the rest of what can be asked for.
        made_by: what the answers depend on; without it all are made anew.
        detector: finds the people in each photograph, who are parsed on crops of their own.
        boxes: have the people, in place of a detector. With neither a photograph is taken for one person.
        progress: see :data:`ImagesDone`.

    Raises:
        DataError: nothing to read, or nothing readable; with ``strict``, an unreadable image; boxes that know nothing
            of an image.
        UsageError: a result would replace a photograph, or was made by something else; ``output`` or the index
            cannot be written to.
        MachineError: the disk is full.
    """
    begin = time.perf_counter()
    listing = list_images(paths, output, recursive=spec.recursive)
    if spec.shard is not None:
        listing = listing.shard(*spec.shard)
    check_output_folder(output)
    storage = LocalStorage()
    parser = Parser(predictor, made_by, storage, storage, str(output), spec, detector, boxes)
    parser.refuse_others(listing)
    collected = collect(parser.parse(listing), listing, str(output), spec, predictor.task, progress)
    return collected.result(output, predictor.engine, time.perf_counter() - begin)


@dataclass
class Collected:
    """What is left of the results of all images when they have passed."""

    parsed: ParsedImages
    index: Path | None
    left_out: Mapping[str, int]
    found: int = 0
    skipped_images: int = 0
    skipped: tuple[tuple[Path | str, str], ...] = ()
    noted_images: int = 0
    notes: tuple[tuple[Path | str, str], ...] = ()
    people: int | None = None
    without_people: int = 0
    crowded: int = 0

    def add(self, position: int, result: ImageResult) -> None:
        """The next image."""
        if result.skipped:
            self.skipped_images += 1
            if len(self.skipped) < _REASONS:
                self.skipped += ((_place(result.path), result.skipped),)
        else:
            self.parsed.append(position)
            self.found += not result.made
        if result.people is not None:
            self.people = (self.people or 0) + result.people
            self.without_people += result.people == 0
            self.crowded += result.crowded
        if result.note:
            self.noted_images += 1
            if len(self.notes) < _REASONS:
                self.notes += ((_place(result.path), result.note),)

    def result(self, output: Path | str, engine: Engine, seconds: float) -> ParseResult:
        """All of it."""
        return ParseResult(
            self.parsed,
            self.found,
            self.skipped,
            self.skipped_images,
            self.notes,
            self.noted_images,
            self.left_out,
            seconds,
            output,
            engine.name,
            engine.precision,
            self.index,
            self.people,
            self.without_people,
            self.crowded,
        )


def collect(
    results: Generator[ImageResult, None, None],
    listing: Listing,
    output: str,
    spec: ParseSpec,
    task: Task[Any],
    progress: ImagesDone | None,
) -> Collected:
    """Take results as they come, in the order of the listing, and write the index.

    Raises:
        DataError: nothing was readable.
    """
    place = None if spec.index is None else index_place(spec.index, spec.shard)
    collected = Collected(ParsedImages(listing, output, spec.overlay, task.ending), place, listing.left_out)
    # closed here and not when they are collected, so that an error leaves the engine with nothing in flight
    with contextlib.closing(results), writing_index(place, task) as index:
        for position, result in enumerate(results):
            collected.add(position, result)
            index.add(result)
            if progress is not None:
                progress(position + 1, len(listing))
    if collected.skipped_images and not collected.parsed:
        raise DataError(
            f"None of {len(listing)} images could be read. The first: {collected.skipped[0][1]}",
            "Check that they open in a viewer.",
        )
    return collected
