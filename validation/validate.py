"""Run a reference and its engines over a dataset, once, and compare: with the labels, and with each other.

Three things happen at a time: the next images are read, a batch is in inference, and the batch before is scored.
Of the engines one is at work at a time, so that each has the machine to itself and its latency is its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..data.dataset import Images
from ..engines.bundle import Bundle
from ..engines.machine.facts import machine_facts
from ..errors import DataError, UsageError
from ..specs.framing import MOST_STRETCH
from ..storage.json_types import JsonObject
from ..tasks.predictor import Predictor
from ..tasks.protocol import Protocol
from .record import open_record
from .result import ValidationResult
from .run import Run
from .runner import Runner

_BATCH = 16
"""Images at a time: 16 calls in a row for an engine of batch 1."""


@dataclass(frozen=True)
class RecordFile:
    """Where a run keeps what it has learned, so that a killed one can go on.

    Args:
        path: the file; its folder exists.
        resume: go on with what it holds. Without it a file that is there is written anew.
    """

    path: Path
    resume: bool = False


def validate(
    reference: Predictor[Any],
    engines: Predictor[Any] | Sequence[Predictor[Any]],
    dataset: Images,
    *,
    protocol: Protocol = Protocol(),  # the task's usual one
    tolerance: float = 1.0,
    strict: bool = False,
    progress: Callable[[int, int], None] | None = None,
    limit: int | None = None,
    bundles: Sequence[Bundle] = (),
    record: RecordFile | None = None,
) -> ValidationResult:
    """Compare engines with their reference on every image of a dataset.

    All see the same frames, and the task scores their answers. What is in memory at a time are a few batches. Ctrl-C
    ends the run with the result so far, marked partial.

    Args:
        reference: the network to match, usually PyTorch.
        engines: one or more to judge; of the reference's task, input size and framing.
        dataset: with labels of the same task, or without.
        protocol: the task's order, and test-time augmentation; for all alike.
        tolerance: the largest loss of the task's figure that passes, in points of 100.
        strict: raise at the first image that cannot be read, instead of leaving it out and saying so.
        progress: called as batches are scored, with the number of images seen and the number there are.
        limit: look at the first so many images only.
        bundles: of the reference and of each engine, where they come from bundles.
        record: keep a record while running, or go on with one.

    Raises:
        UsageError: engines or dataset speak of different things, or the engines differ in input size; ``protocol`` is
            none of the task's, or needs what an engine does not give; an option makes no sense; or an engine returned
            something else than the task's answers.
        DataError: no image could be read; with ``strict``, one could not; or the record is of another run.
        KeyboardInterrupt: Ctrl-C before the first image was scored.
    """
    engines = (engines,) if isinstance(engines, Predictor) else tuple(engines)
    task = reference.task
    protocol = replace(protocol, order=task.order_of(protocol))
    _check((reference, *engines), protocol, tolerance, limit)
    scorer = task.scorer(dataset, reference.name)
    total = len(dataset) if limit is None else min(limit, len(dataset))
    with contextlib.ExitStack() as stack:
        runners = [stack.enter_context(Runner.open(one, protocol)) for one in (reference, *engines)]
        kept = None
        if record is not None:
            key = _key(runners, dataset, total, protocol, bundles)
            kept = stack.enter_context(open_record(record.path, key, resume=record.resume))
        batch = task.frames_at_once(protocol) or _BATCH
        framing = reference.framing.stretched(MOST_STRETCH) if task.squashes(protocol.order) else reference.framing
        run = Run(runners, dataset, total, scorer, framing, batch, strict, kept)
        partial = run.through(progress)
        if run.tally.images == 0:
            if partial:
                raise KeyboardInterrupt
            skipped = run.skipped
            first = f" {skipped[0].name}: {skipped[0].reason}" if skipped else ""
            raise DataError(f"No usable image in {dataset.description}.{first}", "Check the dataset.")
        run.tally.fill_pictures(run.picture)
    limited = "" if total == len(dataset) else f", the first {total} of them"
    return _result(run, f"{dataset.description}{limited}", partial, protocol, tolerance, bundles)


def _result(
    run: Run, dataset: str, partial: bool, protocol: Protocol, tolerance: float, bundles: Sequence[Bundle]
) -> ValidationResult:
    folders = [str(bundle.path) for bundle in bundles] or [""] * len(run.runners)
    runs = [runner.run(folder) for runner, folder in zip(run.runners, folders)]
    tally = run.tally
    reference = run.runners[0].predictor
    return ValidationResult(
        task=reference.task,
        dataset=dataset,
        images=tally.images,
        total=run.total,
        partial=partial,
        skipped=tuple(run.skipped),
        input_size=reference.framing.input_size,
        stretch=reference.framing.stretch,
        protocol=protocol,
        tolerance=tolerance,
        reference_run=runs[0],
        reference=tally.reference.scores() if tally.labelled else None,
        reference_confusion=tally.reference.confusion if tally.labelled else None,
        engines=tuple(tally.comparison(number, entry) for number, entry in enumerate(runs[1:])),
        seconds=run.seconds,
        machine=machine_facts(),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _check(predictors: Sequence[Predictor[Any]], protocol: Protocol, tolerance: float, limit: int | None) -> None:
    reference = predictors[0]
    if len(predictors) < 2:
        raise UsageError("There is no engine to compare.", "Give one or more.")
    for engine in predictors[1:]:
        reference.task.check_same(reference.name, engine.task, engine.name)
        wanted, found = reference.framing, engine.framing
        if wanted.input_size != found.input_size:
            (rh, rw), (eh, ew) = wanted.input_size, found.input_size
            raise UsageError(
                f"The engines differ in input size: {reference.name} takes {rh}x{rw} (height x width), "
                f"{engine.name} takes {eh}x{ew}.",
                "Compare an engine with the network it was built from.",
            )
        if wanted.crop != found.crop:
            raise UsageError(
                f"The engines see different parts of an image: {reference.name} {wanted.crop or 'the whole'}, "
                f"{engine.name} {found.crop or 'the whole'}.",
                "Compare an engine with the network it was built from.",
            )
        if (wanted.place, wanted.fill) != (found.place, found.fill):
            raise UsageError(
                f"The engines want images at different places: {reference.name} in the {wanted.place} on grey "
                f"{wanted.fill}, {engine.name} in the {found.place} on grey {found.fill}.",
                "Compare an engine with the network it was built from.",
            )
        if wanted.stretch != found.stretch:
            raise UsageError(
                f"The engines want images of different shapes: {reference.name} has them stretched up to "
                f"{wanted.stretch:g} times, {engine.name} up to {found.stretch:g} times.",
                "Compare an engine with the network it was built from.",
            )
    if not tolerance >= 0:
        raise UsageError(f"A tolerance of {tolerance} points makes no sense.", "Give 0 or more, such as 1.0.")
    if limit is not None and limit < 1:
        raise UsageError(f"A limit of {limit} images leaves nothing to compare.", "Give 1 or more.")
    reference.task.check_protocol(protocol, predictors)


def _key(
    runners: Sequence[Runner], dataset: Images, total: int, protocol: Protocol, bundles: Sequence[Bundle]
) -> JsonObject:
    """What a record is about: a run that differs in any of it cannot go on with it."""
    names = "\n".join(dataset.names[:total]).encode("utf-8", "surrogateescape")
    framing = runners[0].predictor.framing
    return {
        "task": runners[0].predictor.task.name,
        "spec": runners[0].predictor.task.spec.digest,
        "bundles": [bundle.digest for bundle in bundles],
        "engines": [[runner.engine.name, runner.engine.target, runner.engine.precision] for runner in runners],
        "input_size": list(framing.input_size),
        "stretch": framing.stretch,
        "crop": None if framing.crop is None else asdict(framing.crop),
        "dataset": dataset.description,
        "images": [total, hashlib.sha256(names).hexdigest()],
        "protocol": json.loads(json.dumps(asdict(protocol))),
    }
