"""Photographs in, label maps and overlays out, one after the other: what every worker does, here or on a cluster."""

from __future__ import annotations

import contextlib
import json
import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import cast

import cv2
import numpy as np

from ..data.dataset import Image, LabelMap
from ..data.images import decode_image
from ..data.letterbox import Letterbox
from ..data.reading import called_ahead
from ..engines.base import Ticket
from ..errors import DataError, FileNameError
from ..storage.files import fitting_name
from ..tasks.base import Predictor
from ..tasks.parsing.draw import draw
from ..tasks.parsing.metrics import pixels_of_classes
from ..tasks.parsing.task import classes_of
from .listing import NamedImage
from .objects import Storage
from .provenance import MadeBy, digest, find_labels, label_png

_JPEG_QUALITY = 92
_JPEG_LONGEST = 65_500
"""Pixels of a side that libjpeg takes (JPEG_MAX_DIMENSION)."""
_READERS = 4
_READ_AHEAD = 4
"""Photographs that are decoded and wait: enough to hide a slow disk, few enough for large ones."""
_MOST_AT_ONCE = 64
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
        pixels: of each class, where they were asked for.
        note: what its results lack; mostly nothing.
    """

    path: str
    name: str
    made: bool = False
    skipped: str = ""
    size: tuple[int, int] | None = None
    pixels: tuple[int, ...] | None = None
    note: str = ""

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
        index: file for the pixels of each class, CSV or Parquet.
    """

    recursive: bool = False
    shard: tuple[int, int] | None = None
    overlay: bool = True
    overwrite: bool = False
    strict: bool = False
    index: str | None = None


@dataclass(frozen=True)
class _Looked:
    """A photograph whose bytes were read: to be parsed, or settled already."""

    named: NamedImage
    settled: ImageResult | None = None
    image: Image | None = None
    box: Letterbox | None = None
    digest: str = ""


class Parser:
    """Parses photographs in order, reading ahead while the engine works.

    Args:
        predictor: its engine is fed ``engine.batch`` images at a time, one where that is None.
        made_by: what label maps depend on; None makes all of them anew, without a record.
        source: where photographs are.
        results: where label maps and overlays go.
        output: the folder there.
        spec: how.
    """

    def __init__(
        self,
        predictor: Predictor[LabelMap],
        made_by: MadeBy | None,
        source: Storage,
        results: Storage,
        output: str,
        spec: ParseSpec,
    ) -> None:
        self._predictor, self._made_by, self._spec = predictor, made_by, spec
        self._engine, self._label_set = predictor.engine, classes_of(predictor.task, "trtparse parse")
        self._source, self._results, self._output = source, results, output

    def parse(self, images: Iterable[NamedImage]) -> Generator[ImageResult, None, None]:
        """What became of each image, in order; its files are whole by then.

        Raises:
            DataError: with ``strict``, an unreadable image.
            UsageError: a result is there that something else made; a file cannot be written: with ``strict``, for
                its name alone.
            MachineError: the disk is full.
        """
        flying: deque[tuple[Ticket | None, list[_Looked]]] = deque()
        with contextlib.closing(called_ahead(self._look, images, _READ_AHEAD, _READERS)) as looked:
            try:
                for batch in self._batches(looked):
                    if len(flying) >= max(1, self._engine.in_flight):
                        yield from self._collect(*flying.popleft())
                    flying.append((self._submit(batch), batch))
                while flying:
                    yield from self._collect(*flying.popleft())
            finally:
                for ticket, _ in flying:  # only on an error: leave the engine as it was found
                    with contextlib.suppress(Exception):
                        if ticket is not None:
                            self._predictor.collect(ticket)

    def refuse_others(self, images: Iterable[NamedImage]) -> None:
        """Look at the first result that is there, before any work is done: see that it is of this engine.

        Only near the beginning, where a run that was ended has left some; any other is refused when it is met.

        Raises:
            UsageError: something else made it.
        """
        if self._made_by is None or self._spec.overwrite:
            return
        for named in islice(images, _PROBED):
            path = label_path(self._output, named.name)
            if self._results.size(path):
                find_labels(self._results.read(path), self._label_set, self._made_by, "", path)
                return

    def _look(self, named: NamedImage) -> _Looked:
        """Read a photograph, and decode it unless its results are there. Runs in several threads."""
        try:
            data = self._source.read(named.path)
            hashed = "" if self._made_by is None else digest(data)
            found = self._find(named, hashed)
            if found is not None:
                return _Looked(named, self._settled(named, found, made=False))
            image = decode_image(data, named.path, upright=True)
        except DataError as error:
            if self._spec.strict:
                raise
            return _Looked(named, ImageResult(named.path, named.name, skipped=error.message))
        box = self._predictor.letterbox((image.shape[0], image.shape[1]))
        return _Looked(named, None, image, box, hashed)

    def _find(self, named: NamedImage, hashed: str) -> LabelMap | None:
        """The label map that is there already, if nothing is left to do for its photograph."""
        path = label_path(self._output, named.name)
        if self._made_by is None or self._spec.overwrite or not self._results.size(path):
            return None
        labels = find_labels(self._results.read(path), self._label_set, self._made_by, hashed, path)
        if self._spec.overlay and not self._results.size(overlay_path(self._output, named.name)):
            return None
        return labels

    def _settled(self, named: NamedImage, labels: LabelMap, *, made: bool) -> ImageResult:
        path = label_path(self._output, named.name)
        pixels = pixels_of_classes(labels, self._label_set, path) if self._spec.index is not None else None
        return ImageResult(named.path, named.name, made, "", (labels.shape[0], labels.shape[1]), pixels)

    def _batches(self, looked: Iterable[_Looked]) -> Iterator[list[_Looked]]:
        """Photographs for one pass of the engine, with the settled ones between them."""
        batch: list[_Looked] = []
        frames = 0
        for item in looked:
            batch.append(item)
            frames += item.settled is None
            if frames == (self._engine.batch or 1) or (not frames and len(batch) == _MOST_AT_ONCE):
                yield batch
                batch, frames = [], 0
        if batch:
            yield batch

    def _submit(self, batch: list[_Looked]) -> Ticket | None:
        waiting = [item for item in batch if item.settled is None]
        if not waiting:
            return None
        frames = np.zeros((self._engine.batch or 1, *self._engine.input_size, 3), np.uint8)
        for index in range(len(frames)):
            item = waiting[min(index, len(waiting) - 1)]
            assert item.image is not None
            assert item.box is not None
            item.box.apply(item.image, out=frames[index])
        return self._predictor.submit(frames)

    def _collect(self, ticket: Ticket | None, batch: list[_Looked]) -> Iterator[ImageResult]:
        label_maps = iter(() if ticket is None else self._predictor.collect(ticket))
        for item in batch:
            if item.settled is not None:
                yield item.settled
                continue
            assert item.box is not None
            labels = self._predictor.task.restore(next(label_maps), item.box)
            try:
                note = self._write(item, labels)
            except FileNameError as error:
                if self._spec.strict:
                    raise
                yield ImageResult(item.named.path, item.named.name, skipped=error.message)
                continue
            yield replace(self._settled(item.named, labels, made=True), note=note)

    def _write(self, item: _Looked, labels: LabelMap) -> str:
        """The label map last: where it is, the overlay is, and belongs to it. Returns what is to be told."""
        path, overlay = (place(self._output, item.named.name) for place in (label_path, overlay_path))
        note = ""
        if self._spec.overlay:
            assert item.image is not None
            assert item.box is not None
            drawn, note = _as_jpeg_takes_it(draw(item.image, labels, self._label_set, cell=item.box.cell), overlay)
            self._results.write(overlay, _jpeg(drawn))
        elif self._results.size(path):  # what is made again had an overlay perhaps, which would outlive it
            self._results.remove(overlay)
        self._results.write(path, label_png(labels, self._label_set, self._made_by, item.digest))
        return note


def label_name(name: str) -> str:
    """What the label map of a name is called, relative to the output folder."""
    return _result_name(name, ".png")


def label_path(output: str, name: str) -> str:
    """Where the label map of a name goes."""
    return f"{output.rstrip('/')}/{label_name(name)}"


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
    note = f"{path} is {size[0]}x{size[1]} pixels, as JPEG ends at {_JPEG_LONGEST} a side; the label map has them all."
    return cast(Image, cv2.resize(image, size, interpolation=cv2.INTER_AREA)), note


def _jpeg(image: Image) -> bytes:
    encoded, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not encoded:
        raise ValueError(f"OpenCV cannot encode {image.shape} as JPEG")
    return data.tobytes()
