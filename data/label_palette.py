"""What do the pixels of a palette PNG mean as classes: their indices, or the colours behind them?

Label maps are drawn with a palette for people to look at, and then the index is the class. But tools that make PNGs
smaller, and those that write palettes anyway, sort grey levels into a palette of their own: there the level is the
class, and the index says nothing.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..specs.label_set import LabelSet

_WHITE = 255


@lru_cache(8)
def valid_labels(label_set: LabelSet) -> NDArray[np.bool_]:
    """Which pixel values a label map of a set may hold: its classes, and its own value to ignore.

    Returns:
        (65536,) bool, not to be written to.
    """
    valid = np.zeros(1 << 16, np.bool_)
    valid[: len(label_set)] = True
    valid[label_set.ignore] = True
    valid.flags.writeable = False
    return valid


class AmbiguousPaletteError(ValueError):
    """Indices and colours are both classes, and nothing tells which of them are meant."""


def ids_by_index(
    palette: NDArray[np.uint8], shown: NDArray[np.bool_], used: NDArray[np.intp], label_set: LabelSet
) -> NDArray[np.uint8] | None:
    """Which class each index of a palette stands for.

    Args:
        palette: (N, 3) uint8, RGB.
        shown: (N,) bool, False where an entry is wholly transparent.
        used: (K,) the indices that pixels have.
        label_set: whose classes they are.

    Returns:
        (N,) uint8, the grey levels, where they are the classes; None where the indices are.

    Raises:
        AmbiguousPaletteError: it may be either; the message says what both would be.
    """
    if used.size == 0 or used[-1] >= len(palette):
        return None
    levels = palette[:, 0]
    if not _grey(palette[used]).all():
        _check_order_of_colours(palette, used, label_set)
        return None
    mine, valid = levels[used], valid_labels(label_set)
    if not valid[mine].all() or np.array_equal(mine, used):
        return None
    distinct = len(np.unique(mine))
    if distinct == 1 and len(used) > 1:  # a palette of one colour tells nothing
        return None
    if not valid[used].all():
        return levels
    # Both are classes. An optimiser keeps what it needs and fills up with levels; ffmpeg adds a transparent colour.
    unused = np.setdiff1d(np.arange(len(palette)), used)
    spare = unused[shown[unused]]
    if not _grey(palette[spare]).all():
        return None
    doubtful = (
        set(mine.tolist()) <= {0, _WHITE}  # black and white, as a person wants to see any two classes
        or (len(used) == 1 and len(palette) > 1)
        or distinct < len(used)
        or not valid[levels[spare]].all()
        # Pillow's octree, which has mixed the classes of 16 levels into one, leaves its rest black
        or (0 not in mine and np.count_nonzero(~palette[unused].any(axis=1)) > 1)
    )
    if doubtful:
        raise AmbiguousPaletteError(
            f"by the indices of its palette its classes are {_some(used)}, by the grey levels {_some(mine)}"
        )
    return levels


def _check_order_of_colours(palette: NDArray[np.uint8], used: NDArray[np.intp], label_set: LabelSet) -> None:
    """Refuse a palette that holds a set's colours alone, and in another order: it was sorted anew after drawing."""
    own = label_set.colours
    colours = [tuple(entry) for entry in palette.tolist()]
    if not set(colours) <= set(own):
        return
    # Two classes of a set may share a colour; an index that shows its own is in order.
    classes = np.array(
        [index if colours[index] in own[index : index + 1] else own.index(colours[index]) for index in used.tolist()]
    )
    if not np.array_equal(classes, used):
        raise AmbiguousPaletteError(
            f"by the indices of its palette its classes are {_some(used)}, "
            f"by the colours of {label_set.name} {_some(classes)}"
        )


def _grey(colours: NDArray[np.uint8]) -> NDArray[np.bool_]:
    grey: NDArray[np.bool_] = (colours[:, 0] == colours[:, 1]) & (colours[:, 0] == colours[:, 2])
    return grey


def _some(values: NDArray[np.integer]) -> str:
    told = [str(int(value)) for value in values[:6]]
    return ", ".join(told) + (", ..." if len(values) > 6 else "")
