"""The graph that DeepStream's ``nvinfer`` can feed: float planes in, a probability for every class out.

nvinfer scales and converts frames by itself, to float planes from 0 to 255, and takes a class only where its value lies
above a threshold that is not below 0: raw logits, which may all be negative, would lose pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import TensorProto, helper

from ..errors import UsageError
from .index import GraphIndex, attribute_of, fresh_graph_copy
from .raw import find_argmax
from .surgery import prune

INPUT, OUTPUT = "images", "probabilities"


def planar_graph(
    model: onnx.ModelProto, input_size: tuple[int, int], batch: int | None, classes: int
) -> onnx.ModelProto:
    """A graph of ours for label maps as :func:`planar_input` has it, with ``probabilities`` out.

    These are (N, classes, H, W) float32. Everything between the two ends stays as it is.

    Args:
        model: ``frames`` to ``labels``.
        input_size: (height, width).
        batch: frames of a call; None for any number.
        classes: that the labels are chosen of.

    Raises:
        UsageError: the labels are not chosen by an ArgMax over channels.
    """
    argmax = find_argmax(model)
    if argmax is None or attribute_of(argmax, "axis", 0) != 1:
        raise UsageError(
            "The graph's labels come of no ArgMax over channels.", "Use a graph that trtparse build wrote."
        )
    scores = argmax.input[0]
    planar = fresh_graph_copy(model)
    graph = planar.graph
    graph.node.append(helper.make_node("Cast", [scores], ["planar.scores"], "planar.scores", to=TensorProto.FLOAT))
    graph.node.append(helper.make_node("Softmax", ["planar.scores"], [OUTPUT], OUTPUT, axis=1))
    del graph.output[:]
    count = "N" if batch is None else batch
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [count, classes, *input_size]))
    return planar_input(planar, input_size, batch, [OUTPUT])


def planar_input(
    model: onnx.ModelProto, input_size: tuple[int, int], batch: int | None, outputs: Sequence[str]
) -> onnx.ModelProto:
    """A graph of ours with ``images`` (N, 3, H, W) float32 in, BGR from 0 to 255, and some of its outputs as they are.

    Args:
        model: of ``frames``.
        input_size: (height, width).
        batch: frames of a call; None for any number.
        outputs: the names of those that stay.
    """
    planar = fresh_graph_copy(model)
    graph = planar.graph
    height, width = input_size
    count = "N" if batch is None else batch
    front = [helper.make_node("Transpose", [INPUT], ["planar.frames"], "planar.frames", perm=[0, 2, 3, 1])]
    if any(node.op_type != "Cast" for node, _ in GraphIndex(graph).consumers("frames")):
        front.append(
            helper.make_node("Cast", ["planar.frames"], ["planar.bytes"], "planar.bytes", to=TensorProto.UINT8)
        )
    for node in graph.node:
        # A Cast to floats takes floats as well. A tensor within may have the new input's name.
        names = {"frames": "planar.frames" if node.op_type == "Cast" else "planar.bytes", INPUT: f"planar.{INPUT}"}
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for constant in graph.initializer:
        constant.name = f"planar.{INPUT}" if constant.name == INPUT else constant.name
    del graph.value_info[:]
    nodes, kept = [*front, *graph.node], [value for value in graph.output if value.name in outputs]
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend(nodes)
    graph.output.extend(kept)
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [count, 3, height, width]))
    prune(planar)
    onnx.checker.check_model(planar)
    return planar
