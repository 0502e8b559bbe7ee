"""What ``validate`` and ``compare`` share: the options, and the way from engines to reports and an exit code."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import AccuracyError, UsageError
from ..storage.files import check_output_file
from ..storage.interrupts import exit_code
from .options import chosen_task, figure_option, labels_option, rebuild

if TYPE_CHECKING:
    from ..engines import Bundle
    from ..tasks.predictor import Predictor
    from ..validation.result import ValidationResult
    from .terminal import Terminal

Command = TypeVar("Command", bound=Callable[..., Any])

SENSITIVITY_NAME = "sensitivity.json"
"""Beside the report, written by ``trtparse sensitivity``: a product, of which the manifest has no hash."""

RECORD_NAME = "validation.partial.jsonl"
"""Beside the report while a run is on; it goes when the report is written."""


def parse_scales(value: str | tuple[float, ...]) -> tuple[float, ...]:
    """``0.75,1,1.25``."""
    if isinstance(value, tuple):
        return value
    try:
        return tuple(float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is no list of scales such as 0.75,1,1.25") from None


def comparison_options(command: Command) -> Command:
    """Options of :class:`Comparison`."""
    for option in (
        click.option("--strict", is_flag=True, help="Refuse unreadable images instead of skipping them."),
        click.option("--limit", type=click.IntRange(1), help="The first so many images only."),
        click.option("--resume", is_flag=True, help="Go on with a run that was killed or interrupted."),
        click.option("--junit", type=click.Path(path_type=Path), metavar="FILE", help="Write the gates as JUnit XML."),
        click.option(
            "--scales",
            type=parse_scales,
            metavar="S,S,...",
            default="1",
            help="Average the logits over scales, e.g. 0.75,1,1.25.",
        ),
        click.option("--flip", is_flag=True, help="Average the logits with those of the mirror image."),
        click.option(
            "--order",
            default="",
            metavar="WORD",
            help="Of resizing and argmax. ce2p: letterbox, argmax, labels back to the image; logits: letterbox, logits "
            "back, argmax; hrnet: squash, logits "
            "back, argmax; hrnet-labels: squash, argmax, labels back.  [default: as the bundle's answers go back]",
        ),
        click.option(
            "--reference",
            type=click.Choice(["pytorch", "fp32"]),
            help="fp32: the FP32 graph, where PyTorch is not installed.  [default: pytorch; fp32 for a bundle that was "
            "built from a graph]",
        ),
        click.option(
            "--tolerance",
            type=float,
            default=1.0,
            show_default=True,
            help="Largest loss, as of mIoU, in points.",
        ),
        figure_option,
        click.option(
            "--boxes",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="COCO's detections: poses in a detector's boxes instead of those of the labels, by --figure AP.",
        ),
        labels_option,
        click.option("--split", type=click.Choice(["train", "val", "test"]), help="Of --data.  [default: val, test]"),
        click.option(
            "--data", help="LIP's layout, or a folder of images for the agreement alone.  [default: synthetic]"
        ),
    ):
        command = option(command)
    return command


@dataclass(frozen=True)
class Contender:
    """An engine to be: of which bundle, and in which precision."""

    bundle: Bundle
    precision: str | None


@dataclass(frozen=True)
class Comparison:
    """A request to compare engines with a reference; the fields are the options."""

    data: str | None
    split: str | None
    labels: str | None
    figure: str | None
    boxes: Path | None
    tolerance: float
    reference: str | None
    order: str | None
    flip: bool
    scales: tuple[float, ...]
    junit: Path | None
    resume: bool
    limit: int | None
    strict: bool
    target: str
    auto_rebuild: bool
    slots: int
    cuda_graph: bool
    threads: int

    def run(
        self, terminal: Terminal, contenders: Sequence[Contender], folder: Path | None, command: str
    ) -> ValidationResult:
        """Compare, and write what there is to write.

        Args:
            terminal: entered.
            contenders: the reference is the first one's.
            folder: of the report; None for none.
            command: what was typed, for the report.
        """
        from ..engines.bundle import WEIGHTS_NAME
        from ..tasks.open import open_predictor, task_of
        from ..tasks.protocol import Protocol
        from ..validation.validate import RecordFile, validate
        from .terminal import with_rate

        self._check(folder)
        task = task_of(contenders[0].bundle.manifest)
        if self.figure is not None:
            task = task.measured_by(self.figure)
        dataset = task.open_data(self.data, self.split, "validation", self.labels, str(contenders[0].bundle.path))
        if self.boxes is not None:
            dataset = task.in_boxes(dataset, self.boxes)
        record = None if folder is None else RecordFile(folder / RECORD_NAME, self.resume)
        if record is not None and not self.resume:
            _tell_of_record(terminal, record.path)
        first = contenders[0].bundle
        manifest = first.manifest
        named = self.reference or ("pytorch" if WEIGHTS_NAME in manifest.files else "fp32")
        target, precision = ("pytorch", None) if named == "pytorch" else ("cpu", "fp32")
        order = self.order or task.usual_order(manifest.framing)
        with contextlib.ExitStack() as stack:

            def opened(bundle: Bundle, target: str, precision: str | None) -> Predictor[Any]:
                building = rebuild(self.auto_rebuild, terminal.stage)
                found = stack.enter_context(
                    open_predictor(
                        bundle,
                        target,
                        precision,
                        threads=self.threads,
                        slots=self.slots,
                        cuda_graph=self.cuda_graph,
                        rebuild=building,
                    )
                )
                return found if self.figure is None else replace(found, task=found.task.measured_by(self.figure))

            reference = opened(first, target, precision)
            engines = [opened(one.bundle, self.target, one.precision) for one in contenders]
            terminal.stage("Validating " + ", ".join(engine.name for engine in engines))
            result = validate(
                reference,
                engines,
                dataset,
                protocol=Protocol(order, self.flip, self.scales),
                tolerance=self.tolerance,
                strict=self.strict,
                limit=self.limit,
                progress=with_rate(terminal, resumed=self.resume),
                bundles=[first, *(one.bundle for one in contenders)],
                record=record,
            )
        if folder is not None:
            _write_report(terminal, result, first, folder, command)
        if self.junit is not None:
            from ..validation.report.junit import write_junit

            write_junit(result, self.junit)
        return result

    def _check(self, folder: Path | None) -> None:
        """What can be refused is refused before any work is done."""
        if self.resume and folder is None:
            raise UsageError("--resume needs the record that lies beside a report.", "Give --report DIR as well.")
        if self.junit is not None:
            check_output_file(self.junit)
        if folder is not None:
            from ..validation.report.page import check_report_folder

            check_report_folder(folder)


def typed(context: click.Context) -> str:
    """The command line, but for how its result is shown and whether it goes on."""
    words = context.command_path.split()
    for parameter in context.command.params:
        name = str(parameter.name)
        given = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if not given or name in ("as_json", "debug", "resume"):
            continue
        value = context.params[name] if parameter.expose_value else chosen_task()
        if isinstance(parameter, click.Option):
            words.append(parameter.opts[0])
        if isinstance(value, tuple):
            values = [f"{one:g}" if isinstance(one, float) else str(one) for one in value]
            words += [",".join(values)] if isinstance(parameter, click.Option) else values
        elif value is not True:
            words.append(str(value))
    return shlex.join(words)


def _write_report(terminal: Terminal, result: ValidationResult, bundle: Bundle, folder: Path, command: str) -> None:
    from ..validation.report.page import write_report

    terminal.stage("Writing the report")
    paths = write_report(
        result,
        folder,
        ranges=ranges_of(bundle),
        sensitivity=_sensitivity_of(terminal, bundle),
        calibration=bundle.manifest.calibration,
        origin=bundle.manifest.origin,
        command=command,
    )
    if not result.partial:
        (folder / RECORD_NAME).unlink(missing_ok=True)
    terminal.note(f"Report: {paths[0]}")


def exit_code_of(result: ValidationResult) -> int:
    """0, 4 where an engine loses more than the tolerance, or the shell's code for a run that was interrupted."""
    if result.partial:
        return exit_code()
    return 0 if result.passed else AccuracyError.exit_code


def show_result(terminal: Terminal, result: ValidationResult) -> None:
    """The result as a table, or as JSON."""
    if terminal.as_json:
        terminal.result(result.to_dict())
        return
    from rich.console import Console

    from .validation_table import render

    render(result, Console(highlight=False))


def show(terminal: Terminal, result: ValidationResult, folder: Path | None) -> None:
    """The result, and after an interrupt how to go on."""
    show_result(terminal, result)
    if result.partial:
        more = "; the same command with --resume goes on" if folder is not None else ""
        terminal.note(f"Interrupted after {result.images} of {result.total} images{more}.")


def ranges_of(bundle: Bundle) -> dict[str, tuple[float, float]] | None:
    """The calibrated ranges of a bundle, for the report; None where it has none."""
    from ..engines.bundle import CALIBRATION_NAME

    if CALIBRATION_NAME not in bundle.manifest.files:
        return None
    values = json.loads((bundle.path / CALIBRATION_NAME).read_text("utf-8"))
    return {name: (float(low), float(high)) for name, (low, high) in values["ranges"].items()}


def _sensitivity_of(terminal: Terminal, bundle: Bundle) -> dict[str, float] | None:
    """What ``trtparse sensitivity`` found last, where it was this bundle and this measure."""
    from ..calibration.budget.score import EARLIER, is_of_earlier_version
    from ..engines.bundle import GRAPHS

    path = bundle.path / SENSITIVITY_NAME
    if not path.is_file():
        return None
    without = "the report leaves it out until trtparse sensitivity runs again."
    try:
        found = json.loads(path.read_text("utf-8"))
        if found["graph_sha256"] != bundle.manifest.files.get(GRAPHS["fp32"]):
            return None
        if is_of_earlier_version(found["whole"]):
            terminal.note(f"{path} was measured {EARLIER}: {without}")
            return None
        return {entry["layer"]: 100 - entry["score"]["agreement"] for entry in found["layers"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # A validation of hours is not lost for what stands beside it in the report.
        terminal.note(f"{path} is none that trtparse sensitivity wrote: {without}")
        return None


def _tell_of_record(terminal: Terminal, path: Path) -> None:
    from ..validation.record import images_recorded

    images = images_recorded(path)
    if images:
        terminal.note(f"A run that ended after {images} images is begun anew; --resume would have gone on with it.")
