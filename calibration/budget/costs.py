"""How much work each layer is: what stands in for its time where none was measured."""

from __future__ import annotations

import math

import onnx

from ...errors import BuildError
from ...graphs.index import CONVOLUTIONS, GraphIndex, attribute_of
from ..quantise.placement import Placement


def multiply_adds(model: onnx.ModelProto) -> dict[str, int]:
    """Multiply-adds per frame of every convolution, by its node's name, in the graph's order.

    Raises:
        BuildError: a convolution's shape cannot be inferred.
    """
    index, shapes = GraphIndex(model.graph), _shapes(model)
    counts = {}
    for node in index.convolutions():
        weight = index.initializers.get(node.input[1])
        # A convolution takes a filter's products for every output, a transposed one for every input.
        side = node.output[0] if node.op_type == "Conv" else node.input[0]
        if weight is None or side not in shapes:
            raise BuildError(f"The shape of {node.name} cannot be inferred.", "Use a graph that trtparse build wrote.")
        counts[node.name] = math.prod(shapes[side]) * math.prod(weight.dims[1:])
    return counts


def layer_costs(model: onnx.ModelProto, placement: Placement) -> dict[str, float]:
    """The share of every quantisable layer in the work of all, multiply-adds for its time; they add up to 1.

    What is no convolution (pools, resizes, additions) counts as one operation for every value that it reads.
    """
    counts, shapes = multiply_adds(model), _shapes(model)
    work = dict.fromkeys(placement.layers, 0)
    for tensor, sites in placement.activations.items():
        for name, _ in sites:
            work[name] += counts[name] if name in counts else math.prod(shapes.get(tensor, (1,)))
    total = sum(work.values())
    return {name: count / total for name, count in work.items()}


def int8_share(counts: dict[str, int], placement: Placement) -> float:
    """Share of a graph's multiply-adds that are in INT8.

    Args:
        counts: from :func:`multiply_adds`.
    """
    quantised = {name for site in placement.weights for name in site.layers}
    return sum(count for name, count in counts.items() if name in quantised) / max(sum(counts.values()), 1)


def describe(model: onnx.ModelProto) -> dict[str, str]:
    """What every node is, by its name, in a few words: ``Conv 3x3 64→128``, ``MaxPool``."""
    index = GraphIndex(model.graph)
    return {node.name: _words(node, index) for node in index.nodes}


def _words(node: onnx.NodeProto, index: GraphIndex) -> str:
    weight = index.initializers.get(node.input[1]) if node.op_type in CONVOLUTIONS else None
    if weight is None:
        return node.op_type
    group = attribute_of(node, "group", 1)
    first, second = weight.dims[0], weight.dims[1] * group
    into, out = (second, first) if node.op_type == "Conv" else (first, second)
    kernel = "×".join(str(size) for size in weight.dims[2:])
    depthwise = " depthwise" if group > 1 and weight.dims[1] == 1 else ""
    return f"{node.op_type} {kernel} {into}→{out}{depthwise}"


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Tensor to its shape for one frame, where all of it but the number of frames is known."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    shapes = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        dimensions = value.type.tensor_type.shape.dim
        sizes = tuple(dimension.dim_value for dimension in dimensions[1:])
        if all(sizes):
            shapes[value.name] = (1, *sizes)
    return shapes
