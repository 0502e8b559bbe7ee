"""``trtparse parse``: label maps and overlays of photographs, a few or very many."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from .options import (
    DEFAULT_BUNDLE,
    check_predictor,
    check_takes_people,
    check_task,
    common_options,
    engine_options,
    labels_option,
    rebuild,
    task_option,
    wants_people,
)

if TYPE_CHECKING:
    from ..engines import Bundle
    from ..tasks.people.detector import PersonDetector

    Finding = partial[PersonDetector]
    from ..parse.images import ParseResult
    from ..parse.objects import Storage
    from ..parse.parser import ParseSpec
    from ..parse.provenance import MadeBy
    from ..specs.spec import Spec
    from ..tasks.base import Task
    from ..tasks.coco import Summary
    from ..tasks.people.given import GivenBoxes
    from ..tasks.predictor import Predictor
    from .terminal import Terminal


def _parse_shard(context: click.Context, option: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """``NUMBER/OF``."""
    if value is None:
        return None
    parts = value.split("/")
    if len(parts) != 2 or not all(part.isdecimal() for part in parts):
        raise click.BadParameter(f"{value!r} is not a shard such as 2/8: the second of eight")
    number, of = int(parts[0]), int(parts[1])
    if not 1 <= number <= of:
        raise click.BadParameter(f"{value}: the first number must lie between 1 and the second")
    return number, of


@click.command()
@click.argument("images", nargs=-1, required=True, type=click.Path())
@click.option("--bundle", type=click.Path(path_type=Path), default=DEFAULT_BUNDLE, show_default=True)
@click.option("--output", type=click.Path(), default="parsed", show_default=True, help="A folder.")
@click.option("--recursive", is_flag=True, help="Take subfolders as well; the results keep their layout.")
@click.option("--no-overlay", is_flag=True, help="Write answers alone.")
@click.option(
    "--index",
    type=click.Path(),
    help="Also write how much there is of each class or joint, one row per image: .csv or .parquet.",
)
@click.option(
    "--annotations",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="COCO's file that says the numbers of the images: for the results of poses, and for --boxes.",
)
@click.option(
    "--people",
    type=click.Choice(["auto", "full"]),
    help="People are found and each is parsed, or a photograph is one person.  [default: full]",
)
@click.option(
    "--detector",
    type=click.Path(path_type=Path),
    metavar="MODEL",
    help="With --people auto: a YOLOX, an RT-DETR or a finder of yours, a graph or a bundle.",
)
@click.option(
    "--boxes",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The people in these boxes, instead of finding them: COCO's detections or annotations.",
)
@click.option("--overwrite", is_flag=True, help="Make results again that are there already.")
@click.option("--shard", callback=_parse_shard, metavar="K/N", help="The K-th of N parts, for one of N machines.")
@click.option("--ray", "address", metavar="ADDRESS", help="Parse on a Ray cluster; 'local' starts one here.")
@click.option("--workers", type=click.IntRange(1), help="With --ray: engines, of --threads each.")
@click.option("--strict", is_flag=True, help="Refuse unreadable images instead of skipping them.")
@task_option
@labels_option
@engine_options
@common_options
def parse(
    images: tuple[str, ...],
    bundle: Path,
    output: str,
    recursive: bool,
    no_overlay: bool,
    index: str | None,
    annotations: Path | None,
    people: str | None,
    detector: Path | None,
    boxes: Path | None,
    overwrite: bool,
    shard: tuple[int, int] | None,
    address: str | None,
    workers: int | None,
    strict: bool,
    labels: str | None,
    target: str,
    precision: str | None,
    auto_rebuild: bool,
    slots: int,
    cuda_graph: bool,
    threads: int,
    as_json: bool,
    debug: bool,
) -> None:
    """Write an answer, of parsing a label PNG, and an overlay for each of IMAGES, files or folders.

    What is there already is not made again, so the same command goes on where it was ended.
    """
    from ..parse.index import index_place
    from ..parse.parser import ParseSpec
    from ..tasks.open import spec_named
    from .terminal import Terminal, with_rate

    meant = None if labels is None else spec_named(labels)
    spec = ParseSpec(recursive, shard, not no_overlay, overwrite, strict, index)
    if index is not None:
        index_place(index, shard)
    finding = None
    given = None
    if boxes is not None:
        from ..tasks.people.given import read_given

        if people is not None or detector is not None:
            raise UsageError("--boxes says where the people are.", "Leave --people and --detector out.")
        given = read_given(boxes, annotations)
    elif wants_people(people, detector):
        from ..tasks.people.detector import open_detector

        finding = partial(open_detector, None if detector is None else detector.absolute(), threads=threads or 1)
    if address is None and workers is not None:
        raise UsageError("--workers goes with --ray.", "Give both, or neither; --threads is for this machine alone.")
    if address is not None and auto_rebuild:
        raise UsageError("--auto-rebuild builds on this machine, not on Ray's workers.", "Build the engine first.")
    with Terminal(as_json=as_json) as terminal:
        if address is None:
            building = rebuild(auto_rebuild, terminal.stage)
            opened = partial(
                _open,
                bundle,
                target,
                precision,
                threads,
                meant,
                finding,
                given,
                slots=slots,
                cuda_graph=cuda_graph,
                rebuild=building,
            )
            result = _parse_here(terminal, images, bundle, output, spec, opened, finding, given, annotations)
        else:
            from ..engines import open_bundle
            from ..engines.machine.dependencies import require
            from ..parse.objects import open_storage
            from ..parse.ray import parse_on_ray
            from ..tasks.open import task_of

            require("ray")
            found = open_bundle(bundle)
            check_task(found)
            task = task_of(found.manifest)
            summary = _summary(task, annotations, given)
            target, between = _target_for_all(found, target, precision, max(threads, 1))
            terminal.stage(f"Parsing on Ray, {address}")
            result = parse_on_ray(
                images,
                partial(
                    _open,
                    bundle.absolute(),
                    target,
                    precision,
                    max(threads, 1),
                    meant,
                    finding,
                    given,
                    between=between,
                    slots=slots,
                    cuda_graph=cuda_graph,
                ),
                output,
                spec,
                open_detector=finding,
                boxes=given,
                address=address,
                workers=workers,
                threads=max(threads, 1),
                progress=with_rate(terminal),
                notify=terminal.note,
            )
            _summarise(terminal, summary, task, result, open_storage(output), output, spec)
    _show(terminal, result)


def _target_for_all(bundle: Bundle, target: str, precision: str | None, threads: int) -> tuple[str, str | None]:
    """One CPU runtime, the fastest on this machine, and what it has between INT8 layers.

    Workers that measured for themselves would not all take the same.
    """
    from ..engines.open import could_run_tensorrt, fastest_on_cpu
    from ..tasks.open import task_of

    if target != "cpu" and (target != "auto" or could_run_tensorrt(bundle)):
        return target, None
    lowest = "int8" if "int8" in bundle.manifest.precisions else "fp32"
    found = fastest_on_cpu(bundle, precision or lowest, threads, task_of(bundle.manifest).agreement)
    return found.runtime, found.between


def _parse_here(
    terminal: Terminal,
    images: tuple[str, ...],
    bundle: Path,
    output: str,
    spec: ParseSpec,
    open_parser: Callable[[], tuple[Predictor[Any], MadeBy]],
    finding: Finding | None,
    given: GivenBoxes | None,
    annotations: Path | None,
) -> ParseResult:
    from ..parse.images import parse_images
    from ..parse.objects import LocalStorage, is_uri
    from .terminal import with_rate

    for path in (*images, output):
        if is_uri(path):
            raise UsageError(f"{path} is not on this machine's disks.", "Give --ray local: Ray Data opens URIs.")
    with ExitStack() as stack:
        predictor, made_by = open_parser()
        stack.enter_context(predictor)
        check_predictor(predictor, bundle)
        detector = None if finding is None else stack.enter_context(closing(finding()))
        summary = _summary(predictor.task, annotations, given)
        terminal.stage(f"Parsing with {predictor.name}")
        result = parse_images(
            [Path(path) for path in images],
            predictor,
            Path(output),
            spec,
            made_by=made_by,
            detector=detector,
            boxes=given,
            progress=with_rate(terminal),
        )
    _summarise(terminal, summary, predictor.task, result, LocalStorage(), output, spec)
    return result


def _summary(task: Task[Any], annotations: Path | None, given: GivenBoxes | None) -> Summary | None:
    """What is written about all images together, where the task has that: with the numbers that the boxes go by."""
    if given is not None:
        annotations = None if task.results is None else annotations or given.annotations
    return task.summary(annotations)


def _summarise(
    terminal: Terminal,
    summary: Summary | None,
    task: Task[Any],
    result: ParseResult,
    results: Storage,
    output: str,
    spec: ParseSpec,
) -> None:
    if summary is not None:
        from ..parse.summary import write_summary

        terminal.note(f"Written: {write_summary(summary, task, result.parsed, results, output, spec.shard)}")


def _open(
    bundle: Path,
    target: str,
    precision: str | None,
    threads: int,
    labels: Spec | None,
    finding: Finding | None,
    given: GivenBoxes | None,
    **options: Any,
) -> tuple[Predictor[Any], MadeBy]:
    from ..engines import open_bundle
    from ..parse.provenance import MadeBy, detector_digest
    from ..tasks.open import open_predictor, task_of

    opened = open_bundle(bundle)
    if finding is not None or given is not None:
        check_takes_people(task_of(opened.manifest), bundle)
    if finding is not None:
        finding().close()  # what finds nobody is refused before the engine is opened
    predictor = open_predictor(opened, target, precision, labels, threads=threads, **options)
    made_by = MadeBy.of(opened, predictor.engine)
    if finding is not None:
        made_by = replace(made_by, people=detector_digest(finding.args[0]))
    if given is not None:
        made_by = replace(made_by, people=given.digest)
    return predictor, made_by


def _show(terminal: Terminal, result: ParseResult) -> None:
    """What was made, what was there, and what was left out."""
    if terminal.as_json:
        terminal.result(result.to_dict())
        return
    from ..data.image_files import left_out
    from .terminal import show_skipped

    made = len(result.parsed) - result.found
    images = "1 image" if made == 1 else f"{made} images"
    found = f", {result.found} there already" if result.found else ""
    terminal.out.print(f"{images} parsed into {result.output}{found}", markup=False)
    if result.index is not None:
        terminal.out.print(f"Index: {result.index}", markup=False)
    others = left_out(result.left_out)
    if result.people is not None:
        count = "1 person" if result.people == 1 else f"{result.people} people"
        nobody = f", nobody in {result.without_people} of {made}" if result.without_people else ""
        terminal.out.print(f"{count} found{nobody}", markup=False)
    if result.crowded:
        from ..tasks.people.detector import MOST_PEOPLE

        terminal.note(f"In {result.crowded} there are {MOST_PEOPLE} people or more; more than so many are not parsed.")
    for note in [others + "."] * bool(others) + [note for _, note in result.notes[:5]]:
        terminal.note(note)
    if result.noted_images > 5:
        terminal.note(f"and {result.noted_images - 5} more such overlays")
    skipped = [(str(path), reason) for path, reason in result.skipped]
    show_skipped(terminal, skipped, result.skipped_images)
