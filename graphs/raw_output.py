"""The raw tensor as an output of a graph, or not: what is looked into when answers alone say too little."""

from __future__ import annotations

import numpy as np
import onnx

from ..errors import UsageError
from .index import fresh_graph_copy
from .raw import name_raw, raw_output_of, raw_tensors


def with_raw_output(model: onnx.ModelProto, wanted: bool) -> onnx.ModelProto:
    """A copy that gives its raw tensor, or does not, whichever the graph itself does.

    Args:
        model: ``frames`` (N, H, W, 3) uint8 to a task's arrays.
        wanted: give it; several as one, of even lengths.

    Raises:
        UsageError: it is wanted and cannot be found.
    """
    copy = fresh_graph_copy(model)
    name = raw_output_of(copy)
    kept = [output for output in copy.graph.output if output.name != name]
    has_raw = len(kept) < len(copy.graph.output)
    if wanted and not has_raw:
        _add_raw(copy)
    elif has_raw and not wanted:
        del copy.graph.output[:]
        copy.graph.output.extend(kept)
    return copy


def _add_raw(model: onnx.ModelProto) -> None:
    """Make the raw tensor one more output.

    Of several one (N, numbers, 1, 1) is made, each divided by its length first: a head of small numbers counts as much
    as one of large ones, and a layer that one of them alone hangs on is seen.
    """
    sources = raw_tensors(model)
    if not sources:
        raise UsageError(
            "The graph does not name its raw tensor and has no ArgMax that reads it.", "Use a graph of trtparse build."
        )
    output = f"{sources[0]}_as_output"
    single = [output] if len(sources) == 1 else [f"{source}_in_fp32" for source in sources]
    nodes = [
        onnx.helper.make_node("Cast", [source], [name], to=onnx.TensorProto.FLOAT)
        for source, name in zip(sources, single)
    ]
    if len(sources) > 1:
        for source, name in zip(sources, single):
            nodes.append(onnx.helper.make_node("Flatten", [name], [f"{source}_flat"]))
            nodes.append(onnx.helper.make_node("LpNormalization", [f"{source}_flat"], [f"{source}_even"], axis=1, p=2))
        even = [f"{source}_even" for source in sources]
        axes = onnx.numpy_helper.from_array(np.array([2, 3], np.int64), f"{output}_axes")
        model.graph.initializer.append(axes)
        nodes.append(onnx.helper.make_node("Concat", even, [f"{output}_flat"], axis=1))
        nodes.append(onnx.helper.make_node("Unsqueeze", [f"{output}_flat", axes.name], [output]))
    model.graph.node.extend(nodes)
    model.graph.output.append(onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None))
    name_raw(model, output)
