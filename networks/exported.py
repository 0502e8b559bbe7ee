"""What is exported of a network: it takes frames as OpenCV reads them, and gives answers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .preprocessing import MEAN_RGB, STD_RGB
from .tail import Tail


class ExportedNetwork(nn.Module):
    """From frames to answers and, where asked for, the raw tensor behind them.

    Args:
        network: a copy, which may be changed.
        tail: of its raw tensor.
    """

    with_raw = False
    """Give the raw tensor as well."""

    def __init__(self, network: nn.Module, tail: Tail) -> None:
        super().__init__()
        self.network = network
        self.decoder = tail

    def raw(self, frames: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 BGR to the raw tensor."""
        raise NotImplementedError

    def forward(self, frames: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """(N, H, W, 3) uint8 BGR to the answers, and the raw tensor after them where it was asked for."""
        raw = self.raw(frames)
        answers: Tensor = self.decoder(raw)
        return (answers, raw) if self.with_raw else answers


class Normalised(ExportedNetwork):
    """A network of ours: its first convolution's input channels are turned round, so that the BGR frame needs no flip.

    Args:
        network, tail: as its base has them.
        first: the network's first convolution.
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, network: nn.Module, first: nn.Conv2d, tail: Tail) -> None:
        super().__init__(network, tail)
        first.weight.data = first.weight.data[:, [2, 1, 0]].contiguous()
        scale = [1 / (255 * deviation) for deviation in reversed(STD_RGB)]
        offset = [-mean / deviation for mean, deviation in zip(reversed(MEAN_RGB), reversed(STD_RGB))]
        self.register_buffer("scale", torch.tensor(scale).view(1, 3, 1, 1))
        self.register_buffer("offset", torch.tensor(offset).view(1, 3, 1, 1))

    def raw(self, frames: Tensor) -> Tensor:
        raw: Tensor = self.network(frames.float().permute(0, 3, 1, 2) * self.scale + self.offset)
        return raw
