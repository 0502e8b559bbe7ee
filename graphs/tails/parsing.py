"""One of somebody else's outputs becomes labels (N, H, W) uint8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from ...errors import UsageError
from ..answers import LABELS
from ..computed import Arrays, run
from ..conventions import Convention
from ..facts import values_of
from ..front import made_up_frames, pictures
from ..index import GraphIndex, attribute_of
from ..published import channel_axis
from ..raw import argmax_behind
from .nodes import Tail

LOGITS = LABELS.raw
"""The raw tensor of an adapted graph, as an output or within it."""


def write_labels(
    model: onnx.ModelProto, how: Convention, before: Arrays, theirs: dict[str, str], path: Path, *, logits: bool
) -> tuple[str, NDArray[np.generic]]:
    """From the graph's own output to labels, in place.

    Args:
        before: what its outputs are of a made-up frame.
        theirs: what the file calls them.

    Returns:
        The tensor that labels are made of, and what it is of that frame.
    """
    name = _chosen(how, before, theirs, path)
    array = before[name]
    tail = _Scores(how)
    if _is_labels(array, how):
        name, layout, array = _behind_labels(model, name, array, how, theirs[name], path)
    else:
        layout = _layout_of_scores(array, how, theirs[name], path)
    classes = len(how.label_set)
    person = before[_named(how.person, theirs)] if how.person else None
    found = array.shape[channel_axis(layout)] + (person is not None)
    if found != classes:
        raise UsageError(
            f"{path}: {theirs.get(name, name)} tells {found} classes apart, and the label set is {how.label_set}.",
            "Give --labels the set that it was trained on: under other names every result would be wrong.",
        )
    scores = tail.raised(name, array, layout, "tail", path)
    if person is not None:
        scores = tail.with_background(scores, tail.raised(_named(how.person, theirs), person, layout, "person", path))
    tail.identity(scores, LOGITS)
    tail.add("ArgMax", [LOGITS], "tail.best", axis=1, keepdims=0)
    # Through float: TensorRT converts only floats to uint8.
    tail.add("Cast", ["tail.best"], "tail.float", to=TensorProto.FLOAT)
    tail.add("Cast", ["tail.float"], "labels", to=TensorProto.UINT8)
    batch, (height, width) = how.batch or "batch", how.framing.input_size
    outputs = [helper.make_tensor_value_info("labels", TensorProto.UINT8, [batch, height, width])]
    if logits:
        outputs.append(helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, [batch, classes, height, width]))
    tail.append_to(model, *outputs)
    return name, array


class _Scores(Tail):
    """Scores on their way to labels."""

    def __init__(self, how: Convention) -> None:
        super().__init__()
        self._how = how

    def raised(self, tensor: str, array: NDArray[np.generic], layout: str, name: str, path: Path) -> str:
        """Scores as (N, C, H, W) float of the frames' size."""
        tensor = self.single(tensor, array, f"{name}.single")
        if layout == "NHWC":
            tensor = self.add("Transpose", [tensor], f"{name}.planes", perm=[0, 3, 1, 2])
            array = array.transpose(0, 3, 1, 2)
        size, (height, width) = self._how.framing.input_size, array.shape[2:]
        if (height, width) == size:
            return tensor
        if self._how.align_corners is None:
            raise UsageError(
                f"{path} gives scores of {height}x{width} cells for frames of {size[0]}x{size[1]} pixels, and how its "
                "authors raise them nobody said.",
                "Give --align-corners where the corners of both lie on each other (PyTorch's align_corners=True), else "
                "--no-align-corners. The wrong one costs accuracy.",
            )
        mode = "align_corners" if self._how.align_corners else "half_pixel"
        attributes: dict[str, Any] = {"mode": "linear", "coordinate_transformation_mode": mode}
        if self._how.batch is not None:
            sizes = self.constant(np.array([self._how.batch, array.shape[1], *size], np.int64), f"{name}.size")
            return self.add("Resize", [tensor, "", "", sizes], f"{name}.raised", **attributes)
        factors = [factor_for(cells, side) for cells, side in zip((height, width), size)]
        scales = self.constant(np.array([1, 1, *factors], np.float32), f"{name}.factors")
        return self.add("Resize", [tensor, "", scales], f"{name}.raised", **attributes)

    def with_background(self, parts: str, person: str) -> str:
        """Scores of the background and all parts: the background's are the highest where ``person`` is not above 0.

        They are the best part's score less the person's: an argmax takes the background exactly where that is no more
        than 0.
        """
        axes = self.constant(np.array([1], np.int64), "tail.axes")
        best = self.add("ReduceMax", [parts, axes], "tail.best_part", keepdims=1)
        background = self.add("Sub", [best, person], "tail.background")
        return self.add("Concat", [background, parts], "tail.all", axis=1)


def factor_for(cells: int, side: int) -> float:
    """By how much a Resize raises so many cells to a side exactly: it takes the whole part of the product in FP32."""
    factor = np.float32(side / cells)
    while np.floor(np.float32(cells) * factor) < side:
        factor = np.nextafter(factor, np.float32(np.inf))
    return float(factor)


def _named(name: str, theirs: dict[str, str]) -> str:
    """What an output of the file is called now."""
    return next(new for new, old in theirs.items() if old == name)


def _chosen(how: Convention, before: Arrays, theirs: dict[str, str], path: Path) -> str:
    """The output that labels are made of."""
    told = "; ".join(f"{theirs[name]} {array.shape} {array.dtype}" for name, array in before.items())
    if how.output:
        found = [name for name in before if theirs[name] == how.output]
        if not found:
            raise UsageError(f"{path} has no output {how.output}; it gives {told}.", "Give --output-name one of these.")
        return found[0]
    candidates = [name for name, array in before.items() if _could_be(array, how)]
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        raise UsageError(
            f"{path} gives neither scores of the {len(how.label_set)} classes of {how.label_set.name} nor labels: "
            f"it gives {told}.",
            "Give --labels the set that it was trained on, or --output-name.",
        )
    if how.position is not None and how.position < len(candidates):
        return candidates[how.position]
    raise UsageError(
        f"{path} has {len(candidates)} outputs that could be its scores: "
        f"{', '.join(theirs[name] for name in candidates)}. It gives {told}.",
        "Give --output-name one of them.",
    )


def _could_be(array: NDArray[np.generic], how: Convention) -> bool:
    classes = len(how.label_set) - bool(how.person)
    scores = array.ndim == 4 and np.issubdtype(array.dtype, np.floating) and classes in (array.shape[1], array.shape[3])
    return scores or _is_labels(array, how)


def _is_labels(array: NDArray[np.generic], how: Convention) -> bool:
    """Whether an output holds a number a pixel, and not scores."""
    size = how.framing.input_size
    if array.ndim == 4 and 1 in (array.shape[1], array.shape[3]):
        array = array.squeeze(1 if array.shape[1] == 1 else 3)
    whole = np.issubdtype(array.dtype, np.integer) or not (array.astype(np.float64) % 1).any()
    return array.ndim == 3 and bool(whole) and (np.issubdtype(array.dtype, np.integer) or array.shape[1:] == size)


def _behind_labels(
    model: onnx.ModelProto, name: str, array: NDArray[np.generic], how: Convention, told: str, path: Path
) -> tuple[str, str, NDArray[np.generic]]:
    """The scores that labels were chosen of: their tensor, its layout, and what it is of the made-up frame."""
    lengths = [length for length in array.shape[1:] if length > 1]
    if lengths != [side for side in how.framing.input_size if side > 1]:
        raise UsageError(
            f"{path}: the labels of {told} are {array.shape}, and frames {how.framing.input_size[0]}x"
            f"{how.framing.input_size[1]}.",
            "Give --output-name an output with scores.",
        )
    argmax = argmax_behind(GraphIndex(model.graph), name)
    if argmax is None:
        raise UsageError(
            f"{path}: how many classes there are cannot be told, as {told} does not come of an ArgMax.",
            "Let the graph end in scores, or in ArgMax over them.",
        )
    tensor = argmax.input[0]
    taken = values_of(model.graph.input)[0]
    frames = made_up_frames(how.batch or 2, how.framing.input_size)
    scores = run(model, {taken.name: pictures(frames, how, taken.dtype)}, [tensor])[tensor]
    axis = attribute_of(argmax, "axis", 0) % scores.ndim
    if scores.ndim != 4 or axis not in (1, 3):
        raise UsageError(
            f"{path}: {argmax.name} chooses along axis {axis} of {scores.shape}, and not of channels.",
            "Give --output-name an output with scores.",
        )
    return tensor, "NCHW" if axis == 1 else "NHWC", scores


def _layout_of_scores(array: NDArray[np.generic], how: Convention, told: str, path: Path) -> str:
    """Where the classes of scores are: as in the input, unless only the other way fits."""
    if array.ndim != 4 or not np.issubdtype(array.dtype, np.floating):
        raise UsageError(
            f"{path}: {told} is {array.shape} {array.dtype}: neither scores (N, classes, h, w) nor labels.",
            "Give --output-name an output with scores.",
        )
    classes = len(how.label_set) - bool(how.person)
    other = "NHWC" if how.layout == "NCHW" else "NCHW"
    if array.shape[channel_axis(how.layout)] != classes and array.shape[channel_axis(other)] == classes:
        return other
    return how.layout
