"""``trtparse teach``: what teachers say of images, kept for trainings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import UsageError
from .options import common_options

if TYPE_CHECKING:
    from ..data.dataset import Dataset
    from .terminal import Terminal


@click.command()
@click.argument("images", type=click.Path(path_type=Path))
@click.option("--split", type=click.Choice(["train", "val", "test"]), help="Of images in LIP's layout.")
@click.option("--body", type=click.Path(path_type=Path), help="BodyPix as ONNX: writes maps of limbs.")
@click.option("--teacher", type=click.Path(path_type=Path), help="A parsing network's checkpoint: writes its answers.")
@click.option("--boxes", type=click.Path(path_type=Path), help="Of trtparse find: writes parts that show nobody.")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Folder.")
@common_options
def teach(
    images: Path,
    split: str | None,
    body: Path | None,
    teacher: Path | None,
    boxes: Path | None,
    output: Path,
    threads: int,
    as_json: bool,
    debug: bool,
) -> None:
    """Ask teachers about IMAGES once, and keep what they say for trtparse train.

    OUTPUT/limbs has maps of where somebody is, where nobody, and of left and right limbs, where BodyPix is sure;
    OUTPUT/answers a parsing teacher's probabilities; OUTPUT/nobody the parts of the images that are beside all boxes
    (and, with --body, show nobody to it). What is there already is kept, so the same command goes on where it stopped.
    """
    from ..engines.machine.dependencies import require
    from ..storage.files import check_output_folder
    from .terminal import Terminal

    if not (body or teacher or boxes):
        raise UsageError("Nobody is asked.", "Give --body, --teacher or --boxes.")
    check_output_folder(output)
    done: dict[str, int] = {}
    with Terminal(as_json=as_json) as terminal:
        if threads and teacher:
            require("torch").set_num_threads(threads)
        if body:
            done["limbs"] = _limbs(_open(images, split), body, output / "limbs", threads, terminal)
        if teacher:
            done["answers"] = _answers(_open(images, split), teacher, output / "answers", terminal)
        if boxes:
            done["nobody"] = _nobody(images, boxes, body, output / "nobody", threads, terminal)
        if as_json:
            terminal.result({"output": str(output), **done})
        else:
            for name, count in done.items():
                terminal.out.print(f"{output / name}: {count} files", markup=False)


def _open(images: Path, split: str | None) -> Dataset:
    from ..tasks.parsing.files import open_dataset

    dataset = open_dataset(images, split, purpose="calibration")  # type: ignore[arg-type]
    kept: dict[str, str] = {}
    for name in dataset.names:
        other = kept.setdefault(Path(name).stem, name)
        if other != name:
            raise UsageError(
                f"{other} and {name} of {dataset.description} would be kept under one name.",
                "Give one of them another name.",
            )
    return dataset


def _limbs(dataset: Dataset, body: Path, folder: Path, threads: int, terminal: Terminal) -> int:
    from ..data.images import write_png
    from ..distillation.limbs import BodyPix

    network = BodyPix(body, threads=threads)
    folder.mkdir(exist_ok=True)
    terminal.stage(f"Looking for limbs in {dataset.description}")
    for number, name in enumerate(dataset.names):
        path = folder / f"{Path(name).stem}.png"
        if not path.exists():
            write_png(path, network.limbs(dataset[number].image))
        terminal.progress(number + 1, len(dataset))
    return len(dataset)


def _answers(dataset: Dataset, checkpoint: Path, folder: Path, terminal: Terminal) -> int:
    from ..distillation.kept_answers import KeptAnswers
    from ..distillation.optimising import training_device
    from ..distillation.teacher import load_teacher
    from ..networks.checkpoint import load_checkpoint

    loaded = load_checkpoint(checkpoint)
    teacher = load_teacher(checkpoint, labels=loaded.spec, flip=True, device=training_device())
    kept = KeptAnswers(folder, loaded.spec, loaded.input_size, loaded.stretch)
    if folder.is_dir() and KeptAnswers.open(folder) != kept:
        raise UsageError(f"{folder} holds answers of another teacher.", "Choose another --output.")
    kept.begin()
    terminal.stage(f"Asking {checkpoint.name} about {dataset.description}")
    for number, name in enumerate(dataset.names):
        if not kept.path(name).exists():
            kept.write(name, dataset[number].image, teacher)
        terminal.progress(number + 1, len(dataset))
    return len(dataset)


def _nobody(images: Path, boxes: Path, body: Path | None, folder: Path, threads: int, terminal: Terminal) -> int:
    import cv2
    import numpy as np

    from ..distillation.limbs import BodyPix
    from ..distillation.people.pictures import free_rectangle
    from ..storage.files import replace_bytes
    from ..tasks.people.found import read_found

    found = read_found(boxes, images)
    network = None if body is None else BodyPix(body, threads=threads)
    folder.mkdir(exist_ok=True)
    terminal.stage(f"Looking for nobody in {images}")
    for number, one in enumerate(found):
        path = folder / f"{one.image.stem}.jpg"
        part = free_rectangle(one.people.boxes, one.size)
        terminal.progress(number + 1, len(found))
        if path.exists() or part is None or min(part[2] - part[0], part[3] - part[1]) < _LEAST_SIDE:
            continue
        left, top, right, bottom = part
        shown = np.ascontiguousarray(one.read()[top:bottom, left:right])
        if network is not None and float((network(shown)[0] > 0).mean()) > _MOST_PERSON:
            continue
        replace_bytes(path, cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes())
    return sum(1 for _ in folder.glob("*.jpg"))


_LEAST_SIDE = 64
"""Pixels of a part that shows nobody: a smaller one is of one surface."""

_MOST_PERSON = 0.003
"""Of such a part that BodyPix may call a person."""
