"""``trtparse compare``: several bundles or precisions side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from .comparison import Comparison, Contender, comparison_options, exit_code_of, show, typed
from .options import common_options, engine_options, given_options

if TYPE_CHECKING:
    from ..engines import Bundle
    from ..trt_builder.layers_apart import LayersApart
    from ..validation.result import ValidationResult
    from .terminal import Terminal

PRECISIONS = ("fp32", "fp16", "int8")
ALL = "all"


@click.command()
@click.argument("bundles", nargs=-1, required=True, metavar="BUNDLE[:PRECISION]...|FILE.onnx...")
@click.option("--layers", is_flag=True, help="Of two ONNX files: the first layer that differs.")
@click.option("--preset", metavar="NAME", help="Of ONNX files that are not ours: as trtparse build has it.")
@comparison_options
@click.option("--report", type=click.Path(path_type=Path), metavar="DIR", help="Write a report there.")
@engine_options
@common_options
@click.pass_context
def compare(
    context: click.Context,
    /,
    bundles: tuple[str, ...],
    layers: bool,
    preset: str | None,
    report: Path | None,
    precision: str | None,
    as_json: bool,
    debug: bool,
    **options: Any,
) -> None:
    """Set bundles or precisions side by side, in one pass: each one's loss and agreement.

    The reference is that of the first BUNDLE. A precision follows after a colon, as in build/student:int8;
    build/student:all stands for every one that the bundle has. Exits with 4 when one of them loses more than the
    tolerance. ONNX files of one task are compared with the first of them.
    """
    from .compare_graphs import are_graphs, compare_graphs, worst_row
    from .terminal import Terminal

    apart = None
    with Terminal(as_json=as_json) as terminal:
        if are_graphs(bundles):
            _refuse_for_graphs(context)
            result, apart = compare_graphs(terminal, bundles, options, preset, layers=layers)
            _show_graphs(terminal, result, apart)
            context.exit(exit_code_of(result))
        if layers or preset is not None:
            raise UsageError("--layers and --preset are for ONNX files.", "Name two, as in compare a.onnx b.onnx.")
        contenders = _contenders(bundles, precision)
        result = Comparison(**options).run(terminal, contenders, report, typed(context))
    if not as_json and (worst := worst_row(result)):
        terminal.out.print(worst, markup=False)
    show(terminal, result, report)
    context.exit(exit_code_of(result))


_FOR_BUNDLES = ("report", "precision", "reference", "resume", "junit", "target", "auto_rebuild")


def _refuse_for_graphs(context: click.Context) -> None:
    given = given_options(context, _FOR_BUNDLES)
    if given:
        raise UsageError(f"{', '.join(given)} goes with bundles.", "Leave it out, or build bundles of the graphs.")


def _show_graphs(terminal: Terminal, result: ValidationResult, apart: LayersApart | None) -> None:
    from .compare_graphs import worst_row

    if terminal.as_json:
        layers = {} if apart is None else {"layers": apart.to_dict()}
        terminal.result({**result.to_dict(), **layers})
        return
    for line in (worst_row(result), "" if apart is None else apart.told()):
        if line:
            terminal.out.print(line, markup=False)
    show(terminal, result, None)


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
