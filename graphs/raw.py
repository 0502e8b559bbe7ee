"""The raw tensor of a graph: what its answers are decided from, such as the logits that ArgMax reads.

It stays float in every precision, and so does all that comes after it. Its name stands in the metadata; in graphs of
older versions and of others it is what ArgMax reads. A graph that decodes several maps together, as MoveNet does, has
several raw tensors.
"""

from __future__ import annotations

import onnx

from ..errors import UsageError
from .index import GraphIndex, property_of, set_property

RAW_PROPERTY = "raw"
"""Of the metadata: the tensor's name; where there are several, theirs, a line each."""

OLDER_RAW_OUTPUT = "logits"
"""The raw tensor as an output of graphs that do not name it."""

_KEEPS_IDS = ("Cast", "Identity", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Transpose", "Slice")
"""What may stand between ArgMax and the labels: it moves ids and makes no new ones."""

_KEEPS_CHANNELS = frozenset({"Resize", "Softmax", "LogSoftmax", "Sigmoid", "Cast", "Identity", "Transpose", "Reshape"})
"""What may stand between the convolution that decides and the raw tensor, or an output."""

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""What computes with weights, where one of its inputs is constant."""

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
    """The name of the raw tensor, of several the first; empty where the graph names none and chooses no labels.

    Raises:
        UsageError: as :func:`raw_tensors`.
    """
    return next(iter(raw_tensors(model)), "")


def raw_output_of(model: onnx.ModelProto) -> str:
    """The name that the raw tensor has where a graph of ours gives it; whether it does, its outputs tell."""
    return property_of(model, RAW_PROPERTY) or OLDER_RAW_OUTPUT


def raw_tensors(model: onnx.ModelProto) -> tuple[str, ...]:
    """The names of the raw tensors; none where the graph does not name them and chooses no labels.

    Raises:
        UsageError: it names a tensor that it does not have.
    """
    names = tuple(property_of(model, RAW_PROPERTY).split("\n"))
    if names == ("",):
        argmax = find_argmax(model)
        return () if argmax is None else (argmax.input[0],)
    index = GraphIndex(model.graph)
    for name in names:
        if index.producer(name) is None:
            raise UsageError(
                f"The graph's metadata calls {name} the tensor that its answers are decided from, and no node makes "
                "it.",
                "Export the graph again, or correct its property 'raw'.",
            )
    return names


def name_raw(model: onnx.ModelProto, *tensors: str) -> None:
    """Write the raw tensors' names into the metadata."""
    set_property(model, RAW_PROPERTY, "\n".join(tensors))


def decided_from(model: onnx.ModelProto) -> tuple[str, ...]:
    """The float tensors that a graph's outputs are decoded from: what its last layers with weights make.

    Everything that no convolution or matrix product with weights comes after is decoding.

    Args:
        model: nobody says of it where its decoding begins.

    Returns:
        In the graph's order; none where no layer has weights.
    """
    index = GraphIndex(model.graph)
    waiting = [node for node in index.nodes if node.op_type in _WEIGHTED and any(map(index.is_constant, node.input))]
    body: set[str] = set()
    while waiting:
        node = waiting.pop()
        if not body.issuperset(node.output):
            body.update(node.output)
            makers = map(index.producer, node.input)
            waiting.extend(maker for maker in makers if maker is not None)
    inferred = onnx.shape_inference.infer_shapes(model).graph
    floats = {
        value.name
        for value in (*inferred.value_info, *inferred.output)
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
    given = {output.name for output in model.graph.output}
    return tuple(
        name
        for node in index.nodes
        for name in node.output
        if name in body & floats
        and not index.is_constant(name)
        and (name in given or any(not body.issuperset(reader.output) for reader, _ in index.consumers(name)))
    )


def end_of(model: onnx.ModelProto) -> frozenset[str]:
    """The tensors at a graph's end, which stay float.

    They are the raw tensors and all that is computed from them; and before them, as before every other output, what
    the last convolution makes, past resizes and what else leaves its channels alone.
    """
    index = GraphIndex(model.graph)
    raw = raw_tensors(model)
    after = set(raw)
    for node in index.nodes:  # ONNX has them in an order in which every input is there
        if after.intersection(node.input):
            after.update(node.output)
    found = set(after)
    for tensor in (*raw, *(output.name for output in model.graph.output)):
        node = index.producer(tensor)
        waiting = [] if node is None else [node]
        while waiting:
            node = waiting.pop()
            found.update(node.output)
            together = _BRINGS_TOGETHER.get(node.op_type, 0) if tensor in raw else 0
            makers = map(index.producer, node.input[: 1 if node.op_type in _KEEPS_CHANNELS else together])
            waiting.extend(maker for maker in makers if maker is not None)
    return frozenset(found)
