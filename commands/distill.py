"""``trtparse distill``: train a student that follows a teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .int8_training import run_int8_training
from .options import common_options
from .training import recipe_options, run_training


@click.command()
@click.option("--teacher", help="Its checkpoint: ours, or one of SCHP's, CE2P's or CDGNet's.")
@click.option(
    "--family",
    type=click.Choice(["auto", "trtparse", "schp", "ce2p", "cdgnet"]),
    help="Whose normalisation the teacher has.  [default: auto, by its tensor names]",
)
@click.option("--student", help="A checkpoint to start from, or a kind of network.  [default: lsfa-r18]")
@click.option("--unlabelled", multiple=True, help="Images without labels to distil on, too; may be repeated.")
@click.option(
    "--int8",
    is_flag=True,
    help="Teach a checkpoint (--student) its own answers under INT8's rounding, on --data, which needs no labels.",
)
@recipe_options
@common_options
def distill(
    recipe: str | None,
    output: Path,
    settings: tuple[str, ...],
    as_json: bool,
    debug: bool,
    threads: int,
    int8: bool,
    **given: Any,
) -> None:
    """Train a student on labels and on a teacher's answers: how they relate classes and pixels (DIST).

    The same command again goes on where it was killed. Terms and weights are the recipe's [distillation].

    With --int8 a network that was trained teaches itself to give the same answers in INT8; its checkpoint then carries
    the ranges that it learned, and trtparse build takes them as they are.
    """
    if int8:
        run_int8_training(recipe, output, settings, given, threads=threads, as_json=as_json)
        return
    run_training(recipe, output, settings, given, threads=threads, as_json=as_json, needs_teacher=True)
