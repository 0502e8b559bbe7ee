"""What a convolution multiplies its weight with: the patches of its input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ...graphs.index import GraphIndex, attribute_of
from .placement import Placement, WeightSite

_Float = TypeVar("_Float", np.float32, np.float64)


def placed_convolutions(index: GraphIndex, placement: Placement) -> Iterator[tuple[WeightSite, onnx.NodeProto]]:
    """Each convolution in INT8 and its weight's place, in the graph's order.

    Transposed ones are left out: their patches lie across each other. So are those that pad by rule, which our own
    exports never do.
    """
    sites = {name: site for site in placement.weights for name in site.layers}
    for node in index.nodes:
        if node.name in sites and node.op_type == "Conv" and attribute_of(node, "auto_pad", b"NOTSET") == b"NOTSET":
            yield sites[node.name], node


def patches(values: NDArray[_Float], node: onnx.NodeProto, kernel: tuple[int, int]) -> NDArray[_Float]:
    """The patches of a convolution's input.

    Args:
        values: (channels, H, W).
        node: the Conv.
        kernel: (height, width) of its weight.

    Returns:
        (groups, positions, channels / groups * kernel): a row times a channel of the flattened weight is an output.
    """
    top, left, bottom, right = attribute_of(node, "pads", [0] * 4)
    down, across = attribute_of(node, "strides", [1, 1])
    rows, columns = attribute_of(node, "dilations", [1, 1])
    groups = int(attribute_of(node, "group", 1))
    padded = np.pad(values, ((0, 0), (top, bottom), (left, right)))
    window = ((kernel[0] - 1) * rows + 1, (kernel[1] - 1) * columns + 1)
    views = sliding_window_view(padded, window, axis=(1, 2))[:, ::down, ::across, ::rows, ::columns]
    channels, height, width = views.shape[:3]
    grouped = views.reshape(groups, channels // groups, height * width, *kernel)
    result: NDArray[_Float] = grouped.transpose(0, 2, 1, 3, 4).reshape(groups, height * width, -1)
    return result
