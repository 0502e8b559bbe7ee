"""The same job on a cluster: Ray Data hands the photographs to workers, each with an engine of its own.

Workers read photographs and write results through PyArrow's file systems, so that ``s3://`` works as a folder
does. They read themselves instead of being handed bytes by ``ray.data.read_binary_files``: that ends the whole
job at the first file that cannot be opened, where a photograph is to be skipped and named.

What a worker had not finished when it was killed, Ray gives to another one. The label maps say what they were made
from, so that only what was in the making is made twice.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import pickle
import re
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from ..engines.machine.dependencies import require
from ..errors import MachineError, TrtparseError, UsageError
from ..storage.files import check_output_folder
from ..tasks.people.detector import PersonDetector
from ..tasks.people.given import GivenBoxes
from ..tasks.predictor import Predictor
from .images import ImagesDone, ParseResult, collect
from .index import index_place
from .listing import Listing, NamedImage, Naming, image_files, list_images
from .objects import ArrowStorage, is_uri, list_uri, open_storage, plain
from .parser import ImageResult, Parser, ParseSpec
from .provenance import MadeBy
from .ray_cluster import LOCAL, in_short, ray_cluster

OpenPredictor = Callable[[], tuple[Predictor[Any], MadeBy | None]]
"""Opens an engine where it is called; it travels to the workers."""

OpenDetector = Callable[[], PersonDetector]
"""As :data:`OpenPredictor`, of what finds people."""

_AT_ONCE = 64  # photographs that a worker is given: what is given again when it is killed
_ROUNDS = 8  # of handing out, at least, so that workers end together


def parse_on_ray(
    paths: Sequence[str],
    open_predictor: OpenPredictor,
    output: str,
    spec: ParseSpec = ParseSpec(),
    *,
    open_detector: OpenDetector | None = None,
    boxes: GivenBoxes | None = None,
    address: str = LOCAL,
    workers: int | None = None,
    threads: int = 1,
    progress: ImagesDone | None = None,
    notify: Callable[[str], None] | None = None,
) -> ParseResult:
    """Parse photographs as :func:`~trtparse.parse.images.parse_images` does: the same files, byte for byte.

    Args:
        paths: files and folders that every worker can read, or URIs of one kind.
        open_predictor: called once here, for its errors, and once in every worker.
        output: a folder that every worker can write to, or a URI.
        spec: how; the index is written here.
        open_detector: called once in every worker, for what finds people.
        boxes: as in ``parse_images``.
        address: of the cluster, or ``local``. A Ray that this process uses already is taken as it is.
        workers: one engine each; as many as the cluster has processors for where None.
        threads: processors that a worker takes.
        progress: as in ``parse_images``.
        notify: told, from another thread, when the cluster does not answer and when it does again. After a minute
            without an answer Ray ends this process, with code 1 and whatever it does.

    Raises:
        DataError, UsageError: as in ``parse_images``; or paths and URIs, or URIs of two kinds, are mixed.
        MachineError: Ray is not installed, there is no cluster, or it is too small; its workers cannot start, or a
            worker's disk is full.
    """
    begin = time.perf_counter()
    require("ray")
    results, output = open_storage(output), plain(output)
    source, listing = _list(paths, output, spec)
    if not is_uri(output):
        check_output_folder(Path(output))
    if spec.index is not None:
        index_place(spec.index, spec.shard)
    if spec.shard is not None:
        listing = listing.shard(*spec.shard)
    predictor, made_by = open_predictor()
    with predictor:
        Parser(predictor, made_by, source, results, output, spec, boxes=boxes).refuse_others(listing)
    job = _Job(open_predictor, open_detector, boxes, made_by, source, results, output, spec, threads)
    with ray_cluster(address, workers, threads, notify) as size:
        collected = collect(_results(job, listing, size), listing, output, spec, predictor.task, progress)
    place = output if is_uri(output) else Path(output)
    return collected.result(place, predictor.engine, time.perf_counter() - begin)


def _list(paths: Sequence[str], output: str, spec: ParseSpec) -> tuple[ArrowStorage, Listing]:
    """The images, each once and none of the output, and the file system that they are on."""
    uris = [path for path in paths if is_uri(path)]
    if not uris:
        place = None if is_uri(output) else Path(output)
        return open_storage("."), list_images([Path(path) for path in paths], place, recursive=spec.recursive)
    storage = open_storage(uris[0])
    naming = Naming()
    folders: set[str] = set()
    listed: set[str] = set()

    def add(image: str, start: int) -> None:
        if image not in listed:
            listed.add(image)
            naming.add(image, start)

    for path in paths:
        other = open_storage(path)
        if not is_uri(path) or other.prefix != storage.prefix or other.filesystem != storage.filesystem:
            raise UsageError(f"{path} is in another place than {uris[0]}.", "Give them to one command each.")
        base, names = list_uri(path, storage, recursive=spec.recursive)
        if names is None:
            add(base, base.rindex("/") + 1)
            continue
        if base in folders:
            continue
        folders.add(base)
        names = [name for name in names if not f"{base}/{name}".startswith(f"{output}/")]
        taken = image_files(names)
        for name in taken:
            add(f"{base}/{name}", len(base) + 1)
        for name in set(names).difference(taken):
            if not any(part.startswith(".") for part in name.split("/")):
                naming.leave_out(name)
    if output in folders:
        raise UsageError(f"The results would go among the images of {output}.", "Choose another output folder.")
    return storage, naming.listing(paths)


@dataclass(frozen=True)
class _Job:
    """Everything that a worker needs."""

    open_predictor: OpenPredictor
    open_detector: OpenDetector | None
    boxes: GivenBoxes | None
    made_by: MadeBy | None
    source: ArrowStorage
    results: ArrowStorage
    output: str
    spec: ParseSpec
    threads: int


class _Worker:
    """Lives in a process of its own, as long as the job does.

    Our errors travel as results: Ray would print them, with its own stack, before it hands them on.
    """

    def __init__(self, job: _Job) -> None:
        cv2.setNumThreads(job.threads)
        self._parser: Parser | None = None
        try:
            predictor, made_by = job.open_predictor()
            if made_by != job.made_by:
                raise MachineError(
                    f"A worker has another bundle than this machine: {made_by}, not {job.made_by}.",
                    "Copy the bundle to every machine, or to a disk that all of them share.",
                )
            detector = None if job.open_detector is None else job.open_detector()
            self._parser = Parser(
                predictor, made_by, job.source, job.results, job.output, job.spec, detector, job.boxes
            )
        except TrtparseError as error:
            self._error = error

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Parse the photographs of a batch; texts, so that no value depends on what Arrow makes of it."""
        done: list[str] = []
        failed = b""
        try:
            if self._parser is None:
                raise self._error
            for result in self._parser.parse(NamedImage(*json.loads(named)) for named in batch["image"]):
                done.append(result.to_json())
        except TrtparseError as error:
            failed = pickle.dumps(error)
            done.append("")
        return {"result": done, "error": [b""] * (len(done) - 1) + [failed]}


def _results(job: _Job, listing: Listing, workers: int) -> Generator[ImageResult, None, None]:
    """What became of the images, in the order of the listing."""
    if not listing:
        return
    data, arrow = importlib.import_module("ray.data"), require("pyarrow")
    # What goes wrong is raised; before that it would tell its stack, and ask to report it to Ray.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    size = min(_AT_ONCE, max(1, len(listing) // (workers * _ROUNDS)))
    with _in_order(data.DataContext.get_current()):
        images = data.from_arrow(
            [
                arrow.table({"image": [json.dumps(named) for named in listing[first : first + size]]})
                for first in range(0, len(listing), size)
            ]
        )
        parsed = images.map_batches(
            _Worker,
            batch_size=None,
            compute=data.ActorPoolStrategy(size=workers),
            num_cpus=job.threads,
            fn_constructor_args=(job,),
        )
        # closed here and not when it is collected, so that Ray Data has ended before Ray does
        with _workers_errors(), contextlib.closing(iter(parsed.iter_rows())) as rows:
            for row in rows:
                if row["error"]:
                    raise pickle.loads(row["error"])
                yield ImageResult.from_json(row["result"])


@contextlib.contextmanager
def _workers_errors() -> Iterator[None]:
    """Workers that cannot start, or that die again and again, are the machine's fault; what else Ray raises is not."""
    worker_died = importlib.import_module("ray.exceptions").RayActorError
    try:
        yield
    except worker_died as error:
        missing = re.search(r"No module named '([^']+)'", str(error))
        if missing is not None:
            raise MachineError(
                f"Ray's workers have no module {missing[1]}.",
                "Install trtparse with the extra ray on every machine, where ray start is typed: what runs there is "
                "that environment's Python.",
            ) from error
        raise MachineError(
            f"Ray's workers cannot go on: {in_short(error)}",
            "Ray's logs tell more: /tmp/ray/session_latest/logs on the machine of that worker.",
        ) from error


@contextlib.contextmanager
def _in_order(context: Any) -> Iterator[None]:
    """Have results come in the order of the images, and Ray Data draw no bars of its own."""
    before = context.enable_progress_bars, context.execution_options.preserve_order
    context.enable_progress_bars, context.execution_options.preserve_order = False, True
    try:
        yield
    finally:
        context.enable_progress_bars, context.execution_options.preserve_order = before
