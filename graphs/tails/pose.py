"""Somebody else's answers about joints become keypoints (N, K, 3) float32: x and y in pixels of the frame, a score."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from ...errors import UsageError
from ..answers import KEYPOINTS
from ..computed import Arrays
from ..conventions import Convention
from .nodes import Tail, only_output

_COLUMNS = ("x", "y", "score")


def write_keypoints(
    model: onnx.ModelProto, how: Convention, before: Arrays, theirs: dict[str, str], path: Path
) -> tuple[str, NDArray[np.generic]]:
    """From the graph's own outputs to keypoints, in place.

    Args:
        before: what its outputs are of a made-up frame.
        theirs: what the file calls them.

    Returns:
        A tensor that keypoints are made of, and what it is of that frame.
    """
    named = {theirs[name]: name for name in before}
    tail = Tail()
    if how.decoding["kind"] == "simcc":
        made = [named[str(name)] for name in how.decoding["outputs"]]
        _from_distributions(tail, how, before, made, path)
    else:
        made = [only_output(before, theirs, "of joints", path)]
        _from_coordinates(tail, how, before[made[0]], made[0], path)
    shape = [how.batch or "batch", len(how.skeleton), 3]
    tail.append_to(model, helper.make_tensor_value_info(KEYPOINTS.name, TensorProto.FLOAT, shape))
    return made[0], before[made[0]]


def _from_coordinates(tail: Tail, how: Convention, array: NDArray[np.generic], name: str, path: Path) -> None:
    """Of an output (..., K, 3), decoded by the graph itself, as MoveNet's is."""
    columns, joints = list(how.decoding["columns"]), len(how.skeleton)
    if (
        not np.issubdtype(array.dtype, np.floating)
        or array.shape[-2:] != (joints, 3)
        or array.size != len(array) * 3 * joints
    ):
        raise UsageError(
            f"{path} gives {array.shape} {array.dtype}: {', '.join(columns)} of {joints} joints are wanted, one person "
            "a frame.",
            "Is it that network? trtparse inspect says which presets fit.",
        )
    shape = tail.constant(np.array([how.batch or -1, joints, 3], np.int64), "tail.shape")
    found = tail.add("Reshape", [tail.single(name, array, "tail.single"), shape], "tail.joints")
    order = tail.constant(np.array([columns.index(column) for column in _COLUMNS], np.int64), "tail.order")
    found = tail.add("Gather", [found, order], "tail.ordered", axis=2)
    if how.decoding["relative"]:
        # From 0 at the frame's edge to 1 at the other; here a pixel's centre is a whole number.
        height, width = how.framing.input_size
        sides = tail.constant(np.array([width, height, 1], np.float32), "tail.sides")
        half = tail.constant(np.array([0.5, 0.5, 0], np.float32), "tail.half")
        found = tail.add("Sub", [tail.add("Mul", [found, sides], "tail.pixels"), half], "tail.centres")
    tail.identity(found, KEYPOINTS.name)


def _from_distributions(tail: Tail, how: Convention, before: Arrays, names: list[str], path: Path) -> None:
    """Of one distribution along the width and one along the height, (N, K, cells) each, as RTMPose's are (SimCC).

    A joint is at the highest cell of both; its score is the lower one of the two heights.
    """
    joints, ratio = len(how.skeleton), float(how.decoding["ratio"])
    places, scores = [], []
    for name, axis, side in zip(names, "xy", reversed(how.framing.input_size)):
        array = before[name]
        if array.shape[1:] != (joints, round(side * ratio)):
            raise UsageError(
                f"{path} gives {array.shape}: {round(side * ratio)} cells of {joints} joints are wanted, which is "
                f"{ratio:g} times the input's {side} pixels.",
                "Is it that network? trtparse inspect says which presets fit.",
            )
        cells = tail.single(name, array, f"tail.{axis}_single")
        best = tail.add("ArgMax", [cells], f"tail.{axis}_cell", axis=2, keepdims=1)
        places.append(tail.add("Cast", [best], f"tail.{axis}", to=TensorProto.FLOAT))
        axes = tail.constant(np.array([2], np.int64), f"tail.{axis}_axes")
        scores.append(tail.add("ReduceMax", [cells, axes], f"tail.{axis}_score", keepdims=1))
    both = tail.add("Concat", places, "tail.cells", axis=2)
    ratios = tail.constant(np.array(ratio, np.float32), "tail.ratio")
    found = tail.add("Div", [both, ratios], "tail.pixels")
    tail.add("Concat", [found, tail.add("Min", scores, "tail.score")], KEYPOINTS.name, axis=2)
