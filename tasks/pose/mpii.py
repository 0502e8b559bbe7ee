"""MPII's head boxes, which its PCKh goes by: ``gt_valid.mat`` of HRNet's data.

HRNet's JSON has no head boxes, and a head guessed from the joints would be another measure.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...engines.machine.dependencies import require
from ...errors import DataError
from .people import People

HEAD_OF_BOX = 0.6
"""MPII's, called SC_BIAS in its evaluation and in HRNet's: the head's length over the diagonal of its box."""

_SAME_PLACE = 1.5
"""Pixels by which the two files may place a joint differently."""


def read_heads(path: Path, people: People) -> NDArray[np.float64]:
    """The length of each person's head.

    Args:
        path: ``gt_valid.mat``.
        people: of ``valid.json``, all of them, in its order.

    Returns:
        (N,) pixels.

    Raises:
        DataError: the file is missing, is no such table, or is of other people.
        MachineError: SciPy is not installed.
    """
    require("scipy.io")
    from scipy.io import loadmat

    if not path.is_file():
        raise DataError(
            f"There is no file {path}, and PCKh is measured by the head boxes in it.",
            "It comes with HRNet's data: data/mpii/annot/gt_valid.mat. Without it, ask for PCK.",
        )
    try:
        table = loadmat(str(path))
        boxes = np.asarray(table["headboxes_src"], np.float64)
        joints = np.asarray(table["pos_gt_src"], np.float64)
        missing = np.asarray(table["jnt_missing"], np.float64)
    except Exception as error:
        # SciPy's reader has no common base of what it raises for a file that is none.
        raise DataError(
            f"{path} is not MPII's table: {type(error).__name__}: {error}.", "Get gt_valid.mat again."
        ) from error
    count = len(people)
    if boxes.shape != (2, 2, count) or joints.shape != (16, 2, count) or missing.shape != (16, count):
        raise DataError(
            f"{path} is of {boxes.shape[-1]} people, and the annotations have {count}.",
            "Give all of valid.json, whose people it is of.",
        )
    ours = people.joints()
    there = (ours[..., 2] > 0) & (missing.T == 0)
    # Coordinates count from 1 there.
    apart = np.abs(joints.transpose(2, 0, 1) - 1 - ours[..., :2]).max(-1)
    if there.any() and (apart[there] > _SAME_PLACE).mean() > 0.01:
        raise DataError(f"{path} has other people than the annotations, or another order.", "Give valid.json with it.")
    return np.asarray(HEAD_OF_BOX * np.linalg.norm(boxes[1] - boxes[0], axis=0))
