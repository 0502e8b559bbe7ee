"""The raw tensor of a graph: what its answers are decided from, such as the logits that ArgMax reads.

It stays float in every precision, and so does all that comes after it. Its name stands in the metadata; in graphs of
older versions and of others it is what ArgMax reads.
"""

from __future__ import annotations

import onnx

from ..errors import UsageError
from .index import GraphIndex, property_of

RAW_PROPERTY = "raw"
"""Of the metadata: the tensor's name."""

OLDER_RAW_OUTPUT = "logits"
"""The raw tensor as an output of graphs that do not name it."""

_KEEPS_IDS = ("Cast", "Identity", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Transpose", "Slice")
"""What may stand between ArgMax and the labels: it moves ids and makes no new ones."""

_KEEPS_CHANNELS = frozenset({"Resize", "Softmax", "LogSoftmax", "Sigmoid", "Cast", "Identity", "Transpose", "Reshape"})
"""What may stand between the convolution that decides and the raw tensor, or an output."""

_BRINGS_TOGETHER = {"Concat": 99, "Sub": 2, "ReduceMax": 1}
"""The same before the raw tensor, where several convolutions decide together: of how many inputs, at the most."""


def find_argmax(model: onnx.ModelProto) -> onnx.NodeProto | None:
    """The node that chooses the labels; None where they come of something else."""
    return argmax_behind(GraphIndex(model.graph), "labels")


def argmax_behind(index: GraphIndex, tensor: str) -> onnx.NodeProto | None:
    """The node that chooses the ids of a tensor; None where they come of something else."""
    node = index.producer(tensor)
    while node is not None and node.op_type in _KEEPS_IDS:
        node = index.producer(node.input[0])
    return node if node is not None and node.op_type == "ArgMax" else None


def find_raw(model: onnx.ModelProto) -> str:
    """The name of the raw tensor; empty where the graph does not name it and chooses no labels.

    Raises:
        UsageError: it names a tensor that it does not have.
    """
    name = property_of(model, RAW_PROPERTY)
    if not name:
        argmax = find_argmax(model)
        return "" if argmax is None else argmax.input[0]
    if GraphIndex(model.graph).producer(name) is None:
        raise UsageError(
            f"The graph's metadata calls {name} the tensor that its answers are decided from, and no node makes it.",
            "Export the graph again, or correct its property 'raw'.",
        )
    return name


def name_raw(model: onnx.ModelProto, tensor: str) -> None:
    """Write the raw tensor's name into the metadata."""
    properties = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, {**properties, RAW_PROPERTY: tensor})


def end_of(model: onnx.ModelProto) -> frozenset[str]:
    """The tensors at a graph's end, which stay float.

    They are the raw tensor and all that is computed from it; and before it, as before every other output, what the
    last convolution makes, past resizes and what else leaves its channels alone.
    """
    index = GraphIndex(model.graph)
    raw = find_raw(model)
    after = {raw} if raw else set[str]()
    for node in index.nodes:  # ONNX has them in an order in which every input is there
        if after.intersection(node.input):
            after.update(node.output)
    found = set(after)
    for tensor in (*([raw] if raw else []), *(output.name for output in model.graph.output)):
        node = index.producer(tensor)
        waiting = [] if node is None else [node]
        while waiting:
            node = waiting.pop()
            found.update(node.output)
            together = _BRINGS_TOGETHER.get(node.op_type, 0) if tensor == raw else 0
            makers = map(index.producer, node.input[: 1 if node.op_type in _KEEPS_CHANNELS else together])
            waiting.extend(maker for maker in makers if maker is not None)
    return frozenset(found)
