"""Which files are images, by their names; and what to say of those that are not.

Wherever a folder is read this list decides: for ``--data``, for ``parse`` and for the demo.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

IMAGE_EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff"),
    *(".gif", ".avif", ".jp2", ".ppm", ".pgm", ".pnm"),
)
"""What OpenCV decodes; of an animation or a file of several pages the first picture."""

_SHOWN = 5


def has_extension(name: str, extensions: Sequence[str]) -> bool:
    """Whether a file name ends in one of ``extensions``, in capitals or not."""
    return name.lower().endswith(tuple(extensions))


def is_image(name: str) -> bool:
    """Whether a file of this name is taken from a folder; hidden ones are not."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_EXTENSIONS


def endings(names: Iterable[str]) -> dict[str, int]:
    """How many files have which ending; those without one count under an empty text."""
    return Counter(os.path.splitext(name)[1].lower() for name in names)


def left_out(counted: Mapping[str, int]) -> str:
    """``3 other files left out (.heic, .mov)``, the most frequent first; empty where there are none.

    Args:
        counted: as from :func:`endings`.
    """
    files = sum(counted.values())
    if not files:
        return ""
    told = [ending or "no ending" for ending in sorted(counted, key=lambda ending: (-counted[ending], ending))]
    more = f" and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
    return f"{files} other file{'s' if files > 1 else ''} left out ({', '.join(told[:_SHOWN])}{more})"
