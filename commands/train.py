"""``trtparse train``: train a network on labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import common_options
from .training import recipe_options, run_training


@click.command()
@recipe_options
@common_options
def train(
    recipe: str | None, output: Path, settings: tuple[str, ...], as_json: bool, debug: bool, threads: int, **given: Any
) -> None:
    """Train a network on labelled images; the same command again goes on where it was killed.

    RECIPE is a TOML file, or the name of one that comes along, such as lsfa-r18-lip or, for pose, s-mspn-coco; without
    it, the defaults and what the options say.
    """
    run_training(recipe, output, settings, given, threads=threads, as_json=as_json)
