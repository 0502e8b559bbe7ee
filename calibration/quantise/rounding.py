"""Rounding of weights, learned layer by layer: AdaRound.

Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization" (ICML 2020): the nearest int8 value of each
weight is not the set of values whose outputs are nearest. Each weight goes up or down such that the layer's output, on
the patches that it sees in INT8, differs least from that of the float weight.

That difference is a quadratic form of the weight's error, whose matrix is the second moment of the patches. So no
frame is kept, each layer's matrix is all there is to know, and the learning is done on the matrix: the paper's
objective over all patches at once, without its ReLU and without the errors of the layers before. Fitting those as well,
by least squares, was tried: it bends the weights for the few activations that INT8 clips (94.7 instead of 97.7 points
of agreement, measured on the student).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
from numpy.typing import NDArray

from ...data.dataset import Image
from ...engines.machine.dependencies import require
from ...graphs.index import GraphIndex, attribute_of
from ...graphs.observe import Observer
from ..ranges import Ranges, no_images
from .patches import patches, placed_convolutions
from .placement import Placement, WeightSite
from .qdq import activation_scales
from .weights import LEVELS, Int8Weights, along

if TYPE_CHECKING:
    from torch import Tensor

MOMENT_BYTES = 256 * 2**20
"""Of second moments at a time; the frames are seen once for every so many layers. The student takes two rounds."""

RANK = 384
"""Directions of the patches that are kept, with 90 % of their energy or more on the student's layers. With twice as
many, a layer of 2,304 inputs had an error 3 % smaller (measured)."""

_POSITIONS = 512
"""Patches of each frame and layer, drawn at random, the same every time: neighbours differ little."""

# The paper's stretched sigmoid, exponents and late start; its regulariser weighs against an error of another unit.
_STRETCH = (-0.1, 1.1)
_REGULARISER = 1.0
_EXPONENTS = (20.0, 2.0)
_WARM_UP = 0.2
_LEARNING_RATE = 0.02


@dataclass
class _Moments:
    """Second moments of a layer's patches.

    Args:
        site: of the weight.
        node: the convolution.
        sums: (groups, K, K) over all patches.
        patches: how many there were.
    """

    site: WeightSite
    node: onnx.NodeProto
    sums: NDArray[np.float32]
    patches: int = 0

    @property
    def mean(self) -> NDArray[np.float32]:
        mean: NDArray[np.float32] = self.sums / np.float32(self.patches)
        return mean


def learn_rounding(
    model: onnx.ModelProto,
    placement: Placement,
    ranges: Ranges,
    frames: Callable[[], Iterable[Image]],
    *,
    weights: Int8Weights = Int8Weights(),
    steps: int = 300,
    threads: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Int8Weights:
    """Weights with learned integers. The same arguments give the same integers.

    Args:
        model: FP32.
        placement: the layers.
        ranges: of the activations.
        frames: called for every round of layers; gives the same (H, W, 3) uint8 BGR letterboxed frames each time, of
            which none is kept.
        weights: scales, which stay. Biases are to be corrected after this.
        steps: of the optimiser, for each layer.
        threads: of the CPU runtime and of PyTorch; 0 for one per core.
        progress: called with (done, total) layers.

    Returns:
        ``weights`` with the integers of every placed convolution; transposed ones are rounded to nearest.

    Raises:
        DataError: there is no frame.
        MachineError: PyTorch is not installed.
    """
    require("torch")
    index = GraphIndex(model.graph)
    scales = activation_scales(placement, ranges)
    layers = [
        (site, node)
        for site, node in placed_convolutions(index, placement)
        # A weight that several convolutions share would have to please all of them.
        if len(site.layers) == 1
    ]
    learned: dict[str, NDArray[np.int8]] = {}
    for batch in _rounds(layers, index):
        for moments in _observe(model, batch, scales, frames(), index, threads):
            weight = index.array(moments.site.tensor)
            scale = weights.scales(weight, moments.site)
            learned[moments.site.tensor] = _learn(weight, scale, moments.mean, steps, threads)
            if progress is not None:
                progress(len(learned), len(layers))
    return replace(weights, integers={**weights.integers, **learned})


def _rounds(
    layers: Sequence[tuple[WeightSite, onnx.NodeProto]], index: GraphIndex
) -> Iterator[list[tuple[WeightSite, onnx.NodeProto]]]:
    """Layers whose moments fit into ``MOMENT_BYTES`` together; one that does not fit goes alone."""
    batch: list[tuple[WeightSite, onnx.NodeProto]] = []
    room = MOMENT_BYTES
    for layer in layers:
        size = int(np.prod(_moment_shape(*layer, index))) * 4
        if batch and size > room:
            yield batch
            batch, room = [], MOMENT_BYTES
        batch.append(layer)
        room -= size
    if batch:
        yield batch


def _moment_shape(site: WeightSite, node: onnx.NodeProto, index: GraphIndex) -> tuple[int, int, int]:
    shape = index.initializers[site.tensor].dims
    groups = attribute_of(node, "group", 1)
    length = int(np.prod(shape[1:]))
    return groups, length, length


def _observe(
    model: onnx.ModelProto,
    layers: Sequence[tuple[WeightSite, onnx.NodeProto]],
    scales: dict[str, float],
    frames: Iterable[Image],
    index: GraphIndex,
    threads: int,
) -> list[_Moments]:
    """The second moments of int8 patches of some layers."""
    tensors = list(dict.fromkeys(node.input[0] for _, node in layers))
    observer = Observer(model, tensors, (), threads)
    found = [_Moments(site, node, np.zeros(_moment_shape(site, node, index), np.float32)) for site, node in layers]
    kernels = {site.tensor: tuple(index.initializers[site.tensor].dims[2:]) for site, _ in layers}
    rng = np.random.default_rng((0, 11))
    for frame in frames:
        activations = {
            tensor: np.clip(np.rint(values[0] / np.float32(scales[tensor])), -128, 127) * np.float32(scales[tensor])
            for tensor, values in zip(tensors, observer.activations(frame))
        }
        for moments in found:
            rows, columns = kernels[moments.site.tensor]
            seen_here = patches(activations[moments.node.input[0]], moments.node, (rows, columns))
            positions = seen_here.shape[1]
            if positions > _POSITIONS:
                seen_here = seen_here[:, rng.choice(positions, _POSITIONS, replace=False)]
            moments.sums += np.matmul(seen_here.transpose(0, 2, 1), seen_here)
            moments.patches += seen_here.shape[1]
    if not found[0].patches:
        raise no_images("there are none to learn rounding on")
    return found


def _learn(
    weight: NDArray[np.generic], scale: NDArray[np.float32], moments: NDArray[np.float32], steps: int, threads: int
) -> NDArray[np.int8]:
    """Up or down for every value of one weight, (out, in / groups, rows, columns)."""
    import torch

    if threads:
        torch.set_num_threads(threads)
    groups = len(moments)
    rows = (weight.astype(np.float32) / along(scale, 0, weight.ndim)).reshape(groups, weight.shape[0] // groups, -1)
    units = torch.from_numpy(scale.reshape(groups, -1, 1))
    exact = torch.from_numpy(rows).clamp(-LEVELS, LEVELS)
    lower = exact.floor()
    directions = torch.from_numpy(_directions(moments))
    # Outputs of float: what the error is measured against, so that layers of all sizes learn at one pace.
    energy = float(((exact * units) @ directions).square().sum()) / exact[0].shape[0] / groups + 1e-12
    low, high = _STRETCH
    share = (exact - lower - low) / (high - low)
    choice = torch.logit(share.clamp(1e-4, 1 - 1e-4)).requires_grad_()
    optimiser = torch.optim.Adam([choice], lr=_LEARNING_RATE)

    def rectified() -> Tensor:
        return (torch.sigmoid(choice) * (high - low) + low).clamp(0, 1)

    for step in range(steps):
        optimiser.zero_grad()
        up = rectified()
        error = ((lower + up - exact) * units) @ directions
        loss = error.square().sum() / energy
        warm = steps * _WARM_UP
        if step >= warm:
            progress = (step - warm) / max(steps - warm, 1)
            exponent = _EXPONENTS[1] + (_EXPONENTS[0] - _EXPONENTS[1]) * 0.5 * (1 + np.cos(np.pi * progress))
            loss = loss + _REGULARISER * (1 - (2 * up - 1).abs().pow(float(exponent))).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    with torch.no_grad():
        learned = (lower + (rectified() >= 0.5)).clamp(-LEVELS, LEVELS)
        plain = exact.round()

        def costs(values: Tensor) -> Tensor:
            return (((values - exact) * units) @ directions).square().sum(-1, keepdim=True)

        # Channel by channel the better of the two: learning ends somewhere, and must not end worse than it began.
        best = torch.where(costs(learned) < costs(plain), learned, plain)
    return best.reshape(weight.shape).to(torch.int8).numpy()


def _directions(moments: NDArray[np.float32]) -> NDArray[np.float32]:
    """(groups, K, rank): ``D`` of which ``D @ D.T`` is the moments, by their strongest directions."""
    values, vectors = np.linalg.eigh(moments)
    kept = slice(-RANK, None)
    roots = np.sqrt(np.maximum(values[:, None, kept], 0))
    return np.ascontiguousarray(vectors[:, :, kept] * roots)
