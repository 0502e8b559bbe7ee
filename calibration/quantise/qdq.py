"""Write Q/DQ into an FP32 graph the way TensorRT wants it: int8, symmetric, zero point 0."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from ...errors import BuildError
from ...graphs.index import GraphIndex, fresh_graph_copy, put_constant
from ..ranges import Ranges, scale_of
from .placement import Placement
from .weights import Int8Weights, along, nearest


def quantise(
    model: onnx.ModelProto, placement: Placement, ranges: Ranges, *, weights: Int8Weights = Int8Weights()
) -> onnx.ModelProto:
    """A copy of an FP32 graph with Q/DQ pairs.

    Args:
        model: the graph that ``placement`` was made for and ``ranges`` were collected on.
        placement: where.
        ranges: how wide; activations per tensor.
        weights: scales per channel, learned rounding and moved biases.

    Returns:
        FP32 with Q/DQ; its scales are exact in FP16, so typing it in FP16 changes no scale.

    Raises:
        BuildError: no range for a tensor that needs one, or weights that do not fit the graph.
    """
    result = fresh_graph_copy(model)
    graph = result.graph
    index = GraphIndex(graph)
    by_name = {node.name: node for node in graph.node}
    before: dict[int, list[onnx.NodeProto]] = {}
    scales = activation_scales(placement, ranges)
    order = {node.name: position for position, node in enumerate(graph.node)}
    for tensor, sites in placement.activations.items():
        pair, output = _pair(graph, tensor, np.asarray(scales[tensor], np.float32), None)
        first = min(order[name] for name, _ in sites)
        before.setdefault(first, []).extend(pair)
        for name, position in sites:
            by_name[name].input[position] = output
    for site in placement.weights:
        weight = index.array(site.tensor)
        scale, integers = weights.scales(weight, site), weights.integers_of(weight, site)
        users = [node for node, position in index.consumers(site.tensor) if position == 1 and node.name in site.layers]
        source = site.tensor
        if not np.array_equal(integers, nearest(weight, scale, site.axis, lowest=-128)):
            multiples = integers * along(scale, site.axis, weight.ndim)
            # A float convolution that reads the weight as well reads it as it was.
            shared = len(users) < len(index.consumers(site.tensor))
            source = put_constant(graph, f"{site.tensor}_int8" if shared else site.tensor, multiples)
        pair, output = _pair(graph, source, scale, site.axis)
        before.setdefault(min(order[node.name] for node in users), []).extend(pair)
        for node in users:
            node.input[1] = output
            if node.name in weights.bias_shifts:
                _set_bias(graph, node, weights.bias_of(node, index), index)
    nodes = [node for position, old in enumerate(graph.node) for node in (*before.get(position, []), old)]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.name = f"{graph.name}_int8"
    return result


def activation_scales(placement: Placement, ranges: Ranges) -> dict[str, float]:
    """One scale per quantised activation; tensors that meet in a Concat get the largest of theirs."""
    missing = sorted(tensor for tensor in placement.activations if tensor not in ranges.limits)
    if missing:
        raise BuildError(
            f"No calibration range for {missing[0]} ({len(missing)} in all).", "Calibrate the graph that is built."
        )
    maxima = {tensor: ranges.absolute_maximum(tensor) for tensor in placement.activations}
    for group in placement.shared:
        maxima.update(dict.fromkeys(group, max(maxima[tensor] for tensor in group)))
    return {tensor: scale_of(maximum, tensor) for tensor, maximum in maxima.items()}


def _set_bias(
    graph: onnx.GraphProto, node: onnx.NodeProto, bias: NDArray[np.float32] | None, index: GraphIndex
) -> None:
    """Give a convolution a bias; others that read its old one keep that."""
    if bias is None:
        return
    own = node.input[2] if len(node.input) > 2 else ""
    del node.input[2:]
    alone = own and len(index.consumers(own)) == 1
    node.input.append(put_constant(graph, own if alone else f"{node.name}.bias_int8", bias))


def _pair(
    graph: onnx.GraphProto, tensor: str, scale: NDArray[np.float32], axis: int | None
) -> tuple[list[onnx.NodeProto], str]:
    scale_name, zero_name = f"{tensor}_scale", f"{tensor}_zero_point"
    graph.initializer.append(numpy_helper.from_array(scale, scale_name))
    graph.initializer.append(numpy_helper.from_array(np.zeros(scale.shape, np.int8), zero_name))
    quantised, output = f"{tensor}_quantised", f"{tensor}_dequantised"
    pair = [
        helper.make_node("QuantizeLinear", [tensor, scale_name, zero_name], [quantised], f"{tensor}_q"),
        helper.make_node("DequantizeLinear", [quantised, scale_name, zero_name], [output], f"{tensor}_dq"),
    ]
    if axis is not None:
        for node in pair:
            node.attribute.append(helper.make_attribute("axis", axis))
    return pair, output
