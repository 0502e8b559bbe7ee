"""PyTorch as an engine: what every other engine is compared with."""

from __future__ import annotations

from pathlib import Path

import torch

from ..networks.checkpoint import load_checkpoint
from ..networks.network import ParsingNetwork
from ..networks.preprocessing import normalise
from .base import Engine, Frames, LabelMaps, Logits


class PyTorchEngine(Engine):
    """A network in eager PyTorch, FP32, on the CPU or the first GPU.

    Args:
        network: any mode; it is put into evaluation mode.
        input_size: (height, width) of the frames.
        threads: for the CPU; 0 leaves PyTorch's own setting.
    """

    gives_logits = True

    def __init__(self, network: ParsingNetwork, input_size: tuple[int, int], *, threads: int = 0) -> None:
        super().__init__()
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._network = network.to(self._device).float().eval()
        self.input_size, self.batch = input_size, None
        self.precision, self.target = "fp32", "pytorch"
        if threads:
            torch.set_num_threads(threads)
        self.name = f"PyTorch {torch.__version__}, fp32, {self._device.type}"

    @classmethod
    def from_checkpoint(cls, path: Path, input_size: tuple[int, int], *, threads: int = 0) -> PyTorchEngine:
        return cls(load_checkpoint(path).network, input_size, threads=threads)

    def logits(self, frames: Frames) -> Logits:
        self._check(frames)
        logits: Logits = self._forward(frames).cpu().numpy()
        return logits

    def _run(self, frames: Frames) -> LabelMaps:
        labels: LabelMaps = self._forward(frames).argmax(1).to(torch.uint8).cpu().numpy()
        return labels

    @torch.inference_mode()
    def _forward(self, frames: Frames) -> torch.Tensor:
        logits: torch.Tensor = self._network(normalise(torch.from_numpy(frames).to(self._device)))
        return logits

    def _release(self) -> None:
        del self._network
