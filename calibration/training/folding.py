"""The convolutions of a network as its graph has them: batch norms folded, with what can be learned left as it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...errors import BuildError

_KINDS = (nn.Conv2d, nn.ConvTranspose2d)

_NEAR = 1e-4
"""Largest difference, against the largest weight, between the graph's weights and ours: the exporter's arithmetic."""


@dataclass(frozen=True, eq=False)
class FoldedConvolution:
    """A convolution of the graph, told by what the network has of it.

    Args:
        weight: its name in the network's state dict.
        bias: likewise, of the batch norm's or the convolution's; None where there is none.
        values: of the weight, as the network has it.
        shift: (channels,), of the bias; None where there is none.
        factor: (channels,) that the batch norm multiplies the weight by; None without one.
        offset: (channels,) that is added to the bias; None for nothing.
        axis: of the output channels.
        turned: the graph has the input channels in the opposite order.
    """

    weight: str
    bias: str | None
    values: Tensor
    shift: Tensor | None
    factor: Tensor | None
    offset: Tensor | None
    axis: int
    turned: bool = False

    def folded(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of the graph, of those of the network."""
        if self.turned:
            weight = weight.flip(1)
        if self.factor is not None:
            weight = weight * self.factor.view([-1 if axis == self.axis else 1 for axis in range(weight.ndim)])
        return weight, bias if bias is None or self.offset is None else bias + self.offset


def folded_convolutions(network: nn.Module, size: tuple[int, int]) -> dict[str, FoldedConvolution]:
    """All of a network, by the names of the graph's nodes.

    Args:
        network: in evaluation mode, on the CPU, float32; its batch norms stay as they are.
        size: (height, width) of an input that it takes.
    """
    norms = _norms(network, size)
    found: dict[str, FoldedConvolution] = {}
    for name, module in network.named_modules():
        if not isinstance(module, _KINDS):
            continue
        axis = 0 if isinstance(module, nn.Conv2d) else 1
        values, own = module.weight.detach().clone(), module.bias
        norm_name, norm = norms.get(name, ("", None))
        if norm is None:
            bias = None if own is None else f"{name}.bias"
            shift = None if own is None else own.detach().clone()
            found[name] = FoldedConvolution(f"{name}.weight", bias, values, shift, None, None, axis)
            continue
        assert norm.running_var is not None
        assert norm.running_mean is not None
        factor = norm.weight.detach() / torch.sqrt(norm.running_var + norm.eps)
        before = norm.running_mean if own is None else norm.running_mean - own.detach()
        shift = norm.bias.detach().clone()
        found[name] = FoldedConvolution(
            f"{name}.weight", f"{norm_name}.bias", values, shift, factor, -before * factor, axis
        )
    return found


def as_exported(convolution: FoldedConvolution, weight: NDArray[np.generic], node: str) -> FoldedConvolution:
    """The convolution with its input channels as the graph has them.

    Args:
        convolution: of the network.
        weight: of the graph.
        node: for the error.

    Raises:
        BuildError: the graph's weight is not this one.
    """
    theirs = weight.astype(np.float32)
    for turned in (False, True):
        candidate = FoldedConvolution(**{**vars(convolution), "turned": turned})
        ours = candidate.folded(convolution.values, None)[0].numpy()
        if ours.shape != theirs.shape:
            continue
        if np.abs(ours - theirs).max() <= _NEAR * max(float(np.abs(theirs).max()), 1e-12):
            return candidate
    raise BuildError(f"The graph's weight of {node} is not the network's.", "Export the network that is trained.")


def _norms(network: nn.Module, size: tuple[int, int]) -> dict[str, tuple[str, nn.BatchNorm2d]]:
    """Convolution to the batch norm that reads it."""
    made: list[tuple[str, Tensor]] = []
    norms: dict[str, tuple[str, nn.BatchNorm2d]] = {}
    hooks = []
    for name, module in network.named_modules():
        if isinstance(module, _KINDS):
            # The tensor itself is kept: an id alone may be given to another.
            hooks.append(module.register_forward_hook(lambda _, __, output, name=name: made.append((name, output))))
        elif isinstance(module, nn.BatchNorm2d):

            def read(norm: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
                maker = next((maker for maker, output in made if output is inputs[0]), None)
                if maker is not None and isinstance(norm, nn.BatchNorm2d):
                    norms[maker] = name, norm

            hooks.append(module.register_forward_pre_hook(read))
    try:
        with torch.no_grad():
            network(torch.zeros(1, 3, *size))
    finally:
        for hook in hooks:
            hook.remove()
    return norms
