"""Bias correction: what INT8 moves a layer's output by on average is taken off its bias.

After Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (ICCV 2019), section 4.2,
with means from images. It is worked out, not measured by comparing two graphs: a convolution is linear, so the mean of
its output follows exactly from the mean of its input, position by position, before and after rounding. That takes one
pass over the images for all layers, and each layer is corrected for its own error alone. Measuring takes a pass for
every few layers, as each has to see those before it corrected, and was worth no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import onnx
from numpy.typing import NDArray

from ...data.dataset import Image
from ...graphs.index import GraphIndex
from ...graphs.observe import Observer
from ..ranges import Ranges, no_images
from .patches import patches, placed_convolutions
from .placement import Placement
from .qdq import activation_scales
from .weights import Int8Weights, along


def correct_biases(
    model: onnx.ModelProto,
    placement: Placement,
    ranges: Ranges,
    frames: Iterable[Image],
    *,
    weights: Int8Weights = Int8Weights(),
    threads: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Int8Weights:
    """Weights whose layers give in INT8, on average over ``frames``, what they give in float.

    Args:
        model: FP32.
        placement: the layers.
        ranges: of the activations.
        frames: (H, W, 3) uint8 BGR each, letterboxed; seen once, and none is kept.
        weights: scales and rounding, which stay.
        threads: of the CPU runtime; 0 for one per core.
        progress: called with the number of frames seen.

    Returns:
        ``weights`` with a shift for the bias of every placed convolution; transposed ones have none.

    Raises:
        DataError: there is no frame.
    """
    index = GraphIndex(model.graph)
    layers = list(placed_convolutions(index, placement))
    scales = activation_scales(placement, ranges)
    tensors = list(dict.fromkeys(node.input[0] for _, node in layers))
    before, after = _means(model, {tensor: scales[tensor] for tensor in tensors}, frames, threads, progress)
    shifts = {}
    for site, node in layers:
        weight = index.array(site.tensor).astype(np.float64)
        scale = along(weights.scales(weight, site), 0, weight.ndim).astype(np.float64)
        rounded = weights.integers_of(weight, site) * scale
        kernel = (weight.shape[2], weight.shape[3])
        wanted = _mean_output(before[node.input[0]], weight, node, kernel)
        found = _mean_output(after[node.input[0]], rounded, node, kernel)
        shifts[node.name] = (wanted - found).astype(np.float32)
    return replace(weights, bias_shifts=shifts)


def _means(
    model: onnx.ModelProto,
    scales: dict[str, float],
    frames: Iterable[Image],
    threads: int,
    progress: Callable[[int], None] | None,
) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]]]:
    """(channels, H, W) mean of each activation over the frames, as it is and rounded to int8."""
    observer = Observer(model, list(scales), (), threads)
    before: dict[str, NDArray[np.float64]] = {}
    after: dict[str, NDArray[np.float64]] = {}
    seen = 0
    for seen, frame in enumerate(frames, 1):
        for (tensor, scale), values in zip(scales.items(), observer.activations(frame)):
            exact = values[0].astype(np.float64)
            before[tensor] = before.get(tensor, 0) + exact
            after[tensor] = after.get(tensor, 0) + np.clip(np.rint(exact / scale), -128, 127) * np.float64(scale)
        if progress is not None:
            progress(seen)
    if not seen:
        raise no_images("there are none to correct biases on")
    for sums in (before, after):
        for tensor in sums:
            sums[tensor] = sums[tensor] / seen
    return before, after


def _mean_output(
    values: NDArray[np.float64], weight: NDArray[np.float64], node: onnx.NodeProto, kernel: tuple[int, int]
) -> NDArray[np.float64]:
    """(channels,): the mean of a convolution's output over its positions, without the bias."""
    mean = patches(values, node, kernel).mean(axis=1)
    groups = len(mean)
    rows = weight.reshape(groups, weight.shape[0] // groups, -1)
    result: NDArray[np.float64] = np.einsum("gok,gk->go", rows, mean).reshape(-1)
    return result
