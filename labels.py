"""LIP-20: the classes, the palette and the left/right pairs.

Order, names and colours are those of the Look Into Person (LIP) dataset, as listed in the public
reference implementation of JPPNet (``Engineering-Course/LIP_JPPNet``, ``utils/utils.py``).
Left and right are the person's own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CLASS_NAMES: tuple[str, ...] = (
    "Background",
    "Hat",
    "Hair",
    "Glove",
    "Sunglasses",
    "Upper-clothes",
    "Dress",
    "Coat",
    "Socks",
    "Pants",
    "Jumpsuits",
    "Scarf",
    "Skirt",
    "Face",
    "Left-arm",
    "Right-arm",
    "Left-leg",
    "Right-leg",
    "Left-shoe",
    "Right-shoe",
)
NUM_CLASSES = len(CLASS_NAMES)

IGNORE_LABEL = 255
"""Pixels with this label count nowhere: neither in a loss nor in a metric."""

PALETTE_RGB: tuple[tuple[int, int, int], ...] = (
    (0, 0, 0),
    (128, 0, 0),
    (255, 0, 0),
    (0, 85, 0),
    (170, 0, 51),
    (255, 85, 0),
    (0, 0, 85),
    (0, 119, 221),
    (85, 85, 0),
    (0, 85, 85),
    (85, 51, 0),
    (52, 86, 128),
    (0, 128, 0),
    (0, 0, 255),
    (51, 170, 221),
    (0, 255, 255),
    (85, 255, 170),
    (170, 255, 85),
    (255, 255, 0),
    (255, 170, 0),
)

FLIP_PAIRS: tuple[tuple[int, int], ...] = ((14, 15), (16, 17), (18, 19))
"""Classes that change places when an image is mirrored."""


def palette_bgr() -> NDArray[np.uint8]:
    """The palette as a look-up table.

    Returns:
        (256, 3) uint8, BGR. Ids outside LIP-20 are mid grey, so that they cannot be mistaken for background.
    """
    table = np.full((256, 3), 128, np.uint8)
    table[:NUM_CLASSES] = np.asarray(PALETTE_RGB, np.uint8)[:, ::-1]
    return table


def flip_table() -> NDArray[np.uint8]:
    """The look-up table that swaps left and right classes.

    Returns:
        (256,) uint8; ``flip_table()[labels]`` renames the classes of an already mirrored label map.
    """
    table = np.arange(256, dtype=np.uint8)
    for left, right in FLIP_PAIRS:
        table[left], table[right] = right, left
    return table
