"""``trtparse validate``: compare an engine with PyTorch."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import AccuracyError
from .options import DEFAULT_BUNDLE, common_options, engine_options, open_data


@click.command()
@click.argument("bundle", required=False, type=click.Path(path_type=Path), default=DEFAULT_BUNDLE)
@click.option("--data", help="LIP's layout, or a folder of images for the agreement alone.  [default: synthetic]")
@click.option("--split", type=click.Choice(["train", "val", "test"]), help="Of --data.  [default: val, test]")
@click.option("--tolerance", type=float, default=1.0, show_default=True, help="Largest loss of mIoU, in points.")
@click.option(
    "--reference",
    type=click.Choice(["pytorch", "fp32"]),
    default="pytorch",
    show_default=True,
    help="fp32: the FP32 graph, where PyTorch is not installed.",
)
@click.option("--limit", type=click.IntRange(1), help="The first so many images only.")
@click.option("--strict", is_flag=True, help="Refuse unreadable images instead of skipping them.")
@engine_options
@common_options
@click.pass_context
def validate(
    context: click.Context,
    bundle: Path,
    data: str | None,
    split: str | None,
    tolerance: float,
    reference: str,
    limit: int | None,
    strict: bool,
    target: str,
    precision: str | None,
    threads: int,
    as_json: bool,
    debug: bool,
) -> None:
    """Compare an engine of BUNDLE with PyTorch: mIoU by LIP's protocol, class by class.

    Exits with 4 when the engine loses more than the tolerance.
    """
    from ..engines import open_bundle, open_engine
    from ..terminal import Terminal, show_validation
    from ..validation.validate import validate as compare

    with Terminal(as_json=as_json) as terminal:
        opened = open_bundle(bundle)
        dataset = open_data(data, split, "validation")
        name, kind = ("pytorch", None) if reference == "pytorch" else ("cpu", "fp32")
        with (
            open_engine(opened, name, kind, threads=threads) as expected,
            open_engine(opened, target, precision, threads=threads) as engine,
        ):
            terminal.stage(f"Validating {engine.name}")
            result = compare(
                expected,
                engine,
                dataset,
                tolerance=tolerance,
                strict=strict,
                limit=limit,
                progress=terminal.progress,
            )
    show_validation(terminal, result)
    if not result.passed:
        context.exit(AccuracyError.exit_code)
