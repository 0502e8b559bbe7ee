"""A published network of CE2P's family in PyTorch: what engines of its checkpoint are compared with."""

from __future__ import annotations

import torch

from ..networks.released import Released
from .base import Frames
from .reference import PyTorchEngine


class ReleasedEngine(PyTorchEngine):
    """A published network in eager PyTorch, with its own normalisation and its own alignment; see its base.

    Args:
        released: the network and its convention.
        threads, precision, channels_last: as :class:`PyTorchEngine`.
    """

    def __init__(
        self, released: Released, *, threads: int = 0, precision: str = "fp32", channels_last: bool = False
    ) -> None:
        super().__init__(
            released.framed,
            released.framing.input_size,
            threads=threads,
            precision=precision,
            channels_last=channels_last,
        )

    @torch.inference_mode()
    def _forward(self, frames: Frames) -> torch.Tensor:
        logits: torch.Tensor = self._network(torch.from_numpy(frames).to(self._device))
        return logits.float()
