"""``trtparse find``: who is where in photographs and videos, as a file of boxes."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import DataError, UsageError
from .options import common_options

if TYPE_CHECKING:
    from ..tasks.people.detector import PersonDetector
    from ..tasks.people.found import Found
    from .terminal import Terminal


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...", type=click.Path(path_type=Path))
@click.option("--detector", type=click.Path(path_type=Path), required=True, help="An ONNX file: a YOLOX or an RT-DETR.")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="The file of boxes (.json).")
@click.option(
    "--frames", type=click.Path(path_type=Path), help="Where a video's pictures go.  [default: beside the boxes]"
)
@click.option("--every", type=click.IntRange(1), default=5, show_default=True, help="Of a video's frames.")
@click.option("--since", type=click.FloatRange(0, 1), default=0.0, show_default=True, help="Part of a video.")
@click.option("--until", type=click.FloatRange(0, 1), default=1.0, show_default=True, help="Part of a video.")
@common_options
def find(
    sources: tuple[Path, ...],
    detector: Path,
    output: Path,
    frames: Path | None,
    every: int,
    since: float,
    until: float,
    threads: int,
    as_json: bool,
    debug: bool,
) -> None:
    """Find the people in SOURCE, a folder of images or videos, with a detector.

    The boxes are COCO's annotations with scores, from 0.1 on: what a finder of one's own is trained on, with
    trtparse train person-finder.
    """
    from ..storage.files import check_output_file
    from ..tasks.people.detector import open_detector
    from ..tasks.people.found import write_found
    from .terminal import Terminal

    for source in sources:
        if not source.exists():
            raise DataError(f"There is no {source}.", "Name a folder of images, or videos.")
    if len(sources) > 1 and any(source.is_dir() for source in sources):
        raise UsageError("Several sources must all be videos.", "Find the people of each folder of images by itself.")
    stems = [source.stem for source in sources]
    if len(set(stems)) < len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise UsageError(
            f"Two videos are called {twice}: the pictures of one would take the place of the other's.",
            "Find the people of each by itself, or give one another name.",
        )
    if since >= until:
        raise UsageError(f"Nothing lies since {since} until {until}.", "Both are parts of a video, from 0 to 1.")
    check_output_file(output)
    folder = sources[0] if sources[0].is_dir() else frames or output.with_suffix("")
    found: list[Found] = []
    skipped: list[tuple[str, str]] = []
    with Terminal(as_json=as_json) as terminal, closing(open_detector(detector, threads=threads)) as finder:
        for source in sources:
            terminal.stage(f"Looking for people in {source.name} with {finder.name}")
            if source.is_dir():
                found += _in_images(source, finder, terminal, skipped)
            else:
                found += _in_video(source, finder, folder / source.stem, every, (since, until), terminal)
        names = ", ".join(source.name for source in sources)
        write_found(output, found, folder, f"{names}: people by {finder.name}")
    boxes = sum(len(one.people) for one in found)
    sure = sum(int((one.people.scores >= finder.sure).sum()) for one in found)
    if as_json:
        terminal.result(
            {
                "boxes": str(output),
                "images": str(folder),
                "count": len(found),
                "people": boxes,
                "sure": sure,
                "skipped": [{"image": image, "reason": reason} for image, reason in skipped],
            }
        )
    else:
        terminal.out.print(f"{sure} people (and {boxes - sure} perhaps) in {len(found)} images: {output}", markup=False)
        for _, reason in skipped[:5]:
            terminal.note(f"Left out: {reason}")
        if len(skipped) > 5:
            terminal.note(f"and {len(skipped) - 5} more that cannot be read")


def _in_images(
    folder: Path, detector: PersonDetector, terminal: Terminal, skipped: list[tuple[str, str]]
) -> list[Found]:
    from ..data.image_files import is_image
    from ..data.images import read_image
    from ..tasks.people.found import Found

    files = sorted(path for path in folder.rglob("*") if is_image(path.name) and path.is_file())
    if not files:
        raise DataError(f"There is no image in {folder}.", "Name a folder of images, or a video.")
    found = []
    for number, file in enumerate(files, 1):
        try:
            image = read_image(file)
        except DataError as error:
            skipped.append((str(file), error.message))
            continue
        found.append(Found(file, (image.shape[0], image.shape[1]), detector.detect([image])[0]))
        terminal.progress(number, len(files))
    if not found:
        raise DataError(f"None of the {len(files)} images in {folder} can be read.", "Are they whole?")
    return found


def _in_video(
    path: Path, detector: PersonDetector, folder: Path, every: int, part: tuple[float, float], terminal: Terminal
) -> list[Found]:
    import cv2

    from ..demo.sources import VideoSource
    from ..storage.files import check_output_folder, replace_bytes
    from ..tasks.people.found import Found

    with VideoSource(path) as counted:
        total = counted.frame_count
        if total is None and part != (0, 1):
            total = sum(1 for _ in counted)  # the file does not say how many there are
    first, last = (0, None) if total is None else (round(total * part[0]), round(total * part[1]))
    check_output_folder(folder)
    found = []
    with VideoSource(path) as source:
        for number, frame in enumerate(source):
            if last is not None and number >= last:
                break
            if number < first or number % every:
                continue
            file = folder / f"{number:06d}.jpg"
            _, coded = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 92])
            replace_bytes(file, coded.tobytes())
            found.append(Found(file, (frame.shape[0], frame.shape[1]), detector.detect([frame])[0]))
            terminal.progress(number + 1, last)
    return found
