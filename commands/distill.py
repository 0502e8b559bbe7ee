"""``trtparse distill``: train a student that follows a teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

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
@recipe_options
@common_options
def distill(
    recipe: str | None, output: Path, settings: tuple[str, ...], as_json: bool, debug: bool, threads: int, **given: Any
) -> None:
    """Train a student on labels and on a teacher's answers: how they relate classes and pixels (DIST).

    The same command again goes on where it was killed. Terms and weights are the recipe's [distillation].
    """
    run_training(recipe, output, settings, given, threads=threads, as_json=as_json, needs_teacher=True)
