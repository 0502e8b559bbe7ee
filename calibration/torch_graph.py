"""An FP32 ONNX graph as a function of PyTorch, so that what it computes can be differentiated.

It knows the operators of our exports and of graphs like them, and refuses what it does not know by name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor
from torch.nn import functional as F

from ..errors import BuildError
from .graph import GraphIndex

Read = Callable[[onnx.NodeProto, int, Tensor], Tensor]
"""What a node reads: asked with the node, the position of the input and its value."""

_CASTS = {TensorProto.FLOAT: torch.float32, TensorProto.UINT8: torch.uint8, TensorProto.INT64: torch.int64}


def as_it_is(node: onnx.NodeProto, position: int, value: Tensor) -> Tensor:
    return value


class TorchGraph:
    """Runs the part of a graph that some tensors need.

    Args:
        model: FP32, ``frames`` (N, H, W, 3) uint8 in; any N will do, whatever it was exported for.
        outputs: names of the tensors to give.

    Raises:
        BuildError: an operator, or a form of it, that is not known here; named with its node.
    """

    def __init__(self, model: onnx.ModelProto, outputs: Sequence[str]) -> None:
        index = GraphIndex(model.graph)
        self._outputs = tuple(outputs)
        self._input = model.graph.input[0].name
        self._constants: dict[str, Tensor] = {}
        self._nodes: list[tuple[onnx.NodeProto, dict[str, Any]]] = []
        needed = _needed(index, outputs)
        for node in index.nodes:
            if node.output[0] not in needed:
                continue
            attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
            if node.op_type == "Constant":
                self._constants[node.output[0]] = torch.from_numpy(numpy_helper.to_array(attributes["value"]).copy())
                continue
            _check(node, attributes)
            self._nodes.append((node, attributes))
            for name in node.input:
                if name in index.initializers and name not in self._constants:
                    self._constants[name] = torch.from_numpy(index.array(name).copy())

    def __call__(self, frames: Tensor, read: Read = as_it_is) -> list[Tensor]:
        """The outputs for (N, H, W, 3) uint8 frames, with what nodes read replaced by ``read``."""
        values = {self._input: frames, **self._constants}
        for node, attributes in self._nodes:
            inputs = [read(node, place, values[name]) if name else None for place, name in enumerate(node.input)]
            values[node.output[0]] = _OPERATORS[node.op_type](attributes, *inputs)
        return [values[name] for name in self._outputs]


def _needed(index: GraphIndex, outputs: Collection[str]) -> set[str]:
    """The tensors that ``outputs`` are made of, with themselves."""
    found: set[str] = set()
    waiting = list(outputs)
    while waiting:
        name = waiting.pop()
        maker = index.producer(name)
        if name not in found and maker is not None:
            waiting.extend(maker.input)
        found.add(name)
    return found


def _check(node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
    def refused(what: str) -> BuildError:
        return BuildError(
            f"{node.op_type} {node.name or node.output[0]} cannot be differentiated here: {what}.",
            "Leave --correct tuning out.",
        )

    if node.op_type not in _OPERATORS:
        raise refused("the operator is not known")
    if attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise refused("it pads by rule")
    if node.op_type == "Cast" and attributes["to"] not in _CASTS:
        raise refused(f"it casts to {TensorProto.DataType.Name(attributes['to'])}")
    if node.op_type == "Resize":
        form = (attributes.get("mode"), attributes.get("coordinate_transformation_mode", b"half_pixel"))
        plain = not attributes.get("antialias") and not attributes.get("exclude_outside") and "axes" not in attributes
        if form[0] != b"linear" or form[1] not in (b"half_pixel", b"pytorch_half_pixel") or not plain:
            raise refused("only linear resizing by half-pixel centres is")
    pads = attributes.get("pads")
    if pads and len(pads) != 4:
        raise refused("it is not two-dimensional")
    if pads and pads[:2] != pads[2:] and node.op_type not in ("Conv", "MaxPool"):
        raise refused("it pads more on one side")


def _cast(attributes: dict[str, Any], value: Tensor) -> Tensor:
    return value.to(_CASTS[attributes["to"]])


def _clip(attributes: dict[str, Any], value: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    return value.clamp(None if low is None else low.item(), None if high is None else high.item())


def _concat(attributes: dict[str, Any], *values: Tensor) -> Tensor:
    return torch.cat(values, attributes["axis"])


def _padded(attributes: dict[str, Any], value: Tensor, filler: float) -> tuple[Tensor, tuple[int, int]]:
    """The value, and what PyTorch is to pad on both sides; padded here where the sides differ."""
    top, left, bottom, right = attributes.get("pads", [0] * 4)
    if (top, left) == (bottom, right):
        return value, (top, left)
    return F.pad(value, (left, right, top, bottom), value=filler), (0, 0)


def _conv(attributes: dict[str, Any], value: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    value, padding = _padded(attributes, value, 0.0)
    strides, dilations = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])
    return F.conv2d(value, weight, bias, strides, padding, dilations, attributes.get("group", 1))


def _conv_transpose(attributes: dict[str, Any], value: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.conv_transpose2d(
        value,
        weight,
        bias,
        attributes.get("strides", [1, 1]),
        attributes.get("pads", [0] * 4)[:2],
        attributes.get("output_padding", [0, 0]),
        attributes.get("group", 1),
        attributes.get("dilations", [1, 1]),
    )


def _max_pool(attributes: dict[str, Any], value: Tensor) -> Tensor:
    value, padding = _padded(attributes, value, -torch.inf)
    strides, dilations = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])
    ceil = bool(attributes.get("ceil_mode", 0))
    return F.max_pool2d(value, attributes["kernel_shape"], strides, padding, dilations, ceil)


def _average_pool(attributes: dict[str, Any], value: Tensor) -> Tensor:
    return F.avg_pool2d(
        value,
        attributes["kernel_shape"],
        attributes.get("strides", [1, 1]),
        attributes.get("pads", [0] * 4)[:2],
        bool(attributes.get("ceil_mode", 0)),
        bool(attributes.get("count_include_pad", 0)),
    )


def _axes(attributes: dict[str, Any], value: Tensor, axes: Tensor | None) -> list[int]:
    given = attributes.get("axes") if axes is None else axes.tolist()
    return list(given) if given else list(range(value.dim()))


def _reduce_mean(attributes: dict[str, Any], value: Tensor, axes: Tensor | None = None) -> Tensor:
    return value.mean(_axes(attributes, value, axes), keepdim=bool(attributes.get("keepdims", 1)))


def _reduce_max(attributes: dict[str, Any], value: Tensor, axes: Tensor | None = None) -> Tensor:
    return value.amax(_axes(attributes, value, axes), keepdim=bool(attributes.get("keepdims", 1)))


def _resize(
    attributes: dict[str, Any],
    value: Tensor,
    region: Tensor | None = None,
    scales: Tensor | None = None,
    sizes: Tensor | None = None,
) -> Tensor:
    if sizes is not None:
        height, width = (int(length) for length in sizes.tolist()[2:])
    else:
        assert scales is not None
        height, width = (int(length * scale) for length, scale in zip(value.shape[2:], scales.tolist()[2:]))
    return F.interpolate(value, (height, width), mode="bilinear", align_corners=False)


def _shape(attributes: dict[str, Any], value: Tensor) -> Tensor:
    return torch.tensor(value.shape[attributes.get("start", 0) : attributes.get("end")])


_OPERATORS: dict[str, Callable[..., Tensor]] = {
    "Add": lambda _, one, other: one + other,
    "AveragePool": _average_pool,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Div": lambda _, one, other: one / other,
    "GlobalAveragePool": lambda _, value: value.mean((2, 3), keepdim=True),
    "Identity": lambda _, value: value,
    "LeakyRelu": lambda attributes, value: F.leaky_relu(value, attributes.get("alpha", 0.01)),
    "MaxPool": _max_pool,
    "Mul": lambda _, one, other: one * other,
    "ReduceMax": _reduce_max,
    "ReduceMean": _reduce_mean,
    "Relu": lambda _, value: F.relu(value),
    "Resize": _resize,
    "Shape": _shape,
    "Sigmoid": lambda _, value: torch.sigmoid(value),
    "Sub": lambda _, one, other: one - other,
    "Transpose": lambda attributes, value: value.permute(attributes["perm"]),
}
