"""``trtparse validate``: compare an engine with PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from .comparison import Comparison, Contender, comparison_options, exit_code_of, show, typed
from .options import DEFAULT_BUNDLE, check_task, common_options, engine_options, task_option

if TYPE_CHECKING:
    from ..engines import Bundle
    from ..validation.result import ValidationResult
    from .terminal import Terminal


@click.command()
@click.argument("bundle", required=False, type=click.Path(path_type=Path), default=DEFAULT_BUNDLE)
@comparison_options
@click.option("--report", type=click.Path(path_type=Path), metavar="DIR", help="Of the report.  [default: the bundle]")
@click.option("--no-report", is_flag=True, help="Write no report, and leave the bundle as it is.")
@task_option
@engine_options
@common_options
@click.pass_context
def validate(
    context: click.Context,
    /,
    bundle: Path,
    report: Path | None,
    no_report: bool,
    precision: str | None,
    as_json: bool,
    debug: bool,
    **options: Any,
) -> None:
    """Compare an engine of BUNDLE with PyTorch: mIoU by LIP's protocol, class by class; PCK and AP, joint by joint.

    Writes a report into the bundle, and the figures into its manifest. Exits with 4 when the engine loses more than
    the tolerance.
    """
    from ..engines import open_bundle
    from .terminal import Terminal

    if no_report and report is not None:
        raise UsageError("--no-report and --report contradict each other.", "Give one of them.")
    with Terminal(as_json=as_json) as terminal:
        opened = open_bundle(bundle)
        check_task(opened)
        into_bundle = report is None and not no_report
        folder = opened.path if into_bundle else report
        if into_bundle:
            _check_bundle_takes_reports(opened.path)
        result = Comparison(**options).run(terminal, [Contender(opened, precision)], folder, typed(context))
        if into_bundle and not result.partial:
            _note_accuracy(terminal, opened, result)
    show(terminal, result, folder)
    context.exit(exit_code_of(result))


def _check_bundle_takes_reports(folder: Path) -> None:
    from ..validation.report.page import check_report_folder

    try:
        check_report_folder(folder)
    except UsageError as error:
        raise UsageError(error.message, "Give --report DIR, or --no-report.") from error


def _note_accuracy(terminal: Terminal, bundle: Bundle, result: ValidationResult) -> None:
    from ..engines.bundle import add_accuracy
    from ..validation.result import measured_accuracy

    if not add_accuracy(bundle, measured_accuracy(result)):
        terminal.note(f"{bundle.path} was built anew meanwhile: the figures are those of the old one.")
