"""Photographs in, answers and overlays out, one after the other: what every worker does, here or on a cluster."""

from __future__ import annotations

import contextlib
import json
import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from typing import Any, cast

import cv2
import numpy as np

from ..data.crops import Placement
from ..data.dataset import Image
from ..data.images import decode_image
from ..data.reading import called_ahead
from ..engines.base import Ticket
from ..errors import DataError, FileNameError
from ..storage.files import fitting_name
from ..tasks.people.crops import people_of, placements_of
from ..tasks.people.detector import MOST_PEOPLE, PersonDetector
from ..tasks.people.given import GivenBoxes
from ..tasks.people.person import Person
from ..tasks.people.shared_detector import SharedDetector
from ..tasks.predictor import Predictor
from .listing import NamedImage
from .objects import Storage
from .provenance import MadeBy, answer_file, digest, find_answer

_JPEG_QUALITY = 92
_JPEG_LONGEST = 65_500
"""Pixels of a side that libjpeg takes (JPEG_MAX_DIMENSION)."""
_READERS = 4
_READ_AHEAD = 4
"""Photographs that are decoded and wait: enough to hide a slow disk, few enough for large ones."""
_PROBED = 100  # each is a request where results are in an object store


@dataclass(frozen=True)
class ImageResult:
    """What became of one photograph.

    Args:
        path: as listed.
        name: of its results.
        made: whether it was parsed now; otherwise its results were there, or it was skipped.
        skipped: why it could not be read, or its results not written; empty where they could.
        size: (height, width); None where it was skipped.
        pixels: how much there is of each of the task's rows, such as pixels of a class, where that was asked for.
        people: how many were found in it now; None where nobody was looked for.
        crowded: whether there may be more than a detector gives.
        note: what its results lack; mostly nothing.
    """

    path: str
    name: str
    made: bool = False
    skipped: str = ""
    size: tuple[int, int] | None = None
    pixels: tuple[int, ...] | None = None
    note: str = ""
    people: int | None = None
    crowded: bool = False

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ImageResult:
        values = json.loads(text)
        for name in ("size", "pixels"):
            values[name] = None if values[name] is None else tuple(values[name])
        return cls(**values)


@dataclass(frozen=True)
class ParseSpec:
    """How photographs are parsed.

    Args:
        recursive: take subfolders as well; results keep their layout.
        shard: (number, of): one of several parts that together are the whole.
        overlay: draw overlays.
        overwrite: make results again that are there.
        strict: raise at the first image that would be skipped.
        index: file for how much there is of each row, CSV or Parquet.
    """

    recursive: bool = False
    shard: tuple[int, int] | None = None
    overlay: bool = True
    overwrite: bool = False
    strict: bool = False
    index: str | None = None


@dataclass(frozen=True, eq=False)
class _Looked:
    """A photograph whose bytes were read: to be parsed, or settled already.

    Args:
        named: which.
        settled: what became of it, where it is not to be parsed.
        image: (H, W, 3) uint8, BGR.
        placements: of what the engine sees of it: all of it, or the people.
        people: whom each is about; None where nobody was looked for.
        digest: sha256 of the file.
        answers: of each placement, as they come.
    """

    named: NamedImage
    settled: ImageResult | None = None
    image: Image | None = None
    placements: tuple[Placement, ...] = ()
    people: tuple[Person, ...] | None = None
    digest: str = ""
    answers: list[Any] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether nothing of it is at the engine, or will go there."""
        return self.settled is not None or len(self.answers) == len(self.placements)


@dataclass(frozen=True)
class _Part:
    """What the engine sees of a photograph."""

    item: _Looked
    placement: Placement


class Parser:
    """Parses photographs in order, reading ahead while the engine works.

    Args:
        predictor: its engine is fed ``engine.batch`` images at a time, one where that is None.
        made_by: what answers depend on; None makes all of them anew, without a record.
        source: where photographs are.
        results: where answers and overlays go.
        output: the folder there.
        spec: how.
        detector: finds the people in each photograph.
        boxes: have them, in place of a detector. With neither a photograph is taken for one person.
    """

    def __init__(
        self,
        predictor: Predictor[Any],
        made_by: MadeBy | None,
        source: Storage,
        results: Storage,
        output: str,
        spec: ParseSpec,
        detector: PersonDetector | None = None,
        boxes: GivenBoxes | None = None,
    ) -> None:
        self._predictor, self._made_by, self._spec = predictor, made_by, spec
        self._engine, self._task = predictor.engine, predictor.task
        self._source, self._results, self._output = source, results, output
        self._detector = None if detector is None else SharedDetector(detector)
        self._boxes = boxes

    def parse(self, images: Iterable[NamedImage]) -> Generator[ImageResult, None, None]:
        """What became of each image, in order; its files are whole by then.

        Raises:
            DataError: with ``strict``, an unreadable image.
            UsageError: a result is there that something else made; a file cannot be written: with ``strict``, for
                its name alone.
            MachineError: the disk is full.
        """
        flying: deque[tuple[Ticket, list[_Part]]] = deque()
        waiting: deque[_Looked] = deque()
        parts: deque[_Part] = deque()
        with contextlib.closing(called_ahead(self._look, images, _READ_AHEAD, _READERS)) as looked:
            try:
                for item in looked:
                    waiting.append(item)
                    parts.extend(_Part(item, placement) for placement in item.placements)
                    while len(parts) >= (self._engine.batch or 1):
                        self._submit(parts, flying)
                    yield from self._finished(waiting)
                while parts:
                    self._submit(parts, flying)
                while flying:
                    self._collect(flying)
                yield from self._finished(waiting)
            finally:
                for ticket, _ in flying:  # only on an error: leave the engine as it was found
                    with contextlib.suppress(Exception):
                        self._predictor.collect(ticket)

    def refuse_others(self, images: Iterable[NamedImage]) -> None:
        """Look at the first result that is there, before any work is done: see that it is of this engine.

        Only near the beginning, where a run that was ended has left some; any other is refused when it is met.

        Raises:
            UsageError: something else made it.
            DataError: the boxes know nothing of an image.
        """
        if self._boxes is not None:
            self._boxes.check(named.path for named in images)
        if self._made_by is None or self._spec.overwrite:
            return
        for named in islice(images, _PROBED):
            path = self._answer_path(named)
            if self._results.size(path):
                find_answer(self._results.read(path), self._task, self._made_by, "", path)
                return

    def _look(self, named: NamedImage) -> _Looked:
        """Read a photograph, and decode it unless its results are there. Runs in several threads."""
        try:
            data = self._source.read(named.path)
            hashed = "" if self._made_by is None else digest(data)
            found = self._find(named, hashed)
            if found is not None:
                size = self._task.image_size(found)
                if size is None:
                    size = decode_image(data, named.path, upright=True).shape[:2]
                return _Looked(named, self._settled(named, found, size, made=False))
            image = decode_image(data, named.path, upright=True)
            people = self._people(named, image)
        except DataError as error:
            if self._spec.strict:
                raise
            return _Looked(named, ImageResult(named.path, named.name, skipped=error.message))
        size = (image.shape[0], image.shape[1])
        if people is None:
            return _Looked(named, None, image, (self._predictor.place(size),), None, hashed)
        return _Looked(named, None, image, placements_of(people, size, self._predictor.framing), people, hashed)

    def _people(self, named: NamedImage, image: Image) -> tuple[Person, ...] | None:
        """Who is in a photograph; None where that is not asked."""
        size = (image.shape[0], image.shape[1])
        if self._boxes is not None:
            return self._boxes.people(named.path, size)
        if self._detector is None:
            return None
        return people_of(self._detector.detect(image), self._detector.sure, size)

    def _find(self, named: NamedImage, hashed: str) -> Any | None:
        """The answer that is there already, if nothing is left to do for its photograph."""
        path = self._answer_path(named)
        if self._made_by is None or self._spec.overwrite or not self._results.size(path):
            return None
        answer = find_answer(self._results.read(path), self._task, self._made_by, hashed, path)
        if self._spec.overlay and not self._results.size(overlay_path(self._output, named.name)):
            return None
        return answer

    def _answer_path(self, named: NamedImage) -> str:
        return answer_path(self._output, named.name, self._task.ending)

    def _settled(self, named: NamedImage, answer: Any, size: tuple[int, int], *, made: bool) -> ImageResult:
        path = self._answer_path(named)
        pixels = self._task.amounts(answer, path) if self._spec.index is not None else None
        return ImageResult(named.path, named.name, made, "", size, pixels)

    def _submit(self, parts: deque[_Part], flying: deque[tuple[Ticket, list[_Part]]]) -> None:
        """Send a batch of what waits; a batch that is not full has its last frame several times."""
        if len(flying) >= max(1, self._engine.in_flight):
            self._collect(flying)
        size = self._engine.batch or 1
        batch = [parts.popleft() for _ in range(min(size, len(parts)))]
        frames = np.zeros((size, *self._engine.input_size, 3), np.uint8)
        for index in range(size):
            part = batch[min(index, len(batch) - 1)]
            assert part.item.image is not None
            part.placement.apply(part.item.image, out=frames[index])
        flying.append((self._predictor.submit(frames), batch))

    def _collect(self, flying: deque[tuple[Ticket, list[_Part]]]) -> None:
        """Take the answers of the oldest batch."""
        ticket, batch = flying.popleft()
        for part, answer in zip(batch, self._predictor.collect(ticket)):
            part.item.answers.append(answer)

    def _finished(self, waiting: deque[_Looked]) -> Iterator[ImageResult]:
        """What became of the photographs that are done, as far as none before them is not."""
        while waiting and waiting[0].done:
            item = waiting.popleft()
            if item.settled is not None:
                yield item.settled
                continue
            assert item.image is not None
            size = (item.image.shape[0], item.image.shape[1])
            if item.people is None:
                answer = self._task.restore(item.answers[0], item.placements[0])
            else:
                answer = self._task.together(item.answers, item.placements, item.people, size)
            try:
                note = self._write(item, answer)
            except FileNameError as error:
                if self._spec.strict:
                    raise
                yield ImageResult(item.named.path, item.named.name, skipped=error.message)
                continue
            people = None if item.people is None else len(item.people)
            crowded = self._detector is not None and (people or 0) >= MOST_PEOPLE
            made = self._settled(item.named, answer, size, made=True)
            yield replace(made, note=note, people=people, crowded=crowded)

    def _write(self, item: _Looked, answer: Any) -> str:
        """The answer last: where it is, the overlay is, and belongs to it. Returns what is to be told."""
        path, overlay = self._answer_path(item.named), overlay_path(self._output, item.named.name)
        note = ""
        if self._spec.overlay:
            assert item.image is not None
            if item.people is None:
                drawn = self._task.drawn(item.image, answer, item.placements[0])
            else:
                drawn = self._task.drawn_together(item.image, item.answers, item.placements, item.people)
            drawn, note = _as_jpeg_takes_it(drawn, overlay)
            self._results.write(overlay, _jpeg(drawn))
        elif self._results.size(path):  # what is made again had an overlay perhaps, which would outlive it
            self._results.remove(overlay)
        self._results.write(path, answer_file(self._task, answer, self._made_by, item.digest))
        return note


def answer_name(name: str, ending: str) -> str:
    """What the answer of a name is called, relative to the output folder; ``ending`` is the task's."""
    return _result_name(name, ending)


def answer_path(output: str, name: str, ending: str) -> str:
    """Where the answer of a name goes."""
    return f"{output.rstrip('/')}/{answer_name(name, ending)}"


def overlay_path(output: str, name: str) -> str:
    """Where the overlay of a name goes."""
    return f"{output.rstrip('/')}/{_result_name(name, '_overlay.jpg')}"


def _result_name(name: str, ending: str) -> str:
    folder, stem = os.path.split(name)
    return os.path.join(folder, fitting_name(stem, ending))


def _as_jpeg_takes_it(image: Image, path: str) -> tuple[Image, str]:
    """An overlay with no side longer than JPEG allows, and what to tell of it."""
    height, width = image.shape[:2]
    scale = _JPEG_LONGEST / max(height, width)
    if scale >= 1:
        return image, ""
    size = max(1, int(width * scale)), max(1, int(height * scale))
    note = f"{path} is {size[0]}x{size[1]} pixels, as JPEG ends at {_JPEG_LONGEST} a side; the answer has them all."
    return cast(Image, cv2.resize(image, size, interpolation=cv2.INTER_AREA)), note


def _jpeg(image: Image) -> bytes:
    encoded, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not encoded:
        raise ValueError(f"OpenCV cannot encode {image.shape} as JPEG")
    return data.tobytes()
