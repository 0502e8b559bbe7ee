"""One file about all images of a folder, such as COCO's results, made of the answers that were written."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..storage.files import replace_bytes
from ..tasks.base import Summary, Task
from .images import ParsedImage


def write_summary(
    summary: Summary, task: Task[Any], parsed: Iterable[ParsedImage], output: Path, shard: tuple[int, int] | None = None
) -> Path:
    """Write it beside the answers, an older one replaced.

    Args:
        summary: the file's name, and what makes its content.
        task: reads answers.
        parsed: images whose answers are there.
        output: the folder.
        shard: (number, of) where the images are one of several parts; the file is named after it.

    Returns:
        The file.

    Raises:
        DataError: an answer is no longer there.
    """
    name, content = summary
    if shard is not None:
        stem, _, ending = name.rpartition(".")
        name = f"{stem}-{shard[0]}-of-{shard[1]}.{ending}"
    found = []
    for one in parsed:
        try:
            answer = task.decode(Path(one.labels).read_bytes(), str(one.labels))[1]
        except OSError as error:
            reason = error.strerror or error
            raise DataError(f"{one.labels} cannot be read: {reason}.", "Run the command again.") from error
        if answer is None:
            raise DataError(f"{one.labels} is damaged.", "Run the command again with --overwrite.")
        found.append((str(one.image), answer))
    path = output / name
    replace_bytes(path, content(found))
    return path
