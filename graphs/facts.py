"""What a graph of anybody's takes and gives, read from its file without running it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import onnx
from onnx import TensorProto

from ..storage.json_types import JsonObject
from .index import quantised_nodes

STANDARD_DOMAINS = ("", "ai.onnx")
"""Names of the domain of ONNX's own operators."""

CONTROL_FLOW = ("If", "Loop", "Scan", "SequenceMap")
"""Operators that hold graphs of their own: neither calibration nor TensorRT's INT8 sees into them."""

Shape = tuple[int | str | None, ...]
"""A number, a name for what is open, or None for what is open and has no name."""


@dataclass(frozen=True)
class Value:
    """An input or an output.

    Args:
        name: as the graph has it.
        dtype: as ONNX calls it, in small letters ("float", "uint8").
        shape: of all of it; None where the graph does not even tell how many axes there are.
    """

    name: str
    dtype: str
    shape: Shape | None

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.name} {self.dtype}"
        lengths = ", ".join("?" if length is None else str(length) for length in self.shape)
        return f"{self.name} ({lengths}) {self.dtype}"

    def length(self, axis: int) -> int | None:
        """How long an axis is, where that is known and fixed."""
        if self.shape is None or not -len(self.shape) <= axis < len(self.shape):
            return None
        found = self.shape[axis]
        return found if isinstance(found, int) else None


@dataclass(frozen=True)
class GraphFacts:
    """What a graph says of itself.

    Args:
        opset: version of ONNX's own operators.
        producer: who wrote it.
        inputs, outputs: without what are weights.
        operators: how often each occurs, the most frequent first.
        foreign: (operator, node) of operators that are not ONNX's own.
        control_flow: (operator, node) of those that hold graphs of their own.
        quantised: nodes that make, read or compute with integers.
        properties: its metadata.
    """

    opset: int
    producer: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    operators: tuple[tuple[str, int], ...]
    foreign: tuple[tuple[str, str], ...]
    control_flow: tuple[tuple[str, str], ...]
    quantised: int
    properties: dict[str, str]

    def to_dict(self) -> JsonObject:
        """In JSON's types."""
        return {
            "opset": self.opset,
            "producer": self.producer,
            **{
                name: [
                    {"name": value.name, "dtype": value.dtype, "shape": None if value.shape is None else [*value.shape]}
                    for value in values
                ]
                for name, values in (("inputs", self.inputs), ("outputs", self.outputs))
            },
            "operators": dict(self.operators),
            "foreign": [list(pair) for pair in self.foreign],
            "control_flow": [list(pair) for pair in self.control_flow],
            "quantised_nodes": self.quantised,
            "properties": sorted(self.properties),
        }


def facts_of(model: onnx.ModelProto) -> GraphFacts:
    """What a graph says of itself."""
    constants = {tensor.name for tensor in model.graph.initializer}
    nodes = model.graph.node
    return GraphFacts(
        opset=opset_of(model),
        producer=" ".join(filter(None, (model.producer_name, model.producer_version))),
        inputs=values_of([value for value in model.graph.input if value.name not in constants]),
        outputs=values_of(model.graph.output),
        operators=tuple(Counter(node.op_type for node in nodes).most_common()),
        foreign=tuple(
            (f"{node.domain}.{node.op_type}", node.name or node.output[0])
            for node in nodes
            if node.domain not in STANDARD_DOMAINS
        ),
        control_flow=tuple(
            (node.op_type, node.name or node.output[0]) for node in nodes if node.op_type in CONTROL_FLOW
        ),
        quantised=len(quantised_nodes(model.graph)),
        properties={entry.key: entry.value for entry in model.metadata_props},
    )


def opset_of(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators in a graph."""
    return max((entry.version for entry in model.opset_import if entry.domain in STANDARD_DOMAINS), default=1)


def values_of(values: Sequence[onnx.ValueInfoProto]) -> tuple[Value, ...]:
    """Inputs or outputs as values."""
    return tuple(
        Value(value.name, TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower(), shape_of(value))
        for value in values
    )


def shape_of(value: onnx.ValueInfoProto) -> Shape | None:
    """The shape of an input, an output or what was inferred; None where nothing is known of it."""
    if not value.type.tensor_type.HasField("shape"):
        return None
    return tuple(
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None
        for dim in value.type.tensor_type.shape.dim
    )
