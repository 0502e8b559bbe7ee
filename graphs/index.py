"""Who makes a tensor, who uses it: an index over an ONNX graph; and what its metadata tells."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

CONVOLUTIONS = ("Conv", "ConvTranspose")

_QUANTISED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger")
_QUANTISED_PREFIX = "QLinear"  # QLinearConv, QLinearMatMul and ONNX Runtime's own


class GraphIndex:
    """Look-ups over one graph; build it anew after the graph has changed."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.nodes = list(graph.node)
        self.initializers = {tensor.name: tensor for tensor in graph.initializer}
        self._producer = {name: node for node in graph.node for name in node.output}
        self._consumers: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
        for node in graph.node:
            for position, name in enumerate(node.input):
                self._consumers.setdefault(name, []).append((node, position))

    def producer(self, tensor: str) -> onnx.NodeProto | None:
        return self._producer.get(tensor)

    def consumers(self, tensor: str) -> list[tuple[onnx.NodeProto, int]]:
        """(node, position among its inputs) of each use."""
        return self._consumers.get(tensor, [])

    def is_constant(self, tensor: str) -> bool:
        maker = self.producer(tensor)
        return tensor in self.initializers or (maker is not None and maker.op_type == "Constant")

    def array(self, tensor: str) -> NDArray[np.generic]:
        """The value of an initializer."""
        return numpy_helper.to_array(self.initializers[tensor])

    def convolutions(self) -> Iterator[onnx.NodeProto]:
        return (node for node in self.nodes if node.op_type in CONVOLUTIONS)


def quantised_nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes that make, read or compute with integers in place of floats."""
    return [node for node in graph.node if node.op_type in _QUANTISED or node.op_type.startswith(_QUANTISED_PREFIX)]


def fresh_graph_copy(model: onnx.ModelProto) -> onnx.ModelProto:
    """A deep copy of a model."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def put_constant(graph: onnx.GraphProto, name: str, value: NDArray[np.generic]) -> str:
    """Set an initializer to a value, as float32; a new one where there is none of the name, which comes back."""
    tensor = numpy_helper.from_array(np.asarray(value, np.float32), name)
    for old in graph.initializer:
        if old.name == name:
            old.CopyFrom(tensor)
            return name
    graph.initializer.append(tensor)
    return name


def attribute_of(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """What a node says of itself under a name: numbers, a list of them, bytes or a tensor; ``default`` if nothing."""
    return next((helper.get_attribute_value(one) for one in node.attribute if one.name == name), default)


def property_of(model: onnx.ModelProto, key: str) -> str:
    """An entry of a model's metadata; empty where it has none."""
    return next((entry.value for entry in model.metadata_props if entry.key == key), "")


def set_property(model: onnx.ModelProto, key: str, value: str) -> None:
    """Write an entry of a model's metadata, in place; the others stay."""
    properties = {entry.key: entry.value for entry in model.metadata_props}
    helper.set_model_props(model, {**properties, key: value})
