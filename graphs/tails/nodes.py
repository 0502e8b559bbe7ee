"""Nodes and constants that are appended to a graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


class Tail:
    """Nodes and constants to be appended to a graph."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """One more node, called as what it makes."""
        self.nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        return output

    def constant(self, values: NDArray[np.generic], name: str) -> str:
        """One more constant."""
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def single(self, tensor: str, array: NDArray[np.generic], name: str) -> str:
        """A tensor as float.

        Args:
            tensor: any numbers.
            array: what it is of some frame.
            name: of the cast, where one is needed.
        """
        return tensor if array.dtype == np.float32 else self.add("Cast", [tensor], name, to=TensorProto.FLOAT)

    def identity(self, tensor: str, name: str) -> None:
        """Have the last node make ``name`` instead; an Identity where it is not one of these that makes ``tensor``."""
        if self.nodes and self.nodes[-1].output[0] == tensor:
            self.nodes[-1].output[0] = name
        else:
            self.add("Identity", [tensor], name)

    def append_to(self, model: onnx.ModelProto, *outputs: onnx.ValueInfoProto) -> None:
        """Put all behind a graph, whose only outputs are these afterwards."""
        model.graph.node.extend(self.nodes)
        model.graph.initializer.extend(self.constants)
        del model.graph.output[:]
        model.graph.output.extend(outputs)
