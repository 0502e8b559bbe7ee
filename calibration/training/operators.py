"""The operators of our graphs in PyTorch, so that a graph can be trained as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ...errors import UsageError

Operator = Callable[..., Tensor]
"""The node's inputs in order, constants that are shapes or axes apart, to its output."""

_TYPES = {onnx.TensorProto.FLOAT: torch.float32}

_READ_AT_ONCE = {"Resize": (1, 2, 3), "ReduceMean": (1,), "ReduceMax": (1,), "Clip": (1, 2)}
"""Inputs that are constants, and no tensors of the computation."""


def inputs_of(node: onnx.NodeProto) -> list[str]:
    """The tensors that :func:`operator_of` of a node takes."""
    constants = _READ_AT_ONCE.get(node.op_type, ())
    return [name for position, name in enumerate(node.input) if position not in constants]


def operator_of(node: onnx.NodeProto, constants: Mapping[str, NDArray[Any]]) -> Operator:
    """A node as a function of tensors.

    Args:
        node: of a graph.
        constants: its initializers by name.

    Raises:
        UsageError: it cannot be trained; the node is named.
    """
    make = _OPERATORS.get(node.op_type)
    if make is None:
        raise _refused(node, f"there is no {node.op_type} here")
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    fixed: list[NDArray[Any] | None] = []
    for position in _READ_AT_ONCE.get(node.op_type, ()):
        name = node.input[position] if len(node.input) > position else ""
        if name and name not in constants:
            raise _refused(node, f"it computes {name} at run time")
        fixed.append(constants[name] if name else None)
    return make(node, attributes, fixed)


def _refused(node: onnx.NodeProto, reason: str) -> UsageError:
    return UsageError(
        f"The graph cannot be trained for INT8: of node {node.name}, {reason}.",
        "Calibrate it: trtparse build --int8.",
    )


Fixed = Sequence[NDArray[Any] | None]
Attributes = Mapping[str, Any]


def _cast(node: onnx.NodeProto, attributes: Attributes, _: Fixed) -> Operator:
    if attributes["to"] not in _TYPES:
        raise _refused(node, "it casts to something else than float")
    return lambda x: x.to(_TYPES[attributes["to"]])


def _transpose(_: onnx.NodeProto, attributes: Attributes, __: Fixed) -> Operator:
    return lambda x: x.permute(*attributes["perm"])


def _concat(_: onnx.NodeProto, attributes: Attributes, __: Fixed) -> Operator:
    return lambda *parts: torch.cat(parts, attributes["axis"])


def _clip(_: onnx.NodeProto, __: Attributes, fixed: Fixed) -> Operator:
    low, high = (None if value is None else float(value) for value in fixed)
    return lambda x: torch.clamp(x, low, high)


def _reduction(reduce: Callable[..., Tensor]) -> Callable[[onnx.NodeProto, Attributes, Fixed], Operator]:
    def make(node: onnx.NodeProto, attributes: Attributes, fixed: Fixed) -> Operator:
        axes = fixed[0] if fixed[0] is not None else np.asarray(attributes.get("axes", ()))
        if not axes.size:
            raise _refused(node, "it reduces over all axes")
        dims = tuple(int(axis) for axis in axes.reshape(-1))
        return lambda x: reduce(x, dims, bool(attributes.get("keepdims", 1)))

    return make


def _max_pool(node: onnx.NodeProto, attributes: Attributes, _: Fixed) -> Operator:
    options = {**_window(node, attributes), "dilation": list(attributes.get("dilations", (1, 1)))}
    return lambda x: F.max_pool2d(x, **options)


def _average_pool(node: onnx.NodeProto, attributes: Attributes, _: Fixed) -> Operator:
    options = _window(node, attributes)
    included = bool(attributes.get("count_include_pad", 0))
    return lambda x: F.avg_pool2d(x, **options, count_include_pad=included)


def _window(node: onnx.NodeProto, attributes: Attributes) -> dict[str, Any]:
    kernel = list(attributes["kernel_shape"])
    return {
        "kernel_size": kernel,
        "stride": list(attributes.get("strides", (1,) * len(kernel))),
        "padding": padding_of(node, attributes),
        "ceil_mode": bool(attributes.get("ceil_mode", 0)),
    }


def padding_of(node: onnx.NodeProto, attributes: Attributes) -> list[int]:
    """(rows, columns) of padding.

    Raises:
        UsageError: it is not the same on both sides.
    """
    top, left, bottom, right = sides_of(node, attributes)
    if (top, left) != (bottom, right):
        raise _refused(node, "its padding is not the same on both sides")
    return [top, left]


def sides_of(node: onnx.NodeProto, attributes: Attributes) -> tuple[int, int, int, int]:
    """Padding at the top, left, bottom and right.

    Raises:
        UsageError: the node does not say it in numbers.
    """
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise _refused(node, "its padding is not told in numbers")
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    return top, left, bottom, right


def _resize(node: onnx.NodeProto, attributes: Attributes, fixed: Fixed) -> Operator:
    _, scales, sizes = fixed
    how = (
        attributes.get("mode", b"nearest"),
        attributes.get("coordinate_transformation_mode", b"half_pixel"),
        attributes.get("antialias", 0),
    )
    if how[0] != b"linear" or how[1] not in (b"half_pixel", b"pytorch_half_pixel") or how[2]:
        raise _refused(node, f"it resizes by {how[0].decode()}, {how[1].decode()}")

    def resize(x: Tensor) -> Tensor:
        if sizes is not None and sizes.size:
            height, width = (int(size) for size in sizes[-2:])
        else:
            assert scales is not None
            height, width = (int(np.floor(side * scale)) for side, scale in zip(x.shape[-2:], scales[-2:]))
        return F.interpolate(x, (height, width), mode="bilinear", align_corners=False)

    return resize


def _plain(function: Callable[..., Tensor]) -> Callable[[onnx.NodeProto, Attributes, Fixed], Operator]:
    return lambda node, attributes, fixed: function


_OPERATORS: dict[str, Callable[[onnx.NodeProto, Attributes, Fixed], Operator]] = {
    "Add": _plain(torch.add),
    "AveragePool": _average_pool,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Div": _plain(torch.div),
    "Identity": _plain(lambda x: x),
    "LeakyRelu": lambda _, attributes, __: lambda x: F.leaky_relu(x, attributes.get("alpha", 0.01)),
    "MaxPool": _max_pool,
    "Mul": _plain(torch.mul),
    "ReduceMax": _reduction(torch.amax),
    "ReduceMean": _reduction(torch.mean),
    "Relu": _plain(F.relu),
    "Resize": _resize,
    "Sigmoid": _plain(torch.sigmoid),
    "Sub": _plain(torch.sub),
    "Transpose": _transpose,
}
