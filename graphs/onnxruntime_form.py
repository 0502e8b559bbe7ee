"""An INT8 graph in the form that ONNX Runtime runs fast; what it answers is the same to the bit.

Its kernels are slow for what stands at both ends of a network:

- Convolutions in INT8 want channels last, so the runtime takes the transpose of frames out, and a scale of three
  channels is multiplied with three numbers at a time. Told for every column as well, it is a whole row at a time.
- ArgMax gathers a pixel's channels from all over the memory. Channels that are compared one after the other, each as a
  whole, are read once and in order.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from .facts import opset_of
from .index import GraphIndex
from .interface import channels_of
from .raw import find_argmax

FORM = "1"
"""Goes up when graphs are run in another form than before, so that times that were noted are not taken."""

MOST_CHANNELS = 64
"""Three nodes each; and label maps are uint8."""

_CHANNELS_FIRST = [0, 3, 1, 2]
_FIRST_OPSET = 18  # in which Split is told a number of parts


def lean(model: onnx.ModelProto) -> int:
    """Bring both ends of a graph into that form, in place.

    Args:
        model: ``frames`` (N, H, W, 3) uint8 to any outputs.

    Returns:
        How many nodes were changed or replaced; those of another shape stay as they are.
    """
    return _scale_by_rows(model.graph) + _compare_channels(model)


def _scale_by_rows(graph: onnx.GraphProto) -> int:
    """What frames are multiplied with and moved by becomes as wide as they are."""
    index = GraphIndex(graph)
    tensor, across, changed = graph.input[0].name, 2, 0
    lengths = graph.input[0].type.tensor_type.shape.dim
    width = lengths[across].dim_value if len(lengths) == 4 else 0
    while width and len(uses := index.consumers(tensor)) == 1:
        node = uses[0][0]
        if (
            node.op_type == "Transpose"
            and across == 2
            and any(list(told.ints) == _CHANNELS_FIRST for told in node.attribute)
        ):
            across = 3
        elif node.op_type in ("Mul", "Add"):
            changed += _widen(graph, index, node, across, width)
        elif node.op_type != "Cast":
            break
        tensor = node.output[0]
    return changed


def _widen(graph: onnx.GraphProto, index: GraphIndex, node: onnx.NodeProto, across: int, width: int) -> int:
    for position, name in enumerate(node.input):
        if name not in index.initializers:
            continue
        values = index.array(name)
        if values.ndim == 4 and values.size == 3 and values.shape[across] == 1:
            wide: NDArray[np.generic] = np.repeat(values, width, axis=across)
            node.input[position] = f"{node.output[0]}.by_rows"
            graph.initializer.append(numpy_helper.from_array(wide, node.input[position]))
            return 1
    return 0


def _compare_channels(model: onnx.ModelProto) -> int:
    """What chooses the labels, where whatever reads its numbers makes another type of them anyway."""
    node = find_argmax(model)
    if node is None or opset_of(model) < _FIRST_OPSET:
        return 0
    told = {attribute.name: attribute.i for attribute in node.attribute}
    uses = GraphIndex(model.graph).consumers(node.output[0])
    channels = channels_of(model, node) or 0
    if (
        told.get("axis", 0) != 1
        or told.get("select_last_index", 0)
        or not 1 < channels <= MOST_CHANNELS
        or any(use.op_type != "Cast" for use, _ in uses)
        or node.output[0] in [output.name for output in model.graph.output]
    ):
        return 0
    nodes, constants = _first_of_highest(node, channels, kept=bool(told.get("keepdims", 1)))
    for use, position in uses:
        use.input[position] = nodes[-1].output[0]  # of another type than the graph may say of the old name
    place = list(model.graph.node).index(node)
    model.graph.node.remove(node)
    for one in reversed(nodes):
        model.graph.node.insert(place, one)
    model.graph.initializer.extend(constants)
    return 1


def _first_of_highest(
    node: onnx.NodeProto, channels: int, *, kept: bool
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """The same numbers as an ArgMax over the second axis, as uint8: nodes and their constants.

    Args:
        node: the ArgMax.
        channels: how many it chooses of.
        kept: the second axis stays, one long.
    """
    name = node.output[0]
    parts = [f"{name}.channel{number}" for number in range(channels)]
    constants = [numpy_helper.from_array(np.array(number, np.uint8), f"{name}.{number}") for number in range(channels)]
    nodes = [helper.make_node("Split", [node.input[0]], parts, axis=1, num_outputs=channels)]
    highest, first = parts[0], constants[0].name
    for number, part in enumerate(parts[1:], 1):
        higher, chosen, most = (f"{name}.{what}{number}" for what in ("higher", "first", "highest"))
        nodes.append(helper.make_node("Greater", [part, highest], [higher]))
        nodes.append(helper.make_node("Where", [higher, constants[number].name, first], [chosen]))
        nodes.append(helper.make_node("Max", [part, highest], [most]))
        highest, first = most, chosen
    nodes.pop()  # nobody asks for the highest of all
    if not kept:
        constants.append(numpy_helper.from_array(np.array([1], np.int64), f"{name}.axis"))
        nodes.append(helper.make_node("Squeeze", [first, constants[-1].name], [f"{name}.first"]))
    return nodes, constants
