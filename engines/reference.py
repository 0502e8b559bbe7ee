"""PyTorch as an engine: what every other engine is compared with."""

from __future__ import annotations

from pathlib import Path

import torch

from ..errors import MachineError
from ..networks.any_checkpoint import load_any_checkpoint
from ..networks.network import Network
from ..specs.decoding import LOGITS, Decoding
from .base import Arrays, Engine, Frames, OutputSpec, Raw


class PyTorchEngine(Engine):
    """A network in eager PyTorch, on the CPU or the first GPU.

    Args:
        network: any mode; it is put into evaluation mode.
        input_size: (height, width) of the frames.
        decoding: of a pose network's heatmaps.
        threads: for the CPU; 0 leaves PyTorch's own setting.
        precision: ``fp32`` is what every engine is compared with; ``fp16`` is what ``trtparse bench`` times besides.
        channels_last: keep the channels of a pixel together, which some GPUs convolve faster.

    Raises:
        MachineError: FP16 without a GPU.
    """

    gives_raw = True

    def __init__(
        self,
        network: Network,
        input_size: tuple[int, int],
        *,
        decoding: Decoding = LOGITS,
        threads: int = 0,
        precision: str = "fp32",
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if precision == "fp16" and self._device.type == "cpu":
            raise MachineError("PyTorch in fp16 needs a GPU.", "Take fp32.")
        self._dtype = {"fp32": torch.float32, "fp16": torch.float16}[precision]
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        self._network = network.to(self._device).to(self._dtype).eval()
        # PyTorch's own types leave this form out.
        self._network.to(memory_format=self._layout)  # type: ignore[call-overload]
        self.input_size, self.batch = input_size, None
        self._tail = network.tail(input_size, decoding).to(self._device).eval()
        self.outputs = (OutputSpec(self._tail.answers.name, self._tail.answers.dtype, self._tail.shape),)
        self.precision, self.target = precision, "pytorch"
        if threads:
            torch.set_num_threads(threads)
        layout = ", channels_last" if channels_last else ""
        self.name = f"PyTorch {torch.__version__}, {precision}, {self._device.type}{layout}"

    @classmethod
    def from_checkpoint(
        cls,
        path: Path,
        input_size: tuple[int, int],
        *,
        threads: int = 0,
        precision: str = "fp32",
        channels_last: bool = False,
    ) -> PyTorchEngine:
        """The engine of a checkpoint, ours or one that is known here; arguments and errors as of the class."""
        trained = load_any_checkpoint(path)
        return cls(
            trained.network,
            input_size,
            decoding=trained.decoding,
            threads=threads,
            precision=precision,
            channels_last=channels_last,
        )

    def raw(self, frames: Frames) -> Raw:
        self._check(frames)
        raw: Raw = self._forward(frames).cpu().numpy()
        return raw

    def both(self, frames: Frames) -> tuple[Arrays, Raw]:
        self._check(frames)
        raw = self._forward(frames)
        return self._decoded(raw), raw.cpu().numpy()

    def _run(self, frames: Frames) -> Arrays:
        return self._decoded(self._forward(frames))

    def _decoded(self, raw: torch.Tensor) -> Arrays:
        with torch.inference_mode():
            return (self._tail(raw).cpu().numpy(),)

    @torch.inference_mode()
    def _forward(self, frames: Frames) -> torch.Tensor:
        images = self._network.prepared(torch.from_numpy(frames).to(self._device)).to(self._dtype)
        logits: torch.Tensor = self._network(images.contiguous(memory_format=self._layout))
        return logits.float()

    def _release(self) -> None:
        del self._network
