"""What stands before somebody else's graph: frames (N, H, W, 3) uint8, BGR, become what it takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ..specs.framing import Framing
from .conventions import Convention
from .published import channel_axis

Frames = NDArray[np.uint8]
"""(N, H, W, 3) uint8, BGR."""

_TYPES = {
    "float": (TensorProto.FLOAT, np.float32),
    "float16": (TensorProto.FLOAT16, np.float16),
    "int32": (TensorProto.INT32, np.int32),
    "uint8": (TensorProto.UINT8, np.uint8),
}


def made_up_frames(count: int, size: tuple[int, int]) -> Frames:
    """(N, H, W, 3) uint8: patches of colour with noise on them, the same every time."""
    height, width = size
    random = np.random.default_rng(0)
    patches = random.integers(0, 200, (count, -(-height // 16), -(-width // 16), 3))
    large = patches.repeat(16, axis=1).repeat(16, axis=2)[:, :height, :width]
    frames: Frames = (large + random.integers(0, 56, large.shape)).astype(np.uint8)
    return frames


def pictures(frames: Frames, how: Convention, dtype: str) -> NDArray[np.generic]:
    """What a graph takes for frames, by NumPy alone: what the nodes before it are compared with.

    Args:
        frames: (N, H, W, 3) uint8, BGR.
        how: the graph sees images.
        dtype: of its input.
    """
    channels = frames if how.framing.order == "BGR" else frames[..., ::-1]
    scale, offset = scale_and_offset(how.framing)
    values = channels.astype(np.float32) * scale + offset
    if how.layout == "NCHW":
        values = values.transpose(0, 3, 1, 2)
    if dtype in ("int32", "uint8"):
        values = values.round()
    return np.ascontiguousarray(values.astype(_TYPES[dtype][1]))


def scale_and_offset(framing: Framing) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """By which values from 0 to 255 become what the network computes with; of its channels, in its order."""
    mean, std = np.asarray(framing.mean), np.asarray(framing.std)
    scale = 1 / (255 * std)
    # 1/255 is written with so many digits: values that stay as they are stay exactly so.
    scale = np.where(np.abs(scale - 1) < 1e-9, 1.0, scale)
    return scale.astype(np.float32), (-mean / std).astype(np.float32)


def write_front(model: onnx.ModelProto, how: Convention, dtype: str) -> None:
    """From frames to the graph's own input, in place."""
    graph, framing = model.graph, how.framing
    theirs = graph.input[0].name
    nodes = [helper.make_node("Cast", ["frames"], ["front.float"], "front.float", to=TensorProto.FLOAT)]
    channels_last = how.layout == "NHWC"
    if not channels_last:
        # As floats: TensorRT transposes no uint8.
        nodes.append(
            helper.make_node("Transpose", ["front.float"], ["front.planes"], "front.planes", perm=[0, 3, 1, 2])
        )
    scale, offset = scale_and_offset(framing)
    if framing.order == "RGB":
        order = numpy_helper.from_array(np.array([2, 1, 0], np.int64), "front.order")
        graph.initializer.append(order)
        axis = channel_axis(how.layout)
        nodes.append(_next(nodes, "Gather", "front.rgb", order.name, axis=axis))
    for name, operator, values, neutral in (("front.scale", "Mul", scale, 1.0), ("front.offset", "Add", offset, 0.0)):
        if (values != neutral).any():
            shape = (1, 1, 1, 3) if channels_last else (1, 3, 1, 1)
            graph.initializer.append(numpy_helper.from_array(values.reshape(shape), f"{name}s"))
            nodes.append(_next(nodes, operator, name, f"{name}s"))
    if dtype in ("int32", "uint8") and any((values % 1).any() for values in (scale, offset)):
        nodes.append(_next(nodes, "Round", "front.round"))
    if dtype != "float":
        nodes.append(_next(nodes, "Cast", "front.cast", to=_TYPES[dtype][0]))
    nodes[-1].output[0] = theirs
    own = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *own])
    del graph.input[:]
    lengths = [how.batch or "batch", *framing.input_size, 3]
    graph.input.append(helper.make_tensor_value_info("frames", TensorProto.UINT8, lengths))


def _next(nodes: list[onnx.NodeProto], operator: str, name: str, *more: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, [nodes[-1].output[0], *more], [name], name, **attributes)
