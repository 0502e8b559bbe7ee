"""Nodes and constants that are appended to a graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ...errors import UsageError
from ..computed import Arrays


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

    def best(self, tensor: str, count: int, name: str, *, axis: int) -> str:
        """Where the ``count`` highest numbers are along an axis, int64, the highest first."""
        constant = self.constant(np.array([count], np.int64), f"{name}_count")
        node = helper.make_node("TopK", [tensor, constant], [f"{name}_values", name], name, axis=axis)
        self.nodes.append(node)
        return name

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


def only_output(before: Arrays, theirs: dict[str, str], what: str, path: Path) -> str:
    """The name of a graph's one output.

    Args:
        before: what its outputs are of a made-up frame.
        theirs: what the file calls them.
        what: it should be, for the message.

    Raises:
        UsageError: it has several.
    """
    if len(before) == 1:
        return next(iter(before))
    told = "; ".join(f"{theirs[name]} {array.shape} {array.dtype}" for name, array in before.items())
    raise UsageError(f"{path} gives {told}: one output is wanted, {what}.", "Export it with that one alone.")
