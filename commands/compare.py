"""``trtparse compare``: several bundles or precisions side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from .comparison import Comparison, Contender, comparison_options, exit_code, show, typed
from .options import common_options, engine_options

if TYPE_CHECKING:
    from ..engines import Bundle

PRECISIONS = ("fp32", "fp16", "int8")
ALL = "all"


@click.command()
@click.argument("bundles", nargs=-1, required=True, metavar="BUNDLE[:PRECISION]...")
@comparison_options
@click.option("--report", type=click.Path(path_type=Path), metavar="DIR", help="Write a report there.")
@engine_options
@common_options
@click.pass_context
def compare(
    context: click.Context,
    /,
    bundles: tuple[str, ...],
    report: Path | None,
    precision: str | None,
    as_json: bool,
    debug: bool,
    **options: Any,
) -> None:
    """Set bundles or precisions side by side, in one pass: each one's loss and agreement.

    The reference is that of the first BUNDLE. A precision follows after a colon, as in build/student:int8;
    build/student:all stands for every one that the bundle has. Exits with 4 when one of them loses more than the
    tolerance.
    """
    from .terminal import Terminal

    with Terminal(as_json=as_json) as terminal:
        contenders = _contenders(bundles, precision)
        result = Comparison(**options).run(terminal, contenders, report, typed(context))
    show(terminal, result, report)
    context.exit(exit_code(result))


def _contenders(words: tuple[str, ...], precision: str | None) -> list[Contender]:
    """What the arguments name; every bundle is opened once."""
    from ..engines import open_bundle

    bundles: dict[Path, Bundle] = {}
    contenders: list[Contender] = []
    for word in words:
        path, named = _split(word)
        if path not in bundles:
            bundles[path] = open_bundle(path)
        bundle = bundles[path]
        for one in bundle.manifest.precisions if named == ALL else (named or precision,):
            contender = Contender(bundle, one)
            if contender in contenders:
                raise UsageError(f"{word} names an engine that was named before.", "Name every engine once.")
            contenders.append(contender)
    return contenders


def _split(word: str) -> tuple[Path, str | None]:
    """Folder and precision of an argument; a folder that is called like that is a folder."""
    path, colon, precision = word.rpartition(":")
    if not colon or Path(word).exists():
        return Path(word), None
    if precision not in (*PRECISIONS, ALL):
        raise UsageError(
            f"Unknown precision {precision!r} in {word}.", f"Choose one of {', '.join((*PRECISIONS, ALL))}."
        )
    return Path(path), precision
