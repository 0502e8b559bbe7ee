"""Write Q/DQ into an FP32 graph the way TensorRT wants it: int8, symmetric, zero point 0."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from ..errors import BuildError
from .graph import GraphIndex, fresh_graph_copy
from .placement import Placement, WeightSite
from .ranges import Ranges, scale_of


def quantise(model: onnx.ModelProto, placement: Placement, ranges: Ranges) -> onnx.ModelProto:
    """A copy of an FP32 graph with Q/DQ pairs.

    Args:
        model: the graph that ``placement`` was made for and ``ranges`` were collected on.
        placement: where.
        ranges: how wide; activations per tensor.

    Returns:
        FP32 with Q/DQ; its scales are exact in FP16, so typing it in FP16 changes no scale.

    Raises:
        BuildError: no range for a tensor that needs one.
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
        scale = weight_scales(index.array(site.tensor), site)
        pair, output = _pair(graph, site.tensor, scale, site.axis)
        users = [node for node, position in index.consumers(site.tensor) if position == 1 and node.name in site.layers]
        before.setdefault(min(order[node.name] for node in users), []).extend(pair)
        for node in users:
            node.input[1] = output
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


def weight_scales(weight: NDArray[np.generic], site: WeightSite) -> NDArray[np.float32]:
    """(channels,) float32: the scale of each output channel."""
    axes = tuple(axis for axis in range(weight.ndim) if axis != site.axis)
    maxima = np.abs(weight.astype(np.float32)).max(axis=axes)
    return np.asarray([scale_of(float(maximum), site.tensor) for maximum in maxima], np.float32)


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
