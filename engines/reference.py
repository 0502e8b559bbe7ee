"""PyTorch as an engine: what every other engine is compared with."""

from __future__ import annotations

from pathlib import Path

import torch

from ..networks.checkpoint import load_checkpoint
from ..networks.preprocessing import normalise
from ..networks.student import Student
from .base import Engine, Frames, LabelMaps


class PyTorchEngine(Engine):
    """A network in eager PyTorch, FP32, on the CPU or the first GPU.

    Args:
        network: any mode; it is put into evaluation mode.
        input_size: (height, width) of the frames.
        threads: for the CPU; 0 leaves PyTorch's own setting.
    """

    def __init__(self, network: Student, input_size: tuple[int, int], *, threads: int = 0) -> None:
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

    @torch.inference_mode()
    def logits(self, frames: Frames) -> torch.Tensor:
        """(N, 20, H, W) float32 logits, on the CPU."""
        self._check(frames)
        return self._network(normalise(torch.from_numpy(frames).to(self._device))).cpu()  # type: ignore[no-any-return]

    def _run(self, frames: Frames) -> LabelMaps:
        return self.logits(frames).argmax(1).to(torch.uint8).numpy()

    def _release(self) -> None:
        del self._network
