"""One file about all images of a folder, such as COCO's results, made of the answers that were written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import DataError
from ..tasks.base import Task
from ..tasks.coco import Summary
from .images import ParsedImage
from .objects import Storage, plain


def write_summary(
    summary: Summary,
    task: Task[Any],
    parsed: Iterable[ParsedImage],
    results: Storage,
    output: str,
    shard: tuple[int, int] | None = None,
) -> str:
    """Write it beside the answers, an older one replaced.

    Args:
        summary: the file's name, and what makes its content.
        task: reads answers.
        parsed: images whose answers are there.
        results: where answers are.
        output: the folder there.
        shard: (number, of) where the images are one of several parts; the file is named after it.

    Returns:
        The file.

    Raises:
        DataError: an answer is no longer there.
        UsageError: the file cannot be written.
    """
    name, content = summary
    if shard is not None:
        stem, _, ending = name.rpartition(".")
        name = f"{stem}-{shard[0]}-of-{shard[1]}.{ending}"
    found = []
    for one in parsed:
        answer = task.decode(results.read(str(one.labels)), str(one.labels))[1]
        if answer is None:
            raise DataError(f"{one.labels} is damaged.", "Run the command again with --overwrite.")
        found.append((str(one.image), answer))
    path = f"{plain(output).rstrip('/')}/{name}"
    results.write(path, content(found))
    return path
