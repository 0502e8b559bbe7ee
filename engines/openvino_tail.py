"""The end of a graph of label maps, resize and ArgMax at full size, in the form that OpenVINO runs fast.

OpenVINO knows ArgMax as TopK alone. TopK is fast where channels lie in planes, a vector of pixels at a time, and slow
where the channels of a pixel lie together, as convolutions leave them. Which of both it gets hangs on what is computed
with: BF16 has to become FP32 for it and is laid in planes on the way, so there it stays as it is. Else it is avoided:

- FP32, after a bilinear resize: the resize is done as products and sums, which give planes;
- in all other cases: the highest of the channels, then the least number of those that are as high.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_CHANNELS = 256
"""Label maps are uint8."""

X86 = ("x86_64", "AMD64")
"""Machines for which OpenVINO has TopK compiled to vectors; elsewhere it is a plain loop, and is avoided."""


def lean_tail(model: Any, openvino: Any, hint: str, machine: str) -> int:
    """Replace what chooses the first of the highest channels, in a model that was read; the answers are the same.

    Args:
        model: of ``Core.read_model``; changed in place.
        openvino: the module.
        hint: what is computed with, ``f32``, ``bf16`` or ``f16``.
        machine: as ``platform.machine()`` has it.

    Returns:
        How many were replaced. Those that are asked for their values as well, of more channels, or over an axis whose
        length is open stay as they are.
    """
    planes = machine in X86
    if hint == "bf16" and planes:
        return 0
    replaced = 0
    for node in model.get_ordered_ops():
        if node.get_type_name() != "TopK" or node.get_attributes()["mode"] != "max":
            continue
        values, places = node.output(0), node.output(1)
        source, count = node.input_value(0), node.input_value(1).get_node()
        length = source.get_partial_shape()[node.get_axis()]
        single = count.get_type_name() == "Constant" and int(count.get_data().item()) == 1
        if not single or values.get_target_inputs() or length.is_dynamic or length.get_length() > MOST_CHANNELS:
            continue
        if planes and hint == "f32" and node.get_axis() == 1 and _resizes_by_whole_numbers(source):
            first = _first_of_planes(openvino.opset13, source.get_node(), places.get_element_type())
        else:
            first = _first_by_reductions(openvino.opset13, source, node.get_axis(), places.get_element_type())
        places.replace(first)
        replaced += 1
    return replaced


def _first_by_reductions(ops: Any, source: Any, axis: int, kind: Any) -> Any:
    """Of channels that are as high the first is taken, as ArgMax does; a NaN is none of them."""
    shape = [1] * len(source.get_partial_shape())
    shape[axis] = channels = source.get_partial_shape()[axis].get_length()
    over = np.array([axis], np.int64)
    floats = source.get_element_type().to_dtype()
    numbers = ops.constant(np.arange(channels, dtype=floats).reshape(shape))
    highest = ops.reduce_max(source, over, keep_dims=True)
    candidates = ops.select(ops.greater_equal(source, highest), numbers, ops.constant(np.array(channels, floats)))
    return ops.convert(ops.reduce_min(candidates, over, keep_dims=True), kind).output(0)


def _resizes_by_whole_numbers(source: Any) -> bool:
    """Whether it is a bilinear resize of (N, C, H, W) that nothing else reads, each side by a whole number."""
    node = source.get_node()
    if node.get_type_name() != "Interpolate" or len(source.get_target_inputs()) != 1:
        return False
    attributes, shapes = node.get_attributes(), (node.input_value(0).get_partial_shape(), source.get_partial_shape())
    if len(shapes[0]) != 4 or any(length.is_dynamic for shape in shapes for length in list(shape)[1:]):
        return False
    before, after = ([length.get_length() for length in list(shape)[1:]] for shape in shapes)
    return bool(
        attributes["mode"] == "linear_onnx"
        and attributes["coordinate_transformation_mode"] == "half_pixel"
        and not attributes["antialias"]
        and not any(attributes["pads_begin"] + attributes["pads_end"])
        and before[0] == after[0]
        and all(large % small == 0 for small, large in zip(before, after))
    )


def _first_of_planes(ops: Any, resize: Any, kind: Any) -> Any:
    """TopK over planes: columns are resized by a matrix product while there are few rows, and then rows by sums.

    Of ``scale`` rows that come of one, each is that one and a neighbour, in shares that are the same everywhere. So all
    of them are one pass over the rows as they are and moved by one, which is what the full size costs.
    """
    source = resize.input_value(0)
    floats = source.get_element_type().to_dtype()
    channels, height, width = (length.get_length() for length in list(source.get_partial_shape())[1:])
    _, _, tall, wide = list(resize.output(0).get_partial_shape())
    rows, columns = tall.get_length() // height, wide.get_length()

    def numbers(*values: int) -> Any:
        return ops.constant(np.array(values, np.int64))

    def shaped(value: Any, *shape: int) -> Any:
        return ops.reshape(value, numbers(0, *shape), special_zero=True)

    widened = ops.matmul(source, ops.constant(resize_matrix(width, columns).T.astype(floats)), False, False)
    padded = ops.pad(widened, numbers(0, 0, 1, 0), numbers(0, 0, 1, 0), "edge")
    shares = resize_matrix(3, 3 * rows)[rows : 2 * rows].astype(floats)  # of the row above, itself and the row below
    summed: Any = None
    for moved, share in enumerate(shares.T):
        lines = (
            widened
            if moved == 1
            else ops.slice(padded, numbers(moved), numbers(moved + height), numbers(1), numbers(2))
        )
        term = ops.multiply(shaped(lines, channels, height, 1, columns), ops.constant(share.reshape(1, 1, 1, -1, 1)))
        summed = term if summed is None else ops.add(summed, term)
    planes = shaped(summed, channels, height * rows * columns)
    best = ops.topk(planes, np.int64(1), 1, "max", "value", kind.get_type_name(), stable=True)
    return shaped(best.output(1), 1, height * rows, columns).output(0)


def resize_matrix(length: int, larger: int) -> NDArray[np.float64]:
    """(larger, length) what a bilinear resize between pixel centres takes of each sample; ONNX's ``half_pixel``."""
    at = np.clip((np.arange(larger) + 0.5) * length / larger - 0.5, 0, length - 1)
    shares: NDArray[np.float64] = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(length)))
    return shares
