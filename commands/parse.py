"""``trtparse parse``: label maps and overlays of photographs."""

from __future__ import annotations

from pathlib import Path

import click

from .options import DEFAULT_BUNDLE, common_options, engine_options


@click.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--bundle", type=click.Path(path_type=Path), default=DEFAULT_BUNDLE, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("parsed"), show_default=True)
@click.option("--strict", is_flag=True, help="Refuse unreadable images instead of skipping them.")
@engine_options
@common_options
def parse(
    images: tuple[Path, ...],
    bundle: Path,
    output: Path,
    strict: bool,
    target: str,
    precision: str | None,
    threads: int,
    as_json: bool,
    debug: bool,
) -> None:
    """Write a label PNG (LIP's palette) and an overlay for each of IMAGES, files or folders."""
    from ..demo.parse_images import parse_images
    from ..engines import open_engine
    from ..terminal import Terminal, show_parse

    with (
        Terminal(as_json=as_json) as terminal,
        open_engine(bundle, target, precision, threads=threads) as engine,
    ):
        terminal.stage(f"Parsing with {engine.name}")
        result = parse_images(images, engine, output, strict=strict, progress=terminal.progress)
    show_parse(terminal, result, output)
