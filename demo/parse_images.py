"""Photographs in, label maps and overlays out."""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..data.dataset import Image, LabelMap
from ..data.images import read_image
from ..data.letterbox import Letterbox
from ..engines.base import Engine, Ticket
from ..errors import DataError, UsageError
from ..files import check_output_folder, replace_bytes
from .overlay import draw, write_label_png

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
"""What is taken from a folder; a file that is named may have any extension."""

SCHEMA_VERSION = 1
_JPEG_QUALITY = 92

Progress = Callable[[int, int], None]
"""Called with the images finished so far, skipped ones included, and how many there are."""


@dataclass(frozen=True)
class ParsedImage:
    """One photograph and the two files made from it."""

    image: Path
    labels: Path
    overlay: Path


@dataclass(frozen=True)
class ParseResult:
    """What was made, and what could not be.

    Args:
        parsed: in the order of the input.
        skipped: unreadable images, each with the reason.
        seconds: for all of it.
        output: the folder.
        engine: the engine's name.
        precision: the engine's precision.
    """

    parsed: tuple[ParsedImage, ...]
    skipped: tuple[tuple[Path, str], ...]
    seconds: float
    output: Path
    engine: str
    precision: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it, with a schema version."""
        return {
            "schema_version": SCHEMA_VERSION,
            "parsed": [
                {"image": str(item.image), "labels": str(item.labels), "overlay": str(item.overlay)}
                for item in self.parsed
            ],
            "skipped": [{"image": str(path), "reason": reason} for path, reason in self.skipped],
            "seconds": self.seconds,
            "output": str(self.output),
            "engine": self.engine,
            "precision": self.precision,
        }


def parse_images(
    paths: Sequence[Path],
    engine: Engine,
    output: Path,
    *,
    strict: bool = False,
    progress: Progress | None = None,
) -> ParseResult:
    """Parse photographs and write ``<stem>.png`` and ``<stem>_overlay.jpg`` for each into ``output``.

    The PNG holds the class ids as palette indices, at the photograph's own size, turned upright as its EXIF
    orientation says. Of two photographs with one stem the second becomes ``<stem>-2``. Every file appears whole.

    Args:
        paths: files, and folders whose images are taken in the order of their names, subfolders not.
        engine: fed ``engine.batch`` images at a time, one where that is None.
        output: a folder; made where it is missing.
        strict: raise at the first unreadable image instead of skipping it.
        progress: see :data:`Progress`.

    Raises:
        DataError: nothing to read, or nothing readable; with ``strict``, an unreadable image.
        UsageError: a result would replace one of the photographs; ``output`` cannot be written to.
        MachineError: the disk is full.
    """
    begin = time.perf_counter()
    images = expand(paths)
    targets = _name_results(images, output)
    check_output_folder(output)
    skipped: list[tuple[Path, str]] = []
    parsed: list[ParsedImage] = []
    # closed here and not when it is collected, so that an error leaves the engine with nothing in flight
    with contextlib.closing(_labelled(targets, engine, skipped, strict)) as labelled:
        for target, image, labels, cell in labelled:
            _write(target, image, labels, cell)
            parsed.append(target)
            if progress is not None:
                progress(len(parsed) + len(skipped), len(images))
    if not parsed:
        first = f" The first: {skipped[0][1]}" if skipped else ""
        raise DataError(f"None of {len(images)} images could be read.{first}", "Check that they open in a viewer.")
    if progress is not None:
        progress(len(images), len(images))  # the last ones may have been skipped
    seconds = time.perf_counter() - begin
    return ParseResult(tuple(parsed), tuple(skipped), seconds, output, engine.name, engine.precision)


def expand(paths: Sequence[Path]) -> list[Path]:
    """The images that ``paths`` name: files as they are, folders by their images; each once.

    Raises:
        DataError: a path does not exist, or there is no image at all.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if path.is_dir():
            inside = (item for item in path.iterdir() if item.suffix.lower() in EXTENSIONS and item.is_file())
            members = sorted(item for item in inside if not item.name.startswith("."))
        elif path.exists():
            members = [path]
        else:
            raise DataError(f"There is no file {path}.", "Check the path for typing mistakes.")
        for member in members:
            found.setdefault(member.resolve(), member)
    if not found:
        where = ", ".join(str(path) for path in paths) or "the empty list"
        raise DataError(f"There are no images in {where}.", f"Images end in {', '.join(EXTENSIONS)}.")
    return list(found.values())


def _name_results(images: Sequence[Path], output: Path) -> list[ParsedImage]:
    """Files for every image, no two alike even where case does not count, and none of them an input."""
    taken: set[str] = set()
    inputs = {os.path.normcase(path.resolve()) for path in images}
    targets = []
    for image in images:
        stem, number = image.stem, 1
        while stem.casefold() in taken:
            number += 1
            stem = f"{image.stem}-{number}"
        taken.add(stem.casefold())
        target = ParsedImage(image, output / f"{stem}.png", output / f"{stem}_overlay.jpg")
        for made in (target.labels, target.overlay):
            if os.path.normcase(made.resolve()) in inputs:
                raise UsageError(f"The result for {image.name} would replace {made}.", "Choose another output folder.")
        targets.append(target)
    return targets


_Labelled = tuple[ParsedImage, Image, LabelMap, float]


def _labelled(
    targets: Sequence[ParsedImage], engine: Engine, skipped: list[tuple[Path, str]], strict: bool
) -> Generator[_Labelled, None, None]:
    """Each readable image with its labels at its own size, and how wide a pixel of the network is there.

    While the engine works on one batch, the caller writes the one before and the next is read.
    """
    flying: deque[tuple[Ticket, list[tuple[ParsedImage, Image, Letterbox]]]] = deque()
    try:
        for batch in _batches(targets, engine, skipped, strict):
            if len(flying) >= max(1, engine.in_flight):
                yield from _collect(engine, *flying.popleft())
            frames = np.zeros((engine.batch or 1, *engine.input_size, 3), np.uint8)
            for index in range(len(frames)):
                _, image, box = batch[min(index, len(batch) - 1)]
                box.apply(image, out=frames[index])
            flying.append((engine.submit(frames), batch))
        while flying:
            yield from _collect(engine, *flying.popleft())
    finally:
        for ticket, _ in flying:  # only on an error: leave the engine as it was found
            with contextlib.suppress(Exception):
                engine.collect(ticket)


def _collect(engine: Engine, ticket: Ticket, batch: list[tuple[ParsedImage, Image, Letterbox]]) -> Iterator[_Labelled]:
    for (target, image, box), labels in zip(batch, engine.collect(ticket)):
        yield target, image, box.restore(labels), box.image_size[0] / box.height


def _batches(
    targets: Sequence[ParsedImage], engine: Engine, skipped: list[tuple[Path, str]], strict: bool
) -> Iterator[list[tuple[ParsedImage, Image, Letterbox]]]:
    batch: list[tuple[ParsedImage, Image, Letterbox]] = []
    for target in targets:
        try:
            image = read_image(target.image, upright=True)
        except DataError as error:
            if strict:
                raise
            skipped.append((target.image, error.message))
            continue
        batch.append((target, image, Letterbox.fit((image.shape[0], image.shape[1]), engine.input_size)))
        if len(batch) == (engine.batch or 1):
            yield batch
            batch = []
    if batch:
        yield batch


def _write(target: ParsedImage, image: Image, labels: LabelMap, cell: float) -> None:
    write_label_png(target.labels, labels)
    encoded, data = cv2.imencode(".jpg", draw(image, labels, cell=cell), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not encoded:  # JPEG ends at 65,535 pixels a side
        raise UsageError(f"The overlay of {target.image.name} cannot be written as JPEG.", "Make the image smaller.")
    replace_bytes(target.overlay, data.tobytes())
