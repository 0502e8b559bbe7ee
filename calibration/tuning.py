"""Tuning: weights and biases that learn, under INT8's rounding, to give FP32's answers.

What rounding of weights and correction of biases do layer by layer, this does from end to end: the graph runs with the
int8 values of weights and activations, the gradient passes through the rounding as if it were not there (Bengio et al.,
"Estimating or Propagating Gradients Through Stochastic Neurons", 2013), and the loss is the KL divergence from the FP32
graph's own class probabilities (Hinton et al., "Distilling the Knowledge in a Neural Network", 2015). So it needs no
labels, and it is no training: a few hundred small steps from where calibration ended. The scales stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
from numpy.typing import NDArray

from ..data.dataset import Image
from ..engines.dependencies import require
from .graph import GraphIndex
from .placement import Placement, ends_the_graph
from .qdq import activation_scales
from .ranges import Ranges, no_images
from .weights import LEVELS, Int8Weights, along

if TYPE_CHECKING:
    from torch import Tensor

_BATCH = 8
_JUDGED = 32
"""Frames on which the end is compared with the beginning."""

# In steps of int8 for weights, and in steps of the sum that a convolution takes, input scale times weight scale, for
# biases: so networks of all sizes learn at one pace. With rates 20 times as large the student unlearns (measured).
_WEIGHT_RATE = 0.003
_BIAS_RATE = 1.0


def tune_weights(
    model: onnx.ModelProto,
    placement: Placement,
    ranges: Ranges,
    frames: Iterable[Image],
    *,
    weights: Int8Weights = Int8Weights(),
    steps: int = 150,
    seed: int = 0,
    threads: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Int8Weights:
    """Weights whose graph answers more as FP32 does; or ``weights``, where nothing was gained.

    Args:
        model: FP32.
        placement: the layers.
        ranges: of the activations.
        frames: (H, W, 3) uint8 BGR each, letterboxed; all of them are kept, as bytes.
        weights: where to begin, rounding and corrected biases included; its scales stay.
        steps: of the optimiser, each on 8 frames or their mirror images.
        seed: of their order.
        threads: of PyTorch; 0 for one per core.
        progress: called with (done, total) steps.

    Returns:
        ``weights`` with other integers, and a shift for every bias.

    Raises:
        DataError: there is no frame.
        BuildError: the graph has an operator that cannot be differentiated here.
        MachineError: PyTorch is not installed.
    """
    require("torch")
    import torch

    if threads:
        torch.set_num_threads(threads)
    kept = list(frames)
    if not kept:
        raise no_images("there are none to tune on")
    network = _Quantised(model, placement, ranges, weights)
    judged = kept[:_JUDGED]
    before = network.divergence(judged)
    rates = [
        {"params": list(network.units.values()), "lr": _WEIGHT_RATE},
        {"params": list(network.shifts.values()), "lr": _BIAS_RATE},
    ]
    # Gradients with respect to steps of int8 are far below the 1e-8 that Adam would take for nothing.
    optimiser = torch.optim.Adam(rates, eps=1e-20)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    rng = np.random.default_rng((seed, 13))
    for step in range(1, steps + 1):
        optimiser.zero_grad()
        network.loss(_drawn(kept, rng)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if progress is not None:
            progress(step, steps)
    return network.weights() if network.divergence(judged) < before else weights


def _drawn(frames: Sequence[Image], rng: np.random.Generator) -> NDArray[np.uint8]:
    """(8, H, W, 3): some frames, half of them mirrored."""
    chosen = rng.choice(len(frames), _BATCH, replace=len(frames) < _BATCH)
    return np.stack([frames[index][:, ::-1] if rng.random() < 0.5 else frames[index] for index in chosen])


class _Quantised:
    """A graph in INT8 whose weights can learn.

    Attributes:
        units: weight tensor to its values in units of the scales, float, to be rounded.
        shifts: layer to what its bias moves by, in units of its sums.
    """

    def __init__(self, model: onnx.ModelProto, placement: Placement, ranges: Ranges, weights: Int8Weights) -> None:
        import torch

        from .torch_graph import TorchGraph

        index = GraphIndex(model.graph)
        self._from = weights
        self._logits = [node.output[0] for node in index.convolutions() if ends_the_graph(node, index)]
        self._graph = TorchGraph(model, self._logits)
        scales = activation_scales(placement, ranges)
        self._activations = {use: scales[tensor] for tensor, uses in placement.activations.items() for use in uses}
        nodes = {node.name: node for node in index.nodes}
        self.units: dict[str, Tensor] = {}
        self.shifts: dict[str, Tensor] = {}
        self._scales: dict[str, tuple[Tensor, int]] = {}
        self._biases: dict[str, tuple[Tensor, Tensor]] = {}
        self._weight_of: dict[str, str] = {}
        for site in placement.weights:
            weight = index.array(site.tensor).astype(np.float32)
            scale = weights.scales(weight, site)
            exact = weight / along(scale, site.axis, weight.ndim)
            if site.tensor in weights.integers:
                exact = weights.integers_of(weight, site).astype(np.float32)
            self.units[site.tensor] = torch.from_numpy(np.clip(exact, -LEVELS, LEVELS)).requires_grad_()
            self._scales[site.tensor] = torch.from_numpy(along(scale, site.axis, weight.ndim)), site.axis
            for name in site.layers:
                self._weight_of[name] = site.tensor
                bias = weights.bias_of(nodes[name], index)
                if bias is not None:
                    unit = (np.float32(self._activations[name, 0]) * scale).astype(np.float32)
                    self._biases[name] = torch.from_numpy(bias), torch.from_numpy(unit)
                    self.shifts[name] = torch.zeros(bias.shape, requires_grad=True)

    def loss(self, frames: NDArray[np.uint8]) -> Tensor:
        """KL divergence of the classes in INT8 from those in FP32, the mean over the places of the logits."""
        import torch
        from torch.nn import functional as F

        batch = torch.from_numpy(frames)
        with torch.no_grad():
            wanted = self._graph(batch)
        losses = [
            F.kl_div(ours.log_softmax(1), exact.log_softmax(1), log_target=True, reduction="none").sum(1).mean()
            for ours, exact in zip(self._graph(batch, self._read), wanted)
        ]
        return torch.stack(losses).sum()

    def divergence(self, frames: Sequence[Image]) -> float:
        """The loss over frames, one at a time."""
        import torch

        with torch.no_grad():
            return sum(float(self.loss(frame[None].copy())) for frame in frames) / len(frames)

    def weights(self) -> Int8Weights:
        integers = {
            tensor: units.detach().round().clamp(-LEVELS, LEVELS).numpy().astype(np.int8)
            for tensor, units in self.units.items()
        }
        shifts = dict(self._from.bias_shifts)
        for name, moved in self.shifts.items():
            shift = (moved.detach() * self._biases[name][1]).numpy()
            shifts[name] = shift + shifts[name] if name in shifts else shift
        return replace(self._from, integers={**self._from.integers, **integers}, bias_shifts=shifts)

    def _read(self, node: onnx.NodeProto, position: int, value: Tensor) -> Tensor:
        """What a node reads in INT8."""
        import torch

        scale = self._activations.get((node.name, position))
        if scale is not None:
            return torch.fake_quantize_per_tensor_affine(value, scale, 0, -128, 127)
        if position == 1 and node.name in self._weight_of:
            tensor = self._weight_of[node.name]
            units = self.units[tensor]
            rounded = units + (units.detach().round().clamp(-LEVELS, LEVELS) - units.detach())
            return rounded * self._scales[tensor][0]
        if position == 2 and node.name in self._biases:
            bias, unit = self._biases[node.name]
            return bias + self.shifts[node.name] * unit
        return value
