"""A detector's rows become boxes (N, M, 5) float32: left, top, right and bottom in pixels of the frame, and a score.

YOLOX (Ge et al. 2021, arXiv:2107.08430; exported by its ``tools/export_onnx.py``): one output (N, cells, 5 + classes)
with a row for each cell of grids of 8, 16 and 32 pixels: centre, size, whether there is something, and what, the last
two as probabilities. A centre is an offset to its cell in cells, a size a logarithm in cells; or both are pixels
already, where it was exported with ``--decode_in_inference``. Which, one look tells.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from ...errors import UsageError
from ..answers import BOXES
from ..computed import Arrays
from ..conventions import Convention
from .nodes import Tail, only_output

PERSON = 0
"""The class that is a person, as in COCO's 80, and in a network that knows people alone."""

STRIDES = (8, 16, 32)
"""Sides of the grids' cells in pixels."""

CANDIDATES = 300
"""Rows that leave the graph, the best first; doubles among them, as several cells see the same person."""

LARGEST = 20.0
"""Of a size's logarithm: what would not fit is no box, and no infinity either."""

_COLUMNS = 5
"""Before the classes: centre, size, whether there is something."""


def cells_of(size: tuple[int, int]) -> NDArray[np.float64]:
    """The cells that YOLOX has a row for, in their order.

    Args:
        size: (height, width) of the input.

    Returns:
        (cells, 3): column, row, and side in pixels.
    """
    grids = []
    for side in STRIDES:
        rows, columns = np.mgrid[: size[0] // side, : size[1] // side]
        grids.append(np.stack([columns.ravel(), rows.ravel(), np.full(rows.size, side)], axis=1))
    return np.concatenate(grids).astype(np.float64)


def is_decoded(rows: NDArray[Any], cells: NDArray[np.float64]) -> bool:
    """Whether centres and sizes are pixels of the frame already: then most centres are near their cells' middles.

    Args:
        rows: (cells, 5 + classes), of any picture.
        cells: of :func:`cells_of`.
    """
    centres, sides = rows[:, :2], cells[:, 2:]
    middles = (cells[:, :2] + 0.5) * sides
    offsets = np.abs(centres - 0.5) * sides  # from the middle, if these were offsets in cells
    return bool(np.median(np.abs(centres - middles)) < np.median(offsets))


def write_boxes(
    model: onnx.ModelProto, how: Convention, before: Arrays, theirs: dict[str, str], path: Path
) -> tuple[str, NDArray[np.generic]]:
    """From the graph's own output to boxes, in place.

    Args:
        before: what its outputs are of a made-up frame.
        theirs: what the file calls them.

    Returns:
        The tensor that boxes are made of, and what it is of that frame.
    """
    name = only_output(before, theirs, "of boxes", path)
    array, size = before[name], how.framing.input_size
    cells = cells_of(size)
    _check_rows(array, cells, size, path)
    tail = Tail()
    rows = tail.single(name, array, "tail.single")
    centres, sizes, something, person = (
        _columns(tail, rows, first, end, f"tail.{what}")
        for what, first, end in (
            ("centre", 0, 2),
            ("size", 2, 4),
            ("something", 4, 5),
            ("person", _COLUMNS + PERSON, _COLUMNS + PERSON + 1),
        )
    )
    if not is_decoded(array[0], cells):
        places = tail.constant(cells[None, :, :2].astype(np.float32), "tail.places")
        sides = tail.constant(cells[None, :, 2:].astype(np.float32), "tail.sides")
        largest = tail.constant(np.array(LARGEST, np.float32), "tail.largest")
        centres = tail.add("Mul", [tail.add("Add", [centres, places], "tail.placed"), sides], "tail.centre_in_pixels")
        bounded = tail.add("Min", [sizes, largest], "tail.bounded")
        sizes = tail.add("Mul", [tail.add("Exp", [bounded], "tail.in_cells"), sides], "tail.size_in_pixels")
    half = tail.add("Mul", [sizes, tail.constant(np.array(0.5, np.float32), "tail.one_half")], "tail.half")
    near, far = tail.add("Sub", [centres, half], "tail.near"), tail.add("Add", [centres, half], "tail.far")
    score = tail.add("Mul", [something, person], "tail.score")
    every = tail.add("Concat", [near, far, score], "tail.every", axis=2)
    kept = min(CANDIDATES, len(cells))
    best = tail.best(score, kept, "tail.best", axis=1)
    wide = tail.constant(np.array([1, 1, 5], np.int64), "tail.wide")
    where = tail.add("Expand", [best, wide], "tail.where")
    tail.add("GatherElements", [every, where], BOXES.name, axis=1)
    shape = [how.batch or "batch", kept, 5]
    tail.append_to(model, helper.make_tensor_value_info(BOXES.name, TensorProto.FLOAT, shape))
    return name, array


def _columns(tail: Tail, rows: str, first: int, end: int, name: str) -> str:
    bounds = [
        tail.constant(np.array([number], np.int64), f"{name}_{what}")
        for what, number in (("from", first), ("to", end), ("axis", 2))
    ]
    return tail.add("Slice", [rows, *bounds], name)


def _check_rows(array: NDArray[np.generic], cells: NDArray[np.float64], size: tuple[int, int], path: Path) -> None:
    hint = (
        "Is it that network, as its authors' tools/export_onnx.py writes it? trtparse inspect says which presets fit."
    )
    if (
        not np.issubdtype(array.dtype, np.floating)
        or array.ndim != 3
        or array.shape[1] != len(cells)
        or array.shape[2] <= _COLUMNS
    ):
        raise UsageError(
            f"{path} gives {array.shape} {array.dtype}: {len(cells)} rows are wanted, one for each cell of grids of "
            f"{', '.join(map(str, STRIDES))} pixels at {size[0]}x{size[1]}, of a box, whether there is something, and "
            "classes.",
            hint,
        )
    scores = array[..., _COLUMNS - 1 :]
    if scores.min() < 0 or scores.max() > 1:
        raise UsageError(
            f"{path} gives scores from {scores.min():.3g} to {scores.max():.3g}, and probabilities are wanted.", hint
        )
