"""Small operations on somebody else's graph: names that are ours are freed, sizes fixed, what is left over removed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from .index import GraphIndex


def rename_tensors(model: onnx.ModelProto, names: Collection[str]) -> None:
    """Give every tensor that has one of ``names`` another, so that these names are free."""
    graph = model.graph
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    taken |= {value.name for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer)}
    new: dict[str, str] = {}
    for name in sorted(taken.intersection(names)):
        fresh = f"{name}_of_theirs"
        while fresh in taken:
            fresh += "_"
        new[name] = fresh
    for node in graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = new.get(value.name, value.name)


def unique_node_names(model: onnx.ModelProto) -> None:
    """Give a node whose name another has already, or that has none, one of its own."""
    told = {node.name for node in model.graph.node}
    seen: set[str] = set()
    for number, node in enumerate(model.graph.node):
        name = node.name or f"{node.op_type}_{number}"
        while name in seen or (not node.name and name in told):
            name = f"{name}_{number}"
        seen.add(name)
        node.name = name


def fix_input(model: onnx.ModelProto, shape: Sequence[int | None]) -> None:
    """Set the shape of the one input; shapes that the file notes for what comes of it are forgotten, as they were open.

    Args:
        shape: None leaves an axis open.
    """
    dims = model.graph.input[0].type.tensor_type.shape.dim
    for dim, length in zip(dims, shape):
        if length is None:
            dim.dim_param = dim.dim_param or "batch"
        else:
            dim.dim_value = length
    del model.graph.value_info[:]
    for output in model.graph.output:
        kind = output.type.tensor_type.elem_type
        output.CopyFrom(onnx.helper.make_tensor_value_info(output.name, kind, None))


def note_outputs(model: onnx.ModelProto, found: Mapping[str, NDArray[np.generic]], batch: int | None) -> None:
    """Write the outputs' shapes down as a run has found them; the first axis stays open where ``batch`` is."""
    for output in model.graph.output:
        lengths: list[int | str] = list(found[output.name].shape)
        if batch is None and lengths:
            lengths[0] = "batch"
        kind = output.type.tensor_type.elem_type
        output.CopyFrom(onnx.helper.make_tensor_value_info(output.name, kind, lengths))


def prune(model: onnx.ModelProto) -> None:
    """Remove the nodes and weights that no output is computed from."""
    graph = model.graph
    index = GraphIndex(graph)
    needed: set[str] = set()
    waiting = [output.name for output in graph.output]
    while waiting:
        tensor = waiting.pop()
        if tensor and tensor not in needed:
            needed.add(tensor)
            node = index.producer(tensor)
            waiting.extend(() if node is None else node.input)
    nodes = [node for node in graph.node if needed.intersection(node.output)]
    weights = [tensor for tensor in graph.initializer if tensor.name in needed]
    if len(nodes) < len(graph.node):
        del graph.node[:]
        graph.node.extend(nodes)
    if len(weights) < len(graph.initializer):
        del graph.initializer[:]
        graph.initializer.extend(weights)
